"""What the two batches of a graph share: heads, rotary positions, and their protocol.

A batch is where rows become texts: which rows there are, attention between those of a text, and
pooling. A network takes one of two and knows no other difference between a decoder and an encoder.
`CausalBatch` (causal.py) keeps the padded positions as rows (B, S), because its operator wants them
so. `PackedBatch` (packed.py) has a row for every token and none for padding: a text's numbers then
cannot depend on what it is padded to, and padding costs nothing. Sources: grouped queries arXiv
2305.13245, rotary positions arXiv 2104.09864.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.batches import LONG_MULTIPLE
from embedge.pack.contract import ROWS
from embedge_export.graph.builder import BOOL, INT64, GraphBuilder
from embedge_export.graph.layers import Rows
from embedge_export.numbers.exact import cosine_sine, power


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The shape of an attention layer; the query heads are shared out among the key heads."""

    query: int
    key_value: int
    width: int
    rotary: "RotaryTables | None"  # None: positions are in the rows already
    # What is added to a score, by how far the key is after the query: (heads, 2 * positions), from
    # -positions to positions - 1 (distances.py). None: nothing.
    distances: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosines and sines of every position, (positions, width / 2); `name` is that in a graph."""

    cosine: NDArray[np.float32]
    sine: NDArray[np.float32]
    name: str = "rotary"


@dataclass(frozen=True, slots=True)
class Window:
    """What a layer sees whose tokens see those near them alone.

    Attributes:
        reach: how many tokens before and how many after its own.
        rotary: of such layers, in place of those of `Heads`.
    """

    reach: int
    rotary: RotaryTables


def rotary_tables(
    *, positions: int, width: int, theta: float, name: str = "rotary"
) -> RotaryTables:
    """Half-split rotary tables, the angles in float32 as the models' own code computes them."""
    positions += -positions % LONG_MULTIPLE  # long texts are padded to it
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = 1 / power(theta, exponents)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    return RotaryTables(*cosine_sine(angles), name)


class Batch(Protocol):
    """The texts of one run, as rows.

    Attributes:
        ids: int64, the token of every row, in the shape of the rows.
        tokens: that shape.
        texts: the shape of pooled rows.
    """

    ids: ir.Value
    tokens: Rows
    texts: Rows

    def attend(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """Attention with rotary positions, in memory linear in a text's length.

        Args:
            query: (rows, query heads * width), in whichever shape the rows are kept.
            key: (rows, key heads * width).
            value: as key.

        Returns:
            As query.
        """
        ...

    def pool(self, rows: ir.Value, mode: str) -> ir.Value:
        """Each text's rows made one by a mode of `head.MODES`: (rows, width) -> (B, width)."""
        ...

    def unpack(self, rows: ir.Value) -> ir.Value:
        """The rows where their tokens were given: (rows, width) -> (B, S, width), 0 for padding."""
        ...


def declare_inputs(graph: GraphBuilder) -> tuple[ir.Value, ir.Value]:
    """Declares input_ids and attention_mask, int64 (B, S)."""
    ids = graph.input("input_ids", INT64, ("batch", "sequence"))
    return ids, graph.input("attention_mask", INT64, ("batch", "sequence"))


def where_attended(graph: GraphBuilder, mask: ir.Value, rows: ir.Value) -> ir.Value:
    """The rows (B, S, width) where the mask (B, S) is not 0, and zeros elsewhere."""
    zero = graph.constant("zero", np.float32(0))
    attended = graph.op("Unsqueeze", graph.cast(mask, BOOL), graph.numbers(2))
    return graph.op("Where", attended, rows, zero, dtype=rows.dtype)


def output_rows(graph: GraphBuilder, batch: Batch, rows: ir.Value, width: int) -> None:
    """Makes the rows behind the last layer an output of the graph, float32 (B, S, width)."""
    graph.output(ROWS, batch.unpack(rows), ("batch", "sequence", width))


def rotary_weights(
    graph: GraphBuilder, rotary: RotaryTables | None, dtype: ir.DataType
) -> tuple[ir.Value, ir.Value]:
    """The tables as weights of a graph, each (positions, width / 2)."""
    assert rotary is not None
    cosine, sine = rotary.cosine, rotary.sine
    return (
        graph.weight(f"{rotary.name}.cosine", lambda: cosine.astype(dtype.numpy()), shared=True),
        graph.weight(f"{rotary.name}.sine", lambda: sine.astype(dtype.numpy()), shared=True),
    )
