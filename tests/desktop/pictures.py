"""`make desktop-pictures`: what the window looks like, light and dark, for the documentation.

Searches in this repository's own pages.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from desktop.driven import ROOT, Driven, missing_programs, screen

QUERY = "ways to save memory"


def main() -> int:
    """Writes desktop-light.png and desktop-dark.png into the folder that is named."""
    out = Path(sys.argv[1])
    if missing := missing_programs():
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary, screen() as display:
        pages = Path(temporary, "Handbook")
        pages.mkdir()
        for path in sorted((ROOT / "docs").glob("*.md")):
            shutil.copy(path, pages)
        for theme in ("light", "dark"):
            with Driven(display, Path(temporary, "data"), pages, "--theme", theme) as window:
                window.wait_for(r"passages in \d+ files$")
                window.type(QUERY)
                window.wait_for(QUERY)
                time.sleep(1)
                place = window.picture(out / f"desktop-{theme}.png")
                with Image.open(place) as picture:
                    small = picture.convert("RGB").quantize(48)
                small.save(place, optimize=True)
                print(place, place.stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
