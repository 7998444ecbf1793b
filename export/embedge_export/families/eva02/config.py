"""What jina-clip-v2's config says of its vision tower, checked: EVA02-L/14 at any size.

Takes the parsed `vision_config` and the tower's weights without their prefix, gives one frozen
record. A field that would change the vectors and has another value than the writer's is refused
by name; one that is left out has the value of EVA02-L, which the weights confirm or refuse.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.families.eva02.fields import VISION_TOWER
from embedge_export.reading.fields import Settings, shown
from embedge_export.tensors.weights import Weights, check_tensors

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


def eva_config(vision: Mapping[str, Any], weights: Weights) -> EvaConfig:
    """Reads and checks `vision_config`.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    settings = Settings(vision, VISION_TOWER, inside="vision_config.")
    width = settings.size("width")
    ratio = settings.number("mlp_ratio", below=100)
    if ratio is None:
        raise settings.error("mlp_ratio", "not a ratio")
    result = EvaConfig(
        width=width,
        layers=settings.size("layers"),
        head_width=settings.size("head_width"),
        inner=int(width * ratio),
        image_size=settings.size("image_size"),
        patch_size=settings.size("patch_size"),
        pretrained_grid=settings.size("pt_hw_seq_len", default=_PRETRAINED_GRID),
    )
    if result.width % result.head_width or result.head_width % 4:
        raise SourceError(
            f"config.json: vision_config.head_width {result.head_width} must divide the width "
            f"{result.width}, and be a multiple of 4 for rotary positions in two directions"
        )
    if vision.get("embed_dim", result.width) != result.width or not result.grid:
        raise SourceError(
            f"config.json: vision_config.embed_dim {shown(vision.get('embed_dim'))} is not the "
            f"width {result.width}, or image_size is less than patch_size"
        )
    check_tensors(weights, expected_shapes(result), "this network", prefix="vision_model.")
    return result


def expected_shapes(config: EvaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the tower, a block after another."""
    width, inner, patch = config.width, config.inner, config.patch_size
    yield "cls_token", (1, 1, width)
    yield "pos_embed", (1, config.tokens, width)
    yield "patch_embed.proj.weight", (width, 3, patch, patch)
    yield "patch_embed.proj.bias", (width,)
    yield "norm.weight", (width,)
    yield "norm.bias", (width,)
    linears = {
        "attn.proj": (width, width),
        "mlp.w1": (inner, width),
        "mlp.w2": (inner, width),
        "mlp.w3": (width, inner),
    }
    norms = {"norm1": width, "norm2": width, "attn.inner_attn_ln": width, "mlp.ffn_ln": inner}
    for index in range(config.layers):
        block = f"blocks.{index}"
        for side in "qkv":
            yield f"{block}.attn.{side}_proj.weight", (width, width)
        for side in "qv":  # the key has none
            yield f"{block}.attn.{side}_bias", (width,)
        for name, shape in linears.items():
            yield f"{block}.{name}.weight", shape
            yield f"{block}.{name}.bias", shape[:1]
        for name, size in norms.items():
            yield f"{block}.{name}.weight", (size,)
            yield f"{block}.{name}.bias", (size,)
