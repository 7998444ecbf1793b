"""Whether an index is being brought up to date at this moment, by any process of this user.

A lock in the user's cache folder says so, one for each index file, and the system drops it when the
process ends. It keeps nobody out: those who write take turns, as SQLite has it. It spares a search
from doing what another is doing already. Where there is no such folder, nobody is seen.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from embedge.files.caches import cache_folder, make_private_folder
from embedge.files.locks import one_process


@contextlib.contextmanager
def updating(index: Path | None) -> Iterator[None]:
    """Within it, `is_being_updated` is true of an index file; None is one in memory."""
    with contextlib.ExitStack() as stack:
        if (place := _lock_of(index)) is not None:
            with contextlib.suppress(OSError):
                stack.enter_context(one_process(place))
        yield


def is_being_updated(index: Path) -> bool:
    """Whether somebody, also of this process, is bringing the index up to date."""
    place = _lock_of(index)
    if place is None or not place.exists():
        return False
    with contextlib.suppress(OSError), one_process(place) as free:
        return not free
    return False


def _lock_of(index: Path | None) -> Path | None:
    folder = cache_folder()
    if index is None or folder is None:
        return None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(index))).hexdigest()[:20]
    try:
        make_private_folder(folder)
        make_private_folder(folder / "search")
    except OSError:
        return None
    return folder / "search" / f"{digest}.updating"
