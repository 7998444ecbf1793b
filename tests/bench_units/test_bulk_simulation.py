"""The simulation of a bulk job on many machines: cases whose answer can be counted out."""

import os

import numpy as np
import pytest

from bench.bulk_simulation import (
    DAY,
    HORIZON,
    STRETCH,
    Fleet,
    Odds,
    makespan,
    part_seconds,
    run_seconds,
    shards_of,
)

SECOND = np.ones(1)


def one_each(parts):
    return [[part] for part in parts]


def test_parts_of_one_second():
    fleet = Fleet(speeds=[1.0] * 3, failures=[[]] * 3)
    assert makespan(shards_of(np.ones(10), 3), fleet) == 4
    assert makespan(one_each(np.ones(10)), fleet, queue=True) == 4
    assert makespan(shards_of(np.ones(9), 3), fleet) == 3
    assert makespan([[], [1.0], []], fleet) == 1
    assert makespan([], fleet) == 0


def test_a_slow_machine_holds_up_its_shard_and_not_a_queue():
    fleet = Fleet(speeds=[1.0, 0.25], failures=[[], []])
    parts = np.ones(10)
    assert makespan(shards_of(parts, 2), fleet) == 20
    assert makespan(one_each(parts), fleet, queue=True) == 8  # 8 and 2
    assert makespan(shards_of(parts, 10), fleet) == 8  # more shards than processes


def test_a_start_counts_for_each_shard_and_once_in_a_queue():
    fleet = Fleet(speeds=[1.0], failures=[[]], start=2.0)
    assert makespan(shards_of(np.ones(6), 3), fleet) == 12
    assert makespan(one_each(np.ones(6)), fleet, queue=True) == 8


def test_a_failure_loses_the_part_at_hand():
    # Fails in the middle of the third part, is back after 10 seconds, and starts for one.
    fleet = Fleet(speeds=[1.0], failures=[[3.5]], start=1.0, restart=10.0)
    assert makespan([[1.0] * 4], fleet) == 3.5 + 10 + 1 + 2
    # One while it is away, or before it has begun, changes nothing.
    fleet = Fleet(speeds=[1.0], failures=[[0.5, 3.5, 7.0]], start=1.0, restart=10.0)
    assert makespan([[1.0] * 4], fleet) == 3.5 + 10 + 1 + 2


def test_a_queue_gives_a_lost_part_to_one_that_waits():
    fleet = Fleet(speeds=[1.0, 1.0], failures=[[], [2.5]], restart=100.0)
    parts = [1.0, 3.0]  # the first process is done at 1, the second fails at 2.5
    assert makespan(one_each(parts), fleet, queue=True) == 5.5
    assert makespan(one_each(parts), fleet) == 105.5


def test_processes_of_a_machine_fail_together():
    odds = Odds(slow=0.5, speed=0.25, failures=24.0)
    fleet = odds.fleet(50, 4, 3600.0, np.random.default_rng(1), start=3.0, restart=5.0)
    machines = [fleet.failures[first : first + 4] for first in range(0, 200, 4)]
    assert all(times == four[0] for four in machines for times in four)
    assert all(times == sorted(times) for times in fleet.failures)
    assert fleet.start == 3
    assert set(fleet.speeds) == {1.0, 0.25}
    assert 60 < fleet.speeds.count(0.25) < 140
    expected = 24 * HORIZON * 3600 / DAY
    assert np.mean([len(four[0]) for four in machines]) == pytest.approx(expected, rel=0.2)


def test_the_seconds_of_parts_are_those_of_their_windows():
    chance = np.random.default_rng(0)
    assert part_seconds(SECOND, 20_000, 8192, chance).tolist() == [1, 1, 3616 / 8192]
    assert part_seconds(SECOND, 8192, 2048, chance).tolist() == [0.25] * 4
    assert part_seconds(SECOND, 65_536, 32_768, chance).tolist() == [4, 4]
    measured = np.array([1.0, 3.0])
    many = part_seconds(measured, 8192 * 4000, 8192, chance)
    assert set(many) == {1.0, 3.0}
    assert many.mean() == pytest.approx(2, rel=0.05)
    # Larger parts vary less, and the work is the same.
    large = part_seconds(measured, 8192 * 4000, 32_768, chance)
    assert large.sum() == pytest.approx(many.sum(), rel=0.05)
    assert large.std() / large.mean() == pytest.approx(many.std() / many.mean() / 2, rel=0.1)


def test_where_texts_are_longer_all_parts_are():
    parts = part_seconds(SECOND, 400 * STRETCH, STRETCH // 4, np.random.default_rng(2), drift=0.5)
    places = parts.reshape(-1, 4)
    assert (places == places[:, :1]).all()
    assert np.log(places[:, 0]).std() == pytest.approx(0.5, rel=0.1)
    assert places.mean() == pytest.approx(STRETCH / 4 / 8192, rel=0.1)


def test_the_seconds_of_a_run_are_those_between_its_files(tmp_path):
    (tmp_path / "parts").mkdir()
    for number, second in enumerate((10.0, 13.5, 20.0, 21.0)):
        path = tmp_path / "parts" / f"part-{number:06}.parquet"
        path.touch()
        os.utime(path, (second, second))
    assert run_seconds(tmp_path) == [3.5, 6.5]
