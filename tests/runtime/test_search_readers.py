"""Web pages and notebooks as people read them, with the lines of the file; others are named."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge import SearchIndex
from embedge.search import files, readers
from embedge.search.passages import split_lines, split_text
from embedge.search.readers import read_html, read_notebook
from support.search_cases import Words, content, lay

PAGE = """<!DOCTYPE html>
<html><head><title>Kitchen &ndash; notes</title>
<style>p { color: red }</style>
<script>
if (a < b) document.write("<p>never</p>");
</script></head>
<body class="a > b">
<h1>Coffee machine</h1>
<p>Descale the ma<b>chi</b>ne
every month.<br>Rinse &amp; dry. <!-- not
this --><img src=x alt="a white kettle"></p>
<table><tr><td>one<td>two</tr></table>
<a
 href="x">last</a> 1 < 2
</body></html>"""


def test_a_page() -> None:
    lines = [line for line in read_html(PAGE) if line[1]]
    assert lines == [
        (2, "Kitchen \u2013 notes"),
        (8, "Coffee machine"),
        (9, "Descale the machine"),
        (10, "every month."),
        (10, "Rinse & dry."),
        (11, "a white kettle"),
        (12, "one two"),
        (14, "last 1 < 2"),
    ]
    text = "\n".join(text for _, text in split_lines(read_html(PAGE)))
    assert "<" not in text.replace("1 < 2", "")
    assert "never" not in text
    assert "color" not in text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("", ""),
        ("no tags\nat all", "no tags|at all"),
        ("a<!-- open", "a"),
        ("a<script>open", "a"),
        ("a<b", "a<b"),
        ("a<p title='", "a<p title='"),
        ("5 < 6 > 4", "5 < 6 > 4"),
        ("<P>A</P><DIV>B", "A||B"),
        ("<script/>a</script>", "a"),
        ("&lt;p&gt; &nosuch; &#65;", "<p> &nosuch; A"),
        ("<p>" * 3 + "a", "a"),
        ("<?xml version='1.0'?><p>a", "a"),
    ],
)
def test_pages_that_are_not_well_formed(page: str, text: str) -> None:
    assert "|".join(line for _, line in read_html(page)) == text


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<!", "<a ", '<a "', "<a x='", "<script>", "</", "<", "&", "<p>", "&#", "<td>"],
)
def test_a_hostile_page_takes_no_time(piece: str) -> None:
    start = time.perf_counter()
    read_html(piece * (2**20 // len(piece)))
    assert time.perf_counter() - start < 10  # of an eighth of the largest file; a second here


@given(st.text("<>!-/ab \"'&;\n=", max_size=60))
def test_any_page_has_lines_in_order(page: str) -> None:
    numbers = [number for number, _ in read_html(page)]
    assert numbers == sorted(numbers)
    assert all(1 <= number <= page.count("\n") + 1 for number in numbers)


def notebook(*cells: tuple[str, Any], indent: int | None = 1) -> str:
    return json.dumps(
        {
            "cells": [
                {"cell_type": kind, "metadata": {}, "source": source, "outputs": [{"text": "no"}]}
                for kind, source in cells
            ],
            "nbformat": 4,
        },
        indent=indent,
    )


def test_a_notebook() -> None:
    text = notebook(
        ("markdown", ["# Sick leave\n", "for \u00e4ll"]),
        ("code", 'print("a")\nx = 1'),
        ("heading", "old"),
        ("code", ["x = 1"]),
    )
    lines = read_notebook(text)
    assert lines is not None
    assert [line for _, line in lines if line] == [
        "# Sick leave", "for \u00e4ll", 'print("a")', "x = 1", "x = 1",
    ]  # fmt: skip
    file = text.split("\n")
    numbers = [number for number, line in lines if line]
    assert numbers == sorted(numbers)
    assert "# Sick leave" in file[numbers[0] - 1]
    assert "for " in file[numbers[1] - 1]
    assert 'print(\\"a\\")' in file[numbers[2] - 1]
    assert "x = 1" in file[numbers[4] - 1]
    assert numbers[4] > numbers[3]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"cells": 3}', '{"cells": [3]}', "[" * 100_000, '{"a": 1}']
)
def test_what_is_no_notebook_is_read_as_it_is(text: str) -> None:
    assert read_notebook(text) is None


def test_pages_and_notebooks_are_found_by_what_they_say(tmp_path: Path) -> None:
    folder = lay(
        tmp_path / "docs",
        {
            "coffee.html": PAGE.encode(),
            "work.ipynb": notebook(("markdown", ["sick leave"])).encode(),
            "paper.txt": b"%PDF-1.7 text",
            "letter.odt": b"PK\x03\x04" + bytes(9),
            "other.zip": b"PK\x03\x04" + bytes(9),
        },
    )
    with SearchIndex(None, Words()) as index:
        report = index.update(folder)
        (hit,) = index.search("descale the machine", mode="words")
        assert (hit.path.name, hit.line) == ("coffee.html", 2)
        assert "<" not in hit.text.replace("1 < 2", "")
        (hit,) = index.search("sick leave", mode="words")
        assert (hit.path.name, hit.text) == ("work.ipynb", "sick leave")
        assert index.search("cell_type color", mode="words") == []
    assert {path.name: reason for path, reason in report.refused} == {
        "paper.txt": "a PDF, which is read only if its name ends in .pdf",
        "letter.odt": "an OpenDocument text (ODT), which is not read; save it as text or HTML",
        "other.zip": "binary, no text",
    }


def test_an_index_made_by_another_reader_reads_these_files_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")
    monkeypatch.setattr(files, "SETTLED_AFTER", -(10**18))
    folder = lay(tmp_path / "docs", {"a.html": b"<p>words", "b.txt": b"<p>as it is"})
    embedder = Words()
    with pytest.MonkeyPatch.context() as patch, SearchIndex(tmp_path / "i", embedder) as index:
        patch.setattr(readers, "_READERS", {})
        index.update(folder)
    with SearchIndex(tmp_path / "i", embedder) as index:
        report = index.update(folder)
        assert (report.updated, report.unchanged) == (1, 1)
        report = index.update(folder)
        assert (report.updated, report.unchanged) == (0, 2)
    assert embedder.embedded == ["<p>words", "<p>as it is", "words"]
    held = {Path(path).name: passages for path, passages in content(tmp_path / "i").items()}
    assert held == {"a.html": [(1, "words")], "b.txt": [(1, "<p>as it is")]}


def test_lines_and_texts_are_cut_alike() -> None:
    text = "one\ntwo\n\n" + "word " * 400 + "\n\nend"
    assert split_text(text) == split_lines(enumerate(text.split("\n"), 1))
