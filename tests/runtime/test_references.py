from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from embedge.references import referred_files
from tiny import write_graph


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="location")
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_initialisers(tmp_path: Path) -> None:
    write_graph(tmp_path, "a.onnx", constant=[0.0] * 8, location="weights.bin")
    write_graph(tmp_path, "b.onnx", constant=[0.0] * 8, location=None)
    assert referred_files((tmp_path / "a.onnx").read_bytes()) == {"weights.bin"}
    assert referred_files((tmp_path / "b.onnx").read_bytes()) == set()


def test_every_place_where_a_tensor_may_stand() -> None:
    inner = helper.make_graph([], "inner", [], [], [external("subgraph")])
    inner.sparse_initializer.add().values.CopyFrom(external("sparse"))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
    node.attribute.append(helper.make_attribute("value", external("attribute")))
    node.attribute.append(helper.make_attribute("values", [external("attributes")]))
    node.attribute.append(
        helper.make_attribute("graphs", [helper.make_graph([], "g", [], [], [external("graphs")])])
    )
    constant = helper.make_node("Constant", [], ["z"], value=external("function"))
    function = helper.make_function("d", "f", [], ["z"], [constant], [])
    model = helper.make_model(helper.make_graph([node], "outer", [], []), functions=[function])
    training = onnx.TrainingInfoProto()
    training.algorithm.initializer.append(external("training"))
    model.training_info.append(training)
    assert referred_files(model.SerializeToString()) == {
        *("subgraph", "sparse", "attribute", "attributes", "graphs", "function", "training")
    }


def test_nesting_without_end_is_refused() -> None:
    content = b""
    for number in [6, 5, 1] * 1000 + [7]:  # graph in attribute in node in graph … in model
        size, length = len(content), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        content = bytes([number << 3 | 2]) + length + bytes([size]) + content
    with pytest.raises(ValueError, match="deep"):
        referred_files(content)


@given(st.binary(max_size=200))
def test_any_bytes_give_names_or_a_value_error(content: bytes) -> None:
    try:
        names = referred_files(content)
    except ValueError:
        return
    assert all(isinstance(name, str) for name in names)
