"""Rows of CSV and TSV files, and items of a JSON array, one at a time and in bounded memory.

Takes lines or a stream, gives a `Row` for each record: a mapping or another JSON value, or the
reason why there is none. Knows nothing of what the values are for.
"""

import codecs
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from embedge.bulk.lines import HEAD

DELIMITERS = {"csv": ",", "tsv": "\t"}
_SPACE = " \t\r\n"
_LONGEST_CELL = 131_072  # characters, which is the limit of Python's csv


@dataclass(frozen=True, slots=True)
class Row:
    """One record."""

    place: int  # the line of a table, or the item of an array, from 1
    value: Any
    reason: str | None  # why there is no value
    size: int  # bytes of the input since the record before


def table_rows(lines: Iterator[tuple[bytes, int]], delimiter: str) -> Iterator[Row]:
    """The rows of a table as mappings of its first row's names; missing cells are None.

    A cell in double quotes may hold the delimiter, line ends and, doubled, double quotes. Bytes
    that are not UTF-8 come as lone surrogates.

    Args:
        lines: (line, bytes of the input), as `read_lines` gives them.
        delimiter: between two cells.
    """
    read = 0

    def decoded() -> Iterator[str]:
        nonlocal read
        for line, size in lines:
            read += size
            yield line.decode("utf-8", "surrogateescape")

    rows = csv.reader(decoded(), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        start, before = rows.line_num + 1, read
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            shown = str(error)
            if "field limit" in shown:
                shown = f"a cell is longer than {_LONGEST_CELL:,} characters"
            yield Row(start, None, f"is not a row of a table ({shown})", read - before)
            continue
        if not cells:  # a blank line
            continue
        if names is None:
            names = [name.strip() for name in cells]
        elif len(cells) > len(names):
            reason = f"has {len(cells)} cells, and the table has {len(names)} columns"
            yield Row(start, None, reason, read - before)
        else:
            value: dict[str, str | None] = dict.fromkeys(names)
            value.update(zip(names, cells, strict=False))
            if value.get("id") == "":  # an empty cell is no name
                value["id"] = None
            yield Row(start, value, None, read - before)


def array_items(stream: BinaryIO, head: bytes, encoding: str, *, most: int) -> Iterator[Row]:
    """The items of one JSON array; what follows a mistake cannot be found.

    Args:
        stream: the rest of it, after the head.
        head: what was read already.
        encoding: Python's name.
        most: bytes of an item.
    """
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    parse = json.JSONDecoder().raw_decode
    text, ended, size = decoder.decode(head), False, len(head)
    place, started = 0, False

    def more() -> None:
        nonlocal text, ended, size
        data = stream.read(max(HEAD, len(text)))  # twice as much each time that it is too little
        ended = not data
        size += len(data)
        text += decoder.decode(data, final=ended)

    while True:
        text = text.lstrip(_SPACE)
        if not text and not ended:
            more()
            continue
        if not started:
            if not text.startswith("["):
                reason = "is not a JSON array; if each line is JSON, add --input-format jsonl"
                yield Row(1, None, reason, size)
                return
            started, text = True, text[1:]
            continue
        if text.startswith("]") and place == 0:
            return
        place += 1
        while True:
            try:
                value, end = parse(text)
                rest = text[end:].lstrip(_SPACE)
                problem = None if rest[:1] in (",", "]") else "a comma or ] is missing"
            except (ValueError, RecursionError) as error:
                rest = ""
                problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            if problem is None or (rest and problem) or ended:
                break
            if len(text) > most:
                problem = f"an item is longer than {most // 2**20} MiB"
                break
            more()
        if problem is not None:
            yield Row(place, None, f"is not JSON from here on ({problem})", size)
            return
        yield Row(place, value, None, size)
        size = 0
        text = rest[1:]
        if rest[0] == "]":
            return
