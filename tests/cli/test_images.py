"""`embedge classify` and `embedge embed --images`, with the tiny pack's two towers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedge import Embedder
from embedge.cli import main
from embedge.cli.commands.classify import score, split_labels
from support.tiny import IMAGE

COLORS = {"red.png": (255, 0, 0), "sub/green.jpg": (0, 255, 0), "sub/blue.webp": (0, 0, 255)}


@pytest.fixture
def both(make_pack) -> Path:
    return make_pack("both", image=IMAGE)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, color in COLORS.items():
        Image.new("RGB", (8, 6), color).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def out(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_images_are_embedded_with_their_paths(both, photos, capsys):
    assert main(["embed", "--images", "--pack", str(both), str(photos)]) == 0
    rows = out(capsys)
    names = [photos / "red.png", photos / "sub/blue.webp", photos / "sub/green.jpg"]
    assert [row["id"] for row in rows] == [str(name) for name in names]
    with Embedder(both) as embedder:
        expected = embedder.encode_image(names)
    assert [np.float32(row["embedding"]).tolist() for row in rows] == expected.tolist()


@pytest.mark.parametrize("kind", ["float32", "ubinary", "uint8"])
def test_a_bad_image_is_told_and_the_others_come_out(both, photos, capsys, tmp_path, kind):
    (photos / "bad.png").write_bytes(b"text")
    Image.effect_noise((64, 64), 50).save(photos / "half.bmp")
    (photos / "half.bmp").write_bytes((photos / "half.bmp").read_bytes()[:2000])
    target = tmp_path / "out.npy"
    command = ["embed", "--images", "--pack", str(both), str(photos), "--out", str(target)]
    if kind == "uint8":
        command += ["--ranges", str(tmp_path / "ranges.npy")]
    assert main([*command, "--embedding-type", kind]) == 1
    rows = np.load(target)
    # Row i is image i, in the order of their paths: bad.png, half.bmp, red.png, sub/….
    assert len(rows) == 5
    empty = np.isnan(rows) if kind == "float32" else rows == 0
    assert empty.all(axis=1).tolist() == [True, True, False, False, False]
    told = capsys.readouterr().err
    assert "bad.png' is not an image" in told
    assert "half.bmp' is damaged" in told
    assert "2 of 5 images were left out" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name at least one"),
        (["-"], "name at least one"),
        (["nothing.png"], "nothing.png does not exist"),
        (["PHOTOS", "--max-length", "5"], "--max-length is for texts"),
        (["PHOTOS", "--prompt-name", "query"], "--prompt-name is for texts"),
        (["PHOTOS", "--input-format", "jsonl"], "--input-format is for texts"),
        (["EMPTY"], "holds no images"),
    ],
)
def test_what_has_no_meaning_for_images_is_refused(both, photos, tmp_path, capsys, arguments, told):
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(photos), "EMPTY": str(tmp_path / "empty")}
    given = [places.get(argument, argument) for argument in arguments]
    target = tmp_path / "out.jsonl"
    assert main(["embed", "--images", "--pack", str(both), "--out", str(target), *given]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("out.jsonl*"))


def test_an_output_that_is_a_file_of_the_pack_is_refused(both, photos, capsys):
    names = [path.name for path in both.iterdir()]
    before = {name: (both / name).read_bytes() for name in names}
    for name in ("manifest.json", next(name for name in names if name.endswith(".onnx"))):
        command = ["embed", "--images", str(photos), "--pack", str(both), "--format", "jsonl"]
        assert main([*command, "--out", str(both / name)]) == 2
        assert "is the file that is read" in capsys.readouterr().err
    assert {name: (both / name).read_bytes() for name in names} == before


def test_bad_images_alone_give_rows_without_a_vector(both, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"text")
    target = tmp_path / "o.npy"
    command = ["embed", "--images", "--pack", str(both), str(tmp_path / "bad.png")]
    for kind in ("float32", "int8"):
        assert main([*command, "--out", str(target), "--embedding-type", kind]) == 1
        assert len(np.load(target)) == 1


def test_an_output_that_is_one_of_the_images_is_refused(both, photos, capsys):
    before = (photos / "red.png").read_bytes()
    command = ["embed", "--images", "--pack", str(both), str(photos)]
    assert main([*command, "--out", str(photos / "sub/../red.png")]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert (photos / "red.png").read_bytes() == before


@pytest.mark.parametrize("command", ["embed --images", "classify --labels a,b", "search words"])
@pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_tiff_is_one_sentence(both, tmp_path, capfd, command, compression):
    """libtiff writes to the process's stderr by itself, a line for each damaged row."""
    folder = tmp_path / "photos"
    folder.mkdir()
    path = folder / "bad.tif"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    Image.fromarray(noise).convert("1").save(path, compression=compression)
    data = bytearray(path.read_bytes())
    for place in range(100, len(data) - 300, 37):
        data[place] ^= 0x55
    path.write_bytes(data)
    (folder / "good.txt").write_text("words")
    name, *options = command.split()
    words = options if name == "search" else []
    main([name, *words, str(folder), *([] if words else options), "--pack", str(both)])
    told = [line for line in capfd.readouterr().err.splitlines() if "embedge: " not in line]
    assert told == []


def test_a_text_pack_says_that_it_has_no_image_tower(pack, photos, capsys):
    for command in (["embed", "--images"], ["classify", "--labels", "a,b"]):
        assert main([*command, "--pack", str(pack), str(photos)]) == 2
        assert "no image tower" in capsys.readouterr().err


def labeled(both: Path, photos: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the three photos with two labels, made by hand."""
    with Embedder(both) as embedder:
        texts = embedder.encode(["a photo of cats", "a photo of a dog"], prompt="")
        images = embedder.encode_image([photos / name for name in COLORS])
    return images @ texts.T, texts


def test_labels_come_with_cosines_where_the_pack_has_no_scale(both, photos, capsys):
    command = ["classify", *(str(photos / name) for name in COLORS), "--labels", " cats, a dog,"]
    assert main([*command, "--pack", str(both), "--json"]) == 0
    cosines, _ = labeled(both, photos)
    for row, name, expected in zip(out(capsys), COLORS, cosines, strict=True):
        assert row["file"] == str(photos / name)
        by_label = dict(zip(["cats", "a dog"], expected, strict=True))
        assert row["cosine"] == pytest.approx(by_label, abs=1e-5)
        assert row["label"] == ["cats", "a dog"][expected.argmax()]


def test_labels_come_with_probabilities_where_it_has_one(make_pack, photos, capsys):
    both = make_pack(image=replace(IMAGE, logit_scale=100.0))
    command = ["classify", str(photos), "--labels", "cats,a dog", "--pack", str(both)]
    assert main([*command, "--json"]) == 0
    for row in out(capsys):
        assert sum(row["probability"].values()) == pytest.approx(1, abs=1e-5)
    assert main([*command, "--top-k", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert all(line.endswith("%") and ", " not in line for line in shown)


def test_scores_by_hand():
    image, texts = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert score(image, texts, None).tolist() == [1.0, 0.0]
    odds = np.exp(2.0)
    np.testing.assert_allclose(score(image, texts, 2.0), [odds / (odds + 1), 1 / (odds + 1)])
    assert score(image, texts, 1e6).tolist() == [1.0, 0.0]  # no overflow


def test_labels_are_split_and_must_be_two():
    assert split_labels("a, b b ,,a") == ["a", "b b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--labels", "one"], "at least two"),
        (["--labels", "a,b", "--template", "no place"], "has no {}"),
        (["--labels", "a,b", "--task", "nothing"], "not in this pack"),
    ],
)
def test_a_wrong_request_is_one_sentence(both, photos, capsys, arguments, told):
    assert main(["classify", str(photos), "--pack", str(both), *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


def test_a_bad_image_loses_no_other(both, photos, capsys):
    (photos / "bad.png").write_bytes(b"text")
    command = ["classify", str(photos), "--labels", "a,b", "--pack", str(both)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "1 of 4 images were left out" in captured.err


def test_a_name_that_steers_the_terminal_is_shown_harmless(both, tmp_path, capsys):
    path = tmp_path / "a\x1b[31m.png"
    Image.new("RGB", (8, 6)).save(path)
    assert main(["classify", str(path), "--labels", "a,b", "--pack", str(both)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_info_says_whether_a_pack_takes_images(pack, both, capsys):
    assert main(["info", str(both)]) == 0
    assert "4 x 4 pixels" in capsys.readouterr().out
    assert main(["info", str(both), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image_size"] == 4
    assert main(["info", str(pack)]) == 0
    assert "pixels" not in capsys.readouterr().out


def test_doctor_names_the_extra(capsys, pack):
    main(["doctor", str(pack)])
    assert "image extra" in capsys.readouterr().out
