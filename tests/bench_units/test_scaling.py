"""Threads and lengths, and what is too long to be measured."""

import pytest

from bench.race import scaling
from bench.race.scaling import lengths_table, over_lengths, predict, thread_counts, threads_table


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_thread_counts_double_up_to_all(cores, counts):
    assert thread_counts(cores) == counts


def test_a_prediction_follows_a_line_and_a_square():
    def cost(n: int) -> float:
        return 0.001 * n + 1e-6 * n * n

    points = [(n, cost(n)) for n in (512, 2048)]
    assert predict(points, 8192) == pytest.approx(cost(8192))
    assert predict([], 8192) == 0
    assert predict([(100, 1.0)], 400) == pytest.approx(4.0)
    assert predict([(10, 1.0), (100, 5.0)], 200) == pytest.approx(10.0)  # short ones are dearer


class Slow:
    """A worker that takes a millisecond a token, and dies of long texts."""

    def __init__(self, *arguments):
        self.closed = False

    def ask(self, *, work, seconds):
        tokens = scaling.parse(work).tokens
        if scaling.parse(work).lengths[0] > 8192:
            raise RuntimeError("killed")
        return {"times": [tokens / 1000, tokens / 500]}

    def close(self):
        self.closed = True


def run(monkeypatch, longest, limit=32768):
    monkeypatch.setattr(scaling, "Worker", Slow)
    return over_lengths(
        None,
        vocabulary=9,
        threads=1,
        lengths=[8192, 8, 32768],
        limit=limit,
        seconds=1,
        longest=longest,
    )


def test_lengths_that_would_take_too_long_are_skipped(monkeypatch):
    found = run(monkeypatch, longest=10)
    assert found == [
        {"length": 8, "texts": 512, "seconds": pytest.approx(0.008)},
        {"length": 8192, "texts": 1, "seconds": pytest.approx(8.192)},
        {"length": 32768, "texts": 1, "skipped": "one run would take some 33 s"},
    ]
    assert lengths_table(found).splitlines()[2:] == [
        "| 8 | 8.0 | 1,000 |  |",
        "| 8,192 | 8,192.0 | 1,000 | from one text (n = 1) |",
        "| 32,768 | - | - | one run would take some 33 s |",
    ]


def test_a_length_that_kills_the_worker_is_told(monkeypatch):
    assert run(monkeypatch, longest=100)[-1]["skipped"] == "killed"


def test_a_length_beyond_the_models_is_not_tried(monkeypatch):
    found = run(monkeypatch, longest=100, limit=4096)
    assert [entry.get("skipped") for entry in found] == [
        None,
        *["the model takes 4,096 tokens"] * 2,
    ]


def test_threads_table():
    times = {"1": {"1x100": [1.0, 3.0, 2.0]}, "2": {}}
    assert threads_table(times, ["1x100"]).splitlines()[2:] == ["| 1 | 100 (50) |", "| 2 | - |"]
