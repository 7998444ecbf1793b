"""What every field of config.json does to jina-clip-v2's two towers, by its own code."""

from embedge_export.families.bert.fields import BERT_FIELDS, JINA_FLASH
from embedge_export.families.fields import COMMON
from embedge_export.reading.fields import Fields, Only, only, unused, used

# What the text tower's network, jina-embeddings-v3, takes from here and not from its own config.
_OF_LORA = (
    "load_trained_adapters",
    "lora_adaptations",
    "lora_alpha",
    "lora_dropout_p",
    "lora_main_params_trainable",
    "lora_rank",
    "task_instructions",
)

CLIP: Fields = {
    **COMMON,
    **used("matryoshka_dimensions", "model_type", "projection_dim", "text_config", "vision_config"),
    **unused("for training, or other code for the same numbers", "logit_scale_init_value"),
    **unused(
        "for training, or other code for the same numbers",
        "truncate_dim",
        "use_text_flash_attn",
        "use_vision_xformers",
    ),
    "add_projections": only(False, None),
}
TEXT_TOWER: Fields = {
    **COMMON,
    **used(
        "default_instruction_task",
        "default_lora_task",
        "embed_dim",
        "hf_model_config_kwargs",
        "pooler_type",
    ),
    **unused("of a projection, and there is none", "proj_bias"),
    # The sizes that config.json does not hold are this model's.
    "hf_model_name_or_path": only("jinaai/jina-embeddings-v3", None),
    "proj_type": only(None),
}
# Every value of jina-embeddings-v3 that would change its numbers must be its own.
TEXT_NETWORK: Fields = {
    **{
        name: field if isinstance(field, Only) or name in _OF_LORA else only(None)
        for name, field in BERT_FIELDS[JINA_FLASH].items()
        if isinstance(field, Only) or name not in COMMON
    },
    **unused("for training, or other code for the same numbers", *_OF_LORA[:1], *_OF_LORA[3:5]),
    "position_embedding_type": only("rotary", None),
}
# preprocessor_config.json; the class that reads it ignores all other names.
PREPROCESSOR_FIELDS: Fields = {
    **used("fill_color", "interpolation", "mean", "resize_mode", "size", "std"),
    **unused(
        "a note of where the file comes from",
        "auto_map",
        "feature_extractor_type",
        "image_processor_type",
        "processor_class",
    ),
    # transformers' own names for what this class does always, or has under other names.
    "do_center_crop": only(False, None),
    "do_normalize": only(True, None),
    "do_rescale": only(True, None),
    "do_resize": only(True, None),
    "image_mean": only(None),
    "image_std": only(None),
    "crop_size": only(None),
    "resample": only(None, 3),
    "rescale_factor": only(None, 1 / 255),
}
