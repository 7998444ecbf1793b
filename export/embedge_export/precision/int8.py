"""int8 for CPUs: weights per output channel, activations with one scale per token row.

A row of the input never sees another row, so a text's vector is the same to the last bit alone
and in any batch. The residual stream comes rotated (rotation.py); inputs that it does not reach
(the MLP's product) are spread by Hadamard blocks at run time, whose inverse is folded into the
weight. Activations are uint8 around 128, because uint8 x int8 is what CPUs have kernels for; the
runtime sees to CPUs whose kernel saturates (embedge/engine/kernels.py).

Linears that lose too much can be kept finer: weights and activations in two digits each, the second
counting 254ths of a step of the first, and three products in place of one. Still integers only; the
last resort (refine.py) is float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.builder import CONTRIB, FLOAT, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Table
from embedge_export.numbers.exact import product as exact_product
from embedge_export.numbers.rounding import DIGIT, LEVELS, SMALLEST, compensate, nearest, scales
from embedge_export.numbers.sensitivity import TABLE
from embedge_export.precision.integers import int8_rows, spread_out
from embedge_export.precision.precision import Operand, Refinable

_UINT8 = ir.DataType.UINT8
# Calibration rows that a loss is measured on: so many evenly taken, and so many of the largest.
_USUAL, _TOWERING = 100, 30


@dataclass(frozen=True, slots=True)
class _Digits(Operand):
    """An operand with a second digit: `both` has the rows of the first, then those of the second.

    So one product reads a weight for both. Two would have to share it, and on CPUs whose kernel
    saturates ONNX Runtime (1.32) converts a weight for each and then refuses the graph.
    """

    both: ir.Value | None = None


class _Floats(Operand):
    """An operand left as it is, for linears in float32."""


@dataclass(frozen=True, slots=True)
class Int8(Refinable):
    """See the module.

    Attributes:
        finer: names of linears that are kept in two digits, and TABLE.
        floats: names of linears that are kept in float32.
    """

    finer: frozenset[str] = frozenset()
    floats: frozenset[str] = frozenset()

    name: ClassVar[str] = "int8"
    rotates: ClassVar[bool] = True
    calibrates: ClassVar[bool] = True
    cpu_only: ClassVar[bool] = True
    minimum_cosine: ClassVar[float] = 0.998
    wanted_cosine: ClassVar[float] = 0.9985
    largest_difference: ClassVar[float | None] = None
    batch_difference: ClassVar[float] = 0.0

    def keeping(self, names: Sequence[str], *, floats: Sequence[str] = ()) -> "Int8":
        """See Refinable."""
        return replace(self, finer=frozenset(names), floats=frozenset(floats))

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """See Precision. One scale per row of the table."""
        return int8_rows(graph, ids, table, finer=TABLE in self.finer)

    def prepare(
        self, graph: GraphBuilder, activation: Activation, readers: Sequence[Linear]
    ) -> Operand:
        """See Precision."""
        width = readers[0].weight.shape[1]
        x, rows, scales = activation.value, activation.rows, activation.scales
        block = 1
        if activation.outliers:
            x, block = spread_out(graph, activation, width)
        if all(reader.name in self.floats for reader in readers):
            return _Floats(x, scales, block)
        # The largest absolute value: two reads, and no copy of absolute values.
        axes = graph.numbers(-1)
        lowest = graph.op("Neg", graph.op("ReduceMin", x, axes, keepdims=1))
        least = graph.constant("smallest", SMALLEST)
        largest = graph.op("Max", graph.op("ReduceMax", x, axes, keepdims=1), lowest, least)
        step = graph.op("Mul", largest, graph.constant("per_level", 1 / LEVELS))  # (…, 1)
        zero_points = graph.once(
            f"zero_points.{rows.column.name}",
            lambda: graph.op("Expand", _zero_point(graph), rows.column),
        )
        blocks = {"axis": -1, "block_size": width}  # one block a row
        first = graph.op("QuantizeLinear", x, step, zero_points, dtype=_UINT8, **blocks)
        total = step if scales is None else graph.op("Mul", step, scales)
        if not any(reader.name in self.finer for reader in readers):
            return Operand(first, total, block)
        back = graph.op("DequantizeLinear", first, step, zero_points, dtype=FLOAT, **blocks)
        rest = graph.op("Sub", x, back)
        step = graph.op("Mul", step, graph.constant("per_digit", 1 / DIGIT))
        second = graph.op("QuantizeLinear", rest, step, zero_points, dtype=_UINT8, **blocks)
        return _Digits(first, total, block, graph.op("Concat", first, second, axis=0))

    def multiply(
        self, graph: GraphBuilder, operand: Operand, linear: Linear, *, scaled: bool = True
    ) -> ir.Value:
        """See Precision. float32 out."""
        name, shared = linear.name, linear.shared
        turned = linear.for_mixed_input(operand.block) if operand.block > 1 else linear
        if isinstance(operand, _Floats):
            weight = graph.weight(f"{name}.float", lambda: turned.weight.T, shared=shared)
            return _finished(graph, graph.op("MatMul", operand.values, weight), operand, linear,
                             scaled=scaled)  # fmt: skip

        @cache
        def digits() -> tuple[NDArray[np.int8], NDArray[np.float32]]:
            step = scales(turned.weight)  # (out,)
            if turned.inputs is None:
                return nearest(turned.weight, step), step
            levels = compensate(turned.weight, step, turned.inputs)
            graph.notes[name] = _loss(turned, levels, step)
            return levels, step

        def product(
            values: ir.Value, weight: ir.Value, step: ir.Value, unit: np.float32
        ) -> ir.Value:
            return graph.op(
                "MatMulIntegerToFloat",
                values,
                weight,
                graph.constant(f"unit_{unit}", np.float32(unit)),
                step,
                _zero_point(graph),
                # 0 is the default, but to convert the weights for CPUs whose kernel saturates, ONNX
                # Runtime 1.23 needs it spelt out, and every version one to each weight.
                graph.constant(f"{weight.name}.zero_point", np.int8(0)),
                dtype=FLOAT,
                domain=CONTRIB,
            )

        weight = graph.weight(f"{name}.weight", lambda: digits()[0].T, shared=shared)
        step = graph.weight(f"{name}.scale", lambda: digits()[1], shared=shared)
        if isinstance(operand, _Digits) and name in self.finer:

            def rest() -> NDArray[np.int8]:
                levels, step = digits()
                return nearest(turned.weight - levels * step[:, None], step / DIGIT).T

            per_digit = 1 / DIGIT
            low = graph.weight(f"{name}.weight.low", rest, shared=shared)
            assert operand.both is not None
            both = product(operand.both, weight, step, np.float32(1))
            y, second = graph.multi("Split", (both,), (FLOAT, FLOAT), axis=0, num_outputs=2)
            second = graph.op("Mul", second, graph.constant("per_digit", per_digit))
            y = graph.op("Add", y, second)
            y = graph.op("Add", y, product(operand.values, low, step, per_digit))
        else:
            y = product(operand.values, weight, step, np.float32(1))
        return _finished(graph, y, operand, linear, scaled=scaled)


def _finished(
    graph: GraphBuilder, y: ir.Value, operand: Operand, linear: Linear, *, scaled: bool
) -> ir.Value:
    """A product with the rows' scales and the bias."""
    if operand.scales is not None and scaled:
        y = graph.op("Mul", y, operand.scales)
    if linear.bias is not None:
        assert scaled
        y = graph.op("Add", y, graph.constant(f"{linear.name}.bias", linear.bias))
    return y


def _zero_point(graph: GraphBuilder) -> ir.Value:
    return graph.constant("uint8_128", np.uint8(128))


def _loss(linear: Linear, levels: NDArray[np.int8], step: NDArray[np.float32]) -> float:
    """What the integers change in the product of sample rows, in mean squares of a usual row's.

    Not of each row's own: a few rows may tower over the others, as a text's first often does, and
    what is small to them is large to whatever is added to them.
    """
    assert linear.inputs is not None
    rows = linear.inputs.rows
    towering = np.argsort(-np.square(rows).sum(axis=1), kind="stable")[:_TOWERING]
    rows = np.concatenate([rows[:: max(1, len(rows) // _USUAL)], rows[towering]])
    scale = scales(rows)
    exact = exact_product(rows, linear.weight)
    rounded = exact_product(nearest(rows, scale) * scale[:, None], levels * step[:, None])
    usual = float(np.median(np.square(exact).sum(axis=1)))
    return float(np.square(rounded - exact).sum(axis=1).mean()) / max(usual, 1e-30)
