"""The one walk that every family's writer takes: a start, block after block, a finish.

Reading a checkpoint, merging an adapter and rotating weights take the time. So every block is
read once, rotated once, and written into the graphs of all precisions before the next one: memory
is that of one block.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import onnx_ir as ir

from embedge_export.families.family import TextTask
from embedge_export.graph.attention import Batch, output_rows
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.head import pool
from embedge_export.graph.layers import Activation, Linear
from embedge_export.precision import Precision

Block = TypeVar("Block")
_Read = TypeVar("_Read", contravariant=True)


class Writer(Protocol[_Read]):
    """Writes one network's graph at one precision; the calls come in this order."""

    @property
    def rotates(self) -> bool:
        """Whether this graph's stream, and so every block given to it, is rotated."""
        ...

    def start(self) -> None:
        """Inputs, and what stands before the first block."""
        ...

    def write(self, index: int, block: _Read) -> None:
        """One block."""
        ...

    def finish(self) -> ir.Value:
        """What stands behind the last block; gives the vectors, float32 (B, width)."""
        ...


def walk(
    writers: Sequence[Writer[Block]],
    *,
    count: int,
    read: Callable[[int], Block],
    rotate: Callable[[Block], Block] | None,
    labels: tuple[str, str],
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a network's graph at every precision, all of them in step.

    Args:
        writers: one for each graph.
        count: how many blocks there are.
        read: gives a block's weights from its number.
        rotate: the same function of a rotated stream; None if no writer rotates.
        labels: what progress calls the start and a block.
        advance: called with a label before each of the `count` + 1 steps.

    Returns:
        The vectors of each graph.
    """
    start, block = labels
    advance(start)
    for writer in writers:
        writer.start()
    for index in range(count):
        advance(f"{block} {index + 1} of {count}")
        plain = rotated = read(index)
        if rotate is not None and any(writer.rotates for writer in writers):
            rotated = rotate(plain)
        for writer in writers:
            writer.write(index, rotated if writer.rotates else plain)
    return [writer.finish() for writer in writers]


def finish_rows(
    graph: GraphBuilder,
    batch: Batch,
    rows: ir.Value,
    task: TextTask,
    width: int,
    *,
    turn_back: Callable[[ir.Value], ir.Value] = lambda rows: rows,
    turns_linearly: bool = True,
    pooled: bool = False,
) -> ir.Value:
    """The pooled rows (B, head.pooled_width) of the last layer's, which may be an output too.

    Args:
        graph: where the nodes go.
        batch: whose rows they are.
        rows: float32 (rows, width), normed.
        task: its head pools; it says whether all rows are an output.
        width: of a row.
        turn_back: takes rows (…, width) out of the stream's rotation.
        turns_linearly: whether that is a matrix alone.
        pooled: whether the rows are one a text already.
    """
    # A matrix is cheaper behind the pooling, where there is one row a text.
    turned_first = task.rows or not task.head.is_linear or not turns_linearly
    if turned_first:
        rows = turn_back(rows)
    if task.rows:
        output_rows(graph, batch, rows, width)
    if not pooled:
        rows = pool(graph, batch, rows, task.head)
    return rows if turned_first else turn_back(rows)


def takes_standard_attention(task: TextTask, precision: Precision) -> bool:
    """Whether a graph's short texts may take the standard's attention, which is quicker on a CPU.

    Graphs for other programs do not: their ONNX Runtime may be older than 1.23.2, whose operator
    gives wrong numbers where heads share keys, or than 1.23, which does not know it.
    """
    return precision.cpu_only and not task.rows


def multiply(
    graph: GraphBuilder, precision: Precision, activation: Activation, linears: Sequence[Linear]
) -> list[ir.Value]:
    """The products of several linears that read the same rows: (…, in) -> (…, out) of each."""
    operand = precision.prepare(graph, activation, linears)
    return [precision.multiply(graph, operand, linear) for linear in linears]
