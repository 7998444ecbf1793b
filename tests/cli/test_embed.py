"""`embedge embed`: what goes in comes out, in order, and what is bad is told."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedge.cli import main
from embedge.errors import MemoryLimitError
from embedge.vectors import normalize, quantize
from support.fakes import FakeEmbedder, vector
from support.tiny import edit_manifest


@pytest.fixture
def fake(monkeypatch):
    embedder = FakeEmbedder()
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: embedder)
    return embedder


@pytest.fixture
def stdin(monkeypatch):
    def feed(data: bytes) -> None:
        stream = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stream)

    return feed


def expected(text: str) -> list[float]:
    return normalize(np.array(vector(text), np.float32)).tolist()


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_lines_from_stdin(fake, stdin, capsys):
    stdin("ab c\r\n\nzwölf\n日本 x".encode())
    assert main(["embed"]) == 0
    rows = lines(capsys)
    assert [row["index"] for row in rows] == [0, 1, 2, 3]  # a blank line is a text: rows = lines
    for row, text in zip(rows, ["ab c", "", "zwölf", "日本 x"], strict=True):
        # Nine digits: the float32 comes back bit for bit.
        assert np.float32(row["embedding"]).tolist() == expected(text)
    assert fake.closed


def test_several_files_and_stdin_in_order(fake, stdin, capsys, tmp_path):
    (tmp_path / "a.txt").write_text("one\n", encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text('"three x"\n\n{"text": "five5 y", "id": "five"}\n')
    stdin(b"seven77\n")
    assert main(["embed", str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl"), "-"]) == 0
    rows = lines(capsys)
    assert [row.get("id", row.get("index")) for row in rows] == [0, 1, "five", 3]
    assert fake.calls[-1]["texts"] == ["one", "three x", "five5 y", "seven77"]


def test_whole_files(fake, capsys, tmp_path):
    (tmp_path / "a.md").write_text("two\nlines\n")
    assert main(["embed", "--input-format", "file", str(tmp_path / "a.md")]) == 0
    assert fake.calls[-1]["texts"] == ["two\nlines\n"]


def test_bad_lines_are_told_and_the_others_come_out(fake, capsys, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b'"good 1"\n{"no": "text"}\n{broken\n{"text": 5}\n\xff\xfe\n{"text": "x", "id": [1]}\n'
        b'{"text": "nest' + b"[" * 10 + b'"}\nNaN\n' + b"[" * 100_000 + b"\n" + b'"good 2"\n'
    )
    assert main(["embed", str(path)]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["index"] for line in captured.out.splitlines()] == [0, 6, 9]
    for number in (2, 3, 4, 5, 6, 8, 9):
        assert f"{path}:{number}: " in captured.err
    assert "7 of 10 texts were left out" in captured.err
    assert "Traceback" not in captured.err


def test_a_line_without_end_is_refused_in_bounded_memory(fake, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("embedge.bulk.records.MAX_TEXT_BYTES", 100)
    path = tmp_path / "t.txt"
    path.write_bytes(b"a\n" + b"x" * 1000 + b"\n" + b"y" * 100 + b"\nb\n" + b"z" * 5000)
    assert main(["embed", str(path)]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["index"] for line in captured.out.splitlines()] == [0, 3]
    assert f"{path}:2: is longer" in captured.err
    assert f"{path}:5: is longer" in captured.err


def test_too_long_texts_are_found_one_by_one(fake, capsys, tmp_path):
    path = tmp_path / "t.txt"
    texts = ["short"] * 20
    texts[3] = texts[17] = "w " * 12
    path.write_text("\n".join(texts))
    assert main(["embed", str(path), "--on-overflow", "error"]) == 1
    captured = capsys.readouterr()
    indices = [json.loads(line)["index"] for line in captured.out.splitlines()]
    assert indices == [i for i in range(20) if i not in (3, 17)]
    assert f"{path}:4: " in captured.err
    assert f"{path}:18: " in captured.err
    assert main(["embed", str(path)]) == 0
    assert "2 texts were longer than the limit and were cut" in capsys.readouterr().err


def test_a_pack_that_does_not_fit_into_memory_is_no_fault_of_the_texts(
    fake, tmp_path, capsys, monkeypatch
):
    def load(task=None):
        raise MemoryLimitError("there is not enough memory to load g.onnx")

    monkeypatch.setattr(fake, "load", load)
    (tmp_path / "t.txt").write_text("a\nb\n")
    assert main(["embed", str(tmp_path / "t.txt"), "--out", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == "embedge: error: there is not enough memory to load g.onnx\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "t.txt"]


def test_no_input_gives_no_rows_and_a_note(fake, stdin, capsys, tmp_path):
    stdin(b"")
    assert main(["embed"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "holds no text" in captured.err
    stdin(b"")
    out = tmp_path / "o.npy"
    assert main(["embed", "--out", str(out), "--truncate-dim", "3"]) == 0
    assert np.load(out).shape == (0, 3)


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("count", [1, 300])
def test_npy(fake, tmp_path, kind, count):
    path, out = tmp_path / "t.txt", tmp_path / "o.npy"
    texts = [f"{'a' * (i % 7 + 1)} {'b' * (i % 5)} c" for i in range(count)]
    path.write_text("".join(text + "\n" for text in texts))
    arguments = ["embed", str(path), "--out", str(out), "--embedding-type", kind]
    assert main(arguments) == 0
    rows = np.load(out)
    vectors = normalize(np.array([vector(text) for text in texts], np.float32))
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    wanted = quantize(vectors, kind, ranges=ranges if kind in ("int8", "uint8") else None)
    assert rows.dtype == wanted.dtype
    assert rows.tolist() == wanted.tolist()
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


@pytest.mark.parametrize("kind", ["float32", "int8", "ubinary"])
def test_row_i_of_an_array_is_line_i(fake, tmp_path, capsys, kind, monkeypatch):
    monkeypatch.setattr("embedge.bulk.sinks.BLOCK", 3)
    bad = {0, 1, 2, 3, 7, 70, *range(140, 300), 301}  # whole chunks, both ends
    lines = [b"\xff" if i in bad else b"a" * (i % 7 + 1) + b" b" for i in range(302)]
    path, out = tmp_path / "t.txt", tmp_path / "o.npy"
    path.write_bytes(b"\n".join(lines))
    arguments = ["embed", str(path), "--out", str(out), "--embedding-type", kind]
    assert main(arguments) == 1
    rows = np.load(out)
    assert len(rows) == 302
    good = [i for i in range(302) if i not in bad]
    path.write_bytes(b"\n".join(lines[i] for i in good))
    assert main(arguments) == 0
    assert rows[good].tolist() == np.load(out).tolist()
    empty = rows[sorted(bad)]
    assert (np.isnan(empty) if kind == "float32" else empty == 0).all()
    filler = "NaN" if kind == "float32" else "0"
    assert f"texts were left out; their rows are {filler}" in capsys.readouterr().err


def test_rows_of_nothing_but_bad_lines(fake, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xff\n\xff\n")
    for kind in ("float32", "int8"):
        arguments = ["--out", str(tmp_path / "o.npy"), "--embedding-type", kind]
        assert main(["embed", str(tmp_path / "t.txt"), *arguments]) == 1
        assert np.load(tmp_path / "o.npy").shape == (2, 4)


@pytest.mark.parametrize("name", ["t.xlsx", "t.FEATHER", "t.parquet", "t.pdf", "t.txt.gz", "t.npy"])
def test_what_is_no_text_by_its_name_is_refused_unless_a_format_is_named(
    fake, tmp_path, capsys, name
):
    path = tmp_path / name
    path.write_text('"a b"\n')
    assert main(["embed", str(path)]) == 2
    told = capsys.readouterr().err
    assert str(path) in told
    assert "JSON lines (.jsonl, .ndjson)" in told
    assert "--input-format" in told
    for kind in ("lines", "jsonl", "file"):
        assert main(["embed", str(path), "--input-format", kind]) == 0


def test_an_image_among_texts_is_refused(fake, tmp_path, capsys):
    (tmp_path / "t.jpg").write_bytes(b"")
    assert main(["embed", str(tmp_path / "t.jpg")]) == 2
    assert "add --images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "named", "format_"),
    [
        ("v.parquet", None, None),
        ("v.csv", None, None),
        ("v.json", None, None),
        ("v.npz", None, None),
        ("v.jsonl.gz", None, None),
        ("v.png", None, None),
        ("v.npy", "jsonl", None),
        ("v.jsonl", "npy", None),
        ("v.NPY", None, "npy"),
        ("v.ndjson", None, "jsonl"),
        ("v", None, "jsonl"),
        ("v.txt", None, "jsonl"),
        ("v.json", "jsonl", "jsonl"),
        ("v.bin", "npy", "npy"),
    ],
)
def test_the_name_of_the_output_says_what_is_in_it(fake, tmp_path, capsys, name, named, format_):
    (tmp_path / "t.txt").write_text("a b\n")
    arguments = ["embed", str(tmp_path / "t.txt"), "--out", str(tmp_path / name)]
    arguments += ["--format", named] if named else []
    assert main(arguments) == (0 if format_ else 2)
    if format_ is None:
        assert name in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    else:
        assert (tmp_path / name).read_bytes()[:6] == {"npy": b"\x93NUMPY", "jsonl": b'{"inde'}[
            format_
        ]


def test_ranges_are_made_once_and_serve_the_next_run(fake, tmp_path, capsys):
    documents, queries = tmp_path / "d.txt", tmp_path / "q.txt"
    documents.write_text("".join(f"{'a' * i} b\n" for i in range(200)))
    queries.write_text("aaa b\n")
    ranges = tmp_path / "r.npy"
    common_part = ["--embedding-type", "int8", "--ranges", str(ranges), "--out"]
    assert main(["embed", str(documents), *common_part, str(tmp_path / "d.npy")]) == 0
    before = ranges.read_bytes()
    assert main(["embed", str(queries), *common_part, str(tmp_path / "q.npy")]) == 0
    assert ranges.read_bytes() == before
    # The same text gets the same numbers in both runs.
    assert np.load(tmp_path / "q.npy")[0].tolist() == np.load(tmp_path / "d.npy")[3].tolist()
    assert main(["embed", str(queries), "--ranges", str(ranges)]) == 2
    ranges.write_bytes(b"junk")
    assert main(["embed", str(queries), *common_part, str(tmp_path / "q.npy")]) == 2
    assert "is not a .npy array" in capsys.readouterr().err


def test_ranges_that_are_none_are_one_sentence(fake, tmp_path, capsys):
    (tmp_path / "t.txt").write_text("a b\n")
    np.savez(tmp_path / "archive.npz", a=np.zeros((2, 4)))
    np.save(tmp_path / "objects.npy", np.array([[{}], [{}]], object), allow_pickle=True)
    np.save(tmp_path / "crossed.npy", np.array([[1.0], [0.0]]))
    np.save(tmp_path / "huge.npy", np.zeros((2, 4)))
    claim = (tmp_path / "huge.npy").read_bytes().replace(b"(2, 4), }", b"(2, 4000000000000), }")
    (tmp_path / "huge.npy").write_bytes(claim)
    os.mkfifo(tmp_path / "pipe.npy")
    for name in ("archive.npz", "objects.npy", "crossed.npy", "huge.npy", "pipe.npy"):
        ranges = ["--ranges", str(tmp_path / name), "--embedding-type", "int8"]
        assert main(["embed", str(tmp_path / "t.txt"), *ranges]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"embedge: error: --ranges {tmp_path / name}")
        assert told.count("\n") == 1


def test_an_interrupted_run_leaves_no_file(fake, tmp_path, capsys):
    path, out = tmp_path / "t.txt", tmp_path / "o.jsonl"
    path.write_text("a\n" * 64 + "nan\n")  # the second chunk fails
    out.write_text("what was there before")
    assert main(["embed", str(path), "--out", str(out)]) == 2
    assert out.read_text() == "what was there before"
    assert {file.name for file in tmp_path.iterdir()} == {"t.txt", "o.jsonl"}


@pytest.mark.parametrize("name", ["t.txt", "./t.txt", "link", "hard", "sub/../t.txt"])
@pytest.mark.parametrize("source", ["t.txt", "-"])
def test_an_output_that_is_read_is_refused(fake, capsys, tmp_path, monkeypatch, name, source):
    monkeypatch.chdir(tmp_path)
    path = Path("t.txt")
    path.write_text("precious\n")
    Path("sub").mkdir()
    Path("link").symlink_to("t.txt")
    Path("hard").hardlink_to("t.txt")
    with path.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert main(["embed", source, "--out", name]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert path.read_text() == Path("hard").read_text() == "precious\n"


def test_stdout_that_is_read_is_refused(fake, capsys, tmp_path, monkeypatch):
    """`embed t.txt >> t.txt` would read what it writes, without end."""
    path = tmp_path / "t.txt"
    path.write_text("precious\n")
    with path.open("a") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert main(["embed", str(path)]) == 2
    assert "stdout is the file that is read" in capsys.readouterr().err
    assert path.read_text() == "precious\n"


def test_ranges_are_no_vectors(fake, capsys, tmp_path):
    (tmp_path / "t.txt").write_text("a\n")
    same = ["--out", str(tmp_path / "o.npy"), "--ranges", str(tmp_path / "." / "o.npy")]
    assert main(["embed", str(tmp_path / "t.txt"), "--embedding-type", "int8", *same]) == 2
    assert "give two names" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["o.jsonl", "o.npy"])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_full_disk_leaves_nothing_and_names_the_file(fake, tmp_path, name, kind):
    (tmp_path / "t.txt").write_text("a b\n" * 3000)
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from support.fakes import FakeEmbedder
from embedge.cli import arguments, main
arguments.open_embedder = lambda options: FakeEmbedder()
resource.setrlimit(resource.RLIMIT_FSIZE, (2**13, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""
    arguments = ["embed", str(tmp_path / "t.txt"), "--out", str(tmp_path / name)]
    arguments += ["--embedding-type", kind]
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[1]), *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    # What waits for its ranges waits in the folder for temporary files.
    named = tmp_path / name if kind == "float32" else tmp_path
    assert done.stderr == f"embedge: error: {named}: File too large\n"
    assert [file.name for file in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("name", ["null", "null.npy"])
def test_what_is_no_file_is_written_to_and_stays(fake, tmp_path, name):
    (tmp_path / "t.txt").write_text("a b\n")
    link = tmp_path / name
    link.symlink_to(os.devnull)
    assert main(["embed", str(tmp_path / "t.txt"), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert Path(os.devnull).is_char_device()


def test_options_reach_the_embedder(fake, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("a\n")
    arguments = ["--task", "retrieval", "--prompt-name", "query", "--max-length", "5"]
    assert main(["embed", str(path), *arguments]) == 0
    call = fake.calls[-1]
    assert (call["task"], call["prompt_name"], call["max_length"]) == ("retrieval", "query", 5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.txt"], "missing.txt does not exist"),
        (["."], ". is a folder"),
        (["--format", "npy"], "add --out FILE"),
        (["--out", "no/such/folder/o.npy"], "no/such/folder, which does not exist"),
        (["--out", "."], "is a folder"),
        (["--out", ""], "is empty"),
        (["--out", "new/"], "name of a folder"),
        (["--embedding-type", "int8", "--ranges", "no/r.npy"], "no, which does not exist"),
        (["--ranges", "r.npy"], "serves int8 and uint8"),
        (["--task", "translation"], "task 'translation'"),
    ],
)
def test_refused_before_any_work(fake, stdin, capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    stdin(b"text\n")
    assert main(["embed", *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(Path().iterdir()) == []


def test_an_unreadable_file_is_told_and_the_others_come_out(fake, capsys, tmp_path, monkeypatch):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("a\n")
    bad.write_text("b\n")
    real = Path.open

    def open_(self, *arguments, **options):
        if self == bad:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)
    assert main(["embed", str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["index"] for line in captured.out.splitlines()] == [1]
    assert f"{bad}: cannot be read: Permission denied" in captured.err


def test_a_file_of_bad_lines_does_not_flood_the_terminal(fake, stdin, capsys):
    stdin(b"\xff\n" * 1000 + b"good\n")
    assert main(["embed"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    told = captured.err.splitlines()
    assert len(told) < 25
    assert "1000 of 1001 texts were left out" in told[-1]


def test_a_text_that_cannot_be_embedded_costs_its_line(make_pack, tmp_path, capsys):
    """With a real pack: 11 MB of spaces, at which the library's expressions give up, are cut."""
    folder = make_pack()
    edit_manifest(folder, lambda root: root["text"].update(vocabulary_size=257))
    path = tmp_path / "t.txt"
    path.write_text("\n".join(["good", "a <eos> here", " " * 11_000_000, "good"]))
    assert main(["embed", str(path), "--pack", str(folder)]) == 1
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert [row["index"] for row in rows] == [0, 2, 3]
    assert rows[0]["embedding"] == rows[2]["embedding"]
    assert f"{path}:2: gives the token '<eos>'" in printed.err
    assert "1 text was longer than the limit" in printed.err
