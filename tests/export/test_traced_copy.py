"""A traced graph copied at every precision, without torch: graph and network are made here.

The network: each token's row of a table, times a matrix, plus a bias, through a branch that is
never taken, minus the mean over the text's rows, times a matrix that is no weight of the network.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from embedge.batches import pad
from embedge.engine.session import OnnxSession
from embedge.errors import SourceError
from embedge_export.families.family import TextTask
from embedge_export.families.optimum import writer
from embedge_export.families.optimum.config import OptimumConfig
from embedge_export.graph.builder import BOOL, FLOAT, INT64, GraphBuilder
from embedge_export.graph.weight_file import WeightFile
from embedge_export.head.head import Head
from embedge_export.precision import PRECISIONS

random = np.random.default_rng(0)
WIDTH = 8
TABLE, MATRIX, OTHER = (
    random.normal(size=shape).astype(np.float32) for shape in ((20, WIDTH),) + ((WIDTH, WIDTH),) * 2
)
BIAS = random.normal(size=WIDTH).astype(np.float32)
TEXTS = [np.array(ids, np.int32) for ids in ([3, 4, 5, 6], [7, 8, 9, 1], [2, 3], [11])]


class Tensor:
    """What is asked of one of torch's."""

    def __init__(self, values):
        self._values = values
        self.ndim = values.ndim

    def detach(self):
        return self

    def numpy(self):
        return self._values


class Graph:
    """Nodes one after another, as a traced graph has them."""

    def __init__(self, *inputs):
        self.inputs = [ir.val(name, INT64, ("batch", "sequence")) for name in inputs]
        self.nodes, self.constants = [], {}

    def constant(self, name, values):
        if name not in self.constants:
            tensor = ir.tensor(values, name=name)
            self.constants[name] = ir.val(name, tensor.dtype, tensor.shape, const_value=tensor)
        return self.constants[name]

    def op(self, kind, *inputs, dtype=FLOAT, **attributes):
        output = ir.val(f"/{kind}_{len(self.nodes)}_output", dtype)
        self.nodes.append(ir.node(kind, inputs, attributes, outputs=[output]))
        return output

    def finish(self, *outputs):
        return ir.Graph(
            self.inputs, outputs, nodes=self.nodes, initializers=list(self.constants.values())
        )


def traced(*inputs):
    graph = Graph("input_ids", *inputs)
    rows = graph.op("Gather", graph.constant("words", TABLE), graph.inputs[0], axis=0)
    rows = graph.op("MatMul", rows, graph.constant("onnx::MatMul_1", MATRIX.T.copy()))
    rows = graph.op("Add", graph.constant("bias", BIAS), rows)
    branches = {}
    for name, kind in (("then_branch", "Neg"), ("else_branch", "Identity")):
        inner = Graph()
        branches[name] = inner.finish(inner.op(kind, rows))
    never = graph.constant("never", np.array(False))
    rows = graph.op("If", never, **branches)
    mean = graph.op("ReduceMean", rows, graph.constant("axes", np.array([1])), keepdims=1)
    rows = graph.op("Sub", rows, mean)
    for value in graph.inputs[1:]:  # half of it is added
        column = graph.op("Unsqueeze", value, graph.constant("last", np.array([2])), dtype=INT64)
        column = graph.op("Cast", column, to=FLOAT.value)
        half = graph.op("Mul", column, graph.constant("half", np.float32(0.5)))
        rows = graph.op("Add", rows, half)
    hidden = graph.op("MatMul", rows, graph.constant("folded", OTHER))
    hidden.name, hidden.shape = "last_hidden_state", ir.Shape(("batch", "sequence", WIDTH))
    return graph.finish(hidden)


def expected(inputs):
    vectors = []
    for ids in TEXTS:
        rows = TABLE[ids] @ MATRIX.T + BIAS
        last = {"attention_mask": 1, "token_type_ids": 0, "position_ids": len(ids) - 1}
        added = sum(last[name] for name in inputs) / 2
        vectors.append((rows - rows.mean(axis=0) + added)[-1] @ OTHER)
    return np.stack(vectors)


def network():
    weights = {"words.weight": TABLE, "layer.0.dense.weight": MATRIX, "layer.0.dense.bias": BIAS}
    return SimpleNamespace(
        names={key: key.replace("layer.", "layers.").removesuffix(".weight") for key in weights},
        weights=weights,
        module=SimpleNamespace(state_dict=lambda: {k: Tensor(v) for k, v in weights.items()}),
        table=SimpleNamespace(weight=Tensor(TABLE)),
        holding=lambda weights: contextlib.nullcontext(),
    )


def config():
    return OptimumConfig(
        family="made-here",
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=WIDTH,
        vocab_size=len(TABLE),
        positions=16,
        network=network(),
    )


def write(folder, precision, adapted=lambda key: False):
    calls = []
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("copy", own=own, shared=shared)
        samples = {"layers.0.dense.weight": TABLE}
        (vectors,) = writer.write(
            config(),
            TextTask(
                weights={},
                head=Head(WIDTH, ("last_token",)),
                adapted=adapted,
                samples=samples,
            ),
            [(PRECISIONS[precision], graph)],
            steps=4,
            advance=calls.append,
        )
    assert len(calls) == 4
    graph.save(folder / "copy.onnx", {"sentence_embedding": vectors}, ("batch", WIDTH))
    return graph


@pytest.mark.parametrize(
    ("precision", "inputs", "least"),
    [
        ("fp32", ("attention_mask", "token_type_ids", "position_ids"), 0.999999),
        ("fp16", ("attention_mask",), 0.99999),
        ("int8", (), 0.9998),
    ],
)
def test_a_copy_gives_what_the_network_gives(tmp_path, monkeypatch, precision, inputs, least):
    monkeypatch.setattr(writer, "trace", lambda network, folder: traced(*inputs))
    write(tmp_path, precision)
    session = OnnxSession(tmp_path / "copy.onnx", device="cpu", threads=1)
    ids, mask = pad(TEXTS, 0)
    vectors = session.run(ids, mask)
    want = expected(inputs)
    long = slice(0, 3)  # one token is its own mean: a vector of zeros
    cosines = (vectors * want)[long].sum(axis=1)
    cosines /= np.linalg.norm(vectors[long], axis=1) * np.linalg.norm(want[long], axis=1)
    assert cosines.min() > least
    alone = np.concatenate([session.run(*pad([text], 0)) for text in TEXTS])
    np.testing.assert_array_equal(alone[long], vectors[long])


def test_int8_has_one_scale_a_row_and_a_loss_for_what_was_calibrated(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "trace", lambda network, folder: traced())
    graph = write(tmp_path, "int8")
    model = ir.load(tmp_path / "copy.onnx")
    found = model.graph.initializers
    assert found["layers.0.dense.weight"].dtype == ir.DataType.INT8
    assert found["layers.0.dense.scale"].shape == (WIDTH,)
    assert found["embedding"].dtype == ir.DataType.INT8
    assert list(graph.notes) == ["layers.0.dense"]


def test_what_adapters_change_stands_in_a_tasks_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "trace", lambda network, folder: traced())
    write(tmp_path, "fp32", adapted=lambda key: key == "layer.0.dense.weight")
    places = {
        name: value.const_value.location
        for name, value in ir.load(tmp_path / "copy.onnx").graph.initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    assert places["embedding"] == "shared.data"
    assert places["layers.0.dense.weight"] == "own.data"
    # Of no weight that is known: it may differ as well.
    assert {place for name, place in places.items() if name.startswith("constant.")} == {"own.data"}


def test_an_input_that_no_text_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "trace", lambda network, folder: traced("global_attention_mask"))
    with pytest.raises(SourceError, match="'global_attention_mask', which no text has"):
        write(tmp_path, "fp32")


def test_a_loop_is_refused(tmp_path, monkeypatch):
    def looped(network, folder):
        graph = Graph("input_ids")
        number, more = ir.val("number", INT64, ()), ir.val("more", BOOL, ())
        inner = Graph()
        inner.inputs = [number, more]
        body = inner.finish(inner.op("Identity", more, dtype=BOOL))
        count = graph.constant("count", np.array(2))
        return graph.finish(graph.op("Loop", count, None, body=body))

    monkeypatch.setattr(writer, "trace", looped)
    with pytest.raises(SourceError, match="has a loop"):
        write(tmp_path, "fp32")
