"""Many texts or images, as a stream: records in, vectors out, in bounded memory.

`EmbedBatches` is the same as a function that other engines map over their batches.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedge.bulk.embed_batches import EmbedBatches

__all__ = ["EmbedBatches"]

# Loaded when first asked for: what streams records does not need it.
_LAZY = {"EmbedBatches": "embedge.bulk.embed_batches"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'embedge.bulk' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
