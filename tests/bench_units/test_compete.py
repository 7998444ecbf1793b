"""The race: turns, what is skipped, what is told of a failure. Real processes, a fake network."""

import sys
from pathlib import Path

import pytest

from bench.race.compete import Race, Result, expected_seconds
from bench.race.peers import Contender
from bench.race.work import parse

# A worker whose vectors are those of its path: (1, path) for every text.
FAKE = """
import json, sys
kind, path = sys.argv[1:3]
if kind == "no start":
    sys.exit("ModuleNotFoundError: no such package")
print(json.dumps({"load": 1.0, "first": 0.5, "versions": {"fake": "1"}}), flush=True)
print("chatter", file=sys.stderr)
for line in sys.stdin:
    request = json.loads(line)
    if "memory" in request:
        answer = {"peak": 7.0}
    elif kind == "dies" and request["work"] == "1x32":
        sys.exit("killed by something")
    elif kind == "fails" and request["work"] == "1x32":
        answer = {"error": "no room"}
    else:
        answer = {"times": [9.0, 1.0, 2.0], "vector": [1.0, float(path)]}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def race(tmp_path):
    """Makes a race of fake contenders: (name, kind, path) each."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)

    def make(*contenders: tuple[str, str, str], longest: float = 1000.0) -> Race:
        python = Path(sys.executable)
        made = [Contender(name, python, kind, Path(path)) for name, kind, path in contenders]
        return Race(
            made,
            program=(str(script),),
            vocabulary=10,
            threads=1,
            seconds=0.1,
            longest=longest,
        )

    return make


def test_turns_add_up_and_the_very_first_run_is_dropped(race):
    running = race(("torch fp32", "ok", "0"), ("embedge int8", "ok", "1"))
    running.run(parse("1x16"), rounds=2)
    results = running.finish()
    assert results["embedge int8"].times == {"1x16": [1.0, 2.0, 9.0, 1.0, 2.0]}
    assert results["embedge int8"].cosine == pytest.approx(0.5**0.5)
    assert results["torch fp32"].cosine == pytest.approx(1.0)
    assert results["torch fp32"].memory == {"peak": 7.0}
    assert results["torch fp32"].versions == {"fake": "1"}


def test_one_that_fails_is_told_and_the_others_go_on(race):
    running = race(
        ("absent", "no start", "0"),
        ("dies", "dies", "0"),
        ("fails", "fails", "0"),
        ("ok", "ok", "0"),
    )
    for name in ("1x16", "1x32", "1x64"):
        running.run(parse(name), rounds=2)
    results = running.finish()
    assert results["absent"].failure == "ModuleNotFoundError: no such package"
    assert results["dies"].failure == "killed by something"
    assert results["fails"].skipped == {"1x32": "no room"}
    assert set(results["fails"].times) == {"1x16", "1x64"}
    assert set(results["ok"].times) == {"1x16", "1x32", "1x64"}


def test_what_would_take_too_long_is_skipped(race):
    running = race(("slow", "ok", "0"), longest=3.0)  # 1 s for 16 tokens
    for name in ("1x16", "1x32", "1x512"):
        running.run(parse(name), rounds=1)
    result = running.finish()["slow"]
    assert set(result.times) == {"1x16", "1x32"}
    assert result.skipped == {"1x512": "would take some 16 s"}  # at 1x32's rate


def test_expected_seconds():
    assert expected_seconds({}, parse("1x512")) == 0
    assert expected_seconds({"1x10": [2.0, 1.0]}, parse("2x10")) == pytest.approx(2.0)
    assert expected_seconds({"1x10": [1.0]}, parse("1x10")) == 0
    assert Result().times == {}
