"""Every error that embedge raises on purpose.

Each message says what is wrong, where (which item, file or field), and what to do next.
`except EmbedgeError` catches them all; the built-in bases are there for code that expects them.

    EmbedgeError
    ├── InputError (ValueError)        what the caller passed
    │   ├── TextError                  unusable texts; `.items` lists every one of them
    │   ├── ImageError                 images that cannot be used; `.items` lists every one of them
    │   ├── TextTooLongError           a text over the limit, with on_overflow="error"
    │   └── OptionError                an unknown task, prompt, width, precision …
    ├── PackError                      a model pack that must not be used
    │   ├── ManifestError              manifest.json is missing, malformed or of another version
    │   └── PackFileError              a file is missing, altered, truncated or outside the pack
    ├── DeviceError                    the device or provider asked for is unavailable
    ├── ClusterError                   a cluster cannot be reached, or cannot do the work
    ├── MemoryLimitError (MemoryError) the work would not fit; refused before it is tried
    ├── NonFiniteError                 the network gave NaN or infinity
    ├── CancelledError                 the caller cancelled
    ├── ClosedError                    the embedder or index is closed
    ├── MissingExtraError (ImportError) an optional dependency is not installed
    ├── StoreError                     a vector store, which did not take what was loaded
    ├── SearchIndexError               the file of a `SearchIndex`
    │   ├── IndexFileError             it is damaged, not an index, or cannot be opened
    │   │   ├── IndexReadOnlyError     it can be searched, not updated
    │   │   └── IndexRowsError         some of it was damaged and is forgotten; update it again
    │   ├── IndexOutdatedError         another model or version made it; `.change` says which
    │   └── IndexBusyError             another process is writing to it
    └── ExportError                    making a pack
        ├── SourceError                the model folder or hub id
        │   └── AdapterError           a LoRA adapter that cannot be merged faithfully
        └── GateError                  a precision missed its bar against the reference
"""

from collections.abc import Sequence
from types import FunctionType
from typing import Any


class EmbedgeError(Exception):
    """Base of every error that embedge raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by message and attributes, whatever the constructor of its class takes.

        By default Python calls the constructor with the message. Where that fails, a pool of
        processes waits for its result for ever.
        """
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[EmbedgeError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> EmbedgeError:
    # Constructors of ours take other arguments; Python's own take the message.
    ours = isinstance(kind.__init__, FunctionType)
    error = kind.__new__(kind, *arguments) if ours else kind(*arguments)
    error.__dict__.update(attributes)
    return error


class InputError(EmbedgeError, ValueError):
    """The caller passed something that cannot be embedded."""


class TextError(InputError):
    """Some items are not text, or give no token ids that the network can take.

    Attributes:
        items: every bad item as (index, reason), in order. The others are fine.
        vectors: what the call would have returned, with NaN in the rows of the bad items (0 in
            types smaller than float32), where the others were embedded; None where nothing was
            run.
    """

    def __init__(self, items: Sequence[tuple[int, str]], vectors: Any = None) -> None:
        self.items = list(items)
        self.vectors = vectors
        super().__init__(_list_items(self.items, others_embedded=vectors is not None))


class ImageError(InputError):
    """Some images cannot be used.

    Attributes:
        items: every bad image as (index, reason), in order. The others are fine.
        vectors: what the call would have returned, with NaN in the rows of the bad images (0 in
            types smaller than float32), where they turned out bad while the others were embedded;
            None where nothing was run.
    """

    def __init__(self, items: Sequence[tuple[int, str]], vectors: Any = None) -> None:
        self.items = list(items)
        self.vectors = vectors
        super().__init__(_list_items(self.items, others_embedded=vectors is not None))


def _list_items(items: list[tuple[int, str]], *, others_embedded: bool) -> str:
    shown = "; ".join(f"item {index}: {reason}" for index, reason in items[:5])
    more = f"; and {len(items) - 5} more" if len(items) > 5 else ""
    others = "`error.vectors` holds all the others" if others_embedded else "Nothing was embedded"
    return f"{shown}{more}. {others}, and `error.items` lists the indices to drop or correct."


class TextTooLongError(InputError):
    """A text has more tokens than the limit, and on_overflow is "error"."""


class OptionError(InputError):
    """An option's value is not one that this pack or function knows."""


class PackError(EmbedgeError):
    """A model pack that must not be used as it is."""


class ManifestError(PackError):
    """manifest.json is missing, malformed, inconsistent or of an unknown version."""


class PackFileError(PackError):
    """A file of a pack is missing, altered, truncated, or not inside the pack."""


class DeviceError(EmbedgeError):
    """The device that was asked for is unavailable."""


class ClusterError(EmbedgeError):
    """A cluster cannot be reached, its nodes are not alike, or it failed at the work."""


class MemoryLimitError(EmbedgeError, MemoryError):
    """The work is estimated not to fit into the memory limit; it was not tried."""


class NonFiniteError(EmbedgeError):
    """The network gave NaN or infinity: the precision does not carry this text."""


class CancelledError(EmbedgeError):
    """The caller cancelled the work."""


class ClosedError(EmbedgeError):
    """The embedder or index was closed and cannot be used again."""


class MissingExtraError(EmbedgeError, ImportError):
    """An optional dependency is needed and not installed."""


class StoreError(EmbedgeError):
    """A vector store cannot be reached, or did not take the vectors."""


class SearchIndexError(EmbedgeError):
    """The file of a `SearchIndex` cannot be used as it is."""


class IndexFileError(SearchIndexError):
    """The file is damaged, is not an embedge index, or cannot be opened."""


class IndexReadOnlyError(IndexFileError):
    """The index cannot be written. It can be searched as it stands."""


class IndexRowsError(IndexFileError):
    """Some passages were damaged and are forgotten. The next update embeds them again."""


class IndexOutdatedError(SearchIndexError):
    """The vectors of the index would not match those made now.

    Attributes:
        change: what differs, e.g. "precision changed: fp32 -> int8".
    """

    def __init__(self, message: str, *, change: str) -> None:
        self.change = change
        super().__init__(message)


class IndexBusyError(SearchIndexError):
    """Another process is writing to the index; nothing was changed."""


class ExportError(EmbedgeError):
    """A pack could not be made."""


class SourceError(ExportError):
    """The model folder or hub id cannot be exported."""


class AdapterError(SourceError):
    """A LoRA adapter cannot be merged faithfully."""


class GateError(ExportError):
    """A precision missed its bar against the reference; its graphs were not kept."""
