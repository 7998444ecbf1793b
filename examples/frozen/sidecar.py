"""The program that is frozen: the command line, so that `sidecar pipe` and `sidecar serve` work."""

import sys

from embedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
