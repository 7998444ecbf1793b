"""MPNet's bias by distance: its buckets, its table of distances, its nodes at every length."""

import numpy as np
import pytest

import seeded
from embedge.engine.session import OnnxSession
from embedge.vectors import normalize
from embedge_export.export import export_pack
from embedge_export.families.bert.truth import _buckets, bert_vectors
from embedge_export.families.bert.writer import by_distance
from embedge_export.graph.builder import INT64, GraphBuilder
from embedge_export.graph.distances import distance_bias, first_distances
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import open_model
from embedge_export.source.folder import open_source

POSITIONS, HEADS = 300, 3


@pytest.fixture(scope="module")
def table():
    """A number for each bucket and head that says which they are."""
    return np.arange(32 * HEADS, dtype=np.float32).reshape(32, HEADS)


def test_buckets_end_where_t5_ends_them():
    """Of tokens after the query; those before it have the same without the 16."""
    buckets = _buckets(POSITIONS, 32)[0]
    assert buckets[:9].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24]
    ends = (np.flatnonzero(np.diff(buckets)) + 1).tolist()
    assert ends == [*range(1, 9), 12, 16, 23, 32, 46, 64, 91]
    assert buckets[-1] == 31
    np.testing.assert_array_equal(_buckets(POSITIONS, 32)[:, 0][1:], buckets[1:] - 16)


def test_the_writer_and_the_truth_agree_on_every_distance(table):
    """They find the buckets by whole numbers and by logarithms."""
    line = by_distance(table, POSITIONS)
    assert line.shape == (HEADS, 2 * POSITIONS)
    expected = table[_buckets(POSITIONS, 32)]  # (queries, keys, heads)
    for query in (0, 1, 150, POSITIONS - 1):
        start = POSITIONS - query
        np.testing.assert_array_equal(line[:, start : start + POSITIONS].T, expected[query])


def test_the_nodes_give_every_pair_its_number(table, tmp_path):
    line = by_distance(table, POSITIONS)
    with WeightFile(tmp_path / "bias.data") as file:
        graph = GraphBuilder("bias", own=file, shared=file)
        longest, length = graph.input("longest", INT64, (1,)), graph.input("length", INT64, (1,))
        whole = distance_bias(graph, line, longest)
        corner = first_distances(graph, whole, length)
        graph.save(tmp_path / "bias.onnx", {"vectors": corner}, (1, HEADS, "query", "key"))
    import onnxruntime

    session = onnxruntime.InferenceSession(
        tmp_path / "bias.onnx", providers=["CPUExecutionProvider"]
    )
    for most, size in ((1, 1), (7, 7), (7, 3), (POSITIONS, POSITIONS), (POSITIONS, 130)):
        feeds = {"longest": np.array([most]), "length": np.array([size])}
        [got] = session.run(None, feeds)
        expected = table[_buckets(size, 32)].transpose(2, 0, 1)[None]
        np.testing.assert_array_equal(got, expected, err_msg=f"{size} of {most} tokens")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_texts_of_all_lengths_in_one_padded_batch(precision, tmp_path):
    """Each against the truth; in int8 to the last bit as it is alone, wherever its padding is."""
    folder = seeded.write_bert(tmp_path / "source", "mpnet")
    export_pack(folder, out=tmp_path / "pack", precisions=(precision,))
    model = open_model(open_source(folder))
    generator = np.random.default_rng(0)
    lengths = (1, 2, 9, 9, 33, 140, 140, 500)
    texts = [generator.integers(5, 200, n).astype(np.int32) for n in lengths]
    expected = normalize(
        bert_vectors(model.config, model.weights("base"), texts, head=model.source.head)
    )
    ids = np.full((len(texts), 505), 1, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        places = slice(0, len(text)) if row % 2 else slice(505 - len(text), 505)
        ids[row, places], mask[row, places] = text, 1
    path = tmp_path / "pack" / f"base.{precision}.onnx"
    session = OnnxSession(path, device="cpu", threads=1)
    got = session.run(ids, mask)
    bar = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.02}[precision]
    np.testing.assert_allclose(normalize(got), expected, rtol=0, atol=bar)
    if precision == "int8":
        for row, text in enumerate(texts):
            alone = session.run(text[None].astype(np.int64), np.ones((1, len(text)), np.int64))
            np.testing.assert_array_equal(alone[0], got[row])


def test_scores_are_reckoned_with_in_memory(tmp_path):
    """ONNX Runtime holds their square, which no other encoder has."""
    costs = {}
    for kind in ("bert", "mpnet"):
        source = open_model(open_source(seeded.write_bert(tmp_path / kind, kind)))
        costs[kind] = source.family.memory_cost(source.config)
    assert costs["bert"].per_token_squared == 0
    assert costs["mpnet"].per_token_squared == 2 * 4 * 2  # bias and scores, float32, two heads
    assert costs["mpnet"].per_token == costs["bert"].per_token
