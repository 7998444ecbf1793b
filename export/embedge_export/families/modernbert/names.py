"""How ModernBERT checkpoints name their tensors.

Takes the tensors of a folder as they are called there; gives those of the network, with q, k and v
apart, and the two halves of the MLP's first linear: `mlp.gate`, which the activation is applied to,
and `mlp.up`. Tensors are read one at a time, when they are asked for.
"""

import re

from embedge.errors import SourceError
from embedge_export.tensors.renamed import NamedWeights, Place
from embedge_export.tensors.weights import Weights

# Heads: what a pooled text vector does not pass through.
_UNUSED = re.compile(r"(head\.(dense|norm)|decoder|classifier)\.(weight|bias)")
_JOINED = {"attn.Wqkv": ("attn.q", "attn.k", "attn.v"), "mlp.Wi": ("mlp.gate", "mlp.up")}
_PART = re.compile(r"(layers\.\d{1,9})\.(attn\.Wqkv|mlp\.Wi)\.(weight|bias)")


def network_weights(stored: Weights) -> NamedWeights:
    """The network's tensors, with or without "model." before their names.

    Raises:
        SourceError: two tensors mean the same weight.
    """
    places: dict[str, Place] = {}
    for name in stored.keys():  # noqa: SIM118 - Weights is no mapping
        short = name.removeprefix("model.")
        if _UNUSED.fullmatch(short):
            continue
        match = _PART.fullmatch(short)
        own = (
            [short] if match is None else [f"{match[1]}.{m}.{match[3]}" for m in _JOINED[match[2]]]
        )
        for part, key in enumerate(own):
            if key in places:
                raise SourceError(
                    f"tensors {places[key].name!r} and {name!r} are both {key!r}; "
                    "save the model again"
                )
            places[key] = Place(name, part, len(own))
    return NamedWeights(stored, places)
