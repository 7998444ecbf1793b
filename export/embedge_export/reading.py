"""Reads the files of a source, which may be anything: never waits, and never reads without end.

JSON is taken strictly: Python's reader accepts NaN, and strings that no UTF-8 can hold, and either
would go wrong far from here. Takes a path; links are followed, because the hub's cache is made of
them. Knows no field.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from embedge.regular_files import read_regular

# Bytes. The largest tokenizers are some 40 MiB; other JSON files are far smaller.
MOST_JSON = 256 * 2**20
MOST_TEXT = 16 * 2**20


def read_json_file(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than MOST_JSON.
        ValueError, RecursionError: it is not JSON.
    """
    text = read_regular(path, most=MOST_JSON, follow_links=True).decode("utf-8")
    value = json.loads(text, parse_constant=_refuse_constant)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string in it has half of a surrogate pair") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it has {name}, which is not a JSON number")


def read_text_file(path: Path) -> str:
    """The content of a text file, with U+FFFD for what is not UTF-8.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than MOST_TEXT.
    """
    return read_regular(path, most=MOST_TEXT, follow_links=True).decode("utf-8", "replace")
