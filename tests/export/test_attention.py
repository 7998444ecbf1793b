"""Attention and pooling of packed rows, against the same sums in float64; what memory they take."""

import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest

from embedge.batches import LONG, pad
from embedge_export.graph.attention import Heads, rotary_tables
from embedge_export.graph.builder import FLOAT, FLOAT16, GraphBuilder
from embedge_export.graph.causal import CausalBatch
from embedge_export.graph.packed import PackedBatch
from embedge_export.graph.weight_file import WeightFile

WIDTH = 16
LENGTHS = (5, 5, 1, 40, 39, 39, 39, 2)


def heads(query=4, key_value=4, positions=64):
    rotary = rotary_tables(positions=positions, width=WIDTH, theta=10000.0)
    return Heads(query=query, key_value=key_value, width=WIDTH, rotary=rotary)


def write(folder, shape, *, dtype=FLOAT, pooling=None, standard=False):
    """A graph of attention alone, or of pooling alone: rows in, rows or vectors out."""
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("attention", own=own, shared=shared)
        batch = PackedBatch(graph, shape, standard=standard)
        kinds = {"query": shape.query, "key": shape.key_value, "value": shape.key_value}
        rows = [graph.input(n, FLOAT, ("rows", count * WIDTH)) for n, count in kinds.items()]
        if pooling is None:
            y = graph.cast(batch.attend(*(graph.cast(x, dtype) for x in rows)), FLOAT)
        else:
            y = batch.pool(rows[0], pooling)
        ids = graph.op("Reshape", graph.cast(batch.ids, FLOAT), graph.numbers(-1, 1))
        graph.save(folder / "g.onnx", {"y": y, "ids": ids}, ("n", "width"))
    return folder / "g.onnx"


def feeds(shape, lengths, seed=0):
    """Random rows, and the ids and the mask of texts of these lengths."""
    generator = np.random.default_rng(seed)
    kinds = {"query": shape.query, "key": shape.key_value, "value": shape.key_value}
    rows = {
        name: generator.standard_normal((sum(lengths), count * WIDTH), dtype=np.float32)
        for name, count in kinds.items()
    }
    numbers = np.split(np.arange(1, sum(lengths) + 1, dtype=np.int32), np.cumsum(lengths)[:-1])
    ids, mask = pad(numbers, 0)
    return rows | {"input_ids": ids, "attention_mask": mask}


def run(path, inputs, output="y"):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    return session.run([output], {n: x for n, x in inputs.items() if n in names})[0]


def split_heads(x, count):
    return x.astype(np.float64).reshape(len(x), count, WIDTH).transpose(1, 0, 2)


def expected(shape, inputs, lengths):
    """Softmax of turned queries and keys, text by text: every token sees all of its own text."""
    found, start = [], 0
    for length in lengths:
        own = {name: inputs[name][start : start + length] for name in ("query", "key", "value")}
        query = split_heads(own["query"], shape.query)
        key, value = (
            np.repeat(split_heads(own[name], shape.key_value), shape.query // shape.key_value, 0)
            for name in ("key", "value")
        )
        angles = np.outer(np.arange(length), 10000.0 ** (-np.arange(0, WIDTH, 2) / WIDTH))
        turn = np.exp(1j * angles)  # a pair of numbers as one complex number

        def turned(x, turn=turn):
            z = (x[..., : WIDTH // 2] + 1j * x[..., WIDTH // 2 :]) * turn
            return np.concatenate([z.real, z.imag], axis=-1)

        scores = turned(query) @ turned(key).transpose(0, 2, 1) / WIDTH**0.5
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        found.append((weights @ value).transpose(1, 0, 2).reshape(length, -1))
        start += length
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("dtype", "standard", "tolerance"),
    [(FLOAT, False, 2e-6), (FLOAT, True, 2e-6), (FLOAT16, False, 5e-3)],
)
@pytest.mark.parametrize("key_value", [4, 2, 1])
@pytest.mark.parametrize("lengths", [LENGTHS, (7,), (9, 9, 9), (3, 4)], ids=str)
def test_every_token_sees_all_of_its_text_and_nothing_else(
    tmp_path, dtype, standard, tolerance, key_value, lengths
):
    shape = heads(key_value=key_value)
    inputs = feeds(shape, lengths)
    got = run(write(tmp_path, shape, dtype=dtype, standard=standard), inputs)
    np.testing.assert_allclose(got, expected(shape, inputs, lengths), atol=tolerance)


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("order", ["longest first", "shortest first", "mixed"])
def test_bits_do_not_depend_on_the_batch(tmp_path, order, standard):
    shape = heads(key_value=2, positions=320)
    lengths: Sequence[int] = (*LENGTHS, 255, 256, 256, 257, 300)  # around the change
    if order != "mixed":
        lengths = sorted(lengths, reverse=order == "longest first")
    inputs = feeds(shape, lengths)
    path = write(tmp_path, shape, standard=standard)
    together = run(path, inputs)
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        alone = {n: inputs[n][own] for n in ("query", "key", "value")}
        alone["attention_mask"] = np.ones((1, length), np.int64)
        alone["input_ids"] = np.ones((1, length), np.int64)
        np.testing.assert_array_equal(run(path, alone), together[own])
        start += length


def test_rows_are_the_tokens_wherever_the_padding_is(tmp_path):
    inputs = feeds(heads(), (3, 2))
    inputs["attention_mask"] = np.array([[0, 0, 1, 1, 1], [1, 0, 0, 1, 0]])
    inputs["input_ids"] = np.array([[9, 9, 1, 2, 3], [4, 9, 9, 5, 9]])
    got = run(write(tmp_path, heads()), inputs, "ids")
    assert got[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_pooling(tmp_path):
    inputs = feeds(heads(), LENGTHS)
    texts = np.split(inputs["query"], np.cumsum(LENGTHS)[:-1])
    got = run(write(tmp_path, heads(), pooling="last_token"), inputs)
    np.testing.assert_array_equal(got, [text[-1] for text in texts])
    got = run(write(tmp_path, heads(), pooling="mean"), inputs)
    np.testing.assert_allclose(got, [text.mean(axis=0) for text in texts], atol=1e-6)


def test_a_batch_without_padding_is_one_operator_without_a_mask(tmp_path):
    """A loop goes over runs of one length, where there are several; no body holds a mask."""
    path = write(tmp_path, heads())
    graph = onnx.load(path, load_external_data=False).graph
    (choice,) = (node for node in graph.node if node.op_type == "If")
    branches = {attribute.name: attribute.g.node for attribute in choice.attribute}
    (loop,) = (node for node in branches["else_branch"] if node.op_type == "Loop")
    bodies = (branches["then_branch"], loop.attribute[0].g.node)
    for body in bodies:
        (operator,) = (node for node in body if node.op_type == "MultiHeadAttention")
        assert [name for name in operator.input if name] == list(operator.input[:3])
    assert not any(node.op_type in ("Loop", "Slice") for node in branches["then_branch"])
    for name in (choice.input[0], loop.input[0]):
        graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    onnx.save(onnx.ModelProto(ir_version=10, graph=graph, opset_import=OPSETS), path)
    for lengths, rounds in (((7,), 1), ((9,) * 5, 1), ((9, 9, 4, 4, 1), 3), (LENGTHS, 5)):
        assert run(path, feeds(heads(), lengths), loop.input[0]) == rounds
        assert run(path, feeds(heads(), lengths), choice.input[0]) == (rounds == 1)


OPSETS = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]


def operators(graph):
    """Every operator of a graph, those within others too."""
    found = set()
    for node in graph.node:
        found.add(node.op_type)
        for attribute in node.attribute:
            found |= operators(attribute.g)
    return found


def test_a_query_takes_one_choice_and_the_standards_operator(tmp_path):
    """One run of short texts comes first; whatever else there is, stands in the other branch."""
    model = onnx.load(write(tmp_path, heads(), standard=True), load_external_data=False)
    [choice] = (node for node in model.graph.node if node.op_type == "If")
    branches = {attribute.name: attribute.g for attribute in choice.attribute}
    assert operators(branches["then_branch"]) == {
        "Concat", "Reshape", "RotaryEmbedding", "Attention",
    }  # fmt: skip
    assert {"Loop", "Attention", "MultiHeadAttention"} <= operators(branches["else_branch"])
    assert [opset.version for opset in model.opset_import if not opset.domain] == [23]
    plain = onnx.load(write(tmp_path, heads()), load_external_data=False)
    assert "Attention" not in operators(plain.graph)
    assert [opset.version for opset in plain.opset_import if not opset.domain] == [21]


def write_causal(folder, shape, *, standard):
    """A graph of a decoder's attention alone: rows (B, S, width) in and out."""
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("attention", own=own, shared=shared)
        batch = CausalBatch(graph, shape, standard=standard)
        kinds = {"query": shape.query, "key": shape.key_value, "value": shape.key_value}
        rows = [
            graph.input(n, FLOAT, ("texts", "tokens", count * WIDTH)) for n, count in kinds.items()
        ]
        graph.save(folder / "g.onnx", {"y": batch.attend(*rows)}, ("b", "s", "width"))
    return folder / "g.onnx"


def causal_feeds(shape, lengths, size):
    """Random rows of texts (B, size), and their ids and mask, padded on the right."""
    generator = np.random.default_rng(len(lengths))
    kinds = {"query": shape.query, "key": shape.key_value, "value": shape.key_value}
    rows = {
        name: generator.standard_normal((len(lengths), size, count * WIDTH), dtype=np.float32)
        for name, count in kinds.items()
    }
    mask = (np.arange(size) < np.array(lengths)[:, None]).astype(np.int64)
    return rows | {"input_ids": mask, "attention_mask": mask}


@pytest.mark.parametrize("key_value", [4, 2, 1])
def test_the_standards_operator_is_as_the_other_and_takes_any_padding(tmp_path, key_value):
    """Texts alone, and padded on the right beside others by every small number and some large."""
    shape = heads(key_value=key_value, positions=LONG)
    (tmp_path / "other").mkdir()
    other = write_causal(tmp_path / "other", shape, standard=False)
    session = onnxruntime.InferenceSession(str(write_causal(tmp_path, shape, standard=True)))
    names = {value.name for value in session.get_inputs()}
    for length in (1, 2, 7, 16, 33, 64, 100, 129, 200, 255, 257, 512, 700):  # short ones, to `LONG`
        alone = causal_feeds(shape, [length], length)
        [expected] = session.run(["y"], {n: x for n, x in alone.items() if n in names})
        np.testing.assert_allclose(expected, run(other, alone), atol=2e-6)
        sizes = (*range(length + 1, length + 9), length + 33, length + 64, 2 * length + 100)
        for size in (size for size in sizes if size <= LONG):
            padded = causal_feeds(shape, [size, length, 1], size)
            for name in ("query", "key", "value"):
                padded[name][1, :length] = alone[name][0]
            [got] = session.run(["y"], {n: x for n, x in padded.items() if n in names})
            np.testing.assert_array_equal(got[1, :length], expected[0], str((length, size)))


def test_memory_is_linear_in_a_text_s_length(tmp_path):
    """8,192 tokens, all of one text: the square of scores would be 1 GB."""
    shape = Heads(
        query=4,
        key_value=4,
        width=WIDTH,
        rotary=rotary_tables(positions=8192, width=WIDTH, theta=10000.0),
    )
    code = f"""
import re
from pathlib import Path
import numpy as np
import onnxruntime
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({str(write(tmp_path, shape))!r}, options)
feeds = {{n: np.ones((8192, 64), np.float32) for n in ("query", "key", "value")}}
feeds |= {{n: np.ones((1, 8192), np.int64) for n in ("input_ids", "attention_mask")}}
before = peak()
session.run(["y"], feeds)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\n", done.stdout)
    assert int(done.stdout) < 100 * 2**20 < 4 * 4 * 8192**2


def test_a_decoders_presents_are_freed_before_the_next_layer(tmp_path):
    """In half precision, where no branch ends with them: memory does not grow with the layers."""
    shape = Heads(query=8, key_value=8, width=128, rotary=rotary_tables_of(128))
    peaks = []
    for layers in (2, 14):
        folder = tmp_path / str(layers)
        folder.mkdir()
        path = write_layers(folder, shape, layers)
        code = f"""
import re
from pathlib import Path
import numpy as np
import onnxruntime
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.enable_mem_pattern = False
session = onnxruntime.InferenceSession({str(path)!r}, options, providers=["CPUExecutionProvider"])
ids = np.ones((64, 16), np.int64)
before = peak()
session.run(None, {{"input_ids": ids, "attention_mask": ids}})
print(peak() - before)
"""
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks.append(float(run.stdout))
    presents = 2 * 64 * 16 * 8 * 128 * 2 / 2**20  # MB, of one layer
    assert peaks[1] - peaks[0] < 3 * presents, peaks  # of 12 layers


def rotary_tables_of(width):
    return rotary_tables(positions=64, width=width, theta=10000.0)


def write_layers(folder, shape, layers):
    """A graph of a decoder's attention, one layer on the other."""
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("layers", own=own, shared=shared)
        batch = CausalBatch(graph, shape)
        width = shape.query * shape.width
        row = graph.constant("row", np.linspace(0, 1, width, dtype=np.float16))
        ids = graph.op("Unsqueeze", graph.cast(batch.ids, FLOAT16), graph.numbers(2))
        rows = graph.op("Mul", ids, row)
        for _ in range(layers):
            rows = batch.attend(rows, rows, rows)
        y = graph.cast(batch.pool(rows, "last_token"), FLOAT)
        graph.save(folder / "g.onnx", {"y": y}, ("n", "width"))
    return folder / "g.onnx"
