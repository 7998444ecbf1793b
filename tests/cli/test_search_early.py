"""`embedge search` while an index is being made: by itself, or by another process."""

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from embedge.cli import main
from embedge.search import SearchIndex, update

# Another process that updates the index of a folder, and stops in the middle until it may go on.
OTHER = """
import sys, time
from pathlib import Path
from embedge.search import SearchIndex, update
from support.search_cases import Words

update.FEWEST = update.MOST = 4
place, folder, held, go_on = map(Path, sys.argv[1:])

def wait(state):
    if state.files >= 8 and not held.exists():
        held.touch()
        while not go_on.exists():
            time.sleep(0.02)

with SearchIndex(place, Words()) as index:
    index.update(folder, progress=wait)
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02}.txt").write_text(f"file {'x' * number}")
    (folder / "wanted.txt").write_text("the harbor bell")
    return folder


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("embedge.cli.commands.search.is_terminal", lambda stream: True)
    monkeypatch.setattr("embedge.cli.early.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("embedge.cli.early.LEFT_SECONDS", 0.0)
    monkeypatch.setattr(update, "FEWEST", 4)
    monkeypatch.setattr(update, "MOST", 8)


def test_the_first_hits_are_shown_while_the_rest_is_embedded(fake, folder, terminal, capsys):
    assert main(["search", "bell", str(folder), "-k", "1"]) == 0
    captured = capsys.readouterr()
    early, final = captured.err.split("embedge: of all 25 passages:")
    assert "so far, of 4 passages:" in early  # one of them is the file with the word, though last
    assert "wanted.txt:1  (words: bell)" in early
    assert "the harbor bell" in early
    assert captured.out.count("wanted.txt:1") == 1  # the final hits stand on stdout, once
    assert "searched 25 passages" in final


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_programs_get_the_final_hits_alone(fake, folder, terminal, capsys, flag):
    assert main(["search", "bell", str(folder), "-k", "1", flag]) == 0
    assert "so far" not in capsys.readouterr().err


def test_a_pipe_gets_the_final_hits_alone(fake, folder, terminal, capsys, monkeypatch):
    monkeypatch.setattr(
        "embedge.cli.commands.search.is_terminal", lambda stream: stream is sys.stderr
    )
    assert main(["search", "bell", str(folder), "-k", "1"]) == 0
    assert "so far" not in capsys.readouterr().err


def test_a_quick_update_shows_no_early_hits(fake, folder, terminal, capsys, monkeypatch):
    monkeypatch.setattr("embedge.cli.early.LEFT_SECONDS", 60.0)
    assert main(["search", "bell", str(folder), "-k", "1"]) == 0
    assert "so far" not in capsys.readouterr().err


def test_damage_that_an_early_search_meets_is_embedded_again(
    fake, folder, terminal, tmp_path, capsys
):
    place = tmp_path / "index"
    command = ["search", "bell", str(folder), "-k", "1", "--index", str(place)]
    assert main(command) == 0
    connection = sqlite3.connect(place)
    connection.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE id = 3")
    connection.commit()
    connection.close()
    for number in range(10):
        (folder / f"new{number}.txt").write_text(f"new {number}")
    capsys.readouterr()
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "has forgotten them" in captured.err
    assert "searched 35 passages in 35 files" in captured.err
    assert "wanted.txt:1" in captured.out


def test_an_index_that_another_process_makes_is_searched_as_it_stands(
    fake, folder, tmp_path, capsys
):
    place, held, go_on = tmp_path / "index", tmp_path / "held", tmp_path / "go on"
    command = [sys.executable, "-c", textwrap.dedent(OTHER), place, folder, held, go_on]
    path = os.pathsep.join(["tests", *sys.path])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as other:
        try:
            while not held.exists():
                assert other.poll() is None
                time.sleep(0.02)
            start = time.monotonic()
            query = ["search", "xxx", str(folder), "--index", str(place), "--json"]
            assert main(query) == 0
            assert time.monotonic() - start < 10  # a refusal came after a minute
            captured = capsys.readouterr()
            assert "another process is bringing the index up to date" in captured.err
            assert "not brought up to date" in captured.err
            assert fake.embedded == []
            found = {Path(json.loads(line)["file"]).name for line in captured.out.splitlines()}
            assert found  # of the files that are there so far
        finally:
            go_on.touch()
    assert other.returncode == 0
    assert main(query) == 0
    assert "searched 25 passages in 25 files\n" in capsys.readouterr().err
    assert fake.embedded == []  # the other process had done it all


def test_one_who_comes_before_the_first_passage_waits_for_it(fake, folder, capsys, monkeypatch):
    """And makes the index, should the other one die."""
    moments = iter([True, True, False])
    monkeypatch.setattr(SearchIndex, "being_updated", property(lambda _: next(moments)))
    assert main(["search", "bell", str(folder)]) == 0
    assert "searched 25 passages in 25 files (25 files new or changed)" in capsys.readouterr().err


def test_a_writer_that_is_no_embedge_does_not_refuse_a_search(
    fake, folder, tmp_path, capsys, monkeypatch
):
    place = tmp_path / "index"
    command = ["search", "bell", str(folder), "--index", str(place)]
    assert main(command) == 0
    (folder / "new.txt").write_text("a new one")
    monkeypatch.setattr("embedge.search.database.TIMEOUT", 0.1)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert main(command) == 0
    finally:
        other.close()
    captured = capsys.readouterr()
    assert "writing to the index for long; searching it as it stands" in captured.err
    assert "wanted.txt:1" in captured.out


def test_what_was_skipped_is_named_when_the_index_changed(fake, folder, capsys):
    (folder / "picture.bin").write_bytes(b"\0")
    assert main(["search", "bell", str(folder)]) == 0
    assert f"{folder / 'picture.bin'}: skipped" in capsys.readouterr().err
    assert main(["search", "bell", str(folder)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["embedge: searched 25 passages in 25 files (1 skipped)"]
    (folder / "other.bin").write_bytes(b"\0\1")
    assert main(["search", "bell", str(folder)]) == 0
    assert f"{folder / 'other.bin'}: skipped" in capsys.readouterr().err


def test_several_paths_have_one_ranking(fake, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("a/1.txt", "aa b"), ("b/2.txt", "aa bb"), ("c.txt", "aa"), ("d", "aa b")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    assert main(["search", "aa b", "b", "a", "c.txt", "a", "--json", "-k", "9"]) == 0
    captured = capsys.readouterr()
    files = [json.loads(line)["file"] for line in captured.out.splitlines()]
    assert files == [str(Path("a/1.txt")), str(Path("b/2.txt")), "c.txt"]
    assert "searched 3 passages in 3 files" in captured.err
    assert main(["search", "aa b", "a", "b", "nowhere"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_paths_may_stand_behind_options(fake, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        Path(name).write_text(f"word {name}")
    for words in (
        ["bell", "-k", "9", "a", "b"],
        ["--json", "bell", "a", "-k", "9", "b"],
        ["-k", "9", "bell", "a", "--mode", "hybrid", "b", "--json"],
    ):
        assert main(["search", *words]) == 0
        assert "searched 2 passages in 2 files" in capsys.readouterr().err
    assert main(["search", "bell", "a", "--jsno", "b"]) == 2
    assert "did you mean --json?" in capsys.readouterr().err
    assert main(["info", "pack", "--json", "b"]) == 2
    assert "unrecognized arguments: b" in capsys.readouterr().err


def test_without_a_path_the_current_folder_is_searched(fake, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["search", "bell", "-k", "1"]) == 0
    assert "  wanted.txt:1  (words: bell)" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert main(["search", "bell"]) == 2
    assert "that is your home folder" in capsys.readouterr().err
    assert main(["search", "bell", "."]) == 0
