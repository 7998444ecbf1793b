"""What every field of `vision_config` does to an EVA02 tower, by jina-clip-v2's own code."""

from embedge_export.families.fields import COMMON
from embedge_export.reading.fields import Fields, only, unused, used

VISION_TOWER: Fields = {
    **COMMON,
    **used(
        "embed_dim",
        "head_width",
        "image_size",
        "layers",
        "mlp_ratio",
        "patch_size",
        "pt_hw_seq_len",
        "width",
    ),
    **unused(
        "other code for the same numbers, or for training alone",
        "drop_path_rate",
        "fused_layer_norm",
        "patch_dropout",
        "x_attention",
    ),
    "intp_freq": only(True),
    "ls_init_value": only(None),
    "naive_swiglu": only(True),
    "post_norm": only(False),
    "proj_type": only(None),
    "qkv_bias": only(True),
    "rope_embeddings": only(True),
    "subln": only(True),
}
