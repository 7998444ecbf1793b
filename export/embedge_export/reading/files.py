"""Reads the files of a source, which may be anything: never waits, and never reads without end.

Strings that no UTF-8 can hold are refused here, as they would go wrong far from their file. Takes a
path; links are followed, because the hub's cache is made of them. Knows no field.
"""

import json
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.files.regular import open_regular, read_regular

# Bytes. The largest tokenizers are some 40 MiB; other JSON files are far smaller.
MOST_JSON = 256 * 2**20
MOST_TEXT = 16 * 2**20
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_json_file(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than MOST_JSON.
        ValueError, RecursionError: it is not JSON.
        SourceError: it is a Git LFS pointer.
    """
    data = read_regular(path, most=MOST_JSON, follow_links=True)
    _refuse_pointer(path, data)
    text = data.decode("utf-8")
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string in it has half of a surrogate pair") from None
    return value


def read_text_file(path: Path) -> str:
    """The content of a text file, with U+FFFD for what is not UTF-8.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than MOST_TEXT.
    """
    return read_regular(path, most=MOST_TEXT, follow_links=True).decode("utf-8", "replace")


def refuse_pointer(path: Path) -> None:
    """Makes sure that a file is not a Git LFS pointer, for readers other than those above.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        SourceError: it is one: a small text that `git clone` puts in place of a large file.
    """
    with open_regular(path, follow_links=True) as file:
        _refuse_pointer(path, file.read(len(_POINTER)))


def _refuse_pointer(path: Path, data: bytes) -> None:
    if data.startswith(_POINTER):
        raise SourceError(
            f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, "
            "or download the file"
        )
