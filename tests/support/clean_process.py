"""A Python process as a user starts it: own home, none of the variables that silence others.

Tests of what embedge leaves behind run in it: a variable such as CI, or a cache folder that the
tests set, would hide what happens elsewhere.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import embedge

# All that a process needs of ours. PATH finds programs, the others are what Windows insists on.
_KEPT = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clean process runs: three folders that are empty before it starts."""

    home: Path
    temporary: Path
    current: Path

    def left(self) -> set[str]:
        """The files that stand in any of them now, but those of embedge's own cache."""
        found = set()
        for folder in (self.home, self.temporary, self.current):
            for path in folder.rglob("*"):
                parts = path.relative_to(folder).parts
                if path.is_file() and parts[:2] != (".cache", "embedge"):
                    found.add("/".join((folder.name, *parts)))
        return found


def make_place(folder: Path) -> Place:
    """Three empty folders in a folder."""
    place = Place(folder / "home", folder / "temporary", folder / "current")
    for path in (place.home, place.temporary, place.current):
        path.mkdir()
    return place


def clean_environment(place: Place) -> dict[str, str]:
    """The environment of a clean process."""
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "HOME": str(place.home),
        "USERPROFILE": str(place.home),
        "TMPDIR": str(place.temporary),
        "PYTHONDONTWRITEBYTECODE": "1",  # Python's own files beside the sources
        "PYTHONPATH": str(Path(embedge.__file__).parents[1]),
    }


def run_clean(
    place: Place,
    arguments: Sequence[str | Path],
    *,
    changes: Mapping[str, str | None] | None = None,
    before: Sequence[str | Path] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs Python with these arguments to its end.

    Args:
        place: its home, its folder for temporary files, and its current folder.
        arguments: for Python, e.g. "-c" and code.
        changes: to its environment; None removes a variable.
        before: what stands before Python in the command, e.g. strace and its options.
    """
    environment: dict[str, str | None] = {**clean_environment(place), **(changes or {})}
    return subprocess.run(
        [*map(str, before), sys.executable, *map(str, arguments)],
        env={name: value for name, value in environment.items() if value is not None},
        cwd=place.current,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
