"""Half-precision encoders: texts of one length attend without a mask, others with one."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from embedge.engine.session import OnnxSession
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import open_model
from embedge_export.precision import PRECISIONS
from embedge_export.source.folder import open_source
from embedge_export.write import text_network, write

PRECISION = PRECISIONS["fp16"]


@pytest.fixture(scope="module")
def graph(nano_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    model = open_model(open_source(nano_source, tasks=["retrieval"]))
    with WeightFile(folder / "shared.fp16.data") as shared:
        [written] = write(
            text_network(model, "retrieval"), [PRECISION], folder, shared={"fp16": shared}
        )
    return written.path


def test_the_branch_without_a_mask_has_none_and_no_gathered_rows(graph: Path) -> None:
    nodes = onnx.load(graph, load_external_data=False).graph.node
    choices = [node for node in nodes if node.op_type == "If"]
    assert choices
    assert len({node.input[0] for node in choices}) == 1  # decided once
    for node in choices:
        branches = {one.name: list(one.g.node) for one in node.attribute}
        without, masked = branches["then_branch"], branches["else_branch"]
        for inner, mask, gathers in ((without, "", 0), (masked, "some", 4)):
            [attention] = [x for x in inner if x.op_type == "MultiHeadAttention"]
            given = attention.input[4] if len(attention.input) > 4 else ""
            assert bool(given) is bool(mask)
            assert sum(x.op_type == "Gather" for x in inner) == gathers


@pytest.mark.parametrize("rows", [1, 3])
def test_both_branches_give_the_same_vectors(graph: Path, rows: int) -> None:
    session = OnnxSession(graph, device="cpu", threads=1)
    random = np.random.default_rng(rows)
    ids = random.integers(5, 200, (rows, 21))
    alike = session.run(ids, np.ones_like(ids))
    wider = np.pad(ids, ((0, 0), (0, 3)))
    padded = session.run(wider, np.pad(np.ones_like(ids), ((0, 0), (0, 3))))
    shorter = ids.copy()
    mask = np.ones_like(ids)
    mask[1:, 9:] = 0
    mixed = session.run(shorter, mask)  # the first is as long as before, beside shorter ones
    alike, padded, mixed = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (alike, padded, mixed)
    )
    assert (alike * padded).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(padded, alike, atol=PRECISION.batch_difference)
    np.testing.assert_allclose(mixed[0], alike[0], atol=PRECISION.batch_difference)
    session.free()
