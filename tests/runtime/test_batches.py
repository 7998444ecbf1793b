import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.batches import (
    LONG,
    LONG_MULTIPLE,
    PADDING_SHARE,
    PADDING_TOKENS,
    Limits,
    cost,
    estimate_memory,
    pad,
    plan,
)
from embedge.errors import MemoryLimitError
from embedge.pack.manifest import MemoryCost

FREE = MemoryCost(per_token=0, per_token_squared=0)


def limits(budget: int, memory: MemoryCost = FREE, limit: int | None = None) -> Limits:
    return Limits(token_budget=budget, memory=memory, memory_limit=limit)


@given(
    lengths=st.lists(st.integers(1, 3000), max_size=200),
    budget=st.integers(1, 20_000),
    per_token=st.integers(0, 100),
    squared=st.floats(0, 10),
    spare=st.floats(1, 20),
)
def test_every_index_once_and_no_run_above_its_limits(
    lengths: list[int], budget: int, per_token: int, squared: float, spare: float
) -> None:
    memory = MemoryCost(per_token=per_token, per_token_squared=squared)
    free = limits(budget, memory)
    limit = max(1, int(spare * estimate_memory(free, 1, max(lengths, default=1))) + 1)
    runs = plan(lengths, limits(budget, memory, limit))
    assert sorted(int(i) for run in runs for i in run) == list(range(len(lengths)))
    for run in runs:
        length = max(lengths[i] for i in run)
        assert lengths[run[0]] == length
        assert estimate_memory(free, len(run), length) <= limit
        if len(run) > 1:
            assert cost(len(run), length) <= budget
            padding = sum(length - lengths[i] for i in run)
            assert padding <= max(PADDING_TOKENS, PADDING_SHARE * len(run) * length)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50), st.randoms())
def test_the_order_of_texts_does_not_change_the_shapes(lengths: list[int], random: object) -> None:
    shuffled = list(lengths)
    random.shuffle(shuffled)
    shapes = [(len(run), lengths[run[0]]) for run in plan(lengths, limits(2000))]
    assert shapes == [(len(run), shuffled[run[0]]) for run in plan(shuffled, limits(2000))]


def test_longest_first_and_equal_ones_in_their_order() -> None:
    runs = plan([5, 900, 5, 5, 800], limits(4096))
    assert [run.tolist() for run in runs] == [[1, 4], [0, 2, 3]]


def test_the_length_squared_term_makes_runs_of_long_texts_smaller() -> None:
    assert cost(1, 4096) == 2 * 4096
    short, long = plan([128] * 64, limits(8192)), plan([4096] * 2, limits(8192))
    assert len(short) == 2
    assert len(long) == 2


def test_a_mixed_corpus_pads_little() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 1, 2000).astype(int) + 1
    runs = plan(lengths.tolist(), limits(4096))
    padded = sum(len(run) * int(lengths[run].max()) for run in runs)
    assert padded / lengths.sum() < 1.1
    assert len(runs) < 3 * lengths.sum() / 4096 + 40


def test_a_text_above_the_budget_runs_alone() -> None:
    assert [run.tolist() for run in plan([10, 9000], limits(100))] == [[1], [0]]


def test_a_text_that_cannot_fit_is_refused_before_anything_runs() -> None:
    memory = MemoryCost(per_token=0, per_token_squared=16.0)
    limit = 16 * 1000 * 1000
    assert len(plan([1000], limits(4096, memory, limit))) == 1
    with pytest.raises(
        MemoryLimitError, match=r"item 2 has 1001 tokens.*max_length=.*memory_limit="
    ):
        plan([5, 7, 1001], limits(4096, memory, limit))


def test_nothing_makes_no_runs() -> None:
    assert plan([], limits(10)) == []


def test_padding_stands_on_the_right_and_is_masked() -> None:
    ids = [np.array([7, 8, 9], np.int32), np.array([5], np.int32)]
    input_ids, mask = pad(ids, 99)
    assert input_ids.tolist() == [[7, 8, 9], [5, 99, 99]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert input_ids.dtype == mask.dtype == np.int64


def test_long_texts_never_share_a_run_with_others() -> None:
    lengths = [LONG + 1, LONG, LONG + 5, LONG - 1]
    runs = plan(lengths, limits(100_000))
    assert [run.tolist() for run in runs] == [[2, 0], [1, 3]]


@pytest.mark.parametrize("length", [LONG - 1, LONG, LONG + 1, LONG + LONG_MULTIPLE])
def test_long_texts_are_padded_to_a_multiple(length: int) -> None:
    ids, mask = pad([np.ones(length, np.int32)], 0)
    assert mask.sum() == length
    long = length > LONG
    assert ids.shape[1] == (-(-length // LONG_MULTIPLE) * LONG_MULTIPLE if long else length)


def test_the_square_of_a_long_text_counts_only_where_it_is_held() -> None:
    memory = MemoryCost(per_token=10, per_token_squared=2.0)
    for blocks in (False, True):
        asked = Limits(token_budget=1, memory=memory, memory_limit=None, blocks=blocks)
        assert estimate_memory(asked, 3, LONG) == 3 * LONG * (10 + 2 * LONG)
        long = LONG + 1
        held = 0 if blocks else 2 * long
        assert estimate_memory(asked, 3, long) == 3 * long * (10 + held)
