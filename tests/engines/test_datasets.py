"""Hugging Face datasets: `map` with batches, in this process and in others."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from embedge import Embedder, InputError
from embedge.bulk import EmbedBatches
from support.tiny import IMAGE, write_pack


@pytest.mark.parametrize("num_proc", [None, 2])
def test_map_adds_a_column(columns: Any, rows: np.ndarray, num_proc: int | None) -> None:
    dataset = Dataset.from_dict(columns)
    embed = EmbedBatches(threads=1)
    result = dataset.map(embed, batched=True, batch_size=17, num_proc=num_proc)
    assert result.column_names == ["id", "text", "embedding"]
    assert result["id"][:] == columns["id"]
    np.testing.assert_array_equal(np.array(result["embedding"][:], np.float32), rows)


def test_map_with_the_width_in_its_features(with_bad: Any, rows: np.ndarray) -> None:
    dataset = Dataset.from_dict(with_bad)
    embed = EmbedBatches(on_error="null")
    features = Features(
        {
            **dataset.features,
            "embedding": List(Value("float32"), length=embed.width),
            "embedding_error": Value("string"),
        }
    )
    result = dataset.map(embed, batched=True, batch_size=17, features=features)
    assert result.data.schema.field("embedding").type == pa.list_(pa.float32(), 256)
    assert result[5]["embedding"] is None
    assert result[5]["embedding_error"] == "is None, not str"
    np.testing.assert_array_equal(np.array(result[6]["embedding"], np.float32), rows[6])


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "numpy"])
def test_map_in_other_formats(columns: Any, rows: np.ndarray, kind: str) -> None:
    dataset = Dataset.from_dict(columns).with_format(kind)
    result = dataset.map(EmbedBatches(), batched=True, batch_size=17)
    if kind in ("arrow", "polars"):
        assert result.data.schema.field("embedding").type == pa.list_(pa.float32(), 256)
    found = np.array(result.with_format(None)["embedding"][:], np.float32)
    np.testing.assert_array_equal(found, rows)


def test_a_second_map_finds_the_first_in_the_cache(columns: Any, tmp_path: Path) -> None:
    Dataset.from_dict(columns).save_to_disk(tmp_path / "set")
    dataset = Dataset.load_from_disk(str(tmp_path / "set"))
    with Embedder() as embedder:
        first = dataset.map(EmbedBatches(embedder), batched=True)
        again = dataset.map(EmbedBatches(embedder), batched=True)
        other = dataset.map(EmbedBatches(embedder, truncate_dim=64), batched=True)
    assert again.cache_files == first.cache_files
    assert other.cache_files != first.cache_files


def test_rows_that_come_alone_are_refused(columns: Any) -> None:
    with pytest.raises(InputError, match="batched=True"):
        Dataset.from_dict(columns).map(EmbedBatches())


def test_images_are_not_decoded_on_the_way(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack", image=IMAGE)
    path = tmp_path / "red.png"
    Pillow.fromarray(np.full((8, 8, 3), (255, 51, 0), np.uint8)).save(path)
    dataset = Dataset.from_dict({"photo": [str(path)] * 3}).cast_column("photo", Image())
    embed = EmbedBatches(pack, tower="image", column="photo")
    with Embedder(pack) as embedder:
        expected = embedder.encode_image(path)
    decoded = dataset.map(embed, batched=True)
    undecoded = dataset.cast_column("photo", Image(decode=False)).map(embed, batched=True)
    for result in (decoded, undecoded):
        np.testing.assert_array_equal(np.array(result["embedding"][1], np.float32), expected)
    assert decoded[0]["photo"].size == (8, 8)
