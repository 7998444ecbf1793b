"""What the tests of searching share: an embedder that counts, a view into the file, two folders."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from embedge.search import Hit, SearchIndex, blocks
from embedge.search.hits import Mode
from support.fakes import FakeEmbedder


class Words(FakeEmbedder):
    """A vector tells the lengths of a text's first four words, so many texts share one."""

    precision = "fp32"  # int8 would load ONNX Runtime to look at its kernels

    @property
    def embedded(self) -> list[str]:
        """Every passage embedded so far; the queries are not among them."""
        return [text for call in self.calls if call["kind"] == "document" for text in call["texts"]]

    def encode_document(self, texts: Any, **options: Any) -> "np.ndarray[Any, Any]":
        return self.encode(texts, kind="document", **options)

    def encode_query(self, texts: Any, **options: Any) -> "np.ndarray[Any, Any]":
        return self.encode(texts, kind="query", **options)


# Two states of a folder: every kind of change lies between them. None: the file is absent.
LONG = "\n\n".join(f"part {'x' * n} {'word ' * 45}" for n in range(1, 8))
BEFORE: dict[str, bytes | None] = {
    "same.txt": b"these words stay",
    "changed.txt": b"old words here",
    "sub/gone.txt": b"soon away",
    "sub/name.txt": b"a file that moves",
    "long.txt": LONG.encode(),
    "becomes.bin": b"text at first",
    "becomes.txt": b"\0",
}
AFTER: dict[str, bytes | None] = {
    "same.txt": b"these words stay",
    "changed.txt": b"new and longer words",
    "sub/gone.txt": None,
    "sub/name.txt": None,
    "sub/renamed.txt": b"a file that moves",
    "long.txt": LONG.replace("part xxx ", "part yy ").encode() + b"\n\nand an end",
    "becomes.bin": b"\0\1\2",
    "becomes.txt": b"text at last",
    "new.txt": b"a file of its own",
    "empty.txt": b"",
}


def lay(folder: Path, files: dict[str, bytes | None]) -> Path:
    """Makes the files what they should be."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)
    return folder


def content(index: Path) -> dict[str, list[tuple[int, str]]]:
    """What an index file holds, read past our own code: path -> (line, text); it must be whole."""
    connection = sqlite3.connect(index)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        files = {
            row: os.fsdecode(path)
            for row, path in connection.execute("SELECT id, path FROM files WHERE reason IS NULL")
        }
        result: dict[str, list[tuple[int, str]]] = {path: [] for path in files.values()}
        rows = connection.execute(
            "SELECT file, line, text, vector FROM places LEFT JOIN passages ON passages.id = "
            "passage LEFT JOIN vectors ON vectors.id = passage ORDER BY file, number"
        )
        for file, line, text, vector in rows:
            assert vector == Words().encode(text).astype("<f4").tobytes()  # and it is its own
            result[files[file]].append((line, text))
        coded = [
            int(passage)
            for (block,) in connection.execute("SELECT block FROM codes").fetchall()
            for passage in blocks._read(connection, block).ids  # type: ignore[union-attr]
        ]
        assert sorted(coded) == [row for (row,) in connection.execute("SELECT id FROM vectors")]
        return result
    finally:
        connection.close()


def fresh(
    folder: Path, embedder: Any, query: str, *, top_k: int = 100, mode: Mode = "hybrid"
) -> list[Hit]:
    """What an index made from nothing finds."""
    with SearchIndex(None, embedder) as index:
        index.update(folder)
        return index.search(query, top_k=top_k, mode=mode)


def check_between(index: Path, folder: Path, before: Any, after: Any) -> None:
    """Every file in the index is as it was before, or as it is after: nothing half, nothing else.

    Args:
        index: the file.
        folder: where the files stand.
        before: `content` of the index before the update.
        after: `content` of one that was updated without a disturbance.
    """
    held = content(index)
    for path, passages in held.items():
        assert passages in (before.get(path), after.get(path)), path
    assert held.keys() >= before.keys() & after.keys()
