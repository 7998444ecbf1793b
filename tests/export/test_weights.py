"""Reading safetensors: the values, the keys, the shards, and what is refused."""

import json
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import seeded
from embedge.errors import SourceError
from embedge_export.tensors.checkpoint import DTYPES, TABLE_DTYPES, open_weights, weight_files
from embedge_export.tensors.writer import write_file


def save(folder, name="model.safetensors", **tensors):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / name)
    return folder


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_every_dtype_reads_as_the_exact_float32(tmp_path, dtype):
    # Every 16-bit pattern, subnormals included; in place of infinities and NaN, which are refused,
    # a number.
    bits = np.arange(2**16, dtype=np.uint16)
    held = bits.view(dtype) if np.dtype(dtype).itemsize == 2 else bits.astype(dtype) / 7
    held = np.where(np.isfinite(held.astype(np.float32)), held, held.dtype.type(3))
    weights = open_weights(save(tmp_path, a=held.reshape(256, 256)))
    value = weights.read("a")
    assert value.dtype == np.float32
    assert value.flags.c_contiguous
    np.testing.assert_array_equal(value, held.reshape(256, 256).astype(np.float32))
    assert weights.dtype("a") == str(np.dtype(dtype))


def test_a_tensor_longer_than_one_read_is_whole(tmp_path):
    held = np.arange(5_000_011, dtype=np.float32).astype(ml_dtypes.bfloat16)
    weights = open_weights(save(tmp_path, before=np.ones(3, np.float16), long=held))
    np.testing.assert_array_equal(weights.read("long"), held.astype(np.float32))


def test_empty_and_scalar_tensors(tmp_path):
    weights = open_weights(
        save(tmp_path, empty=np.zeros((0, 4), np.float32), scalar=np.array(2.5, np.float16))
    )
    assert weights.read("empty").shape == (0, 4)
    assert weights.read("scalar") == np.float32(2.5)


def test_nothing_is_cached(tmp_path):
    weights = open_weights(save(tmp_path, a=np.zeros(4, np.float32)))
    first = weights.read("a")
    first += 1
    assert weights.read("a").sum() == 0


def test_shapes_and_names_are_known_without_reading(tmp_path):
    weights = open_weights(save(tmp_path, a=np.zeros((2, 3), np.float16)))
    assert weights.shape("a") == (2, 3)
    assert "a" in weights
    assert "b" not in weights
    assert list(weights.keys()) == ["a"]


def test_an_unknown_tensor_is_named(tmp_path):
    weights = open_weights(save(tmp_path, a=np.zeros(1, np.float32)))
    with pytest.raises(SourceError, match=r"no tensor 'layers\.9\.x'"):
        weights.read("layers.9.x")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.a", "model.b"], ["a", "b"]),
        (["model.a", "lm_head.weight"], ["a", "lm_head.weight"]),
        (["model.a", "other"], ["model.a", "other"]),  # not all have it: keep
        (["model.model.a", "model.model.b"], ["model.a", "model.b"]),  # one prefix, once
    ],
)
def test_prefix(tmp_path, names, expected):
    folder = save(tmp_path, **{name: np.zeros(1, np.float32) for name in names})
    assert sorted(open_weights(folder).keys()) == expected


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("shards", [1, 3])
def test_shards_and_prefix_do_not_change_a_bit(tmp_path, shards, prefix):
    seeded.write_v5_text_small(tmp_path / "plain")
    seeded.write_v5_text_small(tmp_path / "other", shards=shards, prefix=prefix)
    plain, other = open_weights(tmp_path / "plain"), open_weights(tmp_path / "other")
    assert set(plain.keys()) == set(other.keys())
    for key in plain.keys():  # noqa: SIM118 - Weights has no iteration
        assert plain.read(key).tobytes() == other.read(key).tobytes()
    assert len(weight_files(tmp_path / "other")) == (1 if shards == 1 else shards + 1)


def test_one_file_goes_before_an_index_as_in_transformers(tmp_path):
    save(tmp_path, a=np.ones(1, np.float32))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert open_weights(tmp_path).read("a") == 1
    assert weight_files(tmp_path) == ("model.safetensors",)


def test_links_are_followed_as_hub_caches_are_made_of_them(tmp_path):
    save(tmp_path / "blobs", a=np.ones(1, np.float32))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(
        tmp_path / "blobs" / "model.safetensors"
    )
    assert open_weights(tmp_path / "snapshot").read("a") == 1


def test_a_buffer_is_listed_but_is_no_weight(tmp_path):
    weights = open_weights(
        save(tmp_path, a=np.zeros(1, np.float32), position_ids=np.arange(4, dtype=np.int64))
    )
    with pytest.raises(SourceError, match=r"position_ids.*I64.*no weight"):
        weights.read("position_ids")


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.uint8, np.bool_])
def test_other_dtypes_are_refused_by_name(tmp_path, dtype):
    with pytest.raises(SourceError, match=r"model\.safetensors: tensor 'odd' has dtype"):
        open_weights(save(tmp_path, odd=np.zeros(2, dtype)))


def test_float8_is_refused_by_name(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    header += b" " * (-len(header) % 8)
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(SourceError, match="'w' has dtype F8_E4M3"):
        open_weights(tmp_path)


def test_pickle_is_never_read_and_the_message_says_how_to_convert(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(SourceError, match=r"pytorch_model\.bin is pickle.*save_pretrained"):
        open_weights(tmp_path)


def test_no_weights_at_all(tmp_path):
    with pytest.raises(SourceError, match=r"neither model\.safetensors nor"):
        open_weights(tmp_path)
    with pytest.raises(SourceError, match=r"neither model\.safetensors nor"):
        weight_files(tmp_path)


def write_index(folder: Path, weight_map):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_a_missing_shard_is_named(tmp_path):
    save(tmp_path, "m-1.safetensors", a=np.zeros(1, np.float32))
    write_index(tmp_path, {"a": "m-1.safetensors", "b": "m-2.safetensors"})
    with pytest.raises(SourceError, match=r"'m-2\.safetensors', which is missing"):
        open_weights(tmp_path)


def test_a_tensor_missing_in_its_shard_is_named(tmp_path):
    save(tmp_path, "m-1.safetensors", a=np.zeros(1, np.float32))
    write_index(tmp_path, {"a": "m-1.safetensors", "b": "m-1.safetensors"})
    with pytest.raises(SourceError, match=r"m-1\.safetensors: tensor 'b' is missing"):
        open_weights(tmp_path)


def test_a_tensor_in_two_shards_is_named(tmp_path):
    for name in ("m-1.safetensors", "m-2.safetensors"):
        tensors = {"a": np.zeros(1, np.float32), name: np.zeros(1, np.float32)}
        save(tmp_path, name, **tensors)
    names = ("m-1.safetensors", "m-2.safetensors")
    write_index(tmp_path, {"a": names[0], names[0]: names[0], names[1]: names[1]})
    with pytest.raises(SourceError, match="tensor 'a' stands in m-1"):
        open_weights(tmp_path)


def test_a_tensor_that_the_index_does_not_know_is_named(tmp_path):
    save(tmp_path, "m-1.safetensors", a=np.zeros(1, np.float32), b=np.zeros(1, np.float32))
    write_index(tmp_path, {"a": "m-1.safetensors"})
    with pytest.raises(SourceError, match="tensor 'b' is here, but"):
        open_weights(tmp_path)


@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        max_size=5,
    ),
    dtype=st.sampled_from([ml_dtypes.bfloat16, np.float16, np.float32]),
)
def test_the_writer_writes_what_the_library_reads(tmp_path_factory, shapes, dtype):
    path = tmp_path_factory.mktemp("written") / "model.safetensors"
    generator = np.random.default_rng(0)
    held = {key: generator.standard_normal(shape).astype(dtype) for key, shape in shapes.items()}
    write_file(path, shapes, held.__getitem__, dtype=np.dtype(dtype))
    read = load_file(path)
    assert read.keys() == held.keys()
    for key, value in held.items():
        assert read[key].dtype == value.dtype
        np.testing.assert_array_equal(read[key], value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_a_value_that_is_no_number_is_named_where_it_stands(tmp_path, value, dtype):
    """Also in the row of a table that no text of ours takes: reading it is enough."""
    table = np.ones((700, 4096), dtype)  # more than one read
    table[650, 17] = value
    save_file({"table": table, "other": np.ones(3, dtype)}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    weights.read("other")
    with pytest.raises(SourceError, match=r"'table' holds NaN or infinity, first at \[650, 17\]"):
        weights.read("table")
    with pytest.raises(SourceError, match="'table' holds NaN"):  # and so again
        weights.read("table")


def test_tables_of_other_dtypes_are_read_where_they_are_asked_for(tmp_path):
    rng = np.random.default_rng(5)
    held = {
        "doubles": rng.normal(size=(3, 5)),
        "bytes": rng.integers(-127, 128, (4, 2)).astype(np.int8),
        "rows": rng.integers(0, 2**24, 7).astype(np.int32),
        "longs": rng.integers(0, 2**24, 7),
    }
    folder = save(tmp_path, **held)
    weights = open_weights(folder, {**DTYPES, **TABLE_DTYPES})
    for name, array in held.items():
        assert weights.dtype(name) == str(array.dtype)
        assert (weights.read(name) == array.astype(np.float32)).all()
    with pytest.raises(SourceError, match="has dtype F64; bfloat16, float16 and float32 are read"):
        open_weights(save(tmp_path / "other", doubles=held["doubles"]))
    large = open_weights(
        save(tmp_path / "large", doubles=np.array([1e300])), {**DTYPES, **TABLE_DTYPES}
    )
    with pytest.raises(SourceError, match="holds NaN or infinity"):
        large.read("doubles")


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_rows_of_a_table_are_those_of_the_whole(tmp_path, dtype):
    table = np.random.default_rng(0).standard_normal((300, 7, 3)).astype(dtype)
    weights = open_weights(save(tmp_path, before=np.ones(5, np.float32), table=table))
    for places in ([3, 299, 3, 0], [], [[1, 2], [2, 1]]):
        rows = np.array(places, np.int32)
        np.testing.assert_array_equal(weights.rows("table", rows), weights.read("table")[rows])
    for outside in (-1, 300):  # what stands beside the table is no row of it
        with pytest.raises(IndexError):
            weights.rows("table", np.array([outside]))


def test_rows_of_a_table_need_no_memory_for_the_others(tmp_path):
    table = np.ones((100_000, 256), ml_dtypes.bfloat16)  # 100 MB in float32
    weights = open_weights(save(tmp_path, table=table))
    del table
    tracemalloc.start()
    rows = weights.rows("table", np.arange(100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.sum() == 100 * 256
    assert peak < 20e6


def test_rows_of_a_damaged_table_are_refused_whichever_are_taken(tmp_path):
    table = np.ones((700, 4096), np.float16)
    table[650, 17] = np.nan
    weights = open_weights(save(tmp_path, table=table))
    with pytest.raises(SourceError, match=r"'table' holds NaN or infinity, first at \[650, 17\]"):
        weights.rows("table", np.array([2]))
