"""The sidecar that `make freeze` makes, run as where there is no Python: `make test-frozen`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.frozen_start import measure
from embedge import Embedder
from frozen import inside

ROOT = Path(__file__).resolve().parents[2]
SUFFIX = ".exe" if sys.platform == "win32" else ""
FOLDER = ROOT / "dist/sidecar"
PROGRAMS = {
    "folder": FOLDER / f"sidecar{SUFFIX}",
    "one file": ROOT / f"dist/one-file/sidecar{SUFFIX}",
}
MOST_BYTES = 110_000_000
OPENBLAS_BYTES = 29_000_000  # where no compiler could build NumPy without it
MOST_CPU_SECONDS = 0.6  # from the start to the first vector, and to the end
# PySide6 and Pillow are the window's.
FORBIDDEN = {*inside.FORBIDDEN, "PySide6", "shiboken6", "PIL", "pypdf", "watchdog"}
REQUEST = '{"id": 1, "texts": ["one", "two"], "task": "retrieval"}\n'
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=PROGRAMS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs the program in an empty folder, without a home, PATH, or Python's variables."""
    program = PROGRAMS[request.param]
    assert program.is_file(), "make freeze"
    environment = {"HOME": "/nonexistent", "TMPDIR": str(tmp_path), "TMP": str(tmp_path)}
    if "SYSTEMROOT" in os.environ:
        environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]

    def start(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )

    return start


def test_it_answers_as_the_library_does(run: Run) -> None:
    done = run("pipe", text=REQUEST)
    assert (done.returncode, done.stderr) == (0, "")
    ready, answer = map(json.loads, done.stdout.splitlines())
    with Embedder() as embedder:
        expected = embedder.encode(["one", "two"], task="retrieval")
        assert ready["ready"]["fingerprint"] == embedder.manifest.fingerprint(embedder.precision)
    assert np.array_equal(np.array(answer["embeddings"], np.float32), expected)


def test_it_searches_and_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/sea.txt").write_text("The ship left the harbor in a storm.\n", "utf-8")
    (tmp_path / "notes/oven.txt").write_text("Bake the bread for forty minutes.\n", "utf-8")
    done = run("search", "sailing in bad weather", "notes", "--json", "--index", "index.db")
    assert done.returncode == 0, done.stderr
    assert "sea.txt" in done.stdout.splitlines()[0]
    done = run("embed", "missing.txt")
    assert done.returncode == 2
    assert "missing.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_stands_in_it_that_users_have_no_use_for() -> None:
    files = inside.files(FOLDER)
    modules = inside.modules(PROGRAMS["folder"], ROOT / ".venv-freeze")
    assert "embedge.pipe.service" in modules  # the list is one of modules
    assert not inside.tops(modules, files) & FORBIDDEN
    assert not [path for path in files if path.name.startswith("libonnxruntime.")]


def test_it_is_small_and_has_no_openblas_where_a_compiler_is_at_hand() -> None:
    has_openblas = any("openblas" in path.name for path in inside.files(FOLDER))
    assert inside.size(FOLDER) <= MOST_BYTES + has_openblas * OPENBLAS_BYTES
    if sys.platform == "linux" and shutil.which("cc") and shutil.which("c++"):
        assert not has_openblas


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="what a process took is asked of Unix")
def test_it_starts_quickly() -> None:
    # By the CPU's time, which other work on the machine does not change much.
    (starts,) = measure([str(PROGRAMS["folder"])], 5).values()
    assert min(one.processor for one in starts) <= MOST_CPU_SECONDS
