"""Image files and folders as paths or records, in order.

A folder stands for the images below it, by their suffix. Knows no model, and opens no image.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from embedge.bulk.records import NO_PLACE, Bad, Record
from embedge.errors import InputError
from embedge.files.folders import walk
from embedge.images.names import is_image_name

Item = TypeVar("Item")

# Images embedded at a time: what was done comes out while the rest is worked on.
CHUNK = 32


def image_paths(named: Sequence[str], *, refuse: Callable[[Path, str], None]) -> list[Path]:
    """The files named, whatever their suffix, and the images below the folders named.

    Args:
        named: files and folders.
        refuse: called with a path and a reason for what a folder holds and cannot be read.

    Raises:
        InputError: a path does not exist, or a folder cannot be read.
    """
    paths: list[Path] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            found = [file.path for file in walk(path, refuse=refuse) if is_image_name(file.path)]
            if not found:
                raise InputError(f"{name} holds no images")
            paths += found
        elif path.exists():
            paths.append(path)
        else:
            raise InputError(f"{name} does not exist; give images, or folders of them")
    return paths


def image_records(named: Sequence[str]) -> list[Record | Bad]:
    """A record for every image, with its path as `text` and `id`, then what cannot be read.

    Raises:
        InputError: a path does not exist, or a folder cannot be read.
    """
    bad: list[Record | Bad] = []
    paths = image_paths(
        named, refuse=lambda path, reason: bad.append(Bad(NO_PLACE, str(path), reason, 0))
    )
    records = [
        Record(index, f"image {index + 1}", str(path), str(path), path.stat().st_size)
        for index, path in enumerate(paths)
    ]
    return [*records, *bad]


def chunked(items: Sequence[Item], size: int = CHUNK) -> Iterator[tuple[int, Sequence[Item]]]:
    """(index of the first, the items) of every chunk."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]
