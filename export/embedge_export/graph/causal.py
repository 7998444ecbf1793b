"""A batch of a decoder: padded texts, in which a token sees those before it.

Takes the graph and the shape of the heads; gives the rows, attention and pooling of `Batch`.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnx_ir as ir

from embedge.batches import LONG
from embedge_export.graph.attention import (
    Batch,
    Heads,
    declare_inputs,
    rotary_weights,
    where_attended,
)
from embedge_export.graph.builder import BOOL, CONTRIB, FLOAT, FLOAT16, INT32, INT64, GraphBuilder
from embedge_export.graph.layers import Rows
from embedge_export.graph.multi_head import attend_squarely, turn
from embedge_export.graph.pooling import Spans, pool_rows
from embedge_export.head.head import LAST_TOKEN

# Tokens of a part; half of it is no quicker, and takes more rounds.
_PART = 256
# The standard's operator gets keys padded to a multiple of it. The sum of a row's exponentials
# takes them some at a time, and what is left over in another order, so that a text's last bits
# would depend on its padding on arm64, where 4 would do.
_KEYS = 16
_NO_SCORE = -1e30  # of a key that nobody attends to: its exponential is 0


class CausalBatch(Batch):
    """B texts padded to S tokens, as rows (B, S); a token sees those before it.

    The operator counts a text's valid tokens from the left, so it takes right padding alone. With
    `turns`, every text's row is turned round until its first token stands first, and `unpack` turns
    it back, so that the padding may stand on either side. With `standard`, short texts take the
    standard's operator.
    """

    def __init__(
        self, graph: GraphBuilder, heads: Heads, *, turns: bool = False, standard: bool = False
    ) -> None:
        self._graph = graph
        self._heads = heads
        self._standard = standard
        self.ids, self._mask = self._given = declare_inputs(graph)  # int64 (B, S)
        self._turns = turns
        if turns:
            places = self._turned("Add")
            self.ids, self._mask = (
                graph.op("GatherElements", x, places, axis=1) for x in self._given
            )
        batch = graph.op("Shape", self.ids, dtype=INT64, start=0, end=1)
        self._length = graph.op("Shape", self.ids, dtype=INT64, start=1, end=2)
        one = graph.numbers(1)
        self.tokens = Rows(2, graph.op("Concat", batch, self._length, one, axis=0))
        self.texts = Rows(1, graph.op("Concat", batch, one, axis=0))
        self._length_32 = graph.cast(self._length, INT32)
        self._presents: Sequence[ir.Value] = ()  # of the last operator
        self._valid = graph.op("ReduceSum", self._mask, graph.numbers(1), keepdims=0)  # (B,)
        # int32 (B,): valid tokens of each text less one.
        self._last = graph.cast(graph.op("Sub", self._valid, graph.numbers(1)), INT32)

    def attend(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """See Batch.

        The operator has two kernels on a CPU. One holds the square of scores and takes every text
        by its own length, so its numbers do not depend on padding; up to about 1,000 tokens it is
        up to 1.7 times as quick. The other works in blocks, in memory linear in the length. A sink
        of weight 0 selects the first; which one runs hangs on the longest text, not on padding.
        The standard's operator is quicker still, and copies no keys and values.
        """
        if query.dtype == FLOAT16:
            self._free_presents()
            return self._operator(query, key, value)
        graph, heads = self._graph, self._heads
        if self._standard:
            return self._attend_by_length(query, key, value)
        sink = graph.constant("no_sink", np.full(heads.query, _NO_SCORE, np.float32))
        return graph.either(
            self._long,
            lambda: self._operator(query, key, value),
            lambda: self._operator(query, key, value, sink),
            query.dtype or FLOAT,
        )

    def _attend_by_length(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """By the standard's operator, but for long texts.

        Short ones, such as a query alone, are asked for first: each choice costs time.
        """
        graph, rotary, long = self._graph, self._heads.rotary, self._long
        dtype = query.dtype or FLOAT
        assert rotary is not None
        # Both outside of the branches, so that they are computed once and not in each layer.
        seen, _ = self._seen_in_first_part, self._after_keys

        def whole() -> ir.Value:
            own, others = turn(graph, query, key, rotary)
            keys = (self._with_more_keys(x) for x in (others, value))
            return attend_squarely(graph, own, *keys, heads=self._heads, seen=seen)

        def longer() -> ir.Value:
            return graph.either(
                long,
                lambda: self._operator(query, key, value),
                lambda: self._attend_in_parts(*turn(graph, query, key, rotary), value),
                dtype,
            )

        return graph.either(self._whole, whole, longer, dtype)

    def _attend_in_parts(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """Parts of the queries, each of which sees the keys up to its end.

        The operator computes the scores of later keys too, for nothing. The numbers are the same,
        in 0.85 of the time at 512 tokens and 0.65 at 1,024.
        """
        graph, heads = self._graph, self._heads
        one = graph.constant("int64_1", np.int64(1))
        first, axis = graph.numbers(0), graph.numbers(1)
        more = [self._with_more_keys(x) for x in (key, value)]
        # The last part has at least two rows: the product of one row has a kernel of its own, which
        # sums in another order.
        above = graph.op("Add", self._length, graph.numbers(_PART - 2))
        count = graph.op("Squeeze", graph.op("Div", above, graph.numbers(_PART)))
        last = graph.op("Sub", count, one)

        def part(number: ir.Value) -> ir.Value:
            start = graph.op("Mul", number, graph.numbers(_PART))  # (1,)
            end = graph.op("Add", start, graph.numbers(_PART))
            inner = graph.op("Less", number, last, dtype=BOOL)
            end = graph.op("Where", inner, end, self._length, dtype=INT64)
            own = graph.op("Slice", query, start, end, axis)
            before = (graph.op("Slice", x, first, self._rounded_up(end), axis) for x in more)
            seen = self._seen(start, end)
            return attend_squarely(graph, own, *before, heads=heads, seen=seen)

        return graph.for_each(count, part, query.dtype or FLOAT, axis=1)

    def _operator(
        self, query: ir.Value, key: ir.Value, value: ir.Value, sink: ir.Value | None = None
    ) -> ir.Value:
        graph, heads = self._graph, self._heads
        dtype = query.dtype or FLOAT
        attended, *self._presents = graph.multi(
            "GroupQueryAttention",
            (
                *(query, key, value, None, None, self._last, self._length_32),
                *rotary_weights(graph, heads.rotary, dtype),
                *((None, None, sink) if sink is not None else ()),
            ),
            # The present keys and values, (B, key heads, S, width), have to be named: ONNX Runtime
            # 1.23 refuses the node without them, and from 1.28 on it works in blocks only with
            # them.
            (dtype, dtype, dtype),
            domain=CONTRIB,
            num_heads=heads.query,
            kv_num_heads=heads.key_value,
            do_rotary=1,
        )
        return attended

    def _free_presents(self) -> None:
        """Lets ONNX Runtime free the last operator's present keys and values.

        It never frees what nobody reads, and keeps every layer's until the run ends: of a run of
        v5-text-small on a GPU 115 of 188 kB a token. So the next operator takes the length from
        their shapes, which reads none of their values, and which they have to wait for. Where the
        operator stands in a branch, they are freed with the branch.
        """
        if not self._presents:
            return
        graph = self._graph
        sizes = (
            graph.op("Shape", present, dtype=INT64, start=2, end=3) for present in self._presents
        )
        self._length_32 = graph.cast(graph.op("Max", *sizes), INT32)

    @cached_property
    def _seen_in_first_part(self) -> ir.Value:
        end = self._graph.op("Min", self._length, self._graph.numbers(_PART))
        return self._seen(self._graph.numbers(0), end)

    def _seen(self, start: ir.Value, end: ir.Value) -> ir.Value:
        """Which keys before an end, rounded up, the queries from a start to it see: bool (n, m)."""
        graph = self._graph
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        keys = graph.op("Range", zero, graph.op("Squeeze", self._rounded_up(end)), one)
        places = (graph.op("Squeeze", x) for x in (start, end))
        queries = graph.op("Unsqueeze", graph.op("Range", *places, one), graph.numbers(1))
        return graph.op("LessOrEqual", keys, queries, dtype=BOOL)

    def _with_more_keys(self, x: ir.Value) -> ir.Value:
        """Keys or values (B, S, width) with zeros after them, up to a multiple of `_KEYS`."""
        return self._graph.op("Pad", x, self._after_keys)

    @cached_property
    def _after_keys(self) -> ir.Value:
        """How far keys and values are padded, before and after each dimension: int64 (6,)."""
        graph = self._graph
        more = graph.op("Sub", self._rounded_up(self._length), self._length)
        return graph.op("Concat", graph.numbers(0, 0, 0, 0), more, graph.numbers(0), axis=0)

    def _rounded_up(self, length: ir.Value) -> ir.Value:
        """The next multiple of `_KEYS`, int64 (1,)."""
        graph = self._graph
        above = graph.op("Add", length, graph.numbers(_KEYS - 1))
        whole = graph.op("Div", above, graph.numbers(_KEYS))
        return graph.op("Mul", whole, graph.numbers(_KEYS))

    @cached_property
    def _whole(self) -> ir.Value:
        """Whether texts are so short that they are attended to in one part: a scalar bool."""
        graph = self._graph
        most = graph.constant(f"int64_{_PART}", np.int64(_PART))
        return graph.op("LessOrEqual", graph.op("Squeeze", self._length), most, dtype=BOOL)

    @cached_property
    def _long(self) -> ir.Value:
        """Whether a text is long: a scalar bool."""
        graph = self._graph
        longest = graph.op("ReduceMax", self._valid, keepdims=0)
        return graph.op("Greater", longest, graph.constant("long", np.int64(LONG)), dtype=BOOL)

    def pool(self, rows: ir.Value, mode: str) -> ir.Value:
        """See Batch. The last token is at the largest position whose mask is 1."""
        graph = self._graph
        if mode != LAST_TOKEN:
            return pool_rows(graph, graph.op("GatherND", rows, self._places), self._spans, mode)
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        positions = graph.op("Range", zero, graph.op("Squeeze", self._length), one)
        last = graph.op(
            "ReduceMax", graph.op("Mul", self._mask, positions), graph.numbers(1), keepdims=1
        )
        return graph.op("GatherND", rows, last, batch_dims=1)

    def unpack(self, rows: ir.Value) -> ir.Value:
        """See Batch."""
        graph = self._graph
        if self._turns:
            places = graph.op("Unsqueeze", self._turned("Sub"), graph.numbers(2))
            rows = graph.op("GatherND", rows, places, batch_dims=1)
        return where_attended(graph, self._given[1], rows)

    def _turned(self, way: str) -> ir.Value:
        """Which place's row comes to stand at each place, int64 (B, S).

        "Add" brings a text's first token to the first place, and "Sub" back to where it was given.
        """
        graph, (ids, mask) = self._graph, self._given
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        length = graph.op("Squeeze", graph.op("Shape", ids, dtype=INT64, start=1, end=2))
        first = graph.op("ArgMax", mask, axis=1, keepdims=1, dtype=INT64)  # (B, 1)
        # fmod 0: the remainder has the divisor's sign, so that what is before the row's start
        # comes from its end.
        return graph.op("Mod", graph.op(way, graph.op("Range", zero, length, one), first), length)

    @cached_property
    def _places(self) -> ir.Value:
        """Text and position of every token, one text after another: int64 (tokens, 2)."""
        graph = self._graph
        return graph.op("Transpose", graph.op("NonZero", self._mask, dtype=INT64), perm=[1, 0])

    @cached_property
    def _spans(self) -> Spans:
        """Where each text's rows are among those of `_places`."""
        graph = self._graph
        ends = graph.op("CumSum", self._valid, graph.constant("int64_0", np.int64(0)))
        return Spans(graph.op("Sub", ends, self._valid), ends, self._valid)
