"""`Embedder.encode_image`, with the tiny image tower: [mean red, green, blue, task, 0, 0, 0, 1]."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedge import (
    CancelledError,
    ClosedError,
    Embedder,
    ImageError,
    MemoryLimitError,
    MissingExtraError,
    NonFiniteError,
    OptionError,
    PackError,
    RangesWarning,
    sessions,
)
from embedge.engine.providers.cpu import Cpu
from embedge.images import pillow, pipeline
from embedge.images.pixels import to_square
from support.tiny import DIMENSION, IMAGE

MakePack = Callable[..., Path]


def plain(*color: int) -> Image.Image:
    """An image of one color."""
    return Image.new("RGB", (7, 5), color)


def answer(*color: int, task: int = 1) -> list[float]:
    """What the tiny image tower gives for a plain image, by hand."""
    return [*(value / 255 for value in color), task, 0, 0, 0, 1]


COLORS = [(255, 51, 0), (0, 0, 0), (102, 204, 51), (5, 10, 15), (255, 255, 255)]


@pytest.fixture
def image_pack(make_pack: MakePack) -> Path:
    return make_pack("both", image=IMAGE)


@pytest.fixture
def embedder(image_pack: Path) -> Iterator[Embedder]:
    with Embedder(image_pack) as opened:
        yield opened


class FakeTower:
    """Gives the first pixel's red as the vector, and remembers every batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.during: Callable[[], None] = lambda: None
        self.poison: float | None = None

    def run(self, pixels: Any, *, cancel: threading.Event | None = None, keep: bool = False) -> Any:
        assert not keep  # nobody knows how many of the next images can be decoded
        assert pixels.shape[1:] == (3, 4, 4)
        assert pixels.dtype == np.float32
        self.sizes.append(len(pixels))
        self.during()
        vectors = np.zeros((len(pixels), DIMENSION), np.float32)
        vectors[:, 0] = pixels[:, 0, 0, 0]
        vectors[:, 7] = 1
        if self.poison is not None:
            vectors[np.isclose(vectors[:, 0], self.poison)] = np.nan
        return vectors


@pytest.fixture
def tower(monkeypatch: pytest.MonkeyPatch) -> FakeTower:
    """In place of ONNX Runtime, and with runs of several images, as a GPU has them."""
    monkeypatch.setattr(Cpu, "images_per_run", 4)
    fake = FakeTower()
    monkeypatch.setattr(sessions, "open_session", lambda graph, **options: fake)
    return fake


def test_rows_come_in_order_and_one_image_gives_a_vector(embedder: Embedder) -> None:
    images = [plain(*color) for color in COLORS]
    rows = embedder.encode_image(images, normalize=False)
    np.testing.assert_allclose(rows, [answer(*color) for color in COLORS], atol=1e-6)
    assert rows.dtype == np.float32
    one = embedder.encode_image(images[2], normalize=False)
    np.testing.assert_array_equal(one, rows[2])
    assert embedder.encode_image([]).shape == (0, DIMENSION)


def test_a_generator_of_paths_and_an_array_of_images(embedder: Embedder, tmp_path: Path) -> None:
    for number, color in enumerate(COLORS):
        plain(*color).save(tmp_path / f"{number}.png")
    expected = embedder.encode_image([plain(*color) for color in COLORS])
    paths = (tmp_path / f"{number}.png" for number in range(len(COLORS)))
    np.testing.assert_array_equal(embedder.encode_image(paths), expected)
    stacked = np.stack([np.asarray(plain(*color)) for color in COLORS])  # (N, H, W, 3)
    np.testing.assert_array_equal(embedder.encode_image(stacked), expected)


def test_task_width_length_and_type_are_those_of_encode(embedder: Embedder) -> None:
    image = plain(255, 51, 0)
    assert embedder.encode_image(image, task="retrieval", normalize=False)[3] == 0
    cut = embedder.encode_image(image, truncate_dim=3)
    np.testing.assert_allclose(cut, np.array([1, 0.2, 0]) / np.sqrt(1.04), rtol=1e-6)
    assert embedder.encode_image(image, embedding_type="ubinary").tolist() == [0b11010001]
    for wrong in ({"task": "x"}, {"truncate_dim": 9}, {"embedding_type": "int3"}):
        with pytest.raises(OptionError):
            embedder.encode_image(image, **wrong)


def test_text_and_image_vectors_can_be_compared(embedder: Embedder) -> None:
    texts, images = embedder.encode(["a", "b"]), embedder.encode_image([plain(1, 2, 3)])
    assert embedder.similarity(texts, images).shape == (2, 1)


def test_batches_are_bounded_by_count_and_by_memory(make_pack: MakePack, tower: FakeTower) -> None:
    images = [plain(20 * number, 0, 0) for number in range(10)]
    told: list[tuple[int, int]] = []
    costly = make_pack(image=replace(IMAGE, per_image=1000))
    with Embedder(costly) as embedder:
        rows = embedder.encode_image(images, progress=lambda *state: told.append(state))
    assert tower.sizes == [4, 4, 2]
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert (np.diff(rows[:, 0]) > 0).all()
    tower.sizes.clear()
    with Embedder(costly, memory_limit=2999) as embedder:
        embedder.encode_image(images)
    assert tower.sizes == [2] * 5
    with Embedder(costly, memory_limit=999) as embedder, pytest.raises(MemoryLimitError):
        embedder.encode_image(images)


def test_bad_images_are_all_named_before_anything_runs(
    embedder: Embedder, tower: FakeTower
) -> None:
    with pytest.raises(ImageError, match=r"item 1: 'nothing\.png' does not exist") as caught:
        embedder.encode_image([plain(1, 2, 3), "nothing.png", b"text", plain(1, 2, 3)])
    assert [index for index, _ in caught.value.items] == [1, 2]
    assert caught.value.vectors is None
    assert isinstance(caught.value, ValueError)
    assert tower.sizes == []


def half_a_file(tmp_path: Path) -> Path:
    """A file whose header is whole, so that only decoding shows that the rest is missing."""
    path = tmp_path / "half.bmp"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize("embedding_type", ["float32", "binary", "uint8"])
def test_an_image_that_turns_out_bad_loses_no_other(
    embedder: Embedder, tmp_path: Path, embedding_type: Any
) -> None:
    bad = half_a_file(tmp_path)
    good = [plain(*color) for color in COLORS]
    ranges = np.array([[-1] * DIMENSION, [1] * DIMENSION]) if embedding_type == "uint8" else None
    options: Any = {"embedding_type": embedding_type, "ranges": ranges}
    expected = embedder.encode_image(good, **options)
    with pytest.raises(ImageError, match=r"item 0: .*half.bmp' is damaged.*`error.vectors`") as e:
        embedder.encode_image([bad, *good, bad], **options)
    np.testing.assert_array_equal(e.value.vectors[1:-1], expected)
    missing = e.value.vectors[[0, -1]]
    assert np.isnan(missing).all() if embedding_type == "float32" else (missing == 0).all()
    assert [index for index, _ in e.value.items] == [0, 6]


def test_on_error_is_told_of_every_bad_image_instead(embedder: Embedder, tmp_path: Path) -> None:
    told: dict[int, str] = {}
    progress: list[tuple[int, int]] = []
    rows = embedder.encode_image(
        ["nothing.png", plain(255, 0, 0), half_a_file(tmp_path), plain(0, 0, 0)],
        on_error=told.__setitem__,
        progress=lambda *state: progress.append(state),
    )
    assert sorted(told) == [0, 2]
    assert np.isnan(rows).all(axis=1).tolist() == [True, False, True, False]
    assert progress[-1] == (4, 4)
    only_bad = embedder.encode_image("nothing.png", on_error=told.__setitem__)
    assert only_bad.shape == (DIMENSION,)
    assert np.isnan(only_bad).all()


def test_ranges_come_from_the_good_images_only(embedder: Embedder) -> None:
    images = [plain(*color) for color in COLORS]
    with pytest.warns(RangesWarning):
        expected = embedder.encode_image(images, embedding_type="uint8")
    with pytest.warns(RangesWarning):
        rows = embedder.encode_image(
            ["nothing.png", *images], embedding_type="uint8", on_error=lambda *_: None
        )
    np.testing.assert_array_equal(rows[1:], expected)


def test_one_image_given_often_is_decoded_once_at_a_time(
    embedder: Embedder, tmp_path: Path
) -> None:
    Image.effect_noise((400, 300), 50).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:  # not loaded: decoding changes it
        rows = embedder.encode_image([image] * 16)
    assert (rows == rows[0]).all()


def test_no_two_threads_decode_the_callers_own_image(embedder: Embedder) -> None:
    class Watched:
        inside = most = 0
        loaded = False

    image = plain(1, 2, 3)

    def load() -> None:
        if Watched.loaded:  # harmless from then on, and what Pillow's own methods begin with
            return
        Watched.inside += 1
        Watched.most = max(Watched.most, Watched.inside)
        threading.Event().wait(0.02)
        Watched.inside -= 1
        Watched.loaded = True

    image.load = load  # type: ignore[method-assign]
    embedder.encode_image([image] * 8)
    assert Watched.most == 1


def test_decoding_stays_a_bounded_number_of_images_ahead(
    image_pack: Path, tower: FakeTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the network runs, images are decoded, but never all of them."""
    decoded: list[int] = []
    ahead: list[int] = []
    to_pixels = pipeline.to_pixels

    def counted(*arguments: Any, **options: Any) -> Any:
        decoded.append(1)
        return to_pixels(*arguments, **options)

    def during() -> None:
        threading.Event().wait(0.05)
        ahead.append(len(decoded) - sum(tower.sizes[:-1]))

    monkeypatch.setattr(pipeline, "to_pixels", counted)
    tower.during = during
    with Embedder(image_pack) as embedder:
        embedder.encode_image([plain(1, 2, 3)] * 80)
    assert len(decoded) == 80
    # A run of 4, and 2 runs ahead of it; the last runs have fewer before them.
    assert max(ahead) <= 4 + 2 * 4
    assert ahead[0] > 4  # and there is some overlap


def test_cancel_stops_between_runs_and_leaves_no_thread(image_pack: Path, tower: FakeTower) -> None:
    cancel = threading.Event()
    tower.during = cancel.set
    with Embedder(image_pack) as embedder:
        with pytest.raises(CancelledError):
            embedder.encode_image([plain(1, 2, 3)] * 50, cancel=cancel)
        assert tower.sizes == [4]
        assert not [t for t in threading.enumerate() if t.name.startswith("embedge-images")]
        with pytest.raises(CancelledError):
            embedder.encode_image([plain(1, 2, 3)], cancel=cancel)


def test_cancel_does_not_wait_for_an_image_that_takes_long(
    image_pack: Path, tower: FakeTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, release, begun = threading.Event(), threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> None:
        begun.set()
        assert release.wait(60)

    monkeypatch.setattr("embedge.images.pipeline.decode", slow)
    threading.Thread(target=lambda: begun.wait(60) and cancel.set()).start()
    try:
        with Embedder(image_pack) as embedder, pytest.raises(CancelledError):
            embedder.encode_image([plain(1, 2, 3)] * 9, cancel=cancel)
        assert not release.is_set()  # it came back while the image was still being decoded
    finally:
        release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("embedge-images"):
            thread.join(10)
            assert not thread.is_alive()


def test_an_error_of_the_network_leaves_no_thread(image_pack: Path, tower: FakeTower) -> None:
    tower.poison = 102 / 255
    with Embedder(image_pack) as embedder:
        with pytest.raises(NonFiniteError, match="item 2"):
            embedder.encode_image([plain(*color) for color in COLORS] * 9)
        assert not [t for t in threading.enumerate() if t.name.startswith("embedge-images")]


def test_a_tower_is_loaded_only_when_it_is_used(
    image_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = sessions.open_session

    def counted(graph: Path, **options: Any) -> Any:
        opened.append(graph.name)
        return real(graph, **options)

    monkeypatch.setattr(sessions, "open_session", counted)
    with Embedder(image_pack) as embedder:
        embedder.encode("a")
        assert opened == ["text-matching.fp32.onnx"]
        embedder.encode_image(plain(1, 2, 3))
        embedder.encode_image(plain(1, 2, 3))
        assert opened == ["text-matching.fp32.onnx", "image.text-matching.fp32.onnx"]
    with Embedder(image_pack) as embedder:
        embedder.encode_image(plain(1, 2, 3))
    assert opened[2:] == ["image.text-matching.fp32.onnx"]
    with Embedder(image_pack) as embedder:
        embedder.load("retrieval", tower="image")
    assert opened[3:] == ["image.retrieval.fp32.onnx"]


def test_tasks_that_share_a_graph_share_its_session(image_pack: Path) -> None:
    from embedge.pack.reading import dump_manifest, read_manifest

    manifest = read_manifest(image_pack)
    graphs = tuple(
        replace(graph, file="image.retrieval.fp32.onnx") if graph.tower == "image" else graph
        for graph in manifest.graphs
    )
    text = dump_manifest(replace(manifest, graphs=graphs))
    (image_pack / "manifest.json").write_text(text, encoding="utf-8")
    with Embedder(image_pack) as embedder:
        for task in embedder.tasks:
            assert embedder.encode_image(plain(1, 2, 3), task=task, normalize=False)[3] == 0
        assert len(embedder._encoder._runner._sessions._open) == 1


def test_a_pack_without_image_tower_and_a_closed_one_say_so(pack: Path, image_pack: Path) -> None:
    with Embedder(pack) as embedder, pytest.raises(PackError, match="no image tower"):
        embedder.encode_image(plain(1, 2, 3))
    with Embedder(pack) as embedder, pytest.raises(PackError, match="no image tower"):
        embedder.load(tower="image")
    with pytest.raises(ClosedError):
        embedder.encode_image(plain(1, 2, 3))


def test_a_graph_of_the_other_tower_is_refused(image_pack: Path) -> None:
    from embedge import PackFileError
    from support.tiny import edit_manifest

    def swap(root: dict[str, Any]) -> None:
        for graph in root["graphs"]:
            if graph["tower"] == "image":
                graph["file"], graph["data"] = "retrieval.fp32.onnx", ["shared.bin"]

    edit_manifest(image_pack, swap)
    with Embedder(image_pack) as embedder, pytest.raises(PackFileError, match="a image graph"):
        embedder.encode_image(plain(1, 2, 3))


def test_without_pillow_the_extra_is_named(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    pillow.load_pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    try:
        with pytest.raises(MissingExtraError, match=r'pip install "embedge\[image\]"'):
            embedder.encode_image("a.png")
    finally:
        pillow.load_pillow.cache_clear()
    assert embedder.encode("texts need no Pillow").shape == (DIMENSION,)


def test_squares_that_were_made_already_give_the_same_vectors(embedder: Embedder) -> None:
    images = [plain(*color) for color in COLORS]
    squares = [to_square(image, IMAGE, upright=True) for image in images]
    told: list[tuple[int, int]] = []
    rows = embedder.encode_squares(
        squares, task="retrieval", truncate_dim=4, progress=lambda *state: told.append(state)
    )
    np.testing.assert_array_equal(
        rows, embedder.encode_image(images, task="retrieval", truncate_dim=4)
    )
    assert told[-1] == (5, 5)
    assert embedder.encode_squares([]).shape == (0, DIMENSION)
