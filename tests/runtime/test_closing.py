"""Closing: calls under way end well, later ones are refused, and everything is freed once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import ClosedError, Embedder, SearchIndex
from embedge.closing import Lifetime
from support.tiny import IMAGE, write_pack


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return Embedder(write_pack(tmp_path / "pack", image=IMAGE), token_budget=1)


def test_what_is_freed_when() -> None:
    freed: list[int] = []
    calls = Lifetime("closed", lambda: freed.append(1))
    with calls.one(), calls.one():
        calls.close()
        calls.close()
        assert calls.closed
        with pytest.raises(ClosedError, match="closed"), calls.one():
            pytest.fail("it began")
        assert freed == []
    assert freed == [1]
    calls.close()
    assert freed == [1]


def test_an_idle_one_is_freed_at_once() -> None:
    freed: list[int] = []
    calls = Lifetime("closed", lambda: freed.append(1))
    with calls.one():
        pass
    assert freed == []
    calls.close()
    calls.close()
    assert freed == [1]


def test_a_call_that_fails_frees_too() -> None:
    freed: list[int] = []
    calls = Lifetime("closed", lambda: freed.append(1))

    def fail() -> None:
        calls.close()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), calls.one():
        fail()
    assert freed == [1]


CALLS: dict[str, Callable[[Embedder, Any], Any]] = {
    "encode": lambda embedder, hook: embedder.encode(["a", "b", "c"], progress=hook),
    "encode_query": lambda embedder, hook: embedder.encode_query(["a", "b"], progress=hook),
    "encode_document": lambda embedder, hook: embedder.encode_document(["a", "b"], progress=hook),
    "encode_image": lambda embedder, hook: embedder.encode_image(
        [np.full((4, 4), gray, np.uint8) for gray in range(5)], progress=hook
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_callback_may_close_the_embedder(embedder: Embedder, name: str) -> None:
    call = CALLS[name]
    expected = call(embedder, None)
    vectors = call(embedder, lambda done, total: embedder.close())
    np.testing.assert_array_equal(vectors, expected)
    assert embedder._encoder._runner._sessions._open == {}
    assert embedder._encoder._tokenizer is None
    with pytest.raises(ClosedError):
        call(embedder, None)


def test_calls_of_many_threads_end_well(embedder: Embedder) -> None:
    """Those that had begun before the embedder was closed, at whatever step they were."""
    begun, go_on = threading.Barrier(9), threading.Event()
    results: list[Any] = []

    def hook(done: int, total: int) -> None:
        if done == 1:
            begun.wait(30)
            go_on.wait(30)

    def work() -> None:
        try:
            results.append(embedder.encode(["a", "b", "c"], progress=hook).shape)
        except ClosedError as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    embedder.close()
    go_on.set()
    for thread in threads:
        thread.join()
    assert results == [(3, 8)] * 8
    assert embedder._encoder._runner._sessions._open == {}


def test_a_call_that_has_loaded_nothing_yet_ends_well(embedder: Embedder) -> None:
    """Texts may come from a generator that takes its time, or closes the embedder."""

    def texts() -> Any:
        yield "a"
        embedder.close()
        yield "b"

    assert embedder.encode(texts()).shape == (2, 8)
    assert embedder._encoder._tokenizer is None
    with pytest.raises(ClosedError):
        embedder.count_tokens("a")


def test_an_update_ends_well_when_the_index_is_closed(embedder: Embedder, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"text {name}")
    index = SearchIndex(tmp_path / "index.sqlite", embedder)
    report = index.update(folder, progress=lambda state: index.close())
    assert report.added == 3
    with pytest.raises(ClosedError, match="search index is closed"):
        index.search("text")
    with SearchIndex(tmp_path / "index.sqlite", embedder) as again:
        assert again.count() == (3, 3)


def test_a_search_ends_well_when_the_index_is_closed(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("text")
    index = SearchIndex(None, embedder)
    index.update(tmp_path / "a.txt")
    encode = embedder.encode_query

    def closing(*arguments: Any, **options: Any) -> Any:
        index.close()
        return encode(*arguments, **options)

    monkeypatch.setattr(embedder, "encode_query", closing)
    assert len(index.search("text")) == 1
    with pytest.raises(ClosedError):
        index.count()
