"""`embedge bulk` on images: columns of paths, bytes and records, folders, bad files."""

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import ipc
from pyarrow import parquet as pq

from embedge import Embedder
from embedge.errors import InputError
from embedge.parts import chunks, image_column
from embedge.parts.columnar import Source
from embedge.parts.image_column import Folder, ImageColumn, find_root
from embedge.parts.image_files import find_images
from embedge.parts.inputs import Input, find_inputs
from embedge.parts.plan import look_at, make_plan
from parts.conftest import part_bytes, read_parts
from support.tiny import IMAGE

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]
COUNT = 30


@pytest.fixture
def pack(make_pack: Callable[..., Path]) -> Path:
    return make_pack("both", image=IMAGE)


def encoded(number: int) -> bytes:
    """A PNG file of one color."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (number * 7 % 256, number * 31 % 256, 255 - number)).save(
        stream, "PNG"
    )
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of `COUNT` images, in two folders below it."""
    for number in range(COUNT):
        path = tmp_path / "photos" / ("ab"[number % 2]) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return tmp_path / "photos"


@pytest.fixture
def expected(pack: Path) -> list[Any]:
    """The vectors of the images, by number."""
    with Embedder(pack) as embedder:
        return list(embedder.encode_image([encoded(n) for n in range(COUNT)]).tolist())


def name_of(number: int) -> str:
    """Of an image, from the folder of all."""
    return f"{'ab'[number % 2]}/{number:02}.png"


def write(path: Path, column: Any, kind: pa.DataType | None = None) -> Path:
    """A Parquet or Arrow file with the columns id and image."""
    table = pa.table({"id": range(len(column)), "image": pa.array(column, kind)})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=11)
    else:
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=13)
    return path


RECORD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    "kind", ["relative", "absolute", "bytes", "large bytes", "records", "paths in records", "arrow"]
)
def test_a_column_of_images(
    bulk: Bulk, photos: Path, expected: list[Any], tmp_path: Path, kind: str
) -> None:
    whole = [encoded(number) for number in range(COUNT)]
    names = [f"photos/{name_of(number)}" for number in range(COUNT)]
    records: list[Any] = [{"bytes": data, "path": "a.png"} for data in whole]
    columns: dict[str, tuple[list[Any], pa.DataType]] = {
        "relative": (names, pa.string()),
        "absolute": ([str(tmp_path / name) for name in names], pa.large_string()),
        "bytes": (whole, pa.binary()),
        "large bytes": (whole, pa.large_binary()),
        "records": (records, RECORD),
        "paths in records": ([{"bytes": None, "path": name} for name in names], RECORD),
        "arrow": (records, RECORD),
    }
    name = "a.arrow" if kind == "arrow" else "a.parquet"
    source = write(tmp_path / name, *columns[kind])
    code, out = bulk(source, "--image-column", "image", "--rows", 7)
    assert code == 0
    table = read_parts(out)
    assert table["embedding"].to_pylist() == expected
    assert table["error"].to_pylist() == [None] * COUNT
    assert table["id"].to_pylist() == list(range(COUNT))
    # Paths are written beside the vectors; the bytes of images only where they are asked for.
    assert ("image" in table.column_names) == (kind in ("relative", "absolute"))
    code, kept = bulk(source, "--image-column", "image", "--keep", "image", out="kept")
    assert code == 0
    assert read_parts(kept)["image"].to_pylist() == columns[kind][0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_rows_of_text_name_images(
    bulk: Bulk, photos: Path, expected: list[Any], tmp_path: Path, name: str
) -> None:
    names = [name_of(number) for number in range(COUNT)]
    rows: list[Any] = [{"image": one} for one in names]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if name == "a.json":
        text = json.dumps([{"image": {"path": one, "width": 8}} for one in names])
    elif name == "a.csv":
        text = "image\n" + "".join(f"{one}\n" for one in names)
    (tmp_path / name).write_text(text)
    code, out = bulk(tmp_path / name, "--image-column", "image", "--root", photos)
    assert code == 0
    assert read_parts(out)["embedding"].to_pylist() == expected


def test_a_folder_of_images(
    bulk: Bulk, photos: Path, expected: list[Any], tmp_path: Path, capsys: Captured
) -> None:
    code, out = bulk("--images", photos, "--rows", 4)
    assert code == 0
    table = read_parts(out)
    assert table.column_names == ["path", "embedding", "error"]
    order = sorted(range(COUNT), key=name_of)
    assert table["path"].to_pylist() == [str(photos / name_of(number)) for number in order]
    assert table["embedding"].to_pylist() == [expected[number] for number in order]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == COUNT
    assert manifest["vectors"]["tower"] == "image"
    assert {"pillow", "numpy"} <= set(manifest["versions"])
    # The same again makes nothing; an image that has changed is another input.
    parts = part_bytes(out)
    assert bulk("--images", photos, "--rows", 4)[0] == 0
    (photos / name_of(3)).write_bytes(encoded(3) + b"more")
    capsys.readouterr()
    assert bulk("--images", photos, "--rows", 4)[0] == 2
    assert f"{photos} has changed" in capsys.readouterr().err
    (photos / name_of(3)).write_bytes(encoded(3))
    for shard in (2, 1, 3):
        code, shared = bulk("--images", photos, "--rows", 4, "--shard", f"{shard}/3", out="shared")
        assert code == 0
    assert part_bytes(shared) == parts
    pattern = bulk("--images", f"{photos}/a/*.png", photos / name_of(1), "--keep", "", out="some")
    assert pattern[0] == 0
    assert read_parts(pattern[1])["embedding"].to_pylist() == [*expected[::2], expected[1]]


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels by its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


BAD = {
    "missing.png": "'{place}' does not exist",
    "truncated.jpg": "is damaged",
    "text.png": "is not an image that can be read here",
    "bomb.png": "is too large (",
    "empty.png": "is not an image that can be read here",
    "folder": "it is a folder",
    "strip.png": "one edge is more than 64 times the other",
    "": "is empty",
    "https://example.com/a.png": "is a URL; download it",
    "s3://bucket/a.png": "is a URI that is not below",
    "data:image/png;base64,AAAA": "is not an image that can be read here",
    "a\0b.png": "cannot be opened",
}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of what is not good."""
    place = tmp_path / "bad"
    (place / "folder").mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(place / "truncated.jpg")
    held = (place / "truncated.jpg").read_bytes()
    (place / "truncated.jpg").write_bytes(held[: len(held) // 2])
    (place / "text.png").write_text("no image")
    (place / "bomb.png").write_bytes(bomb())
    (place / "empty.png").write_bytes(b"")
    Image.new("RGB", (1000, 2)).save(place / "strip.png")
    (place / "good.png").write_bytes(encoded(1))
    return place


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_bad_images_have_a_reason_and_no_vector(
    bulk: Bulk, bad: Path, expected: list[Any], tmp_path: Path, suffix: str, capsys: Captured
) -> None:
    names = [*BAD, None, "good.png"]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        write(path, names)
    else:
        rows = [{"id": n, "image": name} for n, name in enumerate(names)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out = bulk(path, "--image-column", "image", "--root", bad, "--rows", 5)
    assert code == 0
    table = read_parts(out)
    for name, expected_reason, reason in zip(
        names, [*BAD.values(), "is null"], table["error"].to_pylist(), strict=False
    ):
        assert expected_reason.format(place=bad / str(name)) in reason, name
    assert table["embedding"].to_pylist() == [None] * (len(names) - 1) + [expected[1]]
    assert table["image"].to_pylist() == names
    said = capsys.readouterr().err
    assert f"embedge: {path}, row 1: '{bad / 'missing.png'}' does not exist" in said
    assert f"without a vector: {len(names) - 1} rows" in said


def test_bad_bytes_have_a_reason_and_no_vector(
    bulk: Bulk, bad: Path, expected: list[Any], tmp_path: Path
) -> None:
    files = ["truncated.jpg", "text.png", "bomb.png", "strip.png", "good.png"]
    held: list[Any] = [(bad / name).read_bytes() for name in files]
    reasons = ["is damaged", "is not an image", "is too large", "one edge", None]
    reasons += ["is empty", "is null", "is null"]
    records = [{"bytes": data, "path": None} for data in [*held, b""]]
    for name, column, kind in (
        ("bytes.parquet", [*held, b"", None, None], pa.binary()),
        ("records.parquet", [*records, {"bytes": None, "path": None}, None], RECORD),
    ):
        source = write(tmp_path / name, column, kind)
        code, out = bulk(source, "--image-column", "image", out=f"{name}.out")
        assert code == 0
        table = read_parts(out)
        for reason, found in zip(reasons, table["error"].to_pylist(), strict=True):
            assert found is None if reason is None else reason in found
        assert [row is None for row in table["embedding"].to_pylist()] == [
            reason is not None for reason in reasons
        ]
        assert table["embedding"].to_pylist()[4] == expected[1]


def test_bad_files_of_a_folder(bulk: Bulk, bad: Path, tmp_path: Path, capsys: Captured) -> None:
    code, out = bulk("--images", bad)
    assert code == 0
    table = read_parts(out).to_pylist()
    found = {Path(row["path"]).name: row["error"] for row in table}
    assert {name for name, reason in found.items() if reason is None} == {"good.png"}
    assert "is damaged" in found["truncated.jpg"]
    capsys.readouterr()
    assert bulk("--images", bad, "--on-error", "raise", out="raised")[0] == 2
    assert f"{bad}, row 1: '{bad / 'bomb.png'}' is too large" in capsys.readouterr().err


def test_bytes_are_embedded_in_pieces_that_fit(
    bulk: Bulk, expected: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [encoded(number) for number in range(COUNT)]
    monkeypatch.setattr(chunks, "MOST_BYTES", 3 * len(whole[0]))
    sizes = []
    encode = Embedder.encode_image

    def counted(self: Embedder, images: Any, **options: Any) -> Any:
        sizes.append(len(images))
        return encode(self, images, **options)

    monkeypatch.setattr(Embedder, "encode_image", counted)
    source = write(tmp_path / "a.parquet", whole, pa.binary())
    code, out = bulk(source, "--image-column", "image")
    assert code == 0
    assert read_parts(out)["embedding"].to_pylist() == expected
    assert sum(sizes) == COUNT
    assert 1 < max(sizes) <= 4
    assert image_column.ROWS < COUNT


def test_a_plan_of_images_is_sent_to_other_processes(photos: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", [name_of(number) for number in range(COUNT)])
    given: list[tuple[ImageColumn, list[Source]]] = [
        (ImageColumn("path"), list(find_images([str(photos)], out=tmp_path / "out"))),
        (
            ImageColumn("image", find_root(str(photos))),
            [look_at(item, "image") for item in find_inputs([str(source)], out=tmp_path / "out")],
        ),
    ]
    for column, sources in given:
        plan = make_plan(sources, column=column, into="v", rows_per_part=4)
        sent = pickle.loads(pickle.dumps(plan))
        found = [
            item for _, pieces in sent.chunks([2, 5]) for chunk in pieces for item in chunk.items
        ]
        assert len(found) == 8
        assert all(Path(item).is_file() for item in found)


class Remote:
    """A file system that is not of this machine, with images by their paths."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def open_input_file(self, path: str) -> Any:
        if path.endswith("denied.png"):
            raise OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body.")
        if "//" in path:
            raise pa.ArrowInvalid(f"Empty path component in path {path}")
        if path not in self.files:
            raise FileNotFoundError(path)
        return pa.PythonFile(io.BytesIO(self.files[path]), mode="r")


def test_images_of_another_file_system_are_read_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"bucket/photos/a.png": b"one", "bucket/photos/empty.png": b"", "bucket/x.png": b"two"}
    root = Folder("s3://bucket/photos", "bucket/photos", Remote(files))
    column = ImageColumn("image", root)
    source = Input("s3://bucket/rows.parquet", "parquet", 0, "bucket/rows.parquet", None)
    names = ["a.png", "s3://bucket/photos/a.png", "s3://bucket/x.png", "b.png", "empty.png"]
    items, reasons = column.from_json([*names, "/a.png", None], source)
    assert items == [b"one", b"one", None, None, None, None, None]
    expected = ["is a URI that is not below s3://bucket/photos", "does not exist", "is empty"]
    expected += ["cannot be opened: Empty path component", "is null"]
    for reason, part in zip(reasons[2:], expected, strict=True):
        assert reason is not None
        assert part in reason
    monkeypatch.setattr(image_column, "MAX_BYTES", 2)
    assert "holds more than" in str(column.from_json(["a.png"], source)[1])
    # What would fail for the next image too stops the run: else rows without vectors were done.
    with pytest.raises(InputError, match=r"s3://bucket/photos/denied.png cannot be read: .* check"):
        column.from_json(["denied.png", "a.png"], source)


def test_options_that_do_not_fit_images(
    bulk: Bulk, photos: Path, tmp_path: Path, make_pack: Callable[..., Path], capsys: Captured
) -> None:
    source = write(tmp_path / "a.parquet", [name_of(1)])

    def refusal(*arguments: Any, **options: Any) -> str:
        capsys.readouterr()
        assert bulk(*arguments, **options)[0] == 2
        return capsys.readouterr().err

    column = ["--image-column", "image"]
    assert "leave one of them out" in refusal("--images", photos, *column)
    assert "--root is for --image-column" in refusal("--images", photos, "--root", photos)
    assert "--root is for --image-column" in refusal(source, "--column", "image", "--root", photos)
    assert "leave it out with --image-column" in refusal(source, *column, "--column", "id")
    assert "leave it out with --image-column" in refusal(source, *column, "--prompt", "a")
    assert "leave it out with --images" in refusal("--images", photos, "--max-length", "5")
    assert "--root nowhere is not a folder" in refusal(source, *column, "--root", "nowhere")
    assert '"id" holds int64, not images; name another with --image-column' in refusal(
        source, "--image-column", "id"
    )
    assert "(--image-column names another)" in refusal(source, "--image-column", "photo")
    assert 'has no column "x"' in refusal("--images", photos, "--keep", "x")
    assert f"{photos} holds no .parquet, .arrow, .jsonl" in refusal(photos)
    assert "for the images there, add --images" in refusal(photos)
    assert "add --images" in refusal(photos / name_of(1))
    assert "does not exist" in refusal("--images", photos / "none")
    assert "holds no image to read" in refusal("--images", f"{photos}/*.txt")
    assert "is named twice" in refusal("--images", photos, photos / name_of(1))
    texts = make_pack("texts")
    assert "image tower" in refusal("--images", photos, pack=texts)
    assert not (tmp_path / "out").exists()
    assert bulk("--images", photos)[0] == 0
    assert "--rows was 256, and is 4" in refusal("--images", photos, "--rows", 4)
