"""An application's own records: how they are checked, kept, and chosen by their metadata.

A record is kept as a file is, as passages in order, but its path is a key, which no file can have:
a zero byte, and its id as JSON. Its metadata stands beside it; each field that can be searched for
is known by a digest of its name and value. Takes mappings and connections inside transactions;
embeds nothing.
"""

import hashlib
import json
import operator
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import InputError, OptionError
from embedge.options import shown
from embedge.search.passages import split_text
from embedge.texts.checks import clean

RecordId = str | int
_KEY = b"\0"  # what the path of a record begins with; that of a file cannot hold it
AFTER_KEYS = b"\1"
IS_RECORD = f"files.path < x'{AFTER_KEYS.hex()}'"
_FIELDS = ("id", "text", "metadata")
MOST_CHARACTERS = 8 * 2**20  # of a record's text, as of a file's in bytes


class RefusedRecordError(Exception):
    """A record that cannot be kept; the message says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was checked."""

    key: bytes  # what it has in place of a path
    metadata: str  # a JSON object
    digest: bytes  # of its text and metadata
    passages: tuple[tuple[int, str], ...]  # (line, text)

    @classmethod
    def of(cls, value: object) -> "Record":
        """Checks what a caller passed.

        Raises:
            RefusedRecordError: it is not {"id": …, "text": …, "metadata": …} as it should be.
        """
        if not isinstance(value, Mapping):
            raise RefusedRecordError(
                f'it is {shown(value)}; a record is {{"id": …, "text": …, "metadata": …}}'
            )
        if unknown := [key for key in value if key not in _FIELDS]:
            raise RefusedRecordError(
                f"{shown(unknown[0])} is not a key of a record; put it into its metadata"
            )
        try:
            key = key_of(value.get("id"))
        except InputError as error:
            raise RefusedRecordError(str(error)) from None
        name = f"id {shown(value['id'])}"
        text = value.get("text")
        if not isinstance(text, str):
            raise RefusedRecordError(f"{name}: its text is {shown(text)}; it must be a str")
        if not text.strip():
            raise RefusedRecordError(f"{name}: its text is empty")
        if len(text) > MOST_CHARACTERS:
            raise RefusedRecordError(
                f"{name}: its text has more than {MOST_CHARACTERS:,} characters; split it"
            )
        text = clean(text)
        metadata = _metadata(value.get("metadata"), name)
        digest = hashlib.blake2b(json.dumps([text, metadata]).encode(), digest_size=16).digest()
        return cls(key, metadata, digest, tuple(split_text(text)))


def key_of(value: object) -> bytes:
    """What a record of this id has in place of a path.

    Raises:
        InputError: it is neither a str nor a whole number.
    """
    if not isinstance(value, str) and not isinstance(value, bool) and hasattr(value, "__index__"):
        value = operator.index(value)  # of NumPy
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"a record's id is {shown(value)}; it must be a str or an int")
    try:
        return _KEY + json.dumps(value).encode()
    except ValueError:  # more digits than Python writes
        raise InputError("a record's id has too many digits; use a str") from None


def id_of(key: bytes) -> RecordId | None:
    """The id of a record, from what it has in place of a path; None if it is a file."""
    if not key.startswith(_KEY):
        return None
    value = json.loads(key.removeprefix(_KEY))
    return value if isinstance(value, str | int) else None


def _metadata(value: object, name: str) -> str:
    if value is None:
        return "{}"
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise RefusedRecordError(
            f"{name}: its metadata is {shown(value)}; it must be a dict of str"
        )
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedRecordError(
            f"{name}: its metadata cannot be written as JSON: {error}"
        ) from None


# --- in the index -------------------------------------------------------------------------------


def put_beside(connection: sqlite3.Connection, file: int, record: Record) -> None:
    """Keeps the metadata of a record whose row among the files is there."""
    connection.execute(
        "INSERT INTO records VALUES (?, ?, ?)",
        (file, _checksum(file, record.metadata), record.metadata),
    )
    digests = {d for name, value in json.loads(record.metadata).items() for d in _held(name, value)}
    connection.executemany(
        "INSERT INTO fields VALUES (?, ?)", [(digest, file) for digest in digests]
    )


def remove_beside(connection: sqlite3.Connection, file: int) -> None:
    """Forgets the metadata of a row among the files; of one that is a file there is none."""
    connection.execute("DELETE FROM fields WHERE file = ?", (file,))
    connection.execute("DELETE FROM records WHERE file = ?", (file,))


def metadata_of(file: int, metadata: object, checksum: object) -> dict[str, Any] | None:
    """The metadata of a record as it was put in; None if it is damaged."""
    if not isinstance(metadata, str) or checksum != _checksum(file, metadata):
        return None
    value = json.loads(metadata)
    return value if isinstance(value, dict) else None


def _checksum(file: int, metadata: str) -> int:
    return zlib.crc32(metadata.encode("utf-8", "surrogatepass"), file & 0xFFFFFFFF)


# --- by metadata --------------------------------------------------------------------------------


def condition(where: object, *, check: bool = False) -> str:
    """SQL for the files that are records with these fields.

    Args:
        where: name -> a value, or a list of values of which the field has one. A field that is a
            list has each value in it.
        check: for a query that has files already, and few; otherwise it finds them.

    Raises:
        OptionError: it is not that.
    """
    if not isinstance(where, Mapping):
        raise OptionError(f'where is {shown(where)}; pass {{"field": value, …}}')
    parts = [IS_RECORD]
    for name, wanted in where.items():
        if not isinstance(name, str):
            raise OptionError(f"where names a field {shown(name)}; it must be a str")
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        digests = []
        for value in values:
            if not isinstance(value, str | int | float | None):
                raise OptionError(
                    f"where[{name!r}] is {shown(wanted)}; pass a str, a number, True, False or "
                    "None, or a list of them"
                )
            digests.append(f"x'{_digest(name, value).hex()}'")
        fitting = f"SELECT file FROM fields WHERE digest IN ({', '.join(digests)})"
        one = f"EXISTS ({fitting} AND file = files.id)"
        parts.append(one if check else f"files.id IN ({fitting})")
    return " AND ".join(parts)


def _held(name: str, value: object) -> Iterator[bytes]:
    """The digests that a field is found by: none for what lies deeper than a list."""
    values: Iterable[object] = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, str | int | float | None):
            yield _digest(name, item)


def _digest(name: str, value: str | float | None) -> bytes:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 is 1
    return hashlib.blake2b(json.dumps([name, value]).encode(), digest_size=16).digest()
