"""Fields of config.json that transformers' base class has, and those that the classes share.

Read with transformers 4.40 to 5.24. Which numbers a field changes is what counts here: in which
precision, in how many pieces or by which kernel the same network is computed is the exporter's own
affair, and what training, generating and heads need is nobody's.
"""

from embedge_export.reading.fields import Fields, Settings, only, unused

_HEADS = "for heads that stand behind the network's own output"
_TRAINING = "of training alone"
_OUTPUTS = "which outputs are handed out beside the vectors"
_COMPUTING = "how the same numbers are computed; the graph computes in its own precision"
_GENERATING = "for writing text, token by token"
_RECORD = "a note of where the file comes from"

COMMON: Fields = {
    **unused(
        _RECORD,
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "auto_map",  # a model's own code is never run; the families whose own counts are known
        "name_or_path",
        "task_specific_params",
        "tokenizer_class",
        "transformers.js_config",  # which graphs have files of data beside them
        "transformers_version",
    ),
    **unused(
        _COMPUTING,
        "_attn_implementation",
        "_attn_implementation_autoset",
        "attn_implementation",
        "chunk_size_feed_forward",
        "distributed_config",
        "dtype",
        "experts_implementation",
        "pretraining_tp",
        "torch_dtype",
        "torchscript",
        "use_bfloat16",
        "use_flash_attn",
    ),
    **unused(
        _OUTPUTS,
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "tie_last_hidden_states",
        "use_return_dict",
    ),
    **unused(
        _HEADS,
        "classifier_dropout",
        "finetuning_task",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "tie_encoder_decoder",
        "tie_word_embeddings",
    ),
    **unused(
        _TRAINING,
        "attention_dropout",
        "attention_probs_dropout_prob",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "initializer_range",
        "tf_legacy_loss",
    ),
    **unused(_GENERATING, "decoder_start_token_id", "prefix", "use_cache"),
    # The tokenizer puts them where they belong.
    **unused("what tokenizer.json says counts", "bos_token_id", "eos_token_id", "sep_token_id"),
    # Each changes the network itself.
    "add_cross_attention": only(False, None),
    "attention_chunk_size": only(None),
    "compression_config": only(None),
    "configuration_files": only(None, [], ["config.json"]),  # others are for later versions
    "cross_attention_hidden_size": only(None),
    "fusion_config": only(None, {}),
    "is_encoder_decoder": only(False, None),
    "per_layer_config": only(None, {}),
    "pruned_heads": only(None, {}),
    "quantization_config": only(None),
    "transformers_weights": only(None),  # another weight file
}


def epsilon(settings: Settings, name: str) -> float:
    """What a norm adds below its root; it has to be stated."""
    value = settings.number(name, below=1)
    if value is None:
        raise settings.error(name, "it must lie between 0 and 1")
    return value
