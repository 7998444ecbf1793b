"""Ratios, verdicts and tables."""

import pytest

from bench.race.bars import BARS, Bar, conclusion, rates, verdict
from bench.race.compete import Result
from bench.race.report import (
    NOTHING,
    bars_table,
    budgets_table,
    latency_table,
    left_out,
    markdown,
    speed_table,
    start_table,
    stream_table,
)
from bench.race.work import parse

SHAPE = parse("1x100")
BAR = Bar("peer", ("peer a", "peer b"), 1.15)


def showing(*seconds: float, work: str = SHAPE.name) -> Result:
    return Result(times={work: list(seconds)})


def test_rates_are_of_the_best_and_the_median_run():
    assert rates(showing(0.5, 2.0, 1.0), SHAPE) == (200, 100)
    assert rates(showing(0.5, 2.0, 1.0), parse("1x16")) is None
    assert rates(Result(failure="died", times={SHAPE.name: [1.0]}), SHAPE) is None


def test_the_quickest_setting_counts_for_each_figure():
    results = {
        "embedge int8": showing(1.0, 1.0, 1.0),
        "peer a": showing(1.2, 4.0, 4.0),  # the better best
        "peer b": showing(2.0, 2.0, 2.0),  # the better median
    }
    found = verdict(results, BAR, SHAPE)
    assert found is not None
    assert (found.best, found.median) == (pytest.approx(1.2), pytest.approx(2.0))
    assert found.met


@pytest.mark.parametrize(
    ("peer", "met"), [([1.15, 1.15], True), ([1.14, 9.0, 9.0], False), ([1.2, 1.0], False)]
)
def test_a_bar_is_met_by_the_best_and_by_the_median(peer, met):
    subject = [1.0] if len(peer) < 3 else [1.0, 1.0, 1.0]
    results = {"embedge int8": showing(*subject), "peer b": showing(*peer)}
    found = verdict(results, BAR, SHAPE)
    assert found is not None
    assert found.met is met


def test_a_setting_that_failed_does_not_count_and_without_any_there_is_no_verdict():
    results = {"embedge int8": showing(1.0), "peer a": Result(failure="died")}
    assert verdict(results, BAR, SHAPE) is None
    assert verdict(results | {"peer b": showing(3.0)}, BAR, SHAPE).met
    assert verdict({"peer b": showing(3.0)}, BAR, SHAPE) is None


def test_a_conclusion_names_where_it_was_missed():
    results = {
        "embedge int8": Result(times={"1x100": [1.0], "1x200": [1.0]}),
        "peer a": Result(times={"1x100": [2.0], "1x200": [0.5]}),
    }
    works = [parse(name) for name in ("1x100", "1x200", "1x300")]
    verdicts = [verdict(results, BAR, work) for work in works]
    assert conclusion(BAR, verdicts) == (
        "**missed** at 1x200; lowest 0.50 (0.50) at 1x200; 1 not measured"
    )
    assert conclusion(BAR, verdicts[:1]) == "**met**; lowest 2.00 (2.00) at 1x100"
    assert conclusion(BAR, [None]) == "not measured"


def test_the_bars_are_those_that_were_set():
    assert {bar.peer: bar.least for bar in BARS} == {
        "OpenVINO int8": 1.15,
        "torch bf16": 2.0,
        "Optimum int8": 1.2,
    }
    assert BARS[0].settings == ("OpenVINO int8 f32", "OpenVINO int8 bf16")


def test_tables():
    sentences = parse("sentences")
    mean = sentences.tokens / len(sentences.lengths)
    results = {
        "embedge int8": Result(
            load=1.25,
            first=0.125,
            times={"1x100": [0.1, 0.3, 0.2], "sentences": [2.0]},
            cosine=0.99951,
            memory={"peak": 1234.4, "anonymous": 5.0, "file": 6.0},
        ),
        "torch bf16": Result(
            times={"1x100": [1.0]}, skipped={"sentences": "would take some 300 s"}
        ),
        "Optimum int8": Result(failure="no memory"),
    }
    speed = speed_table(results, [SHAPE]).splitlines()
    assert speed[0] == "|  | 1x100 |"
    assert speed[2:] == ["| embedge int8 | 1,000 (500) |", "| torch bf16 | 100 (100) |"]
    stream = stream_table(results, [sentences]).splitlines()
    rate = sentences.tokens / 2
    assert stream[2] == (
        f"| embedge int8 | {rate / mean:,.1f} ({rate / mean:,.1f}) | {rate:,.0f} ({rate:,.0f}) |"
    )
    assert stream[3] == f"| torch bf16 | {NOTHING} | {NOTHING} |"
    assert latency_table(results, [SHAPE]).splitlines()[2] == "| embedge int8 | 200.0 / 290.0 |"
    assert "| embedge int8 | 1.2 | 0.12 | 1,234 | 5 | 6 | 0.9995 |" in start_table(results)
    bars = bars_table(results, [SHAPE, sentences]).splitlines()
    assert bars[2] == "| 1.15 x OpenVINO int8 | - | - | not measured |"
    assert bars[3].startswith(
        "| 2 x torch bf16 | 10.00 (5.00) | - | **met** where measured; lowest"
    )
    assert left_out(results, {"OpenVINO bf16": "no network"}).splitlines() == [
        "- OpenVINO bf16 is left out: no network.",
        "- torch bf16, sentences: would take some 300 s.",
        "- Optimum int8 failed: no memory.",
    ]


def test_markdown_rows_are_as_wide_as_the_head():
    lines = markdown(["", "a"], [["x", "1"]]).splitlines()
    assert lines == ["|  | a |", "|---|---:|", "| x | 1 |"]


def test_budgets_that_raced_have_a_table_of_their_own():
    results = {
        "embedge int8": showing(1.0, 2.0, 2.0),
        "embedge int8 budget 4096": showing(1.5, 3.0, 3.0),
        "torch bf16": showing(1.0),
    }
    table = budgets_table(results, [SHAPE, parse("1x16")]).splitlines()
    assert table[0] == "| default over | 1x100 | 1x16 |"
    assert table[2:] == [f"| budget 4096 | 1.50 (1.50) | {NOTHING} |"]
    assert budgets_table({"torch bf16": showing(1.0)}, [SHAPE]) == ""
