"""An index of images beside texts, with the tiny pack's two towers."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedge import CancelledError, Embedder, IndexOutdatedError, OptionError, sessions
from embedge.images import pillow
from embedge.search import SearchIndex, UpdateProgress, update
from support.tiny import DIMENSION, IMAGE

MakePack = Callable[..., Path]


@pytest.fixture
def embedder(make_pack: MakePack) -> Iterator[Embedder]:
    with Embedder(make_pack("both", image=IMAGE)) as opened:
        yield opened


@pytest.fixture
def embedded(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of `encode_squares` was given."""
    counts: list[int] = []
    real = embedder.encode_squares

    def counted(images: Any, **options: Any) -> Any:
        counts.append(len(images))
        return real(images, **options)

    monkeypatch.setattr(embedder, "encode_squares", counted)
    return counts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    Image.new("RGB", (9, 7), (255, 0, 0)).save(root / "red.png")
    Image.new("RGB", (7, 9), (0, 0, 255)).save(root / "sub/blue.JPG")
    (root / "notes.txt").write_text("some words about a holiday")
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (root / "empty.gif").write_bytes(b"")
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_images_and_texts_stand_in_one_index(embedder: Embedder, folder: Path, place: Path) -> None:
    with SearchIndex(place, embedder) as index:
        report = index.update(folder)
        assert (report.added, report.updated, report.removed) == (3, 0, 0)
        assert {path.name for path, _ in report.refused} == {"broken.png", "empty.gif"}
        assert index.count() == (3, 3)
        hits = index.search("a query", top_k=9)
        images = index.search("a query", top_k=9, kind="image")
        texts = index.search("a query", top_k=9, kind="text")
    assert {(hit.path.name, hit.kind) for hit in hits} == {
        ("red.png", "image"),
        ("blue.JPG", "image"),
        ("notes.txt", "text"),
    }
    assert {hit.path.name for hit in images} == {"red.png", "blue.JPG"}
    assert [hit.path.name for hit in texts] == ["notes.txt"]
    assert all((hit.line, hit.text) == (0, "") for hit in images)


class Camera:
    """An image tower that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def run(self, pixels: Any, *, cancel: Any = None, keep: bool = False) -> Any:
        self.shown += list(pixels)
        return np.ones((len(pixels), DIMENSION), np.float32)


def test_the_tower_sees_what_it_sees_of_the_whole_file(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a photo that lies on its side, so that turning it twice would show."""
    camera = Camera()
    monkeypatch.setattr(sessions, "open_session", lambda graph, **options: camera)
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (30, 80, 3), np.uint8)
    for name in ("a.jpg", "b.png", "c.tiff", "d.webp"):
        Image.fromarray(noise).save(folder / name, exif=exif)
    Image.fromarray(noise).convert("P").save(folder / "e.gif")
    with SearchIndex(None, embedder) as index:
        index.update(folder)
    indexed = camera.shown.copy()
    camera.shown.clear()
    embedder.encode_image(sorted(folder.iterdir()))
    np.testing.assert_array_equal(indexed, camera.shown)
    assert len(indexed) == 5


def test_the_score_is_the_cosine_of_the_image(embedder: Embedder, folder: Path) -> None:
    with SearchIndex(None, embedder) as index:
        index.update(folder / "red.png")
        (hit,) = index.search("a query")
    query = embedder.encode_query("a query", task="retrieval")
    image = embedder.encode_image(folder / "red.png", task="retrieval")
    assert hit.score == pytest.approx(float(query @ image), abs=1e-7)


def test_only_new_content_is_embedded(
    embedder: Embedder, embedded: list[int], folder: Path, place: Path
) -> None:
    with SearchIndex(place, embedder) as index:
        index.update(folder)
        assert sum(embedded) == 2
        shutil.copy(folder / "red.png", folder / "same.png")
        (folder / "sub/blue.JPG").rename(folder / "moved.jpg")
        report = index.update(folder)
        assert (report.added, report.removed) == (2, 1)
        assert sum(embedded) == 2  # by the hash of the content
        Image.new("RGB", (9, 7), (0, 255, 0)).save(folder / "red.png")
        report = index.update(folder)
        assert report.updated == 1
        assert sum(embedded) == 3
        names = {hit.path.name for hit in index.search("x", top_k=9, kind="image")}
        assert names == {"red.png", "same.png", "moved.jpg"}


def test_a_bad_image_is_remembered_and_found_once_it_is_mended(
    embedder: Embedder, folder: Path, place: Path
) -> None:
    with SearchIndex(place, embedder) as index:
        first = index.update(folder).refused
        assert sorted(index.update(folder).refused) == sorted(first)
        Image.new("RGB", (9, 7)).save(folder / "broken.png")
        report = index.update(folder)
        assert report.added == 1
        assert [path.name for path, _ in report.refused] == ["empty.gif"]


def test_an_update_that_is_stopped_goes_on_where_it_was(
    embedder: Embedder, embedded: list[int], tmp_path: Path, place: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        Image.new("RGB", (5, 5), (number, 2 * number, 0)).save(folder / f"{number:03}.png")
    cancel = threading.Event()

    def stop(state: UpdateProgress) -> None:
        if state.images >= 36:
            cancel.set()

    with SearchIndex(place, embedder) as index:
        with pytest.raises(CancelledError):
            index.update(folder, progress=stop, cancel=cancel)
        states: list[UpdateProgress] = []
        report = index.update(folder, progress=states.append)
        assert report.added + report.unchanged == 100
        assert report.unchanged == 32  # the files of the first flush were kept whole
        assert index.count() == (100, 100)
    # What was lost is the chunk that was running: 32 files were kept, 32 images were in it.
    assert sum(embedded) == 32 + 32 + 68
    fractions = [state.fraction for state in states]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert states[-1].images == 68


def test_few_squares_wait_however_many_images_there_are(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        Image.new("RGB", (5, 5), (number, 0, 0)).save(folder / f"{number:03}.bmp")
    waiting: list[int] = []
    flush = update.Update._flush

    def watched(self: update.Update) -> None:
        waiting.append(len(self._squares))
        flush(self)

    monkeypatch.setattr(update.Update, "_flush", watched)
    with SearchIndex(None, embedder) as index:
        index.update(folder)
    assert waiting == [32, 32, 32, 4]


def test_a_text_pack_passes_over_images(pack: Path, folder: Path) -> None:
    with Embedder(pack) as embedder, SearchIndex(None, embedder) as index:
        report = index.update(folder)
        assert report.added == 2  # the text, and the empty file
        assert {path.name for path, _ in report.refused} == {
            "red.png",
            "blue.JPG",
            "broken.png",
        }


def test_without_pillow_texts_are_searched_and_images_wait(
    embedder: Embedder, folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow.load_pillow.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "PIL", None)
            with SearchIndex(place, embedder) as index:
                report = index.update(folder)
    finally:
        pillow.load_pillow.cache_clear()
    assert report.added == 1
    assert all("embedge[image]" in reason for _, reason in report.refused)
    with SearchIndex(place, embedder) as index:
        report = index.update(folder)
    assert report.added == 2


def test_another_preprocessing_is_another_meaning(
    make_pack: MakePack, folder: Path, place: Path
) -> None:
    from dataclasses import replace

    for name, size in (("a", 4), ("b", 8)):
        with Embedder(make_pack(name, image=replace(IMAGE, size=size))) as embedder:
            if size == 4:
                SearchIndex(place, embedder).close()
            else:
                with pytest.raises(IndexOutdatedError):
                    SearchIndex(place, embedder)


def test_an_unknown_kind_is_refused(embedder: Embedder) -> None:
    with SearchIndex(None, embedder) as index, pytest.raises(OptionError, match="kind 'sound'"):
        index.search("x", kind="sound")


def test_a_text_and_an_image_of_the_same_bytes_are_two_things(
    embedder: Embedder, tmp_path: Path
) -> None:
    """A text file whose words are a valid PPM image, under both names."""
    folder = tmp_path / "twins"
    folder.mkdir()
    data = "P3 2 2 255 " + "1 2 3 " * 4
    for name in ("a.txt", "a.ppm"):
        (folder / name).write_text(data)
    with SearchIndex(None, embedder) as index:
        assert index.update(folder).added == 2
        text, image = (index.search("x", kind=kind)[0] for kind in ("text", "image"))
    assert text.text.startswith("P3")
    assert text.score != image.score


def test_what_is_named_like_an_image_and_is_a_bomb_or_a_link(
    embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    (folder / "link.png").symlink_to(folder / "red.png")
    Image.new("1", (100_000, 1)).save(folder / "thread.png")
    with SearchIndex(None, embedder) as index:
        report = index.update(folder)
        assert any("64 times" in reason for _, reason in report.refused)
        assert all(hit.path.name != "link.png" for hit in index.search("x", top_k=9))
