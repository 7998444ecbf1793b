"""pandas, Polars and Arrow: frames come back as they were, with a column of vectors."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedge import InputError, TextError
from embedge.bulk import EmbedBatches
from embedge.bulk.vectors_column import vectors_type
from engines.conftest import TEXTS

BAD = 5


def test_a_pandas_frame_keeps_its_index_and_columns(columns: Any, rows: np.ndarray) -> None:
    index = pd.Index([f"row {number}" for number in range(len(TEXTS))], name="key")
    frame = pd.DataFrame({**columns, "when": pd.Timestamp("2026-01-01")}, index=index)
    result = EmbedBatches()(frame)
    assert list(result.columns) == ["id", "text", "when", "embedding"]
    pd.testing.assert_frame_equal(result.drop(columns="embedding"), frame)
    assert list(frame.columns) == ["id", "text", "when"]
    assert result["embedding"].iloc[0].dtype == np.float32
    np.testing.assert_array_equal(np.stack(result["embedding"]), rows)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_missing_values_of_pandas_are_bad_rows(
    columns: Any, rows: np.ndarray, missing: Any
) -> None:
    columns["text"][BAD] = missing
    frame = pd.DataFrame(columns, dtype=object)
    result = EmbedBatches(on_error="null")(frame)
    assert result["embedding"].iloc[BAD] is None
    assert result["embedding_error"].iloc[BAD] == "is None, not str"
    assert result["embedding_error"].notna().sum() == 1
    np.testing.assert_array_equal(np.stack(result["embedding"].drop(BAD)), np.delete(rows, BAD, 0))
    with pytest.raises(TextError, match="item 5"):
        EmbedBatches()(frame)


@pytest.mark.parametrize("dtype", ["string", "category", "string[pyarrow]"])
def test_texts_of_pandas_in_other_types(columns: Any, rows: np.ndarray, dtype: str) -> None:
    frame = pd.DataFrame(columns).astype({"text": dtype})
    np.testing.assert_array_equal(np.stack(EmbedBatches()(frame)["embedding"]), rows)


def test_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(InputError, match="2 columns named 'text'"):
        EmbedBatches()(frame)


def test_a_pandas_frame_goes_through_parquet(columns: Any, rows: np.ndarray, tmp_path: Any) -> None:
    EmbedBatches()(pd.DataFrame(columns)).to_parquet(tmp_path / "part.parquet")
    again = pd.read_parquet(tmp_path / "part.parquet")
    np.testing.assert_array_equal(np.stack(again["embedding"]), rows)


def test_a_polars_frame_gets_an_array(with_bad: Any, rows: np.ndarray) -> None:
    frame = pl.DataFrame(with_bad)
    result = EmbedBatches(on_error="null")(frame)
    assert result.schema["embedding"] == pl.Array(pl.Float32, 256)
    assert result.schema["embedding_error"] == pl.String
    assert result.drop("embedding", "embedding_error").equals(frame)
    assert result["embedding"].is_null().arg_true().to_list() == [BAD]
    found = result["embedding"].drop_nulls().to_numpy()
    np.testing.assert_array_equal(found, np.delete(rows, BAD, 0))


def test_a_lazy_polars_frame_maps_it_over_its_batches(columns: Any, rows: np.ndarray) -> None:
    embed = EmbedBatches()
    lazy = pl.LazyFrame(columns)
    schema = {**lazy.collect_schema(), "embedding": pl.Array(pl.Float32, embed.width)}
    result = lazy.map_batches(embed, schema=schema).filter(pl.col("id") < 10).collect()
    np.testing.assert_array_equal(result["embedding"].to_numpy(), rows[:10])


@pytest.mark.parametrize("chunks", [1, 3])
def test_an_arrow_table_gets_a_fixed_size_list(
    with_bad: Any, rows: np.ndarray, chunks: int
) -> None:
    whole = pa.table(with_bad, metadata={"made": "here"})
    size = len(TEXTS) // chunks
    table = pa.concat_tables([whole.slice(size * n, size) for n in range(chunks)])
    result = EmbedBatches(on_error="null")(table)
    assert isinstance(result, pa.Table)
    assert result.schema.metadata == {b"made": b"here"}
    assert result.schema.field("embedding").type == vectors_type(rows.dtype, 256)
    assert result.schema.field("embedding_error").type == pa.string()
    assert result.drop_columns(["embedding", "embedding_error"]).equals(table)
    values = result["embedding"].to_pylist()
    kept = [index for index, value in enumerate(values) if value is not None]
    assert kept == [*range(BAD), *range(BAD + 1, table.num_rows)]
    found = np.array([values[index] for index in kept], np.float32)
    np.testing.assert_array_equal(found, rows[kept])


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_an_arrow_record_batch_of_any_type_of_text(
    columns: Any, rows: np.ndarray, kind: pa.DataType
) -> None:
    texts = (
        pa.array(columns["text"], pa.string()).cast(kind)
        if kind != pa.string_view()
        else (pa.array(columns["text"], kind))
    )
    batch = pa.record_batch({"id": columns["id"], "text": texts, "embedding": columns["id"]})
    result = EmbedBatches()(batch)
    assert isinstance(result, pa.RecordBatch)
    assert result.schema.names == ["id", "text", "embedding"]  # in place of the old one
    found = result["embedding"].flatten().to_numpy().reshape(rows.shape)
    np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize(
    ("embedding_type", "number"),
    [("ubinary", pa.uint8()), ("binary", pa.int8()), ("int8", pa.int8()), ("uint8", pa.uint8())],
)
def test_smaller_types_are_lists_of_bytes(
    columns: Any, library: Any, rows: np.ndarray, embedding_type: str, number: pa.DataType
) -> None:
    options: dict[str, Any] = {"embedding_type": embedding_type}
    if embedding_type in ("int8", "uint8"):
        options["ranges"] = np.stack([rows.min(axis=0), rows.max(axis=0)])
    embed = EmbedBatches(**options)
    result = embed(pa.table(columns))
    assert result.schema.field("embedding").type == vectors_type(embed.dtype, embed.width)
    assert result.schema.field("embedding").type.value_type == number
    found = np.array(result["embedding"].to_pylist(), embed.dtype)
    np.testing.assert_array_equal(found, library.encode_document(TEXTS, **options))
    polars = embed(pl.DataFrame(columns))["embedding"].to_numpy()
    np.testing.assert_array_equal(polars, found)


def test_what_a_file_calls_utf8_and_is_not_is_a_bad_row(rows: np.ndarray) -> None:
    data = [TEXTS[0].encode(), b"\xff\xfe", None, TEXTS[3].encode()]
    texts = pa.Array.from_buffers(pa.string(), 4, pa.array(data, pa.binary()).buffers())
    result = EmbedBatches(on_error="null")(pa.table({"text": texts}))
    assert result["embedding_error"].to_pylist() == [
        None,
        "is bytes, not str",
        "is None, not str",
        None,
    ]
    found = np.array(result["embedding"].to_pylist()[3], np.float32)
    np.testing.assert_array_equal(found, rows[3])


def test_empty_frames_have_the_same_columns(columns: Any) -> None:
    embed = EmbedBatches(on_error="null")
    table = pa.table(columns)
    assert embed(table.slice(0, 0)).schema == embed(table).schema
    assert embed(pl.DataFrame(columns)[:0]).schema == embed(pl.DataFrame(columns)).schema
    assert len(embed(pd.DataFrame(columns)[:0])) == 0


def test_a_parquet_file_is_read_and_written_by_batches(
    columns: Any, rows: np.ndarray, tmp_path: Any
) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "texts.parquet")
    embed = EmbedBatches()
    with parquet.ParquetFile(tmp_path / "texts.parquet") as file:
        batches = [embed(batch) for batch in file.iter_batches(32)]
    parquet.write_table(pa.Table.from_batches(batches), tmp_path / "vectors.parquet")
    found = np.array(parquet.read_table(tmp_path / "vectors.parquet")["embedding"].to_pylist())
    np.testing.assert_array_equal(found.astype(np.float32), rows)
