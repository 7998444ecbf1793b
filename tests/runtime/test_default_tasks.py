"""Calls that name no task: one warning where they would mix two spaces, and none otherwise."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from embedge import Embedder, TaskWarning

Call = Callable[[Embedder], object]
PLAIN: Call = lambda embedder: embedder.encode("a")  # noqa: E731
QUERY: Call = lambda embedder: embedder.encode_query("a")  # noqa: E731
DOCUMENT: Call = lambda embedder: embedder.encode_document("a")  # noqa: E731
STREAM: Call = lambda embedder: list(embedder.encode_iter(["a"]))  # noqa: E731
NAMED: Call = lambda embedder: embedder.encode("a", task="text-matching")  # noqa: E731
NAMED_QUERY: Call = lambda embedder: embedder.encode_query("a", task="retrieval")  # noqa: E731


def warned(embedder: Embedder, *calls: Call) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in calls:
            call(embedder)
    assert all(one.category is TaskWarning for one in caught)
    return list(caught)


@pytest.mark.parametrize(
    "calls", [(PLAIN, QUERY), (QUERY, PLAIN), (DOCUMENT, PLAIN), (STREAM, QUERY), (QUERY, STREAM)]
)
def test_two_tasks_are_not_mixed_in_silence(pack: Path, calls: tuple[Call, ...]) -> None:
    with Embedder(pack) as embedder:
        (warning,) = warned(embedder, *calls, *calls)  # once
        text = str(warning.message)
        assert "'text-matching'" in text
        assert "'retrieval'" in text
        assert "encode_document()" in text
        assert "task=" in text
        if STREAM not in calls:
            assert warning.filename == __file__


@pytest.mark.parametrize(
    "calls",
    [(QUERY, DOCUMENT), (PLAIN, PLAIN), (PLAIN, NAMED_QUERY), (NAMED, QUERY), (NAMED, NAMED_QUERY)],
)
def test_calls_that_agree_or_name_their_task_are_silent(
    pack: Path, calls: tuple[Call, ...]
) -> None:
    with Embedder(pack) as embedder:
        assert not warned(embedder, *calls)


@pytest.mark.parametrize("tasks", [("base",), ("retrieval",), ("retrieval.query", "other")])
def test_packs_whose_default_is_that_of_search_are_silent(
    make_pack: Callable[..., Path], tasks: tuple[str, ...]
) -> None:
    folder = make_pack(tasks=tasks, default_task=tasks[0])
    with Embedder(folder) as embedder:
        assert not warned(embedder, PLAIN, QUERY, DOCUMENT)


def test_a_copy_counts_for_itself(pack: Path) -> None:
    with Embedder(pack) as embedder:
        assert warned(embedder, PLAIN, QUERY)
        with pickle.loads(pickle.dumps(embedder)) as again:
            assert warned(again, PLAIN, QUERY)
