"""What the vectors of an output are, and what was left out, in a JSON file beside them.

A program that reads an array, or a line each, finds what it always found; who asks which model,
task and prompt made them reads the file beside. It holds the facts that it is given, a list of the
items that have no vector, each with its index and the reason, and the counts of the whole job. It
is written as the job goes on, so that a million bad lines take no memory.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedge.bulk.records import NO_PLACE, Bad
from embedge.bulk.sinks import Done, Item, Sink
from embedge.files.regular import open_regular, read_regular
from embedge.files.whole import WholeFile

_MOST_BYTES = 2**28  # of such a file, which lists what was left out
_START = b'{\n  "embedge": '  # of every such file: the version that wrote it


def metadata_path(out: Path) -> Path:
    """Where it stands for an output: beside the file itself, where `out` is a link."""
    return Path(f"{os.path.realpath(out) if out.is_symlink() else out}.meta.json")


def is_metadata(path: Path) -> bool:
    """Whether a file is one that was written here.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path, follow_links=True) as stream:
        return stream.read(len(_START)) == _START


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What such a file holds; None where there is none, or it is not one of ours."""
    try:
        if not is_metadata(path):
            return None
        found = json.loads(read_regular(path, most=_MOST_BYTES, follow_links=True))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class MetadataFile:
    """One such file, which appears when it is finished.

    Args:
        path: where it will be.
        facts: what the vectors are, as plain JSON; "embedge", the version, comes first.
        reword: what becomes of each reason, such as Python's names into a command's flags.
        part: the name of a temporary file of an earlier job beside it, to go on with.
        size: bytes of it that count.
        errors: items that are listed in it.

    Attributes:
        file: what is written.
        path: where it will be.
    """

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        *,
        reword: Callable[[str], str] = str,
        part: str | None = None,
        size: int = 0,
        errors: int = 0,
    ) -> None:
        self.path = path
        left = None if part is None else Path(os.path.realpath(path)).with_name(part)
        self.file = WholeFile(path, part=left, size=size)
        self._reword = reword
        self._errors = errors
        if part is None:
            head = json.dumps(facts, indent=2).removesuffix("\n}")
            self._write(f'{head},\n  "errors": [')

    def add(self, bad: Bad) -> None:
        """Lists an item that was left out; without an index where it has no row."""
        entry: dict[str, Any] = {} if bad.index == NO_PLACE else {"index": bad.index}
        if bad.id is not None:
            entry["id"] = bad.id
        entry |= {"where": bad.where, "reason": self._reword(bad.reason)}
        self._write(f"{',' if self._errors else ''}\n    {json.dumps(entry)}")
        self._errors += 1

    def complete(self, done: Done) -> None:
        """Writes the counts, and waits until the disk has everything.

        From here until `finish` the place holds no file, rather than one of other vectors.
        """
        counts = {
            "items": done.items,
            "embedded": done.embedded,
            "left_out": done.bad,
            "truncated": done.cut,
        }
        end = json.dumps(counts, indent=2).removeprefix("{\n")
        closing = "\n  ]" if self._errors else "]"
        self._write(f"{closing},\n{end}\n")
        if self.file.part is not None:
            self.file.sync()
            with contextlib.suppress(FileNotFoundError):
                Path(os.path.realpath(self.path)).unlink()

    def _write(self, text: str) -> None:
        self.file.stream.write(text.replace("\x7f", "\\u007f").encode())  # DEL, for the terminal


class DescribedSink(Sink):
    """A sink whose vectors are described in a file beside it.

    Args:
        sink: for the vectors.
        metadata: the file.
    """

    def __init__(self, sink: Sink, metadata: MetadataFile) -> None:
        self._sink = sink
        self._metadata = metadata
        self.filler = sink.filler

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Passes the rows on."""
        self._sink.write(items, rows)

    def refuse(self, bad: Bad) -> None:
        """Lists what has no vector."""
        self._sink.refuse(bad)
        self._metadata.add(bad)

    def checkpoint(self, done: Done) -> None:
        """Passes it on."""
        self._sink.checkpoint(done)

    def finish(self, done: Done) -> None:
        """Makes the vectors final, then their description."""
        self._metadata.complete(done)
        self._sink.finish(done)
        self._metadata.file.finish()

    def abandon(self) -> None:
        """Leaves neither."""
        self._sink.abandon()
        self._metadata.file.abandon()
