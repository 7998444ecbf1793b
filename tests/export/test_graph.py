import numpy as np
import onnx
import onnxruntime
import pytest

from embedge_export.graph.builder import FLOAT, FLOAT16, GraphBuilder
from embedge_export.graph.weight_file import WeightFile


@pytest.fixture
def files(tmp_path):
    with WeightFile(tmp_path / "own.data") as own, WeightFile(tmp_path / "shared.data") as shared:
        yield own, shared


def build(tmp_path, name, own, shared, calls):
    graph = GraphBuilder(name, own=own, shared=shared)
    x = graph.input("x", FLOAT, ("rows", 3))

    def make():
        calls.append(name)
        return np.eye(3, dtype=np.float32) * 2

    y = graph.op("MatMul", x, graph.weight("common", make, shared=True))
    y = graph.op(
        "Add", y, graph.weight(f"{name}.bias", lambda: np.ones(3, np.float32), shared=False)
    )
    own.flush(), shared.flush()
    graph.save(tmp_path / f"{name}.onnx", {"y": y}, ("rows", 3))


def test_two_graphs_share_a_weight_that_is_made_once(tmp_path, files):
    own, shared = files
    calls = []
    build(tmp_path, "a", own, shared, calls)
    build(tmp_path, "b", own, shared, calls)
    assert calls == ["a"]
    assert (tmp_path / "shared.data").stat().st_size == 9 * 4
    for name in "ab":
        onnx.checker.check_model(str(tmp_path / f"{name}.onnx"))
        session = onnxruntime.InferenceSession(
            str(tmp_path / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        x = np.array([[1, 2, 3]], np.float32)
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], x * 2 + 1)


def test_weights_start_on_pages(files):
    own, _ = files
    own.add("first", np.ones(5, np.int8))
    second = own.add("second", np.ones((2, 2), np.float32))
    assert second.offset == 4096
    assert second.length == 16


def test_a_cast_to_the_same_dtype_adds_nothing(files):
    graph = GraphBuilder("g", own=files[0], shared=files[1])
    x = graph.input("x", FLOAT, (1,))
    assert graph.cast(x, FLOAT) is x
    assert graph.cast(x, FLOAT16).dtype == FLOAT16
