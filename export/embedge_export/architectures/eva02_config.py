"""What jina-clip-v2's config says of its vision tower, checked: EVA02-L/14 at any size.

Takes the parsed config.json and the tower's weights without their prefix, gives one frozen
record. A field that would change the vectors and has another value than the writer's is refused
by name; one that is left out has the value of EVA02-L, which the weights confirm or refuse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.weights import Weights, check_tensors

# What the writer does. `fused_layer_norm`, `x_attention` and `patch_dropout` choose other code for
# the same numbers, or count in training alone.
_FIXED: Mapping[str, Any] = {
    "ls_init_value": None,
    "rope_embeddings": True,
    "intp_freq": True,
    "naive_swiglu": True,
    "subln": True,
    "qkv_bias": True,
    "post_norm": False,
    "proj_type": None,
}
_PRETRAINED_GRID = 16  # patches a side that the rotary frequencies were trained for


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaConfig:
    """Sizes and constants of the tower."""

    width: int
    layers: int
    head_width: int
    inner: int  # width of the MLP
    image_size: int  # pixels a side
    patch_size: int
    pretrained_grid: int
    layer_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.width // self.head_width

    @property
    def grid(self) -> int:
        """Patches a side; what is left over on the right and below is not seen."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Patches and the class token before them."""
        return self.grid**2 + 1


def eva_config(config: Mapping[str, Any], weights: Weights) -> EvaConfig:
    """Reads and checks `vision_config`.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        raise SourceError("config.json: vision_config is missing; is this jina-clip-v2?")
    if config.get("add_projections"):
        raise SourceError("config.json: add_projections is true, which is not supported")
    for name, value in _FIXED.items():
        if vision.get(name, value) != value:
            raise SourceError(
                f"config.json: vision_config.{name} is {vision[name]!r}; only {value!r} is "
                "supported"
            )
    result = EvaConfig(
        width=_size(vision, "width"),
        layers=_size(vision, "layers"),
        head_width=_size(vision, "head_width"),
        inner=_inner(vision),
        image_size=_size(vision, "image_size"),
        patch_size=_size(vision, "patch_size"),
        pretrained_grid=_size({"pt_hw_seq_len": _PRETRAINED_GRID} | dict(vision), "pt_hw_seq_len"),
    )
    if result.width % result.head_width or result.head_width % 4:
        raise SourceError(
            f"config.json: vision_config.head_width {result.head_width} must divide the width "
            f"{result.width}, and be a multiple of 4 for rotary positions in two directions"
        )
    if vision.get("embed_dim", result.width) != result.width or not result.grid:
        raise SourceError(
            f"config.json: vision_config.embed_dim {vision.get('embed_dim')!r} is not the width "
            f"{result.width}, or image_size is less than patch_size"
        )
    check_tensors(weights, expected_shapes(result), "this network", prefix="vision_model.")
    return result


def _inner(vision: Mapping[str, Any]) -> int:
    ratio = vision.get("mlp_ratio")
    if not isinstance(ratio, (int, float)) or isinstance(ratio, bool) or not 0 < ratio < 100:
        raise SourceError(f"config.json: vision_config.mlp_ratio is {ratio!r}, not a ratio")
    return int(_size(vision, "width") * ratio)


def _size(vision: Mapping[str, Any], name: str) -> int:
    value = vision.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SourceError(
            f"config.json: vision_config.{name} is {value!r}, it must be a positive whole number"
        )
    return value


def expected_shapes(config: EvaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the tower."""
    width, inner, patch = config.width, config.inner, config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, config.tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    linears = {
        "attn.proj": (width, width),
        "mlp.w1": (inner, width),
        "mlp.w2": (inner, width),
        "mlp.w3": (width, inner),
    }
    norms = {"norm1": width, "norm2": width, "attn.inner_attn_ln": width, "mlp.ffn_ln": inner}
    for index in range(config.layers):
        block = f"blocks.{index}"
        shapes |= {f"{block}.attn.{side}_proj.weight": (width, width) for side in "qkv"}
        shapes |= {f"{block}.attn.{side}_bias": (width,) for side in "qv"}  # the key has none
        for name, shape in linears.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name, size in norms.items():
            shapes |= {f"{block}.{name}.weight": (size,), f"{block}.{name}.bias": (size,)}
    return shapes
