"""Nothing that a file, a pack, a server or a name holds steers the terminal or forges a line."""

import dataclasses
import json
import unicodedata

import pytest
from PIL import Image

from embedge.cli import main
from embedge.cli.commands import export
from embedge.images.pillow import RefusedImageError
from embedge.pack.verification import Figures, Report
from embedge.printable import printable
from embedge.progress import ProgressBar
from support.fakes import MANIFEST, FakeEmbedder, write_pack
from support.tiny import IMAGE

# Clears the line and writes another; an 8-bit escape; a line of its own; a reversed text; DEL.
EVIL = "x\x1b[1K\rlicense     apache-2.0\x9b2J\nOK  files\u202eecnecil\u2028y\x7f\x00z"


def check(text: str) -> None:
    for line in text.split("\n"):
        bad = [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
        assert bad == [], line
    assert "x" in text  # it was shown
    assert not any(
        line.startswith(("license     apache", "OK  files")) for line in text.split("\n")
    )


def test_printable_keeps_words_and_length():
    assert printable("zwölf 日本 🙂") == "zwölf 日本 🙂"
    assert len(printable(EVIL)) == len(EVIL)
    assert printable(EVIL).isprintable()


def test_info(tmp_path, capsys):
    evil = dataclasses.replace(
        MANIFEST,
        model_id=EVIL,
        license=EVIL + "-nc",
        revision=EVIL,
        prompts={EVIL: EVIL},
        default_prompt=None,
        written_by={EVIL: EVIL},
    )
    folder = write_pack(tmp_path / EVIL.replace("\0", ""), evil)
    assert main(["info", str(folder)]) == 0
    check(capsys.readouterr().out)
    assert main(["info", str(folder), "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["license"] == EVIL + "-nc"  # exact
    assert all(c.isprintable() for c in out.replace("\n", ""))


@pytest.mark.parametrize("command", ["verify", "doctor", "bench"])
def test_commands_that_run_a_pack(pack, capsys, command):
    path = pack / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["model_id"] = EVIL
    path.write_text(json.dumps(manifest))
    extra = ["--shapes", "1x4", "--seconds", "0.001"] if command == "bench" else []
    main([command, str(pack), *extra])
    captured = capsys.readouterr()
    check(captured.out + captured.err + "x")
    main([command, str(pack / EVIL.replace("\0", ""))])
    check(capsys.readouterr().err + "x")


def test_export(monkeypatch, capsys, tmp_path):
    evil = dataclasses.replace(
        MANIFEST,
        model_id=EVIL,
        license=EVIL,
        verification={"fp32": Report(tasks={EVIL: Figures()})},
    )
    monkeypatch.setattr(export, "load_exporter", lambda name: lambda *_, **__: evil)
    main(["export", "source", "--out", str(tmp_path / "o"), "--precisions", "fp32"])
    check(capsys.readouterr().out)


def test_names_of_files_in_refusals_and_hits(make_pack, tmp_path, capsys):
    both = make_pack("both", image=IMAGE)
    photos = tmp_path / "photos"
    photos.mkdir()
    name = EVIL.replace("\0", "")
    (photos / f"{name}.png").write_bytes(b"text")
    Image.new("RGB", (8, 6)).save(photos / f"good{name}.png")
    (photos / f"{name}.txt").write_text(f"{EVIL} words")
    (photos / f"good{name}.txt").write_text(EVIL.replace("\0", "") + " words")
    for command in (
        ["embed", "--images", str(photos)],
        ["classify", str(photos), "--labels", f"a{EVIL},b"],
        ["search", "words", str(photos)],
        ["embed", str(photos / f"{name}.gone")],
        ["embed", str(photos / f"{name}.txt")],
        ["embed", "--out", str(photos / name / name)],
    ):
        main([*command, "--pack", str(both)])
        captured = capsys.readouterr()
        if captured.out:
            check(captured.out + "x")
        check(captured.err + "x")


def test_errors_warnings_and_the_progress_line(monkeypatch, capsys):
    def fail(options):
        raise OSError(5, EVIL, EVIL)

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", fail)
    assert main(["bench", "x"]) == 2
    check(capsys.readouterr().err)
    assert main(["bench", "x", "--debug"]) == 2  # the traceback, on lines of its own
    assert "\x1b" not in capsys.readouterr().err
    with ProgressBar(True) as progress:
        progress.say(EVIL)
        progress.update(0.5, EVIL)
    check(capsys.readouterr().err)


def test_ids_of_json_lines_are_exact(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: FakeEmbedder())
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "a", "id": EVIL}))
    assert main(["embed", str(path)]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["id"] == EVIL
    assert out.removesuffix("\n").isprintable()


def test_words_of_a_server_in_the_error_of_an_image():
    assert str(RefusedImageError(EVIL)).isprintable()
