"""`embedge search`: the best come first, and the index behind it is kept, mended and explained."""

import json
import os
import sqlite3
import zipfile
from pathlib import Path

import pytest

from embedge.cli import main
from embedge.search import SearchIndex, default_place, update


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("aa b\n")
    (folder / "b.txt").write_text("a bbb\n")
    return folder


def told(capsys):
    """What the command said, without the line that names a new index."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "the index, which holds" not in line]


def test_best_first(fake, capsys, tmp_path):
    (tmp_path / "a.txt").write_text("aa b\n")
    (tmp_path / "b.txt").write_text("a bbb\n")
    (tmp_path / "c.txt").write_text("aaa\n")
    assert main(["search", "a bbb", str(tmp_path), "-k", "2", "--json"]) == 0
    captured = capsys.readouterr()
    results = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(result["file"]).name for result in results] == ["b.txt", "a.txt"]
    assert results[0]["score"] == pytest.approx(1.0)
    assert results[0]["line"] == 1
    assert "searched 3 passages" in captured.err


def test_control_characters_do_not_reach_the_terminal(fake, capsys, tmp_path):
    (tmp_path / "a.txt").write_text("evil \x1b[31m red\x07\n")
    assert main(["search", "a", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "a.txt:1" in out


def test_nor_do_those_of_a_files_name(fake, capsys, tmp_path):
    try:
        (tmp_path / "\x1b[31m.txt").write_text("text")
        (tmp_path / "\x1b[32m.bin").write_bytes(b"\0")
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    except (OSError, UnicodeError):
        pytest.skip("this system does not take such names")
    assert main(["search", "a", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert " [31m.txt:1" in captured.out
    assert "caf?.txt:1" in captured.out or "caf .txt:1" in captured.out
    assert main(["search", "a", str(tmp_path), "--json"]) == 0
    files = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert all(Path(file).read_text() == "text" for file in files)


@pytest.mark.parametrize(
    ("query", "path", "code", "told"),
    [
        ("", ".", 2, "the query is empty"),
        ("x", "nowhere", 2, "does not exist"),
        ("x", ".", 1, "no text"),
    ],
)
def test_nothing_to_do(fake, capsys, tmp_path, monkeypatch, query, path, code, told):
    monkeypatch.chdir(tmp_path)
    assert main(["search", query, path]) == code
    assert told in capsys.readouterr().err
    assert fake.calls == []  # no model was run for it


def test_many_refused_files_are_counted(fake, capsys, tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.bin").write_bytes(b"\0")
    (tmp_path / "z.txt").write_text("text")
    assert main(["search", "a", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert err.count("skipped (binary") == 5
    assert "4 more were skipped" in err
    assert "searched 1 passage in 1 file (1 file new or changed, 9 skipped)" in err


def test_the_second_search_embeds_only_what_changed(fake, capsys, folder):
    assert main(["search", "aa b", str(folder)]) == 0
    assert "searched 2 passages in 2 files (2 files new or changed)" in told(capsys)[-1]
    fake.calls.clear()
    assert main(["search", "aa b", str(folder)]) == 0
    assert told(capsys) == ["embedge: searched 2 passages in 2 files"]
    assert fake.embedded == []
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("new here")
    assert main(["search", "aa b", str(folder)]) == 0
    assert told(capsys) == [
        "embedge: searched 2 passages in 2 files (1 file new or changed, 1 gone)"
    ]
    assert fake.embedded == ["new here"]


def test_the_index_stands_among_the_caches_and_nothing_in_the_folder(fake, capsys, folder):
    before = sorted(folder.iterdir())
    assert main(["search", "a", str(folder)]) == 0
    place = default_place(folder, SearchIndex.maker_of(fake))
    assert place.is_relative_to(os.environ["XDG_CACHE_HOME"])
    assert place.name.startswith("docs-")
    assert f"the index, which holds the passages too, is {place}" in capsys.readouterr().err
    assert place.exists()
    assert sorted(folder.iterdir()) == before
    assert main(["search", "a", str(folder)]) == 0
    assert "the index, which" not in capsys.readouterr().err  # said once


def test_names_of_indexes(tmp_path):
    places = {
        default_place(tmp_path / name).name
        for name in ("docs", "Docs", "a b", "a-b", "é", "x" * 200, "sub/docs")
    }
    assert len(places) == 7
    assert all(len(name) < 80 and name.isascii() for name in places)
    assert default_place(Path("/")).name.startswith("root-")


def test_an_index_of_ones_own_for_several_folders(fake, capsys, folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.txt").write_text("aa b")
    own = tmp_path / "own.index"
    for path, name in ((folder, "a.txt"), (tmp_path / "more", "c.txt"), (folder, "a.txt")):
        assert main(["search", "aa b", str(path), "--index", str(own), "-k", "9", "--json"]) == 0
        results = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
        assert results[0] == str(path / name)
        assert all(Path(result).parent == path for result in results)
    assert fake.embedded == ["aa b", "a bbb"]  # the same text in c.txt took no work
    assert not default_place(folder).exists()


def test_no_index_keeps_nothing(fake, capsys, folder):
    for _ in range(2):
        assert main(["search", "aa b", str(folder), "--no-index", "--json"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out.splitlines()[0])["file"] == str(folder / "a.txt")
        assert "the index" not in captured.err
    assert len(fake.embedded) == 4
    assert list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.sqlite")) == []
    assert main(["search", "a", str(folder), "--no-index", "--index", "x"]) == 2


def test_one_file_is_searched_under_the_name_given(fake, capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["search", "aa", "a.txt"]) == 0
    assert "a.txt:1" in capsys.readouterr().out.split()
    assert main(["search", "aa", "."]) == 0
    assert "a.txt:1" in capsys.readouterr().out.split()


def test_another_model_is_told_and_everything_embedded_anew(fake, capsys, folder):
    assert main(["search", "aa b", str(folder)]) == 0
    fake.device = "cuda"
    fake.calls.clear()
    capsys.readouterr()
    assert main(["search", "aa b", str(folder)]) == 0
    assert told(capsys) == [
        "embedge: device changed: cpu -> cuda; embedding everything again",
        "embedge: searched 2 passages in 2 files (2 files new or changed)",
    ]
    assert len(fake.embedded) == 2


def test_a_damaged_index_is_told_and_made_anew_on_request(fake, capsys, folder):
    assert main(["search", "aa b", str(folder)]) == 0
    place = default_place(folder, SearchIndex.maker_of(fake))
    place.write_bytes(place.read_bytes()[:5000])
    capsys.readouterr()
    assert main(["search", "aa b", str(folder)]) == 2
    (line,) = told(capsys)
    assert str(place) in line
    assert "--rebuild" in line
    assert main(["search", "aa b", str(folder), "--rebuild"]) == 0
    assert "2 files new or changed" in told(capsys)[-1]


def test_a_file_that_is_no_index_is_left_alone(fake, capsys, folder):
    letter = folder / "a.txt"
    assert main(["search", "a", str(folder), "--index", str(letter), "--rebuild"]) == 2
    assert "is not an embedge index, so it is left alone" in capsys.readouterr().err
    assert letter.read_text() == "aa b\n"


def test_a_read_only_index_is_searched_as_it_stands(fake, capsys, folder, monkeypatch):
    assert main(["search", "aa b", str(folder)]) == 0
    (folder / "c.txt").write_text("new")
    real = sqlite3.connect
    monkeypatch.setattr(
        "embedge.search.database.sqlite3.connect",
        lambda path, **options: real(f"{path.as_uri()}?mode=ro", uri=True, **options),
    )
    capsys.readouterr()
    assert main(["search", "aa b", str(folder)]) == 0
    first, last = told(capsys)
    assert "cannot be written" in first
    assert first.endswith("searching it as it stands")
    assert last == "embedge: searched 2 passages in 2 files (not brought up to date)"


def test_damaged_passages_are_embedded_again(fake, capsys, folder, tmp_path):
    index = tmp_path / "index"
    command = ["search", "aa b", str(folder), "--index", str(index)]
    assert main(command) == 0
    right = capsys.readouterr().out
    connection = sqlite3.connect(index)
    connection.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE id = 1")
    connection.commit()
    connection.close()
    fake.calls.clear()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out == right
    assert "has forgotten them; update it" in shown.err
    assert len(fake.embedded) == 1


def test_vectors_of_two_runtimes_are_named_once(fake, capsys, folder, tmp_path, monkeypatch):
    command = ["search", "aa b", str(folder), "--index", str(tmp_path / "index")]
    for version, name, named in (
        ("1.31.0", "c.txt", False),
        ("1.32.0", "d.txt", True),
        ("1.32.0", "e.txt", False),
    ):
        monkeypatch.setattr("embedge.search.index.runtime_version", lambda v=version: v)
        (folder / name).write_text(f"new {name}")
        assert main(command) == 0
        assert ("of onnxruntime 1.31.0 and 1.32.0" in capsys.readouterr().err) is named


def test_caches_that_cannot_be_made(fake, capsys, folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert main(["search", "a", str(folder)]) == 2
    assert "--no-index" in capsys.readouterr().err
    assert main(["search", "a", str(folder), "--no-index"]) == 0


def test_ctrl_c_keeps_what_is_embedded_and_says_so(fake, capsys, folder, monkeypatch):
    monkeypatch.setattr(update, "FEWEST", 1)
    monkeypatch.setattr(update, "MOST", 1)
    encode = fake.encode_document

    def interrupt(texts, **options):
        if fake.calls:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(fake, "encode_document", interrupt)
    assert main(["search", "aa b", str(folder)]) == 130
    assert told(capsys) == [
        "embedge: what is embedded so far is kept; the next search goes on there",
        "embedge: interrupted",
    ]
    monkeypatch.setattr(fake, "encode_document", encode)
    assert main(["search", "aa b", str(folder)]) == 0
    assert fake.embedded == ["aa b", "a bbb"]  # neither twice


def test_progress_counts_files_and_passages(fake, capsys, folder):
    assert main(["search", "aa b", str(folder), "--progress"]) == 0
    err = capsys.readouterr().err
    assert "2 passages, 2 of 2 files" in err
    assert "100%" in err


@pytest.fixture
def lisbon(tmp_path):
    folder = tmp_path / "trips"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt"):
        (folder / name).write_text("\n\na b c d The best custard tarts are in Belem\n")
    (folder / "near.txt").write_text("charter tents\n")
    return folder


def test_words_that_matched_and_other_places_are_shown(fake, capsys, lisbon, monkeypatch):
    monkeypatch.chdir(lisbon.parent)
    assert main(["search", "the custard \x1btarts?", "trips"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("  trips/a.txt:3  (words: custard, tarts)")
    assert lines[2] == "        also: trips/b.txt:3, trips/c.txt:3, trips/d.txt:3 and 1 more"
    assert lines[3].endswith("  trips/near.txt:1  (meaning)")
    assert main(["search", "custard tarts", "trips", "--mode", "vectors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("  trips/near.txt:1")
    assert lines[2].endswith("  trips/a.txt:3")


def test_words_and_places_as_json(fake, capsys, lisbon):
    assert main(["search", "custard tarts", str(lisbon), "--json", "-k", "1"]) == 0
    (result,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert result["words"] == ["custard", "tarts"]
    assert result["also"] == [{"file": str(lisbon / f"{n}.txt"), "line": 3} for n in "bcde"]


def test_words_alone(fake, capsys, lisbon):
    assert main(["search", "custard", str(lisbon), "--mode", "words"]) == 0
    assert "(words: custard)" in capsys.readouterr().out
    assert main(["search", "swordfish", str(lisbon), "--mode", "words"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no passage holds any of these words; try --mode hybrid" in captured.err


def test_a_python_without_fts5_says_so(fake, capsys, lisbon, monkeypatch):
    monkeypatch.setattr("embedge.search.words.available", lambda: False)
    assert main(["search", "custard", str(lisbon)]) == 0
    captured = capsys.readouterr()
    assert "warning: searching by vectors alone: the SQLite of this Python" in captured.err
    assert "(meaning)" in captured.out
    assert main(["search", "custard", str(lisbon), "--mode", "words"]) == 2
    assert "was built without FTS5" in capsys.readouterr().err


def test_what_is_left_out_is_named_and_can_be_searched(fake, capsys, folder):
    (folder / "poetry.lock").write_text("locked")
    (folder / "x.min.js").write_text("tiny")
    (folder / ".gitignore").write_text("hidden.txt\n")
    (folder / "hidden.txt").write_text("ignored")
    assert main(["search", "a", str(folder)]) == 0
    assert told(capsys) == [
        f"embedge: left out {folder / 'poetry.lock'} (a lock file) and 1 more of such files; --all "
        "searches them too",
        "embedge: searched 2 passages in 2 files (2 files new or changed, 2 left out)",
    ]
    assert main(["search", "a", str(folder), "--all"]) == 0
    assert "searched 5 passages in 5 files" in told(capsys)[-1]
    assert main(["search", "a", str(folder), "--include", "*.lock", "--json"]) == 0
    captured = capsys.readouterr()
    assert [Path(json.loads(line)["file"]).name for line in captured.out.splitlines()] == [
        "poetry.lock"
    ]
    assert "searched 1 passage in 1 file" in captured.err
    assert main(["search", "a", str(folder), "--include", "*.none"]) == 1
    assert "no text to search that fits --include" in capsys.readouterr().err


def test_a_document_has_pages_or_paragraphs_in_place_of_lines(fake, capsys, folder):
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    text = "<w:p><w:r><w:t>aaaa bbbb</w:t></w:r></w:p>"
    for name in ("one.docx", "two.docx"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("word/document.xml", f"<w:body {word}>{text}</w:body>")
    assert main(["search", "aaaa bbbb", str(folder), "-k", "1"]) == 0
    out = capsys.readouterr().out
    assert f"{folder / 'one.docx'}, paragraph 1" in out
    assert f"also: {folder / 'two.docx'}, paragraph 1" in out


def test_a_long_search_without_a_terminal_prints_a_line_now_and_then(
    fake, capsys, folder, monkeypatch
):
    monkeypatch.setattr("embedge.progress.PLAIN_SECONDS", 0.0)
    assert main(["search", "aa b", str(folder)]) == 0
    assert "2 passages, 2 of 2 files" in capsys.readouterr().err
    monkeypatch.setattr("embedge.progress.PLAIN_SECONDS", 60.0)
    (folder / "c.txt").write_text("new")
    assert main(["search", "aa b", str(folder)]) == 0
    assert "%" not in capsys.readouterr().err
    monkeypatch.setattr("embedge.progress.PLAIN_SECONDS", 0.0)
    (folder / "d.txt").write_text("newer")
    assert main(["search", "aa b", str(folder), "--no-progress"]) == 0
    assert "%" not in capsys.readouterr().err
