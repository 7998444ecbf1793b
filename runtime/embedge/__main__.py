"""`python -m embedge …`: the same as the command `embedge …`."""

import sys

from embedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
