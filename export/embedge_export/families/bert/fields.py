"""What every field of config.json does to a BERT-like network.

One table a family, read off transformers' configuration and modeling code, and off Jina's own for
the checkpoints that bring it (`XLMRobertaFlashConfig`).
"""

from collections.abc import Mapping

from embedge_export.families import rotary_base
from embedge_export.families.fields import COMMON
from embedge_export.reading.fields import Fields, only, unused, used

_SHARED: Fields = {
    **COMMON,
    **used(
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "max_position_embeddings",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "type_vocab_size",
        "vocab_size",
    ),
    "hidden_act": only("gelu", "gelu_python"),  # two names of the exact one
    "is_causal": only(False),
    "is_decoder": only(False, None),
}
_LEARNED: Fields = {"position_embedding_type": only("absolute", None)}
_ROTARY: Fields = {
    **rotary_base.FIELDS,
    **used("head_dim"),
    **unused("a row of the table like any other, once it is loaded", "pad_token_id"),
    "partial_rotary_factor": only(1.0, None),
}
_JINA: Fields = {
    **unused(
        "chooses other code for the same numbers, or counts in training alone",
        "fused_bias_fc",
        "fused_dropout_add_ln",
        "fused_mlp",
        "last_layer_subset",
        "load_trained_adapters",
        "lora_dropout_p",
        "lora_main_params_trainable",
        "mlp_checkpoint_lvl",
        "truncate_dim",
        "use_qkv_bias",
        "use_xentropy",
    ),
    **used(
        "emb_pooler",
        "lora_adaptations",
        "lora_alpha",
        "lora_rank",
        "matryoshka_dimensions",
        "position_embedding_type",
        "rotary_emb_base",
        "task_instructions",
    ),
    "alibi": only(False, None),
    "prenorm": only(False, None),
    "rotary_emb_dim": only(None),
    "rotary_emb_interleaved": only(False, None),
    "rotary_emb_scale_base": only(None),
    "use_qk_norm": only(False, None),
    "use_reg_tokens": only(False, None),
    "window_size": only(None, [-1, -1]),
}

# DistilBERT has names of its own for sizes; the epsilon of its norms is no setting.
_DISTILBERT: Fields = {
    **COMMON,
    **used(
        "dim",
        "hidden_dim",
        "max_position_embeddings",
        "model_type",
        "n_heads",
        "n_layers",
        "vocab_size",
    ),
    **unused("of training alone", "dropout", "qa_dropout", "seq_classif_dropout"),
    **unused("a row of the table like any other, once it is loaded", "pad_token_id"),
    **unused("how the table of positions began; the checkpoint holds it", "sinusoidal_pos_embds"),
    **unused("for heads that stand behind the network's own output", "tie_weights_"),
    "activation": only("gelu", "gelu_python"),
    # transformers' class takes these for dim, n_heads and n_layers.
    "hidden_size": only(None),
    "num_attention_heads": only(None),
    "num_hidden_layers": only(None),
    "is_causal": only(False),
    "is_decoder": only(False, None),
}

DISTILBERT = "distilbert"
MPNET = "mpnet"
MPNET_PADDING = 1  # the id that its code counts positions from, whatever pad_token_id says
JINA_V3 = "jina_embeddings_v3"  # transformers' name; Jina's own checkpoint says xlm-roberta
JINA_FLASH = "jina_flash"  # jina-embeddings-v3's own layout, whose model_type is xlm-roberta
# Kind of network -> its table.
BERT_FIELDS: Mapping[str, Fields] = {
    "bert": _SHARED
    | _LEARNED
    | unused("a row of the table like any other, once it is loaded", "pad_token_id"),
    "roberta": _SHARED | _LEARNED | used("pad_token_id"),
    "xlm-roberta": _SHARED | _JINA | _LEARNED | used("pad_token_id"),
    DISTILBERT: _DISTILBERT,
    MPNET: _SHARED
    # Its code fills this many buckets, whatever the number.
    | {"relative_attention_num_buckets": only(32)}
    | unused("its code does not read it", "pad_token_id", "type_vocab_size"),
    JINA_V3: _SHARED
    | _ROTARY
    | unused("its code has rotary positions alone", "position_embedding_type"),
    JINA_FLASH: _SHARED | _ROTARY | _JINA,
}
