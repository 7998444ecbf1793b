"""What `embed` is given to read: refused before any work where it cannot be texts."""

from collections.abc import Sequence
from pathlib import Path

from embedge.bulk.records import STDIN
from embedge.bulk.suffixes import ARRAY, BY_SUFFIX, holds_something_else, suffix_of
from embedge.errors import InputError
from embedge.images.names import is_image_name

_READ = (
    "embed reads lines of text, JSON lines (.jsonl, .ndjson), JSON arrays (.json), tables (.csv, "
    ".tsv) and whole text files"
)


def check_paths(paths: Sequence[str], *, input_format: str = "auto") -> int | None:
    """Refuses what is not a file, before any work is done; the bytes of all, None with a stream.

    Raises:
        InputError: a path does not exist, is a folder, or has the name of something else than
            texts, with the format "auto".
    """
    total: int | None = 0
    for path in paths:
        if path == STDIN:
            total = None
            continue
        file = Path(path)
        if file.is_dir():
            raise InputError(f"{path} is a folder; give its files, e.g. {file / '*.txt'}")
        if not file.exists():
            raise InputError(
                f"{path} does not exist; give a file, - for stdin, or a text itself as --text TEXT"
            )
        if input_format == "auto":
            _check_name(path)
        total = None if total is None or not file.is_file() else total + file.stat().st_size
    return total


def _check_name(path: str) -> None:
    """Refuses a file whose name says that it holds no lines of text.

    Raises:
        InputError: what it is instead, and what to do.
    """
    if is_image_name(Path(path)):
        raise InputError(f"{path} is an image by its name; add --images")
    suffix = suffix_of(path)
    if suffix in BY_SUFFIX:
        return
    if suffix == ARRAY or holds_something_else(path):
        raise InputError(
            f"{path} is a {suffix} file by its name, and {_READ}; convert it, or give "
            "--input-format to read it as it stands"
        )
