"""A batch of an encoder: texts one below the other, without padding; a token sees all of its text.

Takes the graph and the shape of the heads; gives the rows, attention and pooling of `Batch`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
import onnx_ir as ir

from embedge_export.graph.attention import (
    Batch,
    Heads,
    Window,
    declare_inputs,
    where_attended,
)
from embedge_export.graph.builder import BOOL, FLOAT, FLOAT16, INT32, INT64, GraphBuilder
from embedge_export.graph.distances import distance_bias, first_distances
from embedge_export.graph.groups import (
    Groups,
    apart,
    attend_by_length,
    attend_each,
    each_group,
    find_groups,
    flat,
    nonzero,
)
from embedge_export.graph.layers import Rows
from embedge_export.graph.multi_head import Attend, attend, repeat_heads, turn
from embedge_export.graph.pooling import Spans, pool_rows
from embedge_export.graph.windows import attend_near, attend_padded, band


class PackedBatch(Batch):
    """B texts one below the other, a row a token; every token sees all of its text.

    Where the mask is 0 there is no row, on whichever side of the text that is. With `standard`,
    short texts take the standard's operator.
    """

    def __init__(self, graph: GraphBuilder, heads: Heads | None, *, standard: bool = False) -> None:
        self._graph = graph
        self._given_heads = heads  # None where nothing attends here
        self._standard = standard
        ids, mask = declare_inputs(graph)  # int64 (B, S)
        self._ids, self._mask, self._taken = ids, mask, nonzero(graph, mask)
        self.ids = graph.op("Gather", flat(graph, ids), self._taken, axis=0)  # (rows,)
        self._length = graph.op("Shape", mask, dtype=INT64, start=1, end=2)  # (1,): S
        self._lengths = graph.op("ReduceSum", mask, graph.numbers(1), keepdims=0)  # (B,)
        self._ends = graph.op("CumSum", self._lengths, graph.constant("int64_0", np.int64(0)))
        self._starts = graph.op("Sub", self._ends, self._lengths)
        one = graph.numbers(1)
        self.tokens, self.texts = (
            Rows(1, graph.op("Concat", graph.op("Shape", x, dtype=INT64), one, axis=0))
            for x in (self.ids, self._lengths)
        )

    @property
    def _heads(self) -> Heads:
        assert self._given_heads is not None
        return self._given_heads

    def each_length(self, network: Callable[[ir.Value], ir.Value], dtype: ir.DataType) -> ir.Value:
        """A network that takes texts of one length, run on one run of such texts after another.

        Args:
            network: adds its nodes; from ids (texts, length), int64, to a row for each of them,
                (texts * length, width).
            dtype: of these rows.

        Returns:
            The rows of all texts, as `ids` has them: (rows, width).
        """
        graph = self._graph

        def group(rows: Sequence[ir.Value], length: ir.Value) -> ir.Value:
            shape = graph.op("Concat", graph.numbers(-1), length, axis=0)
            return network(graph.op("Reshape", rows[0], shape))

        return each_group(graph, self._groups, (self.ids,), group, dtype)

    def attend(
        self, query: ir.Value, key: ir.Value, value: ir.Value, *, window: Window | None = None
    ) -> ir.Value:
        """See Batch. With a window a token sees those near it alone."""
        if self._standard and window is None and self._heads.distances is None:
            rows, blockwise = (query, key, value), self._operator
            return attend_by_length(
                self._graph, self._groups, rows, heads=self._heads, blockwise=blockwise
            )
        key, value = (repeat_heads(self._graph, x, self._heads) for x in (key, value))
        if query.dtype == FLOAT16:
            return self._attend_at_once(query, key, value, window)
        return self._attend_by_groups(query, key, value, window)

    def positions(self, padding_id: int | None) -> ir.Value:
        """The place of every row in its text: int64 (rows,).

        Counted from 0; or with a padding id, counted from 1 over the rows of other ids, and 0 for
        a row of that id, which a text may hold.
        """
        graph, mask = self._graph, self._mask
        if padding_id is None:
            counted = graph.op("CumSum", mask, graph.constant("int64_1", np.int64(1)))
            counted = graph.op("Gather", flat(graph, counted), self._taken, axis=0)
            return graph.op("Sub", counted, graph.numbers(1))
        padding = graph.op("Equal", self._ids, graph.numbers(padding_id), dtype=BOOL)
        mask = graph.op("Mul", mask, graph.cast(graph.op("Not", padding, dtype=BOOL), INT64))
        counted = graph.op("CumSum", mask, graph.constant("int64_1", np.int64(1)))
        counted = graph.op("Mul", counted, mask)
        return graph.op("Gather", flat(graph, counted), self._taken, axis=0)

    def pool(self, rows: ir.Value, mode: str) -> ir.Value:
        """See Batch."""
        spans = Spans(self._starts, self._ends, self._lengths)
        return pool_rows(self._graph, rows, spans, mode)

    def unpack(self, rows: ir.Value) -> ir.Value:
        """See Batch."""
        graph, mask = self._graph, self._mask
        before = graph.op("CumSum", flat(graph, mask), graph.constant("int64_0", np.int64(0)))
        # A place without a token takes any row, and is set to 0 below.
        row = graph.op("Max", graph.op("Sub", before, graph.numbers(1)), graph.numbers(0))
        row = graph.op("Reshape", row, graph.op("Shape", mask, dtype=INT64))
        return where_attended(graph, mask, graph.op("Gather", rows, row, axis=0))

    def _attend_by_groups(
        self, query: ir.Value, key: ir.Value, value: ir.Value, window: Window | None
    ) -> ir.Value:
        """One operator for each run of texts of one length, so that none needs a mask."""
        graph, heads, groups = self._graph, self._heads, self._groups
        width = heads.query * heads.width
        bias = self._bias(query.dtype or FLOAT, window)

        def attended(own: Sequence[ir.Value], length: ir.Value, alone: bool) -> ir.Value:
            query, key, value = (apart(graph, x, length, width) for x in own)
            if window is not None:
                assert bias is not None
                turned = (*turn(graph, query, key, window.rotary), value)
                result = attend_near(
                    graph, self._scored, turned, window=window, length=length, near=bias
                )
            elif bias is None or alone:
                result = self._operator(query, key, value, bias=bias)
            else:
                own_bias = first_distances(graph, bias, length)
                result = self._operator(query, key, value, bias=own_bias)
            return graph.op("Reshape", result, graph.numbers(-1, width))

        return attend_each(graph, groups, (query, key, value), attended)

    def _attend_at_once(
        self, query: ir.Value, key: ir.Value, value: ir.Value, window: Window | None
    ) -> ir.Value:
        """One operator for all texts, padded on the right; for GPUs, where a loop costs more.

        Texts of one length need neither padding nor a mask, with which ONNX Runtime takes a slower
        kernel: at 8,192 tokens the whole of v5-text-nano took 27.6 ms with it, 12.1 without (H200).
        """
        if window is not None or self._heads.distances is not None:
            return self._attend_padded(query, key, value, window)
        graph = self._graph
        dtype, width = query.dtype or FLOAT, self._heads.query * self._heads.width
        full, _ = self._full, self._padded  # both outside of the branches

        def alike() -> ir.Value:
            shape = graph.op(
                "Concat", graph.numbers(-1), self._length, graph.numbers(width), axis=0
            )
            apart = (graph.op("Reshape", x, shape) for x in (query, key, value))
            return graph.op("Reshape", self._operator(*apart), graph.numbers(-1, width))

        return graph.either(
            full, alike, lambda: self._attend_padded(query, key, value, None), dtype
        )

    def _attend_padded(
        self, query: ir.Value, key: ir.Value, value: ir.Value, window: Window | None
    ) -> ir.Value:
        graph = self._graph
        places, rows, valid_keys = self._padded
        query, key, value = (graph.op("Gather", x, places, axis=0) for x in (query, key, value))
        if window is None:
            bias = self._bias(query.dtype or FLOAT, None)
            result = self._operator(query, key, value, valid=valid_keys, bias=bias)
        else:
            query, key = turn(self._graph, query, key, window.rotary)
            result = attend_padded(
                graph,
                self._scored,
                (query, key, value),
                window=window,
                lengths=self._lengths,
                valid=valid_keys,
            )
        attended = graph.op(
            "Reshape", result, graph.numbers(-1, self._heads.query * self._heads.width)
        )
        return graph.op("Gather", attended, rows, axis=0)

    def _bias(self, dtype: ir.DataType, window: Window | None) -> ir.Value | None:
        """What is added to the scores of the longest text, (1, heads, S, S); None: nothing.

        Of groups S is the longest text's own length, and of padded texts what all are padded to.
        """
        graph, distances = self._graph, self._heads.distances

        def make() -> ir.Value:
            length = self._length
            if dtype != FLOAT16:
                length = graph.op("ReduceMax", self._lengths, graph.numbers(0), keepdims=1)
            if window is not None:
                return band(graph, window, length)
            assert distances is not None
            return graph.cast(distance_bias(graph, distances, length), dtype)

        if distances is None and window is None:
            return None
        return graph.once("distance_bias" if window is None else f"band_{window.reach}", make)

    def _operator(
        self,
        query: ir.Value,
        key: ir.Value,
        value: ir.Value,
        *,
        valid: ir.Value | None = None,
        bias: ir.Value | None = None,
    ) -> ir.Value:
        """Rotary positions from 0 and attention: three times (texts, length, width) -> the same."""
        if self._heads.rotary is not None:
            query, key = turn(self._graph, query, key, self._heads.rotary)
        return self._scored(query, key, value, valid=valid, bias=bias)

    @property
    def _scored(self) -> Attend:
        """Attention without rotary positions."""
        return partial(attend, self._graph, heads=self._heads.query)

    @cached_property
    def _groups(self) -> Groups:
        return find_groups(self._graph, self.ids, self._starts, self._lengths)

    @cached_property
    def _full(self) -> ir.Value:
        """Whether every text is as long as all are padded to: a bool scalar."""
        graph = self._graph
        least = graph.op("ReduceMin", self._lengths, graph.numbers(0), keepdims=0)
        return graph.op("Equal", least, graph.op("Squeeze", self._length), dtype=BOOL)

    @cached_property
    def _padded(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """To (B, S) and back: the row of each place, the place of each row, and the valid keys.

        A place without a token takes its text's last row, which the operator does not look at. The
        valid keys are int32 (3 * B + 2,): tokens of each text, then where each begins among the
        queries and among the keys, with their ends; the form that has a kernel in blocks on CUDA.
        With a bias that kernel takes some lengths alone, and the others misread this form: there
        the valid keys are 1 for each place that has a token, (B, S).
        """
        graph = self._graph
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        places = graph.op("Range", zero, graph.op("Squeeze", self._length), one)  # (S,)
        starts, ends, lengths = (
            graph.op("Unsqueeze", x, graph.numbers(1))
            for x in (self._starts, self._ends, self._lengths)
        )
        row = graph.op("Min", graph.op("Add", starts, places), graph.op("Sub", ends, one))
        if self._heads.distances is not None:
            valid = graph.op("Less", places, lengths, dtype=BOOL)
            return row, nonzero(graph, valid), graph.cast(valid, INT32)
        texts = graph.op("Squeeze", graph.op("Shape", self._lengths, dtype=INT64))
        bounds = graph.op("Range", zero, graph.op("Add", texts, one), one)
        bounds = graph.op("Mul", bounds, self._length)  # (B + 1,)
        valid_keys = graph.op("Concat", self._lengths, bounds, bounds, axis=0)
        taken = nonzero(graph, graph.op("Less", places, lengths, dtype=BOOL))
        return row, taken, graph.cast(valid_keys, INT32)
