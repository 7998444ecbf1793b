"""What goes to the terminal: width, color and signs as stdout can show them.

Takes lines, prints them; nothing of it knows what they say. Color is used on a terminal only,
and not where NO_COLOR is set.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from embedge.cli.screen import show

NARROWEST, WIDEST = 40, 100  # columns


@dataclass(frozen=True, slots=True)
class Screen:
    """How stdout is to be written to."""

    width: int  # columns
    color: bool
    encoding: str

    def show(self, line: str = "") -> None:
        """Prints a line, with `?` for what the encoding lacks."""
        show(line)

    def heading(self, text: str) -> None:
        """Prints the title of a part."""
        self.show()
        self.show(self.bold(text))

    def paragraph(self, text: str, *, indent: str = "") -> None:
        """Prints a text, broken to the width."""
        width = self.width - len(indent)
        for line in textwrap.wrap(text, width):
            self.show(f"{indent}{line}")

    def bold(self, text: str) -> str:
        """The text in bold where that can be shown."""
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def tint(self, text: str, color: str) -> str:
        """The text in a color "#rrggbb", the nearest of the usual 256."""
        if not self.color:
            return text
        red, green, blue = (round(int(color[i : i + 2], 16) / 255 * 5) for i in (1, 3, 5))
        return f"\x1b[1;38;5;{16 + 36 * red + 6 * green + blue}m{text}\x1b[0m"

    def sign(self, sign: str, otherwise: str) -> str:
        """A sign, or plain words where the encoding lacks it."""
        try:
            sign.encode(self.encoding)
        except UnicodeEncodeError:
            return otherwise
        return sign


def open_screen(
    stream: TextIO | None = None, environment: Mapping[str, str] = os.environ
) -> Screen:
    """The screen that a stream is, stdout by default."""
    stream = stream or sys.stdout
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return Screen(
        width=min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST),
        color=stream.isatty() and not plain,
        encoding=stream.encoding or "ascii",
    )
