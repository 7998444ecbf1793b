"""The fields of Sentence Transformers' files as tables: what each of them does to the vectors.

Taken from its code, in the version below; the tests hold the lists of fields that this version
reads. Holds data alone; `sentence_transformers.py` reads the files by it.
"""

from embedge_export.head.head import LAST_TOKEN
from embedge_export.reading.fields import Fields, only, unused, used

VERSION = "6.2.0"

# config_sentence_transformers.json
MODEL_FIELDS: Fields = {
    **used("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"),
    "model_type": only("SentenceTransformer", None),
    **unused("notes of the versions that the model was saved with", "__version__"),
    **unused("conditions on the installed packages", "requirements"),
}

# sentence_bert_config.json, and what it was called before. Anything else is an error there too.
NETWORK_FIELDS: Fields = {
    **used("max_seq_length", "do_lower_case"),
    "transformer_task": only("feature-extraction", None),
    "modality_config": only(
        None,
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        {"text": {"method": "forward", "method_output_name": ["last_hidden_state"]}},
    ),
    "module_output_name": only("token_embeddings", None),
    "processing_kwargs": only(None, {}),
    "query_length": only(None),
    "document_length": only(None),
    "query_expansion": only(None),
    "tokenizer_name_or_path": only(None),
    # Each stands under an older and a newer name; the fields within have tables of their own.
    **used("model_args", "model_kwargs"),
    **used("tokenizer_args", "processor_kwargs"),
    **used("config_args", "config_kwargs"),
    **unused("how batches are laid out", "unpad_inputs"),
    **unused("chosen by the caller", "backend"),
}

_LOADING = unused(
    "where and how files are found and loaded",
    *("trust_remote_code", "token", "cache_dir", "local_files_only", "revision", "code_revision"),
)

MODEL_ARGUMENTS: Fields = {
    **_LOADING,
    **unused("how exactly torch computes", "torch_dtype", "dtype", "attn_implementation"),
    **unused("where torch computes", "device_map", "low_cpu_mem_usage", "use_safetensors"),
    **unused("a head that Sentence Transformers does not use", "add_pooling_layer"),
}
TOKENIZER_ARGUMENTS: Fields = {
    **_LOADING,
    **used("model_max_length"),
    "truncation_side": only("right", None),
    "truncation": only(True, None),
    **used("padding_side"),
    **unused("the mask hides padding", "padding"),
    **unused("transformers 5 has fast tokenizers alone", "use_fast"),
}
CONFIG_ARGUMENTS: Fields = {
    **_LOADING,
    **unused("how exactly torch computes", "torch_dtype", "dtype", "attn_implementation"),
    **unused("serves generation", "use_cache"),
}
ARGUMENTS = {
    "model_args": MODEL_ARGUMENTS,
    "model_kwargs": MODEL_ARGUMENTS,
    "tokenizer_args": TOKENIZER_ARGUMENTS,
    "processor_kwargs": TOKENIZER_ARGUMENTS,
    "config_args": CONFIG_ARGUMENTS,
    "config_kwargs": CONFIG_ARGUMENTS,
}

# 1_Pooling/config.json. The flags are the older spelling; where both are there, they must agree.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What a head calls each of these.
POOLING_MODES = {mode: mode for mode in POOLING_FLAGS.values()} | {"lasttoken": LAST_TOKEN}
POOLING_FIELDS: Fields = used(
    "pooling_mode",
    *POOLING_FLAGS,
    "include_prompt",
    "embedding_dimension",
    "word_embedding_dimension",
)

_ONE_VECTOR: Fields = {
    "module_input_name": only("sentence_embedding", None),
    "module_output_name": only("sentence_embedding", None),
}

# 2_Dense/config.json
DENSE_FIELDS: Fields = {
    **used("in_features", "out_features", "bias", "activation_function", "use_residual"),
    **_ONE_VECTOR,
}

# 2_LayerNorm/config.json
LAYER_NORM_FIELDS: Fields = used("dimension")

# 2_Normalize/config.json
NORMALIZE_FIELDS: Fields = _ONE_VECTOR

# One entry of modules.json.
MODULE_FIELDS: Fields = {
    **used("name", "path", "type"),
    **unused("the place in the list counts", "idx"),
    **unused("names of options that a caller may hand on to the module", "kwargs"),
}
