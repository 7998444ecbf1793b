"""`encode_iter`: the rows of `encode`, one at a time, from a window of texts at a time."""

import io
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from embedge import (
    ClosedError,
    Embedder,
    MemoryLimitError,
    OptionError,
    TextError,
    TextTooLongError,
)
from embedge.calls import EncodeOptions, StreamOptions
from embedge.windows import TEXTS


def texts(count: int) -> list[str]:
    return ["ab" * (number % 3 + 1) + chr(97 + number % 26) for number in range(count)]


def test_rows_are_those_of_encode(pack: Path) -> None:
    many = texts(300)
    with Embedder(pack) as embedder:
        rows = list(embedder.encode_iter(iter(many), task="retrieval", prompt_name="document"))
        whole = embedder.encode(many, task="retrieval", prompt_name="document")
        assert np.array_equal(np.stack(rows), whole)
        assert list(embedder.encode_iter([])) == []
        small = list(embedder.encode_iter(many, embedding_type="ubinary"))
        assert np.array_equal(np.stack(small), embedder.encode(many, embedding_type="ubinary"))


def test_no_more_than_a_window_is_read_ahead(pack: Path) -> None:
    """An endless iterable is no problem, and what was read is bounded."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield f"{number % 7}"

    with Embedder(pack) as embedder:
        rows = embedder.encode_iter(endless())
        assert read == 0
        next(rows)
        assert read == TEXTS.first
        for done, _ in enumerate(itertools.islice(rows, 9000), 2):
            assert read - done < TEXTS.most


def test_a_window_ends_by_size_too(pack: Path) -> None:
    read: list[int] = []

    def long() -> Iterator[str]:
        for number in range(5):
            read.append(number)
            yield "a" * (4 * 2**20)

    with Embedder(pack) as embedder:
        rows = embedder.encode_iter(long())
        with pytest.warns(UserWarning, match="was cut"):
            next(rows)
    assert read == [0, 1]


def test_bad_texts_count_from_the_first_text_of_all(pack: Path) -> None:
    many: list[Any] = texts(100)
    many[70] = None
    bad: list[int] = []
    with Embedder(pack) as embedder:
        rows = embedder.encode_iter(many)
        for _ in range(TEXTS.first):
            next(rows)
        with pytest.raises(TextError) as caught:
            next(rows)
        assert caught.value.items == [(70, "is None, not str")]
        rows = embedder.encode_iter(many, on_error=lambda index, reason: bad.append(index))
        missing = [index for index, row in enumerate(rows) if np.isnan(row).any()]
        assert bad == missing == [70]


def test_other_errors_say_what_they_count_from(pack: Path) -> None:
    many = texts(100)
    many[70] = "a" * 60
    with Embedder(pack) as embedder:
        rows = embedder.encode_iter(many, on_overflow="error", max_length=20)
        with pytest.raises(TextTooLongError, match="counted from text 64: item 6 is longer"):
            list(rows)


def test_wrong_options_show_at_once(pack: Path) -> None:
    with Embedder(pack) as embedder:
        with pytest.raises(OptionError, match="task 'x'"):
            embedder.encode_iter([], task="x")
        with pytest.raises(OptionError, match="encode_iter needs ranges="):
            embedder.encode_iter([], embedding_type="int8")
        with pytest.raises(OptionError, match="pass one text to encode"):
            embedder.encode_iter("one text")
        with pytest.raises(OptionError, match="leave out progress="):
            embedder.encode_iter([], progress=True)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="token_budget="):
            embedder.encode_iter([], batch_size=3)  # type: ignore[call-arg]
        rows = embedder.encode_iter(["a"])
    with pytest.raises(ClosedError):
        next(rows)


def test_its_options_are_those_of_encode() -> None:
    stream = get_type_hints(StreamOptions)
    options = get_type_hints(EncodeOptions)
    assert options.pop("progress") is not None
    assert stream == options


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_progress_true_shows_a_line(
    pack: Path, monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO]
) -> None:
    stream = kind()
    with Embedder(pack) as embedder:
        monkeypatch.setattr(sys, "stderr", stream)
        embedder.encode(texts(10), progress=True)
        shown = stream.getvalue()
        assert "100%" in shown
        assert "10 of 10 texts" in shown
        if kind is Terminal:
            assert shown.endswith("\r")  # a clean line is left behind
        embedder.encode(texts(10), progress=False)
        assert stream.getvalue() == shown
        monkeypatch.setattr(sys, "stderr", None)
        embedder.encode(texts(10), progress=True)


def test_memory_errors_keep_their_kind() -> None:
    from embedge.streaming import rows_of

    def encode(some: list[str], /, *, on_error: object) -> Any:
        if "big" in some:
            raise MemoryLimitError("item 1 would not fit")
        return np.zeros((len(some), 2))

    rows = rows_of(encode, [*texts(TEXTS.first), "a", "big"], on_error=None)
    with pytest.raises(MemoryLimitError, match=f"from text {TEXTS.first}: item 1 would not fit"):
        list(rows)
