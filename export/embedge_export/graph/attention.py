"""Where rows become texts: which rows there are, attention between those of a text, and pooling.

A network takes one of the two batches here and knows no other difference between a decoder and an
encoder. `CausalBatch` keeps the padded positions as rows (B, S), because its operator wants them
so. `PackedBatch` has a row for every token and none for padding: a text's numbers then cannot
depend on what it is padded to, and padding costs nothing. Sources: grouped queries arXiv
2305.13245, rotary positions arXiv 2104.09864.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.batches import LONG, LONG_MULTIPLE
from embedge_export.graph.builder import BOOL, CONTRIB, FLOAT, FLOAT16, INT32, INT64, GraphBuilder
from embedge_export.graph.layers import Rows
from embedge_export.numbers.exact import cosine_sine, power

LAST_TOKEN, MEAN = "last_token", "mean"
_NO_SCORE = -1e30  # of a key that nobody attends to: its exponential is 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The shape of an attention layer; the query heads are shared out among the key heads."""

    query: int
    key_value: int
    width: int
    rotary: "RotaryTables | None"  # None: positions are in the rows already


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosines and sines of every position, (positions, width / 2)."""

    cosine: NDArray[np.float32]
    sine: NDArray[np.float32]


def rotary_tables(*, positions: int, width: int, theta: float) -> RotaryTables:
    """Half-split rotary tables, the angles in float32 as the models' own code computes them."""
    positions += -positions % LONG_MULTIPLE  # long texts are padded to it
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = 1 / power(theta, exponents)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    return RotaryTables(*cosine_sine(angles))


class Batch(Protocol):
    """The texts of one run, as rows.

    Attributes:
        ids: int64, the token of every row, in the shape of the rows.
        tokens: that shape.
        texts: the shape of pooled rows.
        poolings: what `pool` can do.
    """

    ids: ir.Value
    tokens: Rows
    texts: Rows
    poolings: ClassVar[tuple[str, ...]]

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

    def pool(self, rows: ir.Value, pooling: str) -> ir.Value:
        """Each text's last row, or the mean of its rows: (rows, width) -> (B, width)."""
        ...


class CausalBatch(Batch):
    """B texts padded to S tokens, as rows (B, S); a token sees those before it.

    The operator counts a text's valid tokens from the left, so it takes right padding alone.
    """

    poolings = (LAST_TOKEN,)  # the only one that has seen the whole text

    def __init__(self, graph: GraphBuilder, heads: Heads) -> None:
        self._graph = graph
        self._heads = heads
        self.ids, self._mask = _inputs(graph)  # int64 (B, S)
        batch = graph.op("Shape", self.ids, dtype=INT64, start=0, end=1)
        self._length = graph.op("Shape", self.ids, dtype=INT64, start=1, end=2)
        one = graph.numbers(1)
        self.tokens = Rows(2, graph.op("Concat", batch, self._length, one, axis=0))
        self.texts = Rows(1, graph.op("Concat", batch, one, axis=0))
        self._length_32 = graph.cast(self._length, INT32)
        self._valid = graph.op("ReduceSum", self._mask, graph.numbers(1), keepdims=0)  # (B,)
        # int32 (B,): valid tokens of each text less one.
        self._last = graph.cast(graph.op("Sub", self._valid, graph.numbers(1)), INT32)

    def attend(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """See Batch.

        The operator has two kernels on a CPU. One holds the square of scores and takes every text
        by its own length, so its numbers do not depend on padding; up to some 1,000 tokens it is
        up to 1.7 times as quick. The other works in blocks, in memory linear in the length. A sink
        of weight 0 selects the first; which one runs hangs on the longest text, not on padding.
        """
        if query.dtype == FLOAT16:
            return self._operator(query, key, value)
        graph, heads = self._graph, self._heads
        sink = graph.constant("no_sink", np.full(heads.query, _NO_SCORE, np.float32))
        return graph.either(
            self._long,
            lambda: self._operator(query, key, value),
            lambda: self._operator(query, key, value, sink),
            query.dtype or FLOAT,
        )

    def _operator(
        self, query: ir.Value, key: ir.Value, value: ir.Value, sink: ir.Value | None = None
    ) -> ir.Value:
        graph, heads = self._graph, self._heads
        dtype = query.dtype or FLOAT
        attended, *_ = graph.multi(
            "GroupQueryAttention",
            (
                *(query, key, value, None, None, self._last, self._length_32),
                *_rotary_weights(graph, heads.rotary, dtype),
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

    @cached_property
    def _long(self) -> ir.Value:
        """Whether a text is long: a scalar bool."""
        graph = self._graph
        longest = graph.op("ReduceMax", self._valid, keepdims=0)
        return graph.op("Greater", longest, graph.constant("long", np.int64(LONG)), dtype=BOOL)

    def pool(self, rows: ir.Value, pooling: str) -> ir.Value:
        """See Batch. The last token is at the largest position whose mask is 1."""
        assert pooling in self.poolings
        graph = self._graph
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        positions = graph.op("Range", zero, graph.op("Squeeze", self._length), one)
        last = graph.op(
            "ReduceMax", graph.op("Mul", self._mask, positions), graph.numbers(1), keepdims=1
        )
        return graph.op("GatherND", rows, last, batch_dims=1)


class PackedBatch(Batch):
    """B texts one below the other, a row a token; every token sees all of its text.

    Where the mask is 0 there is no row, on whichever side of the text that is.
    """

    poolings = (LAST_TOKEN, MEAN, "cls")

    def __init__(self, graph: GraphBuilder, heads: Heads) -> None:
        self._graph = graph
        self._heads = heads
        ids, mask = _inputs(graph)  # int64 (B, S)
        self._ids, self._mask, self._taken = ids, mask, _where(graph, mask)
        self.ids = graph.op("Gather", _flat(graph, ids), self._taken, axis=0)  # (rows,)
        self._length = graph.op("Shape", mask, dtype=INT64, start=1, end=2)  # (1,): S
        self._lengths = graph.op("ReduceSum", mask, graph.numbers(1), keepdims=0)  # (B,)
        self._ends = graph.op("CumSum", self._lengths, graph.constant("int64_0", np.int64(0)))
        self._starts = graph.op("Sub", self._ends, self._lengths)
        one = graph.numbers(1)
        self.tokens, self.texts = (
            Rows(1, graph.op("Concat", graph.op("Shape", x, dtype=INT64), one, axis=0))
            for x in (self.ids, self._lengths)
        )

    def attend(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """See Batch."""
        key, value = self._for_every_query_head(key), self._for_every_query_head(value)
        if query.dtype == FLOAT16:
            return self._attend_at_once(query, key, value)
        return self._attend_by_groups(query, key, value)

    def positions(self, padding_id: int | None) -> ir.Value:
        """The place of every row in its text: int64 (rows,).

        Counted from 0; or with a padding id, counted from 1 over the rows of other ids, and 0 for
        a row of that id, which a text may hold.
        """
        graph, mask = self._graph, self._mask
        if padding_id is None:
            counted = graph.op("CumSum", mask, graph.constant("int64_1", np.int64(1)))
            counted = graph.op("Gather", _flat(graph, counted), self._taken, axis=0)
            return graph.op("Sub", counted, graph.numbers(1))
        padding = graph.op("Equal", self._ids, graph.numbers(padding_id), dtype=BOOL)
        mask = graph.op("Mul", mask, graph.cast(graph.op("Not", padding, dtype=BOOL), INT64))
        counted = graph.op("CumSum", mask, graph.constant("int64_1", np.int64(1)))
        counted = graph.op("Mul", counted, mask)
        return graph.op("Gather", _flat(graph, counted), self._taken, axis=0)

    def pool(self, rows: ir.Value, pooling: str) -> ir.Value:
        """See Batch."""
        assert pooling in self.poolings
        graph = self._graph
        if pooling == LAST_TOKEN:
            return graph.op("Gather", rows, graph.op("Sub", self._ends, graph.numbers(1)), axis=0)
        if pooling == "cls":
            return graph.op("Gather", rows, self._starts, axis=0)

        def text(number: ir.Value) -> ir.Value:
            start, end = self._at(self._starts, number), self._at(self._ends, number)
            own = graph.op("Slice", rows, start, end, graph.numbers(0))
            return graph.op("ReduceMean", own, graph.numbers(0), keepdims=1)

        count = graph.op("Squeeze", graph.op("Shape", self._lengths, dtype=INT64))
        return graph.for_each(count, text, rows.dtype or FLOAT)

    def _attend_by_groups(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """One operator for each run of texts of one length, so that none needs a mask.

        ONNX Runtime's CPU works in blocks, in memory linear in a text's length, only without a
        mask; and with one, a text's last bits would depend on how far it is padded. The runtime
        sorts texts by length, so the runs are few, and a batch without padding is one.
        """
        graph = self._graph
        starts, ends, lengths, count = self._groups
        width = self._heads.query * self._heads.width
        rows = (query, key, value)

        def apart(x: ir.Value, length: ir.Value) -> ir.Value:
            """(rows of a run, width) -> (its texts, their length, width)."""
            shape = graph.op("Concat", graph.numbers(-1), length, graph.numbers(width), axis=0)
            return graph.op("Reshape", x, shape)

        def group(number: ir.Value) -> ir.Value:
            start, end, length = (self._at(x, number) for x in (starts, ends, lengths))
            own = (graph.op("Slice", x, start, end, graph.numbers(0)) for x in rows)
            attended = self._operator(*(apart(x, length) for x in own))
            return graph.op("Reshape", attended, graph.numbers(-1, width))

        def all_alike() -> ir.Value:
            attended = self._operator(*(apart(x, lengths) for x in rows))
            return graph.op("Reshape", attended, graph.numbers(-1, width))

        dtype = query.dtype or FLOAT
        one = graph.constant("int64_1", np.int64(1))
        return graph.either(
            graph.once("one_group", lambda: graph.op("Equal", count, one, dtype=BOOL)),
            all_alike,  # a loop of one round would copy its rows
            lambda: graph.for_each(count, group, dtype),
            dtype,
        )

    def _attend_at_once(self, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """One operator for all texts, padded on the right; for GPUs, where a loop costs more."""
        graph = self._graph
        places, rows, valid_keys = self._padded
        query, key, value = (graph.op("Gather", x, places, axis=0) for x in (query, key, value))
        attended = graph.op(
            "Reshape",
            self._operator(query, key, value, valid_keys),
            graph.numbers(-1, self._heads.query * self._heads.width),
        )
        return graph.op("Gather", attended, rows, axis=0)

    def _operator(
        self, query: ir.Value, key: ir.Value, value: ir.Value, valid: ir.Value | None = None
    ) -> ir.Value:
        """Rotary positions from 0 and attention: three times (texts, length, width) -> the same."""
        graph, heads = self._graph, self._heads
        if heads.rotary is not None:
            tables = _rotary_weights(graph, heads.rotary, query.dtype or FLOAT)
            query, key = (
                graph.op("RotaryEmbedding", x, graph.numbers(0), *tables, domain=CONTRIB)
                for x in (query, key)
            )
        return graph.op(
            "MultiHeadAttention",
            *(query, key, value, None, valid),
            domain=CONTRIB,
            num_heads=heads.query,
        )

    @cached_property
    def _groups(self) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
        """Runs of texts of one length: first rows, ends, lengths, all (groups,), and their count.

        int64; the count is a scalar.
        """
        graph, lengths = self._graph, self._lengths
        but_last = graph.op("Slice", lengths, graph.numbers(0), graph.numbers(-1))
        before = graph.op("Concat", graph.numbers(-1), but_last, axis=0)
        first = _where(graph, graph.op("Not", graph.op("Equal", lengths, before, dtype=BOOL)))
        starts = graph.op("Gather", self._starts, first, axis=0)
        rows = graph.op("Shape", self.ids, dtype=INT64)
        after_first = graph.op("Slice", starts, graph.numbers(1), graph.numbers(2**31))
        return (
            starts,
            graph.op("Concat", after_first, rows, axis=0),
            graph.op("Gather", lengths, first, axis=0),
            graph.op("Squeeze", graph.op("Shape", first, dtype=INT64)),
        )

    @cached_property
    def _padded(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """To (B, S) and back: the row of each place, the place of each row, and the valid keys.

        A place without a token takes its text's last row, which the operator does not look at. The
        valid keys are int32 (3 * B + 2,): tokens of each text, then where each begins among the
        queries and among the keys, with their ends; the form that has a kernel in blocks on CUDA.
        """
        graph = self._graph
        zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
        places = graph.op("Range", zero, graph.op("Squeeze", self._length), one)  # (S,)
        starts, ends, lengths = (
            graph.op("Unsqueeze", x, graph.numbers(1))
            for x in (self._starts, self._ends, self._lengths)
        )
        row = graph.op("Min", graph.op("Add", starts, places), graph.op("Sub", ends, one))
        texts = graph.op("Squeeze", graph.op("Shape", self._lengths, dtype=INT64))
        bounds = graph.op("Range", zero, graph.op("Add", texts, one), one)
        bounds = graph.op("Mul", bounds, self._length)  # (B + 1,)
        valid_keys = graph.op("Concat", self._lengths, bounds, bounds, axis=0)
        taken = _where(graph, graph.op("Less", places, lengths, dtype=BOOL))
        return row, taken, graph.cast(valid_keys, INT32)

    def _for_every_query_head(self, x: ir.Value) -> ir.Value:
        """Repeats key or value heads: (rows, key heads * width) -> (rows, query heads * width)."""
        graph, heads = self._graph, self._heads
        times = heads.query // heads.key_value
        if times == 1:
            return x
        apart = graph.op("Reshape", x, graph.numbers(-1, heads.key_value, 1, heads.width))
        repeated = graph.op("Expand", apart, graph.numbers(1, 1, times, 1))
        return graph.op("Reshape", repeated, graph.numbers(-1, heads.query * heads.width))

    def _at(self, values: ir.Value, number: ir.Value) -> ir.Value:
        """The entry of that number, (n,) -> (1,)."""
        graph = self._graph
        return graph.op("Gather", values, graph.op("Unsqueeze", number, graph.numbers(0)), axis=0)


def _inputs(graph: GraphBuilder) -> tuple[ir.Value, ir.Value]:
    """Declares input_ids and attention_mask, int64 (B, S)."""
    ids = graph.input("input_ids", INT64, ("batch", "sequence"))
    return ids, graph.input("attention_mask", INT64, ("batch", "sequence"))


def _rotary_weights(
    graph: GraphBuilder, rotary: RotaryTables | None, dtype: ir.DataType
) -> tuple[ir.Value, ir.Value]:
    assert rotary is not None
    cosine, sine = rotary.cosine, rotary.sine
    return (
        graph.weight("rotary.cosine", lambda: cosine.astype(dtype.numpy()), shared=True),
        graph.weight("rotary.sine", lambda: sine.astype(dtype.numpy()), shared=True),
    )


def _flat(graph: GraphBuilder, value: ir.Value) -> ir.Value:
    return graph.op("Reshape", value, graph.numbers(-1))


def _where(graph: GraphBuilder, values: ir.Value) -> ir.Value:
    """The flat positions of what is not 0, int64 (n,)."""
    return _flat(graph, graph.op("NonZero", _flat(graph, values), dtype=INT64))
