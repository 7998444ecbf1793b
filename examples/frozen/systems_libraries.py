"""Run first in a frozen program: what it starts gets the system's libraries, not the program's own.

PyInstaller's starter puts the program's folder in front of LD_LIBRARY_PATH on Linux. This process
has read that already; a viewer that it opens must not.
"""

import os
import sys

if sys.platform.startswith("linux"):
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before
