"""A window that searches in one's folders: `python examples/desktop [FOLDER ...]`."""

import argparse
import sys
from pathlib import Path

from desk_search.settings import THEMES, data_folder


def main() -> int:
    """Reads the command line, opens the window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="to search in")
    parser.add_argument("--pack", type=Path, help="folder of a model pack")
    parser.add_argument("--theme", choices=THEMES, help="colors (default: those of last time)")
    parser.add_argument("--data", type=Path, default=data_folder(), help="where indexes are kept")
    parser.add_argument("--verbose", action="store_true", help="print what the window says")
    options = parser.parse_args()
    # Qt's libraries take a moment to load; `--help` does without.
    from desk_search.window import run

    return run(
        options.data,
        folders=options.folders,
        pack=options.pack,
        theme=options.theme,
        verbose=options.verbose,
    )


if __name__ == "__main__":
    sys.exit(main())
