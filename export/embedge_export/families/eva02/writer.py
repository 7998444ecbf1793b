"""Graphs of EVA02 vision towers, from pixels to vectors, block by block (walk.py).

The patch convolution is written as cutting and a product. Of the last block only the class token's
row is computed after its keys and values.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from embedge.pack.contract import IMAGE_INPUTS
from embedge_export.families.eva02.blocks import (
    EvaBlock,
    added_columns,
    read_block,
    rotary_angles,
)
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.families.walk import multiply, walk
from embedge_export.graph import layers
from embedge_export.graph.builder import CONTRIB, FLOAT, GraphBuilder
from embedge_export.graph.layer_norm import (
    Norm,
    add_and_norm,
    apply_norm,
    center_output,
    read_norm,
)
from embedge_export.graph.layers import Activation, Linear, Rows
from embedge_export.numbers.calibration import CalibrationRows
from embedge_export.numbers.exact import cosine_sine
from embedge_export.numbers.rotation import Rotation
from embedge_export.precision import Precision
from embedge_export.precision.floats import Float32
from embedge_export.tensors.weights import Weights


class EvaWriter:
    """Writes a tower's graph, block by block, at one precision; a `Writer` of walk.py.

    Rows are tokens of all images.
    """

    def __init__(
        self,
        config: EvaConfig,
        precision: Precision,
        graph: GraphBuilder,
        weights: Weights,
        *,
        rotation: Rotation,
    ) -> None:
        self._config = config
        self._weights = weights
        self._precision = precision
        self._graph = graph
        self._rotation = rotation if precision.rotates else None
        size = config.image_size
        self._pixels = graph.input(IMAGE_INPUTS[0], FLOAT, ("batch", 3, size, size))
        self._images = graph.op("Shape", self._pixels, dtype=ir.DataType.INT64, start=0, end=1)
        one = graph.numbers(1)
        patches = graph.op("Mul", self._images, graph.numbers(config.grid**2))
        tokens = graph.op("Mul", self._images, graph.numbers(config.tokens))
        # Of all patches, of all tokens, and of the class tokens alone.
        self._patches, self._tokens, self._classes = (
            Rows(1, graph.op("Concat", count, one, axis=0))
            for count in (patches, tokens, self._images)
        )
        # The residual stream (rows, width) up to the last sum, and the update still to be added.
        self._stream: ir.Value | None = None
        self._update: ir.Value | None = None

    @property
    def rotates(self) -> bool:
        """See Writer."""
        return self._rotation is not None

    def start(self) -> None:
        """Starts the stream: the class token and every patch, with their positions."""
        graph, config, weights = self._graph, self._config, self._weights
        width, grid, patch = config.width, config.grid, config.patch_size
        kernel = Linear(
            "patches",
            weights.read("patch_embed.proj.weight").reshape(width, -1),
            weights.read("patch_embed.proj.bias"),
        )
        positions = weights.read("pos_embed")[0]  # (tokens, width)
        positions[0] += weights.read("cls_token")[0, 0]
        if self._rotation is not None:
            kernel = center_output(kernel).with_rotated_output(self._rotation)
            positions = self._rotation.apply(positions - positions.mean(axis=1, keepdims=True))
        seen = graph.numbers(grid * patch, grid * patch)
        pixels = graph.op("Slice", self._pixels, graph.numbers(0, 0), seen, graph.numbers(2, 3))
        apart = graph.op("Reshape", pixels, graph.numbers(-1, 3, grid, patch, grid, patch))
        cut = graph.op("Transpose", apart, perm=[0, 2, 4, 1, 3, 5])
        rows = graph.op("Reshape", cut, graph.numbers(-1, 3 * patch * patch))
        # In float32 whatever the precision: it is a five-hundredth of the work, and pixels have
        # eight bits of their own to lose.
        [rows] = multiply(graph, Float32(), Activation(rows, self._patches), [kernel])
        patches = graph.op(
            "Add",
            graph.op("Reshape", rows, graph.numbers(-1, grid * grid, width)),
            graph.weight("positions", lambda: positions[1:], shared=False),
        )
        shape = graph.op("Concat", self._images, graph.numbers(1, width), axis=0)
        first = graph.op("Expand", graph.constant("class_token", positions[0]), shape)
        self._stream = self._rows(graph.op("Concat", first, patches, axis=1))

    def write(self, index: int, block: EvaBlock) -> None:
        """Attention and MLP of one block; of the last one the class token's alone."""
        graph, config, precision = self._graph, self._config, self._precision
        last, shape = index == config.layers - 1, self._tokens
        if precision.aligned:
            block = block.aligned()
        rows = self._add_and_norm(block.attention_norm)
        activation = Activation(rows, self._tokens)
        key, value = multiply(graph, precision, activation, [block.key, block.value])
        if last:
            assert self._stream is not None
            shape = self._classes
            rows, self._stream = self._first(rows), self._first(self._stream)
        [query] = multiply(graph, precision, Activation(rows, shape), [block.query])
        attended = self._attend(query, key, value, class_token=last)
        attended = self._inner_norm(attended, block.inner_attention_norm)
        activation = Activation(attended, shape, outliers=True)
        [self._update] = multiply(graph, precision, activation, [block.attention_output])
        rows = self._add_and_norm(block.mlp_norm)
        activation = Activation(rows, shape)
        gate, up = multiply(graph, precision, activation, [block.gate, block.up])
        product = graph.op("Mul", layers.silu(graph, gate), up)
        product = self._normed_product(product, block.inner_mlp_norm, shape)
        activation = Activation(product, shape, outliers=True)
        [self._update] = multiply(graph, precision, activation, [block.down])

    def finish(self) -> ir.Value:
        """The class token, normed and turned back: float32 (B, width)."""
        rotation, norm = self._rotation, read_norm(self._weights, "norm")
        if rotation is None:
            return self._add_and_norm(norm)
        assert norm.bias is not None
        rows = self._add_and_norm(None)
        graph = self._graph
        back = graph.weight("rotate_back", lambda: rotation.matrix().T * norm.gain, shared=False)
        turned = graph.op("MatMul", rows, back)
        return graph.op("Add", turned, graph.constant("final_bias", norm.bias))

    def _attend(
        self, query: ir.Value, key: ir.Value, value: ir.Value, *, class_token: bool
    ) -> ir.Value:
        """Attention within an image; `class_token`: the queries are of that alone."""
        graph, config = self._graph, self._config
        dtype = key.dtype or FLOAT
        cosine, sine = (x.astype(dtype.numpy()) for x in cosine_sine(rotary_angles(config)))
        tables = (
            graph.weight("rotary.cosine", lambda: cosine, shared=False),
            graph.weight("rotary.sine", lambda: sine, shared=False),
        )

        def turned(x: ir.Value) -> ir.Value:
            return graph.op(
                "RotaryEmbedding",
                *(x, graph.numbers(0), *tables),
                domain=CONTRIB,
                interleaved=1,
            )

        tokens = (-1, config.tokens, config.width)
        key, value = (graph.op("Reshape", x, graph.numbers(*tokens)) for x in (key, value))
        if class_token:  # which does not turn
            query = graph.op("Reshape", query, graph.numbers(-1, 1, config.width))
        else:
            query = turned(graph.op("Reshape", query, graph.numbers(*tokens)))
        attended = graph.op(
            "MultiHeadAttention",
            *(query, turned(key), value),
            domain=CONTRIB,
            num_heads=config.heads,
        )
        return self._rows(attended)

    def _inner_norm(self, rows: ir.Value, norm: Norm) -> ir.Value:
        """The norm within a half of a block, whose gain and bias are folded away if it is half."""
        epsilon = self._config.layer_norm_eps
        return apply_norm(self._graph, rows, norm, epsilon, self._precision.norms)

    def _normed_product(self, product: ir.Value, norm: Norm, shape: Rows) -> ir.Value:
        """The norm of the MLP's product; what `aligned` added is left out, and ones are put there.

        Concat, since ONNX Runtime has no Pad of this opset on CUDA.
        """
        graph, inner = self._graph, self._config.inner
        added = added_columns(inner) if self._precision.aligned else 0
        if not added:
            return self._inner_norm(product, norm)
        numbers = graph.numbers
        own = graph.op("Slice", product, numbers(0), numbers(inner), numbers(1))
        normed = self._inner_norm(own, norm)
        kind = (product.dtype or FLOAT).numpy()
        row = graph.constant("one_and_zeros", np.eye(1, added, dtype=kind))
        ones = graph.once(
            f"ones.{shape.column.name}", lambda: graph.op("Expand", row, shape.column)
        )
        return graph.op("Concat", normed, ones, axis=1)

    def _add_and_norm(self, norm: Norm | None) -> ir.Value:
        graph, width, epsilon = self._graph, self._config.width, self._config.layer_norm_eps
        assert self._stream is not None
        if norm is not None:
            if self._update is None:
                return apply_norm(graph, self._stream, norm, epsilon)
            result, self._stream = add_and_norm(graph, self._stream, self._update, norm, epsilon)
            return result
        ones = layers.gain_of(graph, "", None, width)
        if self._update is None:
            return layers.rms_norm(graph, self._stream, ones, epsilon)
        result, self._stream = layers.add_and_norm(graph, self._stream, self._update, ones, epsilon)
        return result

    def _rows(self, x: ir.Value) -> ir.Value:
        return self._graph.op("Reshape", x, self._graph.numbers(-1, self._config.width))

    def _first(self, rows: ir.Value) -> ir.Value:
        """The class tokens' rows: (images * tokens, width) -> (images, width)."""
        graph, config = self._graph, self._config
        apart = graph.op("Reshape", rows, graph.numbers(-1, config.tokens, config.width))
        return graph.op("Gather", apart, graph.constant("int64_0", np.int64(0)), axis=1)


def write(
    config: EvaConfig,
    weights: Weights,
    targets: Sequence[tuple[Precision, GraphBuilder]],
    *,
    samples: CalibrationRows | None = None,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a tower's graph at every precision, all of them in step.

    Args:
        config: the tower.
        weights: without the prefix "vision_model.".
        targets: each precision and the graph that it is written into.
        samples: rows that the linears of `CALIBRATED` read, by the key of the weight; emptied as
            they are used.
        advance: called with a label before each step.

    Returns:
        The vectors of each target, float32 (B, width).
    """
    rotation = Rotation(config.width)
    found = {} if samples is None else samples
    writers = [
        EvaWriter(config, precision, graph, weights, rotation=rotation)
        for precision, graph in targets
    ]
    return walk(
        writers,
        count=config.layers,
        read=lambda index: read_block(weights, index, found),
        rotate=lambda block: block.rotated(rotation),
        labels=("image: patches", "image: block"),
        advance=advance,
    )
