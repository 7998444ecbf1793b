"""The start of a frozen program, measured on programs that answer as `embedge pipe` does."""

import os
import sys

import pytest

from bench import frozen_start
from bench.frozen_start import Start

if not hasattr(os, "wait4"):
    pytest.skip("what a process took is asked of Unix", allow_module_level=True)

ANSWERS = """
import json, sys, time
print(json.dumps({"ready": {}}), flush=True)
request = json.loads(sys.stdin.readline())
time.sleep(0.2)
print(json.dumps({"id": request["id"], "embeddings": [[0.0]]}), flush=True)
sys.stdin.read()
began = time.process_time()
while time.process_time() - began < 0.1:
    pass
"""


@pytest.fixture
def program(tmp_path):
    """`program(code)` is the path of an executable file that runs it."""

    def make(code):
        path = tmp_path / "sidecar"
        path.write_text(f"#!{sys.executable} -IS\n{code}")
        path.chmod(0o755)
        return str(path)

    return make


def test_the_clock_stops_at_the_vector_and_the_cpu_at_the_end(program):
    taken = frozen_start.start(program(ANSWERS))
    assert taken.first >= 0.2
    assert taken.processor >= 0.1
    assert taken.peak > 2**20


def test_the_first_round_is_not_counted(program):
    path = program(ANSWERS)
    found = frozen_start.measure([path], 2)
    assert len(found[path]) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "exit code 0, answer {}"),
        ("import sys; sys.exit(3)", "exit code 3, answer {}"),
        ("""print('{"id": 1, "error": {"type": "OptionError"}}')""", "OptionError"),
    ],
)
def test_a_program_that_gives_no_vector_is_an_error(program, code, reason):
    with pytest.raises(RuntimeError, match=reason):
        frozen_start.start(program("import sys; sys.stdin.readline()\n" + code))


def test_a_table_has_the_median_and_the_ends():
    starts = [Start(second, 0.5, 90 * 2**20) for second in (0.4, 0.9, 0.5)]
    assert frozen_start.table({"sidecar": starts}).splitlines()[2] == (
        "| sidecar | 0.50 (0.40 to 0.90) | 0.50 | 90 |"
    )
