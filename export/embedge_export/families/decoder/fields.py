"""What every field of config.json does to a Qwen3, Qwen2, Llama or EuroBERT network.

One table a family, read off transformers' configuration and modeling code of these names, and
compared with it by the tests.
"""

from collections.abc import Mapping

from embedge_export.families import rotary_base
from embedge_export.families.fields import COMMON
from embedge_export.reading.fields import Fields, only, unused, used

# The encoder; all other families are decoders.
ENCODER = "eurobert"

_SHARED: Fields = {
    **COMMON,
    **rotary_base.FIELDS,
    **used(
        "head_dim",
        "hidden_size",
        "intermediate_size",
        "is_decoder",
        "layer_types",
        "max_position_embeddings",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rms_norm_eps",
        "vocab_size",
    ),
    **unused("a row of the table like any other, once it is loaded", "pad_token_id"),
    "hidden_act": only("silu", "swish"),  # two names of one function
    "partial_rotary_factor": only(1.0, None),
}
_CAUSAL: Fields = {
    "is_causal": only(True),
    "use_bidirectional_attention": only(False, None),
}
_QWEN: Fields = {
    "use_sliding_window": only(False, None),
    **unused(
        "read with use_sliding_window alone, which is refused",
        "max_window_layers",
        "sliding_window",
    ),
}

# Family -> its table.
DECODER_FIELDS: Mapping[str, Fields] = {
    "qwen3": _SHARED | _CAUSAL | _QWEN | used("attention_bias"),
    # Its q, k and v have biases always, whatever a field of that name says.
    "qwen2": _SHARED | _CAUSAL | _QWEN | unused("its code does not read it", "attention_bias"),
    "llama": _SHARED | _CAUSAL | used("attention_bias", "mlp_bias"),
    ENCODER: _SHARED
    | used("attention_bias", "mlp_bias")
    | {"is_causal": only(False)}
    | unused("for heads that stand behind the network's own output", "classifier_pooling")
    | unused("what tokenizer.json says counts", "mask_token_id"),
}
