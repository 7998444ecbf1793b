"""What a first search costs: measured on programs that behave as a search does."""

import pytest

pytest.importorskip("pty", reason="terminals of Unix")

from bench import first_hit
from bench.first_hit import Reading

SLOW = """
import sys, time
print("embedge: so far, of 12 passages:", file=sys.stderr)
print(f"0.4321  {sys.argv[3]}/notes.md:3  (words: pack)", file=sys.stderr, flush=True)
time.sleep(1)
print(f"0.5000  {sys.argv[3]}/other.md:1  (meaning)")
"""


@pytest.fixture
def code(tmp_path):
    """`code(program)` is a checkout whose `python -m embedge` runs that program."""

    def make(program):
        package = tmp_path / "code" / "runtime" / "embedge"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(program)
        return tmp_path / "code"

    return make


@pytest.mark.parametrize(
    ("printed", "is_hit"),
    [
        (b"0.4321  docs/search.md:12  (words: pack)\r\n", True),
        (b"0.4321  docs/search.md:12\r\n", True),
        (b"embedge: so far\r\n-0.0321  a b.md:1\r\n", False),  # a space: not in this repository
        (b"\r 12%  1,200 passages\r\x1b[K0.4321  README.md:1  (meaning)\r\n", True),
        (b"-0.0321  README.md:1  (meaning)\r\n", True),
        (b"12%  0.4 s left\r\n", False),
        (b"        of the text: 0.4321  as it is\r\n", False),
    ],
)
def test_what_a_hit_looks_like(printed, is_hit):
    assert bool(first_hit.HIT.search(printed)) == is_hit


def test_the_first_hit_comes_before_the_end(code, tmp_path):
    reading = first_hit.search(code(SLOW), tmp_path, "a query")
    assert 0 < reading.first <= reading.whole - 0.2
    assert reading.cpu < reading.whole
    assert 2**20 < reading.peak < 2**31


@pytest.mark.parametrize(
    "program", ["print('nothing found')", "import sys; sys.exit('error: no such folder')"]
)
def test_a_search_without_hits_is_refused_with_its_output(code, tmp_path, program):
    with pytest.raises(ValueError, match=r"printed no hit or failed:\n(nothing|error: no such)"):
        first_hit.search(code(program), tmp_path, "a query")


def test_settings_of_the_user_do_not_count(code, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDGE_THREADS", "1")
    program = "import os\nassert 'EMBEDGE_THREADS' not in os.environ\nprint('0.50  a.md:1')"
    first_hit.search(code(program), tmp_path, "a query")


def test_the_table_has_medians():
    some = [Reading(second, 10 * second, 4.0, 2**20 * 100) for second in (1.0, 9.0, 2.0)]
    assert first_hit.table({"now": some})[2:] == ["| now | 2.0 | 20.0 | 4.0 | 100 |"]
