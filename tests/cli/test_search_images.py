"""`embedge search` over images and texts, and its contact sheet."""

import json
from pathlib import Path

import pytest
from PIL import Image

from embedge.cli import main
from support.tiny import IMAGE


@pytest.fixture
def both(make_pack) -> Path:
    return make_pack("both", image=IMAGE)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (8, 6), (250, 0, 0)).save(folder / "red.png")
    Image.new("RGB", (8, 6), (0, 0, 250)).save(folder / "blue.png")
    (folder / "notes.txt").write_text("some words")
    (folder / "broken.png").write_bytes(b"text")
    return folder


def search(both, *arguments) -> int:
    return main(["search", "a red bicycle", *map(str, arguments), "--pack", str(both)])


def test_images_and_texts_are_found_together(both, photos, capsys):
    assert search(both, photos) == 0
    captured = capsys.readouterr()
    assert "red.png\n" in captured.out
    assert "notes.txt:1" in captured.out
    assert "broken.png: skipped (is not an image" in captured.err
    assert "3 passages and images in 3 files" in captured.err


def test_json_and_only(both, photos, capsys):
    assert search(both, photos, "--json", "--only", "image") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["image"] for row in rows} == {str(photos / "red.png"), str(photos / "blue.png")}
    assert search(both, photos, "--json", "--only", "text") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["file"] == str(photos / "notes.txt")


def test_the_sheet_shows_the_images_found(both, photos, tmp_path, capsys):
    sheet = tmp_path / "hits.png"
    assert search(both, photos, "--sheet", sheet) == 0
    captured = capsys.readouterr()
    assert "2 images drawn in" in captured.err
    assert "notes.txt:1" in captured.out  # the words come as well
    with Image.open(sheet) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(2**20)}
    assert {(250, 0, 0), (0, 0, 250)} <= colors
    assert not list(tmp_path.glob("*.part"))


def test_no_image_found_draws_nothing(both, photos, tmp_path, capsys):
    sheet = tmp_path / "hits.png"
    assert search(both, photos, "--only", "text", "--sheet", sheet) == 0
    assert "is not drawn" in capsys.readouterr().err
    assert not sheet.exists()


def test_a_sheet_that_cannot_be_is_refused_before_any_work(both, pack, photos, tmp_path, capsys):
    for name, told in (
        (tmp_path / "hits.jpg", "ends in .png"),
        (tmp_path / "none/hits.png", "none, which does not exist"),
    ):
        assert search(both, photos, "--sheet", name) == 2
        assert told in capsys.readouterr().err
    assert search(pack, photos, "--sheet", tmp_path / "hits.png") == 2
    assert "embeds texts only" in capsys.readouterr().err


def test_progress_names_the_images(both, photos, capsys):
    assert search(both, photos, "--progress") == 0
    assert "2 images" in capsys.readouterr().err


def test_a_sheet_never_replaces_an_image_that_is_searched(both, photos, capsys):
    before = (photos / "red.png").read_bytes()
    link = photos.parent / "link.png"
    link.symlink_to(photos / "red.png")
    for path in (photos / "red.png", link):
        assert search(both, photos, "--sheet", path) == 2
        assert "one of the images that are searched" in capsys.readouterr().err
    assert (photos / "red.png").read_bytes() == before
    for _ in range(2):  # an older sheet may be drawn again, wherever it stands
        assert search(both, photos, "--sheet", photos / "sheet.png") == 0
