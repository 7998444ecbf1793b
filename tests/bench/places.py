"""Where things stand, and how a module of this package is started in another process.

Standard library only: the processes run wherever a contender is installed.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TESTS = ROOT / "tests"


def environment() -> dict[str, str]:
    """This process's variables, with this package on Python's path."""
    path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
