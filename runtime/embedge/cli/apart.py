"""Runs this very command line in a process of its own, so that a crash there is a finding.

Libraries in C++ and Rust may end the process over a file that was made to do so, or that needs more
memory than there is. Takes the arguments, gives the exit code of the other process, or says which
signal ended it. Knows no command.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence

# Modules are looked for where this process looks, and so not in the current folder, which may be
# anybody's. Ctrl-C is left to this process, which then ends the other one.
CODE = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv.pop(1))
from embedge.__main__ import main
sys.exit(main())
"""


class CrashedError(Exception):
    """The other process did not end by itself; the text says how it ended."""


def can_run_apart() -> bool:
    """Whether there is an interpreter to start; a frozen program is none."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def run_apart(arguments: Sequence[str]) -> int:
    """Runs `embedge` with these arguments, with the streams of this process; its exit code.

    Raises:
        CrashedError: it crashed, or was killed.
    """
    command = [sys.executable, "-P", "-c", CODE, json.dumps(sys.path), *arguments]
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C, or a signal to stop
            process.kill()
            raise
    if 0 <= code < 256:
        return code
    raise CrashedError(_ending(code))


def _ending(code: int) -> str:
    """What ended a process with a code that no program gives: POSIX's signals, Windows' faults."""
    if code >= 256:
        return f"it crashed (code {code:#x})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "it was killed (SIGKILL), as systems do when memory runs out"
    return f"it crashed ({name})"
