"""EVA02, jina-clip-v2's vision tower, and the folder of the whole model.

Takes sizes; makes a plan of tensors (key -> shape and spread, see tensors.py), the parts of
config.json and preprocessor_config.json, and writes all of it beside a text tower of bert.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seeded.bert import begin, write_tokenizer_config
from seeded.bert_layouts import EncoderSize, clip_text_config, flash_plan, roberta_tokenizer
from seeded.files import staged, write_card, write_json
from seeded.tensors import Plan, write_plan

MATRYOSHKA = (32, 64, 128, 256, 512, 768, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSize:
    """Sizes of the tower. As in the real one, the patches leave some pixels over."""

    width: int = 128
    layers: int = 3
    head_width: int = 32
    image: int = 60  # pixels a side
    patch: int = 14

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image // self.patch

    @property
    def inner(self) -> int:
        """Width of the MLP."""
        return int(self.width * 2.6667)


FULL = VisionSize(width=1024, layers=24, head_width=64, image=512)


def vision_plan(size: VisionSize) -> Plan:
    """Every tensor of the tower; what writes to the residual stream is smaller by the depth."""
    width, inner, depth = size.width, size.inner, (2 * size.layers) ** 0.5
    plan: dict[str, tuple[tuple[int, ...], float]] = {
        "cls_token": ((1, 1, width), 0.3),
        "pos_embed": ((1, size.grid**2 + 1, width), 0.3),
        "patch_embed.proj.weight": ((width, 3, size.patch, size.patch), 0.03),
        "patch_embed.proj.bias": ((width,), 0.2),
    }
    for index in range(size.layers):
        block = f"blocks.{index}"
        for side in "qkv":
            reads = 0.64 if side == "v" else 1.3
            plan[f"{block}.attn.{side}_proj.weight"] = ((width, width), reads / width**0.5)
        for side in "qv":
            plan[f"{block}.attn.{side}_bias"] = ((width,), 0.3)
        linears = {
            "attn.proj": (width, width, 0.64 / depth),
            "mlp.w1": (inner, width, 1.0),
            "mlp.w2": (inner, width, 1.0),
            "mlp.w3": (width, inner, 0.64 / depth),
        }
        for name, (rows, columns, spread) in linears.items():
            plan[f"{block}.{name}.weight"] = ((rows, columns), spread / columns**0.5)
            plan[f"{block}.{name}.bias"] = ((rows,), 0.2)
        norms = {"norm1": width, "norm2": width, "attn.inner_attn_ln": width, "mlp.ffn_ln": inner}
        for name, columns in norms.items():
            plan[f"{block}.{name}.weight"] = ((columns,), 0.3)
            plan[f"{block}.{name}.bias"] = ((columns,), 0.1)
    plan["norm.weight"] = ((width,), 0.3)
    plan["norm.bias"] = ((width,), 0.1)
    return plan


def vision_config(size: VisionSize) -> dict[str, Any]:
    """`vision_config` of jina-clip-v2."""
    return {
        "embed_dim": size.width,
        "fused_layer_norm": False,
        "head_width": size.head_width,
        "image_size": size.image,
        "intp_freq": True,
        "layers": size.layers,
        "ls_init_value": None,
        "mlp_ratio": 2.6667,
        "naive_swiglu": True,
        "patch_dropout": 0.1,
        "patch_size": size.patch,
        "post_norm": False,
        "proj_type": None,
        "pt_hw_seq_len": 16,
        "qkv_bias": True,
        "rope_embeddings": True,
        "subln": True,
        "width": size.width,
        "x_attention": True,
    }


def preprocessor_config(size: VisionSize) -> dict[str, Any]:
    """preprocessor_config.json of jina-clip-v2."""
    return {
        "fill_color": 0,
        "image_processor_type": "JinaCLIPImageProcessor",
        "interpolation": "bicubic",
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "processor_class": "JinaCLIPProcessor",
        "resize_mode": "shortest",
        "size": size.image,
        "std": [0.26862954, 0.26130258, 0.27577711],
    }


def write_jina_clip(
    folder: Path,
    *,
    text: EncoderSize | None = None,
    vision: VisionSize | None = None,
    tokenizer: Path | None = None,
    seed: int = 0,
    inner: str = "",
) -> Path:
    """Writes jina-clip-v2's layout: a text and a vision tower of one width.

    Args:
        folder: as of `write_v3`.
        text: Sizes of the text tower, whose heads are 64 wide.
        vision: Sizes of the vision tower.
        tokenizer: as of `write_v3`.
        seed: as of `write_v3`.
        inner: Another segment in the text tower's keys, "roberta." as some checkpoints have it.

    Returns:
        `folder`.
    """
    image = vision or VisionSize()
    with staged(folder) as part:
        size = begin(part, text or EncoderSize(), tokenizer, roberta_tokenizer)
        if size.hidden != image.width or size.hidden != 64 * size.heads:
            raise ValueError("the towers must be of one width, and the text heads 64 wide")
        config: Mapping[str, Any] = {
            "add_projections": False,
            "architectures": ["JinaCLIPModel"],
            "auto_map": {
                "AutoConfig": "jinaai/jina-clip-implementation--configuration_clip.JinaCLIPConfig",
                "AutoModel": "jinaai/jina-clip-implementation--modeling_clip.JinaCLIPModel",
            },
            "initializer_factor": 1.0,
            "logit_scale_init_value": 2.6592,
            "matryoshka_dimensions": [d for d in MATRYOSHKA if d <= size.hidden],
            "model_type": "jina_clip",
            "projection_dim": size.hidden,
            "text_config": clip_text_config(size),
            "truncate_dim": None,
            "vision_config": vision_config(image),
        }
        write_json(part / "config.json", config)
        write_json(part / "preprocessor_config.json", preprocessor_config(image))
        write_tokenizer_config(part, "PreTrainedTokenizerFast", "<pad>", "</s>", 8194)
        write_card(part, "jina-clip-v2")
        prefix = f"text_model.transformer.{inner}"
        plan: dict[str, tuple[tuple[int, ...], float]] = {"logit_scale": ((), 1.0)}
        plan |= flash_plan(size, prefix=prefix, adapters=1)
        plan |= {f"vision_model.{key}": value for key, value in vision_plan(image).items()}
        write_plan(part, plan, seed)
    return folder
