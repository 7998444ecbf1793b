"""Web pages and notebooks to the lines that people read, without tags and JSON.

Takes the decoded text of a file, gives (line, text) in order, each with the line of the file where
it stands; an empty text ends a paragraph. Also says how every kind of file is read, PDF and Word
documents included (see `documents.py`), and names formats that are not.

Web pages are read by a scanner of our own, with `html.unescape`: only their text is wanted, and the
standard library's `html.parser` takes time that grows with the square of a page's length where
comments and tags are left open (CVE-2025-6069; not fixed in every Python 3.11).
"""

import html
import itertools
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedge.search.documents import Check, Line, has_pypdf, read_docx, read_pdf
from embedge.search.files import decode
from embedge.search.passages import split_lines

_TAG = re.compile(r"""</?([a-zA-Z][a-zA-Z0-9:-]*)((?:[^<>"']|"[^"]*"|'[^']*')*+)>""")
_LONGEST_TAG = 4000  # characters; what is longer is read as text
_ALT = re.compile(r"""\salt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_UNREAD = frozenset({"script", "style", "template", "svg", "noscript"})
_INLINE = _UNREAD | {  # these end no paragraph
    *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font"),
    *("i", "input", "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike"),
    *("strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
}
_CELLS = frozenset({"td", "th"})


class Lines(Protocol):
    """Gives the lines of a file's bytes; None if it is not of this kind after all."""

    def __call__(self, data: bytes, check: Check, /) -> list[Line] | None:
        """See the class; `check` is called now and then, and may raise."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """How a kind of file is read. Count the version up with every change of what it gives."""

    name: str
    version: int
    lines: Lines
    is_text: bool = True  # a text for people too, with tags or JSON around it
    has_pages: bool = False  # its lines are pages, and no passage is of two

    @property
    def mark(self) -> str:
        """What a file read this way is known by, so that an index made before reads it again."""
        return f" {self.name} {self.version}"


def reader_of(path: Path) -> Reader | None:
    """The reader for a file, by its suffix; None where the file is read as it is."""
    suffix = path.suffix.lower()
    if suffix == ".pdf":  # refused without pypdf, and read again once that is there
        return Reader("pdf", 1 if has_pypdf() else 0, read_pdf, is_text=False, has_pages=True)
    return _READERS.get(suffix)


def passages_of(lines: Iterable[Line], reader: Reader | None) -> list[Line]:
    """What was read, cut into passages, each with the number of its first line."""
    if reader is None or not reader.has_pages:
        return split_lines(lines)
    pages = itertools.groupby(lines, key=operator.itemgetter(0))
    return [passage for _, page in pages for passage in split_lines(page)]


def unread_format(path: Path, data: bytes) -> str | None:
    """Why a document cannot be read, and what to do; None if it is not of such a format."""
    if data.startswith(b"%PDF-"):
        return "a PDF, which is read only if its name ends in .pdf"
    if data.startswith(b"PK\x03\x04"):
        name = _OFFICE.get(path.suffix.lower())
        return name and f"{name}, which is not read; save it as text or HTML"
    return None


def read_html(text: str) -> list[Line]:
    r"""The text of a web page, without scripts and styles.

    >>> read_html("<h1>Coffee</h1>\n<p>Descale the <b>machine</b> &amp; rinse.")
    [(1, 'Coffee'), (1, ''), (2, 'Descale the machine & rinse.')]
    """
    page = _Page()
    for found in _pieces(text):
        if isinstance(found, str):
            page.add(found)
        else:
            page.tag(found[1].lower(), found[2])
            page.skip(found[0])
    return page.close()


def read_notebook(text: str) -> list[Line] | None:
    """The Markdown and the code of a Jupyter notebook's cells, without their output."""
    try:
        notebook = json.loads(text)
        cells = [
            "".join(source) if isinstance(source := cell["source"], list) else str(source)
            for cell in notebook["cells"]
            if cell["cell_type"] in ("markdown", "code", "raw")
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    lines: list[Line] = []
    place, number = 0, 1
    for cell in cells:
        for line in cell.split("\n"):
            # As it stands in the JSON, behind the one before.
            for quoted in (json.dumps(line, ensure_ascii=False), json.dumps(line)):
                found = text.find(quoted[1:-1], place) if line.strip() else -1
                if found >= 0:
                    number += text.count("\n", place, found)
                    place = found + len(quoted) - 2
                    break
            lines.append((number, line))
        lines.append((number, ""))
    return lines


def _pieces(text: str) -> Iterator[str | re.Match[str]]:
    """A page's text and tags, in order and whole; what is not read comes as a run of line feeds."""
    place = 0
    while (start := text.find("<", place)) >= 0:
        if start > place:
            yield text[place:start]
        tag = _TAG.match(text, start, start + _LONGEST_TAG)
        if text.startswith("<!--", start):
            place = _behind(text, "-->", start + 4)
        elif text.startswith(("<!", "<?"), start):
            place = _behind(text, ">", start)
        elif tag is None:
            yield "<"
            place = start + 1
            continue
        else:
            yield tag
            name = tag[1].lower()
            start = place = tag.end()
            if name in _UNREAD and not tag[0].startswith("</") and not tag[2].endswith("/"):
                end = re.compile(f"</{name}", re.IGNORECASE).search(text, start)
                place = len(text) if end is None else end.start()
        yield "\n" * text.count("\n", start, place)
    yield text[place:]


def _behind(text: str, end: str, start: int) -> int:
    found = text.find(end, start)
    return len(text) if found < 0 else found + len(end)


class _Page:
    """The lines of a page as they come together."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._number = 1
        self._held: list[str] = []

    def add(self, data: str) -> None:
        """Text, with its line feeds."""
        first, *others = data.split("\n")
        self._held.append(html.unescape(first))
        for piece in others:
            self._end_line()
            self._number += 1
            self._held.append(html.unescape(piece))

    def tag(self, name: str, attributes: str) -> None:
        """A tag, opening or closing; a block's begins a paragraph."""
        if name == "img" and (alt := _ALT.search(attributes)):
            self._held.append(f" {html.unescape(' '.join((alt[1] or alt[2] or '').split()))} ")
        elif name in _CELLS:
            self._held.append(" ")
        elif name not in _INLINE:
            self._end_line()
            if name != "br" and self._lines and self._lines[-1][1]:
                self._lines.append((self._number, ""))

    def skip(self, tag: str) -> None:
        """Counts the lines within a tag."""
        if feeds := tag.count("\n"):
            self._held.append(" ")
            self._end_line()
            self._number += feeds

    def close(self) -> list[Line]:
        """All lines."""
        self._end_line()
        return self._lines

    def _end_line(self) -> None:
        text = " ".join("".join(self._held).split())
        if text:
            self._lines.append((self._number, text))
        self._held.clear()


def _of_text(read: Callable[[str], list[Line] | None]) -> Lines:
    return lambda data, check: read(decode(data))


_HTML = Reader("html", 1, _of_text(read_html))
_READERS = {
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".ipynb": Reader("notebook", 1, _of_text(read_notebook)),
    ".docx": Reader("docx", 1, read_docx, is_text=False),
}
_OFFICE = {
    ".xlsx": "an Excel sheet (XLSX)",
    ".pptx": "a PowerPoint file (PPTX)",
    ".odt": "an OpenDocument text (ODT)",
    ".epub": "an e-book (EPUB)",
}
