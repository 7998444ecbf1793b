"""embedge: multi-task embedding models on any computer, without torch.

>>> from embedge import Embedder
>>> with Embedder() as embedder:  # the bundled model; Embedder("folder") opens another
...     vectors = embedder.encode(["a text", "another"], task="retrieval")
>>> vectors.shape, vectors.dtype  # rows of length 1
((2, 256), dtype('float32'))
"""

from typing import TYPE_CHECKING, Any

from embedge.errors import (
    AdapterError,
    CancelledError,
    ClosedError,
    ClusterError,
    DeviceError,
    EmbedgeError,
    ExportError,
    GateError,
    ImageError,
    IndexBusyError,
    IndexFileError,
    IndexOutdatedError,
    IndexReadOnlyError,
    IndexRowsError,
    InputError,
    ManifestError,
    MemoryLimitError,
    MissingExtraError,
    NonFiniteError,
    OptionError,
    PackError,
    PackFileError,
    SearchIndexError,
    SourceError,
    StoreError,
    TextError,
    TextTooLongError,
)

if TYPE_CHECKING:
    from embedge.default_tasks import TaskWarning
    from embedge.embedder import Embedder
    from embedge.pack.reading import read_manifest
    from embedge.search import SearchIndex
    from embedge.texts.languages import LanguageWarning
    from embedge.texts.tokens import TruncationWarning
    from embedge.vectors import RangesWarning, quantize, similarity

__version__ = "0.1.0"

__all__ = [
    "AdapterError",
    "CancelledError",
    "ClosedError",
    "ClusterError",
    "DeviceError",
    "Embedder",
    "EmbedgeError",
    "ExportError",
    "GateError",
    "ImageError",
    "IndexBusyError",
    "IndexFileError",
    "IndexOutdatedError",
    "IndexReadOnlyError",
    "IndexRowsError",
    "InputError",
    "LanguageWarning",
    "ManifestError",
    "MemoryLimitError",
    "MissingExtraError",
    "NonFiniteError",
    "OptionError",
    "PackError",
    "PackFileError",
    "RangesWarning",
    "SearchIndex",
    "SearchIndexError",
    "SourceError",
    "StoreError",
    "TaskWarning",
    "TextError",
    "TextTooLongError",
    "TruncationWarning",
    "__version__",
    "quantize",
    "read_manifest",
    "similarity",
]

# Loaded when first asked for: `embedge --help` and a host's start should not wait for NumPy.
_LAZY = {
    "Embedder": "embedge.embedder",
    "LanguageWarning": "embedge.texts.languages",
    "RangesWarning": "embedge.vectors",
    "SearchIndex": "embedge.search",
    "TaskWarning": "embedge.default_tasks",
    "TruncationWarning": "embedge.texts.tokens",
    "quantize": "embedge.vectors",
    "read_manifest": "embedge.pack.reading",
    "similarity": "embedge.vectors",
}


# Old names, kept for one release.
_RENAMED = {"quantise": "quantize"}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        warnings.warn(
            f"embedge.{name} is now embedge.{_RENAMED[name]}; the old name goes with 0.2",
            DeprecationWarning,
            stacklevel=2,
        )
        name = _RENAMED[name]
    import importlib

    if name not in _LAZY:
        habits = importlib.import_module("embedge.habits")
        use = habits.MODULE.get(name)
        raise AttributeError(
            f"module 'embedge' has no attribute {name!r}" + (f"; use {use}" if use else "")
        )

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
