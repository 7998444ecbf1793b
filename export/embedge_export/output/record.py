"""The record in a folder that an export wrote: what it was made from, and the hashes of its files.

Takes the folder and what it is made from, as plain JSON. A folder with a record and no file but
those that the record lists is the exporter's own; any other is somebody's, and is never replaced.
It knows nothing of models.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.errors import ExportError
from embedge_export.reading.files import read_json_file

RECORD = "embedge-merged.json"
_FORMAT = "embedge-merged"


def write_record(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Notes what a folder was made from, with the hash of every file in it."""
    record = {"format": _FORMAT, "made_from": made_from, "files": _hashes(folder)}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")


def check_own(folder: Path) -> None:
    """Makes sure that a folder may be replaced: it is not there, or an export wrote all of it.

    Raises:
        ExportError: it is somebody else's, or holds a file that is.
    """
    if not os.path.lexists(folder):
        return
    if (record := _read(folder)) is None:
        raise ExportError(
            f"{folder} exists already, and this export did not write it; remove it, or name "
            "another folder"
        )
    added = sorted(_names(folder) - {RECORD, *record["files"]})
    if added:
        raise ExportError(
            f"{folder} holds {added[0]!r} too, which this export did not write; move it away, or "
            "name another folder"
        )


def is_current(folder: Path, made_from: Mapping[str, Any]) -> bool:
    """Whether a folder is what would be written again, byte for byte; every file is hashed."""
    record = _read(folder)
    return (
        record is not None
        and record["made_from"] == json.loads(json.dumps(made_from))
        and record["files"] == _hashes(folder)
    )


def _read(folder: Path) -> dict[str, Any] | None:
    """The record of a folder; None if there is none that makes sense."""
    path = folder / RECORD
    if folder.is_symlink() or path.is_symlink():
        return None
    try:
        record = read_json_file(path)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        return None
    known = isinstance(record.get("files"), dict) and "made_from" in record
    return record if known else None


def _names(folder: Path) -> set[str]:
    """Every file below a folder, and every folder without any."""
    found = set()
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            found.add(path.relative_to(folder).as_posix())
    return found


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for name in sorted(_names(folder) - {RECORD}):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            hashes[name] = ""
            continue
        with path.open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
