"""Requests side by side: answers, cancelling, readers that go away."""

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedge.errors import CancelledError
from embedge.pipe import service
from embedge.pipe.service import Service

PATIENCE = 30.0  # seconds


class Held:
    """An embedder whose long texts take until they are cancelled."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.begun = threading.Semaphore(0)

    def encode(self, items: list[Any], **options: Any) -> np.ndarray[Any, Any]:
        self.calls.append(("encode", options))
        self.begun.release()
        if items == ["long"]:
            assert options["cancel"].wait(PATIENCE)
            raise CancelledError("cancelled")
        if items == ["fault"]:
            raise ZeroDivisionError("by zero")
        for index, item in enumerate(items):
            if not isinstance(item, str):
                options["on_error"](index, "is no text")
        if options["progress"] is not None:
            options["progress"](len(items), len(items))
        return np.ones((len(items), 2), np.float32)

    def encode_query(self, items: list[Any], **options: Any) -> np.ndarray[Any, Any]:
        return 2 * self.encode(items, **options)

    encode_document = encode_image = encode


@pytest.fixture
def held() -> Held:
    return Held()


def answers(embedder: Any, *lines: object, before_close: Callable[[Service], None]) -> list[Any]:
    sent: list[str] = []
    serving = Service(embedder, sent.append)
    try:
        for line in lines:
            serving.take(line if isinstance(line, bytes) else json.dumps(line).encode())
        before_close(serving)
    finally:
        serving.close()
    return [json.loads(line) for line in sent]


def settled(serving: Service) -> None:
    assert serving.wait(PATIENCE)


def test_each_request_is_answered_by_its_id(held: Held) -> None:
    found = answers(
        held,
        {"id": "a", "texts": ["x", 3], "progress": True},
        {"id": 2, "texts": ["x"], "side": "query"},
        {"id": 3, "texts": ["fault"]},
        b"nonsense",
        before_close=settled,
    )
    by_id: dict[Any, list[Any]] = {}
    for answer in found:
        by_id.setdefault(answer["id"], []).append(answer)
    progress, vectors = by_id["a"]
    assert progress["progress"] == {"done": 2, "total": 2}
    assert vectors["embeddings"] == [[1, 1], None]
    assert vectors["errors"] == [{"index": 1, "message": "is no text"}]
    assert by_id[2] == [{"id": 2, "embeddings": [[2, 2]]}]
    assert by_id[3][0]["error"] == {"type": "ZeroDivisionError", "message": "by zero"}
    assert by_id[None][0]["error"]["type"] == "OptionError"


def test_a_query_passes_a_long_job_which_can_be_cancelled(held: Held) -> None:
    def steps(serving: Service) -> None:
        assert held.begun.acquire(timeout=PATIENCE)
        serving.take(b'{"id": "query", "texts": ["short"]}')
        assert held.begun.acquire(timeout=PATIENCE)
        serving.take(b'{"id": "job", "texts": ["again"]}')
        serving.take(b'{"cancel": "job"}')
        serving.take(b'{"cancel": "unknown"}')
        settled(serving)
        serving.take(b'{"id": "job", "texts": ["the id is free"]}')
        settled(serving)

    found = answers(held, {"id": "job", "texts": ["long"]}, before_close=steps)
    job = [answer for answer in found if answer["id"] == "job"]
    assert "under way" in job[0]["error"]["message"]
    assert job[1]["error"]["type"] == "CancelledError"
    assert job[2]["embeddings"] == [[1, 1]]
    assert {"id": "query", "embeddings": [[1, 1]]} in found


def test_what_waits_is_cancelled_too_and_bounded(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_WAITING", service.SIDE_BY_SIDE + 1)
    jobs = [{"id": number, "texts": ["long"]} for number in range(service.SIDE_BY_SIDE + 2)]
    found = answers(held, *jobs, before_close=lambda serving: None)
    assert len(found) == len(jobs)
    assert "send more when some are answered" in found[0]["error"]["message"]
    assert {answer["error"]["type"] for answer in found[1:]} == {"CancelledError"}


def test_a_reader_that_goes_away_stops_everything(held: Held) -> None:
    def fail(line: str) -> None:
        raise BrokenPipeError("gone")

    serving = Service(held, fail)  # type: ignore[arg-type]
    serving.take(b'{"id": 1, "texts": ["long"]}')
    assert held.begun.acquire(timeout=PATIENCE)
    serving.take(b'{"id": 2, "texts": ["short"]}')
    settled(serving)
    serving.close()
    assert isinstance(serving.failure, BrokenPipeError)
