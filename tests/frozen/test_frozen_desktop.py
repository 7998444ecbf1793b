"""The window that `make freeze-desktop` makes, by real key presses: `make test-frozen-desktop`."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from desktop.driven import PATIENCE, Driven, missing_programs, screen
from frozen import inside

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dist/desk-search"
PROGRAMS = {"folder": FOLDER / "desk-search", "one file": ROOT / "dist/one-file/desk-search"}
MOST_BYTES = 225_000_000
OPENBLAS_BYTES = 29_000_000  # where no compiler could build NumPy without it
# Of Qt, what only machines without a desktop or programs with a network would use.
UNUSED_FILES = ("libQt6Network.", "libQt6EglFS", "libqgtk3.", "libqlinuxfb.", "libonnxruntime.")


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    if missing := missing_programs():
        pytest.fail(missing)
    with screen() as name:
        yield name


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "sea.txt").write_text("The ship left the harbor in a storm.\n", encoding="utf-8")
    (folder / "oven.txt").write_text("Bake the bread for forty minutes.\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", PROGRAMS)
def test_it_indexes_searches_and_opens(
    kind: str, display: str, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = tmp_path / "bin/opened"
    opened.parent.mkdir()
    viewer = opened.with_name("xdg-open")
    viewer.write_text(f'#!/bin/sh\necho "$1 <$LD_LIBRARY_PATH>" > {opened}\n', encoding="utf-8")
    viewer.chmod(0o755)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Driven(
        display, tmp_path / "data", notes, path=opened.parent, program=[PROGRAMS[kind]]
    ) as window:
        window.wait_for("^2 passages in 2 files")
        window.type("sailing in bad weather")
        window.wait_for(r"^2 hits in \d+ ms, of 2 passages.*: sailing in bad weather$")
        window.press("Return")
        end = time.monotonic() + PATIENCE
        while not (opened.exists() and opened.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        # With the program's own libraries in its way, a viewer may not start.
        assert unquote(opened.read_text()).endswith("notes/sea.txt <>\n")
        window.press("ctrl+q")
        assert window.process.wait(PATIENCE) == 0
        assert "Traceback" not in "\n".join(window.lines)


def test_nothing_stands_in_it_that_users_have_no_use_for() -> None:
    files = inside.files(FOLDER)
    modules = inside.modules(PROGRAMS["folder"], ROOT / ".venv-freeze-desktop")
    assert {"desk_search.window", "watchdog.observers", "pypdf"} <= modules
    assert not inside.tops(modules, files) & inside.FORBIDDEN
    assert not {"PySide6.QtNetwork", "PySide6.QtQml", "PIL.ImageFont"} & modules
    assert not [path for path in files if path.name.startswith(UNUSED_FILES)]
    assert not [path for path in FOLDER.rglob("*") if path.is_symlink() and not path.exists()]


def test_it_is_no_larger_than_it_was() -> None:
    has_openblas = any("openblas" in path.name for path in inside.files(FOLDER))
    assert inside.size(FOLDER) <= MOST_BYTES + has_openblas * OPENBLAS_BYTES
