"""The command `embedge …`, and `python -m embedge …`.

Starts the command line, and is quiet about Ctrl-C from the first moment on: what the command line
itself imports takes a while, and what Python does at its end too.
"""

import signal
import sys


def main() -> int:
    """Runs the command line of this process; its exit code."""
    try:
        from embedge.cli import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("embedge: interrupted\n")
        return 130
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a traceback would help nobody now


if __name__ == "__main__":
    sys.exit(main())
