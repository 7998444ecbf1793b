"""A graph that runs as long as a test needs."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def slow_graph(path: Path, *, turns: int) -> None:
    """A loop of matrix products, seconds long: something to cancel."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["carried", "matrix"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [256, 256]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [256, 256]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["turns", "", "matrix"], ["result"], body=body),
            helper.make_node("Cast", ["input_ids"], ["a"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["attention_mask"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["result"], ["c"], keepdims=0),
            helper.make_node("Sum", ["a", "b", "c"], ["sentence_embedding"]),
        ],
        "slow",
        [
            helper.make_tensor_value_info(label, TensorProto.INT64, ["batch", "sequence"])
            for label in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["b", "d"])],
        [
            numpy_helper.from_array(np.array(turns, np.int64), "turns"),
            numpy_helper.from_array(np.eye(256, dtype=np.float32), "matrix"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
