"""Graphs of static models: a Gather and a mean.

    ids (B, S) ─▶ those of no token ─▶ row of zeros ─▶ Gather (S, B, width) ─▶ sum over S ─▶ / count

The table has one row more, of zeros. Padding takes it, and so does the token for unknown words
where it is left out, so that no mask is multiplied with every row. Tokens are the first axis: ONNX
Runtime then adds one token's rows after another, for all texts at once, and a zero added changes
no sum. A text's vector is so the same to the last bit in any batch, padded on either side, in every
precision.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.families.family import Targets, TextTask
from embedge_export.families.static.config import (
    MAPPING_KEY,
    TABLE_KEY,
    WEIGHTS_KEY,
    StaticConfig,
)
from embedge_export.families.walk import walk
from embedge_export.graph.attention import declare_inputs
from embedge_export.graph.builder import BOOL, FLOAT, INT64, GraphBuilder
from embedge_export.graph.layers import Table
from embedge_export.head.head import MEAN
from embedge_export.precision import Precision


class StaticWriter:
    """Writes a static model's graph at one precision; a `Writer` of walk.py."""

    rotates = False

    def __init__(
        self,
        config: StaticConfig,
        task: TextTask,
        precision: Precision,
        graph: GraphBuilder,
    ) -> None:
        self._config = config
        self._precision = precision
        self._graph = graph
        self._weights = task.weights
        assert task.head.modes == (MEAN,)
        self._rows: ir.Value | None = None  # float32 (S, B, width)
        self._count: ir.Value | None = None  # float32 (B, 1), at least 1

    def start(self) -> None:
        """Each token's row; that of zeros where there is none that counts."""
        graph, config, weights = self._graph, self._config, self._weights
        given, mask = declare_inputs(graph)  # int64 (B, S)
        held = graph.cast(mask, BOOL)
        if config.unknown_id is not None:
            unknown = graph.op("Equal", given, graph.numbers(config.unknown_id), dtype=BOOL)
            held = graph.op("And", held, graph.op("Not", unknown, dtype=BOOL))
        count = graph.op("ReduceSum", graph.cast(held, FLOAT), graph.numbers(1), keepdims=1)
        self._count = graph.op("Max", count, graph.constant("one", np.float32(1)))
        nothing = graph.numbers(config.vocab_size)
        ids = graph.op("Where", held, given, nothing, dtype=INT64)
        ids = places = graph.op("Transpose", ids, perm=[1, 0])  # (S, B)
        if config.mapped:
            stored = graph.weight("mapping", self._mapping, shared=True)
            places = graph.op("Gather", stored, ids, axis=0)
        table = Table(config.hidden_size, self._table, shared=True)
        rows = self._precision.embedding(graph, places, table)
        if config.mapped and config.weighted:

            def factors() -> NDArray[np.float32]:
                return np.append(weights.read(WEIGHTS_KEY), np.float32(0))[:, None]

            stored = graph.weight("token_weights", factors, shared=True)
            rows = graph.op("Mul", rows, graph.op("Gather", stored, ids, axis=0))
        self._rows = rows

    def write(self, index: int, block: object) -> None:
        """There are no blocks."""
        raise NotImplementedError

    def finish(self) -> ir.Value:
        """Each text's rows made one: float32 (B, width)."""
        assert self._rows is not None
        assert self._count is not None
        total = self._graph.op("ReduceSum", self._rows, self._graph.numbers(0), keepdims=0)
        return self._graph.op("Div", total, self._count)

    def _table(self) -> NDArray[np.float32]:
        """The table with a row of zeros; each token's weight in its row, if it has it alone."""
        config, weights = self._config, self._weights
        rows = weights.read(TABLE_KEY)
        if config.weighted and not config.mapped:
            rows = rows * weights.read(WEIGHTS_KEY)[:, None]
        return np.pad(rows, ((0, 1), (0, 0)))

    def _mapping(self) -> NDArray[np.int32]:
        rows = self._weights.read(MAPPING_KEY).astype(np.int32)
        return np.append(rows, np.int32(self._config.rows))


def write(
    config: StaticConfig,
    task: TextTask,
    targets: Targets,
    *,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a static model's graph at every precision; see `Family.write`."""
    assert not task.rows  # no folder of other programs has such graphs
    writers = [StaticWriter(config, task, precision, graph) for precision, graph in targets]
    return walk(
        writers,
        count=0,
        read=lambda index: None,
        rotate=None,
        labels=("embedding table", "layer"),
        advance=advance,
    )
