"""The comparison of whole jobs: memory of several processes, a worker's turn, the table."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from bench.machine.tree import Watch, descendants, parents, proportional
from bench.minilm.bulk_peers import NAMES, TRUTH, Turns, compare, rates, table, take_turn
from bench.minilm.bulk_worker import KINDS

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
HOLD = "import sys, time; held = b'x' * 2**26; print(1, flush=True); time.sleep(60)"


def test_every_contender_has_a_worker():
    assert set(NAMES.values()) == set(KINDS)
    assert TRUTH in NAMES


def test_a_tree_of_processes():
    above = {10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
    assert sorted(descendants(10, above)) == [10, 11, 12, 13]
    assert descendants(99, above) == [99]


@LINUX
def test_the_memory_of_a_child_of_a_child_counts():
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    with subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE) as process:
        try:
            with Watch(process.pid, seconds=0.01) as watch:
                assert process.stdout.readline()
            assert proportional(process.pid) > 64  # MiB, which the inner one holds
            assert watch.peak > 64
        finally:
            for child in descendants(process.pid, parents()):
                os.kill(child, signal.SIGTERM)


@LINUX
def test_a_turn_is_a_process_that_says_two_lines():
    lines = [json.dumps({"versions": {"numpy": "2"}}), json.dumps({"seconds": 0.25})]
    turns = Turns()
    code = f"print({lines[0]!r}); print({lines[1]!r})"
    take_turn([sys.executable, "-c", code], turns)
    assert turns.work == [0.25]
    assert turns.whole[0] > 0
    assert turns.versions == {"numpy": "2"}
    take_turn([sys.executable, "-c", "raise SystemExit('no such model')"], turns)
    assert turns.failure == "no such model"
    assert len(turns.work) == 1


def test_vectors_are_compared_with_those_of_the_truth(tmp_path):
    theirs = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    for name, rows in ((TRUTH, theirs), ("fastembed", theirs[:, ::-1])):
        np.save(tmp_path / f"{name}-texts.npy", rows[:1])
        np.save(tmp_path / f"{name}-pairs.npy", rows[1:])
    turns = {name: Turns(whole=[1.0], work=[1.0]) for name in (TRUTH, "fastembed")}
    turns["embedge bulk int8"] = Turns(failure="it died")
    found = compare(tmp_path, turns, ["a"], ["b", "c"], [("b", "c", 1.0), ("b", "b", 5.0)])
    assert set(found) == {TRUTH, "fastembed"}
    assert found[TRUTH].least == pytest.approx(1)
    assert found["fastembed"].least == pytest.approx(0)
    assert found["fastembed"].mean == pytest.approx(1 / 3)
    assert found["fastembed"].score == pytest.approx(100)
    text = table(turns, found, 100, scored=True)
    assert "| fastembed | 100 | 100 | 0 | 0.00000 | 0.33333 | 100.00 |" in text
    assert "| embedge bulk int8 | it died |" in text
    assert {line.count("|") for line in text.splitlines()} == {8}


def test_the_best_turn_and_the_median():
    assert rates([2.0], 1000) == "500"
    assert rates([2.0, 4.0, 5.0], 1000) == "500 (250)"
