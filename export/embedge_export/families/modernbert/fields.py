"""What every field of config.json does to a ModernBERT network.

Read off transformers' configuration and modeling code, 4.48 to 5.24, and compared with it by the
tests.
"""

from embedge_export.families.fields import COMMON
from embedge_export.reading.fields import Fields, only, unused, used

MODERNBERT_FIELDS: Fields = {
    **COMMON,
    **used(
        "attention_bias",
        "global_attn_every_n_layers",
        "global_rope_theta",
        "hidden_size",
        "intermediate_size",
        "layer_types",
        "local_attention",
        "local_rope_theta",
        "max_position_embeddings",
        "mlp_bias",
        "model_type",
        "norm_bias",
        "norm_eps",
        "num_attention_heads",
        "num_hidden_layers",
        "rope_parameters",
        "vocab_size",
    ),
    **unused("a row of the table like any other, once it is loaded", "pad_token_id"),
    **unused("what tokenizer.json says counts", "cls_token_id", "mask_token_id"),
    **unused(
        "for heads that stand behind the network's own output",
        "classifier_activation",
        "classifier_bias",
        "classifier_pooling",
        "decoder_bias",
        "sparse_pred_ignore_index",
        "sparse_prediction",
    ),
    **unused(
        "of training alone",
        "embedding_dropout",
        "initializer_cutoff_factor",
        "mlp_dropout",
    ),
    **unused(
        "how the same numbers are computed; the graph computes in its own precision",
        "deterministic_flash_attn",
        "reference_compile",
        "repad_logits_with_grad",
    ),
    **unused("its code does not read it", "layer_norm_eps", "position_embedding_type"),
    "head_dim": only(None),  # read for the rotary angles alone
    "hidden_activation": only("gelu", "gelu_python"),  # two names of the exact one
    "is_causal": only(False),
    "is_decoder": only(False, None),
    "partial_rotary_factor": only(1.0, None),
    "rope_scaling": only(None),
    "rope_theta": only(None),  # it has two
    "sliding_window": only(None),  # sets local_attention in transformers 5
}
