"""Calls that name no task: one warning where two kinds of them take different ones.

`encode` takes the pack's default task, `encode_query` and `encode_document` retrieval where the
pack has it. Vectors of two tasks do not compare, and nothing else would say so. A call that names
its task is never warned of.
"""

from embedge.calls import alias_task
from embedge.cautions import warn
from embedge.pack.manifest import Manifest

SIDES = ("retrieval.query", "retrieval.passage")


class TaskWarning(UserWarning):
    """Calls of one embedder that named no task took different ones, so their vectors differ."""


class DefaultTasks:
    """The kinds of calls of one embedder that named no task; warns once.

    Args:
        manifest: says which tasks they take.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._plain = manifest.default_task
        sides = [alias_task(manifest, side) or manifest.default_task for side in SIDES]
        self._search = sides[0]
        # A pack may have a task for each side, of which one is the default: made to be compared.
        self._silent = self._plain in sides
        self._seen: set[bool] = set()

    def note(self, *, search: bool) -> None:
        """Notes a call without a task.

        Args:
            search: whether it was `encode_query` or `encode_document`.
        """
        if self._silent:
            return
        self._seen.add(search)
        if len(self._seen) == 2:
            self._silent = True
            warn(
                f"encode() took this pack's default task {self._plain!r}, encode_query() and "
                f"encode_document() take {self._search!r}, and vectors of two tasks do not "
                "compare; for search use encode_document() for what is searched, or name the task "
                "in every call with task=",
                TaskWarning,
                stacklevel=4,  # past the method of `Embedder` and what wraps it
            )
