"""PDF and Word documents (DOCX) to the text that people read, each line with its page or paragraph.

Takes the bytes of a file, gives (number, text) in order: the number of the page in a PDF, of the
paragraph in a Word document; an empty text ends a paragraph. Such files come from anywhere, so what
one may take is bounded: pages, seconds, and bytes that it grows to.

Word documents are read with the standard library: their text is one XML file in a ZIP archive, of
which four kinds of tags count. PDFs take pypdf (the extra `documents`): pure Python, so that a
damaged file is an exception and not the end of the process.
"""

import importlib.util
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from xml.parsers import expat

from embedge.reasons import one_line
from embedge.search.files import RefusedError
from embedge.search.timed import run_within

Line = tuple[int, str]
Check = Callable[[], None]

MAX_DOCUMENT_BYTES = 64 * 2**20
MOST_PAGES = 5000
MOST_SECONDS = 30.0  # for one PDF
MOST_XML_BYTES = 64 * 2**20  # of a Word document's text with its tags, inflated
MOST_PARTS = 10_000  # files in the archive; a hundred are common
_CHUNK = 2**16  # bytes
_PARTS = re.compile(r"word/(document\d*|footnotes|endnotes)\.xml")
# Of ECMA-376, which programs write, and of its strict kind (ISO/IEC 29500).
_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_SPACES = frozenset({"tab", "br", "cr"})
# A word that was divided at the end of a line.
_DIVIDED = re.compile(r"(?<=[^\W\d_A-Z])-\n(?=[^\W\d_A-Z])")
_PARAGRAPH = re.compile(r"\n\s*\n")


class PartlyReadError(Exception):
    """A document was read in part.

    Attributes:
        lines: what was read.
    """

    def __init__(self, reason: str, lines: Sequence[Line] = ()) -> None:
        self.lines = list(lines)  # not required: unpickling sets it
        super().__init__(reason)


def has_pypdf() -> bool:
    """Whether PDFs can be read here."""
    return importlib.util.find_spec("pypdf") is not None


def read_pdf(data: bytes, check: Check) -> list[Line] | None:
    """The text of a PDF, by pages.

    Args:
        data: of the file.
        check: called now and then; it may raise.

    Returns:
        None if it is not a PDF.

    Raises:
        RefusedError: pypdf is not installed; or the file is encrypted, damaged, or without text.
        PartlyReadError: it has too many pages, or takes too long.
    """
    if not data.startswith(b"%PDF-"):
        return None
    if not has_pypdf():
        raise RefusedError(
            'a PDF; pip install "embedge[documents]" to have it read, or convert it to text '
            "(pdftotext)"
        )
    pages = _Pages(data)
    late = not run_within(MOST_SECONDS, pages.read, check)
    if pages.error is not None:
        raise pages.error
    done, lines = pages.done, list(pages.lines)
    if done < pages.count or late:
        why = f"it took more than {MOST_SECONDS:.0f} s" if late else "no PDF is read further"
        if not done:
            raise RefusedError(f"a PDF of which no page is read: {why}")
        raise PartlyReadError(f"only {done:,} of {pages.count:,} pages are read: {why}", lines)
    if not any(text for _, text in lines):
        raise RefusedError("a PDF without text (scanned pages?); make its text with OCR")
    return lines


def read_docx(data: bytes, check: Check) -> list[Line] | None:
    """The text of a Word document, by paragraphs, its notes behind it.

    Args:
        data: of the file.
        check: called now and then; it may raise.

    Returns:
        None if it is not a ZIP archive.

    Raises:
        RefusedError: it is encrypted, damaged or too large.
    """
    if not data.startswith(b"PK\x03\x04"):
        return None
    if data.count(b"PK\x01\x02") > MOST_PARTS:  # each takes memory when the archive is opened
        raise RefusedError(f"a Word document of more than {MOST_PARTS:,} parts")
    document = _Paragraphs()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(name for name in archive.namelist() if _PARTS.fullmatch(name))
            if not any(name.startswith("word/document") for name in names):
                raise RefusedError("a Word document without a text")
            left = MOST_XML_BYTES
            for name in names:  # the document, then endnotes and footnotes
                left = _read_part(archive.getinfo(name), archive, document, left, check)
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, OSError) as error:
        raise RefusedError(f"a damaged Word document ({one_line(error)})") from error
    except (RuntimeError, NotImplementedError, ValueError, KeyError) as error:
        raise RefusedError(f"a Word document that cannot be read ({one_line(error)})") from error
    return document.lines


class _Pages:
    """A PDF as it is read, in a thread that may be ended at any moment.

    Attributes:
        lines: of the pages that are done, and of them alone.
        done, count: pages.
        error: why it cannot be read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.lines: list[Line] = []
        self.done = self.count = 0
        self.error: RefusedError | None = None

    def read(self) -> None:
        """Reads the pages, as many as are allowed."""
        logger = logging.getLogger("pypdf")
        before = logger.level
        logger.setLevel(logging.CRITICAL + 1)  # what is wrong with a file is a reason, not a log
        try:
            self._read()
        except RefusedError as error:
            self.error = error
        except Exception as error:  # of a damaged file anything: KeyError, RecursionError, …
            reason = one_line(error) or type(error).__name__
            self.error = RefusedError(f"a PDF that cannot be read ({reason})")
        finally:
            logger.setLevel(before)

    def _read(self) -> None:
        from pypdf import PdfReader

        reader = PdfReader(io.BytesIO(self._data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):  # some need no password to be read
            raise RefusedError("a PDF that is encrypted; save it without a password")
        self.count = len(reader.pages)
        for number in range(1, min(self.count, MOST_PAGES) + 1):
            text = str(reader.pages[number - 1].extract_text() or "")
            # UTF-8 cannot write a half of a pair, which a damaged font may give.
            text = text.encode("utf-8", "replace").decode().replace("\0", " ")
            lines: list[Line] = []
            for paragraph in _PARAGRAPH.split(_DIVIDED.sub("", text)):
                lines += [(number, " ".join(paragraph.split())), (number, "")]
            self.lines += lines
            self.done = number


def _read_part(
    info: zipfile.ZipInfo,
    archive: zipfile.ZipFile,
    document: "_Paragraphs",
    most: int,
    check: Check,
) -> int:
    """Reads one XML file of the archive; gives how many bytes the others may have."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError("a Word document that is compressed in an unusual way")
    parser = document.parser()
    with archive.open(info) as stream:
        while chunk := stream.read(_CHUNK):  # what the archive says of its size is not believed
            check()
            most -= len(chunk)
            if most < 0:
                raise RefusedError(
                    f"a Word document whose text is larger than {MOST_XML_BYTES // 2**20} MiB"
                )
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    return most


class _Paragraphs:
    """The paragraphs of a Word document as they come together."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._number = 0
        self._open: list[list[str]] = []  # paragraphs; one stands within another in text boxes
        self._is_text = False
        self._skipped = 0  # depth within what repeats the same for older programs

    def parser(self) -> expat.XMLParserType:
        """A parser that adds to the paragraphs."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        parser.StartDoctypeDeclHandler = self._refuse  # so no entities, which could expand
        return parser

    def _refuse(self, *_: object) -> None:
        raise RefusedError("a Word document with a document type definition, which none has")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if self._skipped or name == _FALLBACK:
            self._skipped += 1
            return
        tag = _tag(name)
        if tag == "p":
            self._open.append([])
        elif tag == "t":
            self._is_text = True
        elif tag in _SPACES and self._open:
            self._open[-1].append(" ")

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        tag = _tag(name)
        if tag == "t":
            self._is_text = False
        elif tag == "p" and self._open:
            self._number += 1
            if text := " ".join("".join(self._open.pop()).split()):
                self.lines += [(self._number, text), (self._number, "")]

    def _add(self, text: str) -> None:
        if self._is_text and self._open and not self._skipped:
            self._open[-1].append(text)


def _tag(name: str) -> str:
    """The name of a tag of Word's; nothing of others."""
    space, _, tag = name.rpartition(" ")
    return tag if space in _WORD else ""
