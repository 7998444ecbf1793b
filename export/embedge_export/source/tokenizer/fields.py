"""The fields of a tokenizer's files as tables: what each of them does to the ids.

Taken from transformers' code, of the versions below: the base class, the class that reads
tokenizer.json, and the classes of the families that can be exported. The runtime reads
tokenizer.json alone, so every other file is compared with it. Holds data alone; the tests compare
it with transformers' classes.
"""

from embedge_export.reading.fields import Fields, only, unused, used

VERSIONS = ("5.24.0", "4.57.6")

# Tokens with a name, which a class adds to its vocabulary where they are missing. So it does with
# any other field that ends in "_token" and holds a text.
NAMED_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
# Lists of tokens, or objects of them, by name.
TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")

# tokenizer_config.json
CONFIG_FIELDS: Fields = {
    **used(*NAMED_TOKENS, *TOKEN_LISTS, "added_tokens_decoder"),
    **used("tokenizer_class", "add_bos_token", "add_eos_token"),
    # Some classes build a part of the tokenizer by these.
    **used(
        "add_prefix_space", "do_lower_case", "strip_accents", "tokenize_chinese_chars", "legacy"
    ),
    **used("model_max_length", "max_len"),
    "truncation_side": only("right", None),
    "split_special_tokens": only(False, None),
    "fix_mistral_regex": only(False, None),
    "init_inputs": only([], None),
    "fast_tokenizer_files": only(None, [], ["tokenizer.json"]),  # others are for later versions
    # transformers hands every field on as an argument, and so these, which no one should write.
    "post_processor": only(None),
    "tokenizer_truncation": only(None),
    "tokenizer_padding": only(None),
    "tokenizer_object": only(None),
    "vocab": only(None),
    "merges": only(None),
    "_json_truncation": only(None),
    "_json_padding": only(None),
    "_spm_precompiled_charsmap": only(None),
    **unused("code of its own; transformers' class is compared", "auto_map"),
    **unused(
        "the mask hides padding",
        *("padding", "pad_to_multiple_of", "pad_token_type_id"),
    ),
    **unused(
        "the call decides how long a text may be",
        *("max_length", "stride", "truncation_strategy", "truncation"),
    ),
    **used("model_input_names", "padding_side"),
    **unused("asks for outputs", "return_token_type_ids"),
    **unused(
        "serves decoding",
        *("clean_up_tokenization_spaces", "errors", "spaces_between_special_tokens"),
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    ),
    **unused("only offsets change", "trim_offsets"),
    **unused(
        "serves chats",
        *("chat_template", "response_template", "response_schema", "chat_control_tokens"),
        "use_default_system_prompt",
    ),
    **unused(
        "only tokenizers in Python read it",
        *("do_basic_tokenize", "never_split", "sp_model_kwargs", "unk_id"),
    ),
    **unused(
        "where files are, and how they are loaded",
        *("name_or_path", "tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file"),
        *("added_tokens_file", "gguf_file", "is_local", "local_files_only", "files_loaded"),
        *("from_slow", "use_fast", "backend", "processor_class", "verbose", "cache_dir", "token"),
        *("device_map", "revision", "trust_remote_code", "transformers_version"),
    ),
}

# tokenizer.json: `tokenizers` itself reads all of it, so what matters is what transformers resets.
FILE_FIELDS: Fields = {
    **used("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model"),
    **used("truncation", "padding"),
    **unused("a format's number", "version"),
    **unused("serves decoding", "decoder"),
}
TRUNCATION_FIELDS: Fields = {
    "direction": only("Right", "right", None),
    **unused("the call decides how long a text may be", "max_length", "stride", "strategy"),
}
MODEL_FIELDS: Fields = {
    "dropout": only(None, 0),  # another cut of the same text at every call
    **used("type", "vocab", "merges", "unk_token", "unk_id"),
    **used("continuing_subword_prefix", "end_of_word_suffix", "max_input_chars_per_word"),
    **used("fuse_unk", "byte_fallback", "ignore_merges"),
}
