"""PDF and Word documents: what people read in them is found, with its page; harm is bounded."""

import contextlib
import io
import threading
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge import SearchIndex
from embedge.errors import CancelledError
from embedge.search import documents
from embedge.search.documents import PartlyReadError, has_pypdf, read_docx, read_pdf
from embedge.search.files import RefusedError
from embedge.search.readers import passages_of, reader_of
from support.search_cases import Words, content

needs_pypdf = pytest.mark.skipif(not has_pypdf(), reason="needs the extra documents")
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT = "http://purl.oclc.org/ooxml/wordprocessingml/main"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
BODY = (
    '<w:p><w:r><w:t>Sick </w:t></w:r><w:r><w:t xml:space="preserve">leave &amp; pay</w:t>'
    "<w:tab/><w:t>p. 3</w:t></w:r></w:p>"
    "<w:p/>"
    "<w:p><w:r><w:delText>gone</w:delText><w:instrText>PAGE</w:instrText></w:r>"
    "<w:r><w:t>A letter<w:br/></w:t><w:br/><w:t>with lines.</w:t></w:r></w:p>"
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell one</w:t></w:r></w:p></w:tc>"
    "<w:tc><w:p><w:r><w:t>cell two</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    "<w:p><mc:AlternateContent><mc:Choice><w:p><w:r><w:t>a box</w:t></w:r></w:p></mc:Choice>"
    "<mc:Fallback><w:p><w:r><w:t>a box</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>"
    "<w:r><w:t>around it</w:t></w:r></w:p>"
)


def docx(
    body: str = BODY,
    *,
    space: str = WORD,
    name: str = "word/document.xml",
    head: str = "",
    parts: dict[str, str] | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    def xml(inside: str) -> str:
        return f'{head}<w:document xmlns:w="{space}" xmlns:mc="{MC}">{inside}</w:document>'

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(name, xml(f"<w:body>{body}</w:body>"))
        for part, inside in (parts or {}).items():
            archive.writestr(part, xml(inside))
    return stream.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF with a line of Helvetica for each line of each page."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    kids = []
    for page in pages:
        lines = "".join(f"({line}) Tj T*\n" for line in page.split("\n"))
        stream = zlib.compress(f"BT /F1 12 Tf 14 TL 72 720 Td\n{lines}ET".encode("latin-1"))
        objects.append(
            b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream)
        )
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    data = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    end = data.index(b"xref\n")
    return data + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, end)


def never() -> None:
    """A check that stops nothing."""


def said(lines: Any) -> list[tuple[int, str]]:
    return [line for line in lines if line[1]]


@pytest.mark.parametrize("space", [WORD, STRICT])
def test_a_word_document(space: str) -> None:
    notes = {"word/footnotes.xml": "<w:p><w:r><w:t>a note</w:t></w:r></w:p>"}
    lines = read_docx(docx(space=space, parts=notes), never)
    assert said(lines) == [
        (1, "Sick leave & pay p. 3"),
        (3, "A letter with lines."),
        (4, "cell one"),
        (5, "cell two"),
        (6, "a box"),
        (7, "around it"),
        (8, "a note"),
    ]


def test_other_names_of_the_main_part() -> None:
    assert said(read_docx(docx(name="word/document2.xml"), never))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (docx()[:200], "damaged"),
        (docx().replace(b"word/document.xml", b"word/documENT.xml"), "without a text"),
        (docx("<w:p><w:r>"), "damaged"),
        (docx(head='<!DOCTYPE a [<!ENTITY b "c">]>', body="<w:p>&b;</w:p>"), "type definition"),
        (docx(compression=zipfile.ZIP_LZMA), "compressed in an unusual way"),
    ],
)
def test_a_word_document_that_is_not_one(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        read_docx(data, never)


def test_a_word_document_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = docx(f"<w:p><w:r><w:t>{'a' * 3_000_000}</w:t></w:r></w:p>")
    assert len(bomb) < 10_000
    monkeypatch.setattr(documents, "MOST_XML_BYTES", 2**20)
    with pytest.raises(RefusedError, match="larger than 1 MiB"):
        read_docx(bomb, never)
    monkeypatch.setattr(documents, "MOST_PARTS", 2)
    with pytest.raises(RefusedError, match="more than 2 parts"):
        read_docx(docx(parts={"word/other.xml": ""}), never)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_documents_are_refused_or_read(data: st.DataObject) -> None:
    readers = [(read_docx, docx())] + [(read_pdf, pdf("one", "two"))] * has_pypdf()
    read, whole = data.draw(st.sampled_from(readers))
    place = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.binary(max_size=8))
    damaged = whole[:place] + new + whole[place + len(new) :]
    with contextlib.suppress(RefusedError):
        lines = read(damaged, never)
        assert lines is None or all(isinstance(text, str) for _, text in lines)


@needs_pypdf
def test_a_pdf_has_pages() -> None:
    lines = said(
        read_pdf(pdf("The harbor bell\nrings at an exam-\nple of noon.", "", "Last."), never)
    )
    assert lines == [(1, "The harbor bell rings at an example of noon."), (3, "Last.")]


@needs_pypdf
def test_a_long_page_stays_one_page() -> None:
    page = "\n".join(["a line of some words that go on and on."] * 60)
    data = pdf("short", page)
    passages = passages_of(read_pdf(data, never) or [], reader_of(Path("a.pdf")))
    assert len(passages) >= 3
    assert [number for number, _ in passages] == [1, *[2] * (len(passages) - 1)]


@needs_pypdf
@pytest.mark.parametrize(
    ("data", "reason"),
    [(pdf(""), "without text"), (pdf("text")[:60], "cannot be read"), (b"%PDF-1.7", "cannot be")],
)
def test_a_pdf_that_cannot_be_read(data: bytes, reason: str, caplog: Any) -> None:
    with pytest.raises(RefusedError, match=reason):
        read_pdf(data, never)
    assert caplog.text == ""


@needs_pypdf
def test_an_encrypted_pdf() -> None:
    from pypdf import PdfReader, PdfWriter

    for password, read in (("secret", False), ("", True)):  # the second bars printing alone, say
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("text"))))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        stream = io.BytesIO()
        writer.write(stream)
        if read:
            assert said(read_pdf(stream.getvalue(), never)) == [(1, "text")]
        else:
            with pytest.raises(RefusedError, match="encrypted"):
                read_pdf(stream.getvalue(), never)


@needs_pypdf
def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_PAGES", 2)
    with pytest.raises(PartlyReadError, match="only 2 of 3 pages are read: no PDF") as caught:
        read_pdf(pdf("one", "two", "three"), never)
    assert said(caught.value.lines) == [(1, "one"), (2, "two")]


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second page of a PDF never comes to its end."""
    pypdf = pytest.importorskip("pypdf")
    real = pypdf.PageObject.extract_text

    def extract(page: Any) -> str:
        text = str(real(page))
        while "two" in text:
            with contextlib.suppress(Exception):
                time.sleep(0)
        return text

    monkeypatch.setattr(pypdf.PageObject, "extract_text", extract)


def timed_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "embedge-timed"]


@pytest.mark.usefixtures("endless")
def test_a_page_without_an_end_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_SECONDS", 1.0)
    with pytest.raises(PartlyReadError, match="only 1 of 3 pages are read: it took") as caught:
        read_pdf(pdf("one", "two", "three"), never)
    assert said(caught.value.lines) == [(1, "one")]
    with pytest.raises(RefusedError, match="no page is read: it took more"):
        read_pdf(pdf("two"), never)
    assert timed_threads() == []  # nothing goes on in the background


@pytest.mark.usefixtures("endless")
def test_and_can_be_cancelled() -> None:
    start = time.monotonic()

    def stop() -> None:
        if time.monotonic() > start + 0.2:
            raise CancelledError("stop")

    with pytest.raises(CancelledError):
        read_pdf(pdf("two"), stop)
    assert time.monotonic() < start + 10
    assert timed_threads() == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "letter.docx").write_bytes(docx())
    (folder / "paper.pdf").write_bytes(pdf("The harbor bell", "The lighthouse keeper"))
    return folder


@needs_pypdf
def test_they_are_found_with_their_pages(folder: Path, tmp_path: Path) -> None:
    with SearchIndex(tmp_path / "index", Words()) as index:
        report = index.update(folder)
        assert report.added == 2
        assert report.refused == ()
        (hit,) = index.search("lighthouse", mode="words")
        assert (hit.path, hit.line) == (folder / "paper.pdf", 2)
        (hit,) = index.search("sick", mode="words")
        assert (hit.path, hit.line) == (folder / "letter.docx", 1)
        assert index.update(folder).unchanged == 2


@needs_pypdf
def test_a_pdf_is_read_once_pypdf_is_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "misnamed.txt").write_bytes(pdf("text"))
    (folder / "notes.pdf").write_text("only its name says PDF")
    with SearchIndex(tmp_path / "index", Words()) as index:
        with monkeypatch.context() as patch:
            for module in ("documents", "readers"):
                patch.setattr(f"embedge.search.{module}.has_pypdf", lambda: False)
            reasons = {path.name: reason for path, reason in index.update(folder).refused}
            assert 'pip install "embedge[documents]"' in reasons.pop("paper.pdf")
            assert "only if its name ends in .pdf" in reasons.pop("misnamed.txt")
            assert not reasons
        report = index.update(folder)
        assert report.added == 1  # the same bytes, read another way
        assert str(folder / "paper.pdf") in content(tmp_path / "index")


@needs_pypdf
def test_the_pages_that_are_missing_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_PAGES", 1)
    with SearchIndex(tmp_path / "index", Words()) as index:
        report = index.update(folder)
        assert report.added == 2
        ((path, reason),) = report.refused
        assert path.name == "paper.pdf"
        assert reason.startswith("only 1 of 2 pages are read")
        assert len(index.search("bell", mode="words")) == 1
