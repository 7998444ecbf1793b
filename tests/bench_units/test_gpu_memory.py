"""The part of `make bench-gpu` that reads the GPU's memory, without a GPU."""

import argparse
import itertools

import pytest

from bench.gpu import memory, run
from bench.gpu.memory import Job, Peak, job_rows, milliseconds, mixed_lengths


def test_the_peak_is_the_least_that_was_free():
    readings = itertools.chain([100, 80, 30], itertools.repeat(70))
    with Peak(lambda: next(readings)) as peak:
        while peak.taken < 70:
            pass
    assert peak.taken == 70
    assert peak.before == 100


def test_the_jobs_are_the_same_each_time_and_of_all_lengths():
    calls = mixed_lengths()
    assert calls == mixed_lengths()
    assert [len(lengths) for _, lengths in calls] == [10_000] * 3 + [2_000]
    assert all(4 <= length <= 2048 for _, lengths in calls for length in lengths)
    assert 20 < sum(calls[0][1]) / 10_000 < 40
    assert 200 < sum(calls[3][1]) / 2_000 < 400


def test_a_row_says_what_was_asked_for_and_what_came():
    jobs = [
        Job(None, 5 * 10**9, 32768, 6 * 10**9, 300_000.4, 2),
        Job("1GB", 10**9, 9000, 2 * 10**9, 250_000.0, 7),
    ]
    assert job_rows(jobs) == [
        ["chosen", "5,000", "32,768", "6,000", "300,000", "2"],
        ["1GB", "1,000", "9,000", "2,000", "250,000", "7"],
    ]


def test_work_is_timed_so_often():
    runs = []
    assert milliseconds(lambda: runs.append(1), 5) >= 0
    assert len(runs) == 5


def test_where_the_memory_cannot_be_read_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(memory, "read_gpu_memory", lambda: None)
    setup = run.Setup(argparse.Namespace(device="cuda"))
    with pytest.raises(RuntimeError, match="does not say how much of the GPU's memory is free"):
        next(run.memories(setup))
