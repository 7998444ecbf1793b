"""Settings that take turns: what is counted, and how they compare."""

from functools import partial

import pytest

from bench.race.work import Work
from bench.run_sizes import cut
from bench.turns import Times, speedups, take_turns


def test_each_runs_once_a_round_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    times = take_turns({name: partial(calls.append, name) for name in "abc"}, rounds=5)
    rounds = [calls[start : start + 3] for start in range(0, len(calls), 3)]
    assert len(rounds) == 6
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert all(len(one.wall) == len(one.cpu) == 5 for one in times.values())


def test_ratios_are_of_the_same_round() -> None:
    base = Times(wall=[1.0, 10.0, 4.0], cpu=[2.0, 2.0, 2.0])
    one = Times(wall=[0.5, 5.0, 4.0], cpu=[1.0, 4.0, 1.0])
    assert speedups(base, one) == pytest.approx((2.0, 2.0, 2.0))
    assert speedups(base, base) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("tokens", "texts"), [(1, 1), (5, 1), (8, 2), (9, 2), (100, 3)])
def test_work_is_cut_to_its_first_texts(tokens: int, texts: int) -> None:
    assert cut(Work("sentences", (5, 3, 7)), tokens) == Work("sentences", (5, 3, 7)[:texts])
