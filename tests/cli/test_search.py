"""`embedge search`: passages keep every word and their line, and the best come first."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_fakes import FakeEmbedder
from embedge.cli import common, main
from embedge.cli.passages import read_passages, split_text


@pytest.fixture
def fake(monkeypatch):
    embedder = FakeEmbedder()
    monkeypatch.setattr(common, "open_embedder", lambda options: embedder)
    return embedder


@given(
    st.lists(st.sampled_from(["word", "Wort. ", "字", "\n", "\n\n", " ", "\r\n", "x" * 50])),
    st.integers(10, 60),
    st.integers(0, 10),
)
def test_passages_keep_every_character_and_stay_small(parts, most, few):
    text = "".join(parts)
    passages = split_text(text, most=most, few=few)
    assert "".join("".join(piece.split()) for _, piece in passages) == "".join(text.split())
    lines = text.split("\n")
    for line, piece in passages:
        assert 0 < len(piece) <= most
        first = piece.split()[0]
        assert first in lines[line - 1] or first in text  # a cut word still belongs to the text
    assert [line for line, _ in passages] == sorted(line for line, _ in passages)


def test_lines_and_joining():
    text = "# Title\n\nFirst paragraph\nof two lines.\n\n\n" + "Second. " * 30 + "\n\nThird."
    passages = split_text(text, most=300, few=30)
    assert passages[0] == (1, "# Title\n\nFirst paragraph\nof two lines.\n\n\n".strip())
    assert [line for line, _ in passages] == [1, 7, 9]


def test_a_long_paragraph_is_cut_at_sentences():
    passages = split_text("One sentence here. " * 10, most=50, few=0)
    assert all(piece.endswith("here.") for _, piece in passages)


def test_folder_walk(tmp_path):
    (tmp_path / "b.md").write_text("b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.py").write_text("z = 1")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_text("hidden")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "loop").symlink_to(tmp_path)
    refused: list[tuple[str, str]] = []
    passages = read_passages(tmp_path, refuse=lambda p, why: refused.append((p.name, why)))
    assert [passage.path.name for passage in passages] == ["z.py", "b.md"]
    assert refused == [("c.png", "binary, no text"), ("d.txt", "not UTF-8")]


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


def test_many_chunks_keep_the_best_and_ties_keep_their_order(fake, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("embedge.cli.search.CHUNK", 3)
    for i in range(20):
        (tmp_path / f"{i:02}.txt").write_text("a bbb\n" if i in (7, 16) else "bbb\n")
    assert main(["search", "a bbb", str(tmp_path), "-k", "4", "--json"]) == 0
    names = [Path(json.loads(line)["file"]).stem for line in capsys.readouterr().out.splitlines()]
    assert names == ["07", "16", "00", "01"]


def test_control_characters_do_not_reach_the_terminal(fake, capsys, tmp_path):
    (tmp_path / "a.txt").write_text("evil \x1b[31m red\x07\n")
    assert main(["search", "a", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "a.txt:1" in out


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
    assert err.count("passed over (binary") == 5
    assert "4 more files were passed over" in err
