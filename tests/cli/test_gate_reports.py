"""The gate's report for people: which linears lose the most, and what was kept finer."""

from dataclasses import replace

import pytest

from embedge.cli.reports import WORST, finer_lines, loss_rows
from embedge.pack.verification import Figures, Report

FINER = Figures(
    worst_linears={f"layers.{i}.down": 0.01 - i / 1000 for i in range(8)},
    finer=("layers.0.down",),
    cosine_min_before=(0.9979, 0.95),
    finer_bytes=4096,
    linears=21,
)
REPORT = Report(tasks={"a": FINER, "b": Figures(worst_linears={"layers.3.down": 0.5})})


def test_the_worst_of_all_tasks_come_first():
    head, *rows = loss_rows({"fp16": Report(), "int8": REPORT})
    assert len(rows) == WORST
    assert rows[0] == ("int8", "layers.3.down", "50 %", "b", "")
    assert rows[1][:4] == ("int8", "layers.0.down", "1 %", "a")
    assert "finer" in rows[1][4]
    assert len(head) == len(rows[0])


def test_the_line_says_what_was_finer_why_and_at_what_cost():
    (line,) = finer_lines({"int8": REPORT})
    for part in ("int8, a: 1 of 21 linears", "0.950000 without", "2 products: layers.0.down"):
        assert part in line
    assert line.endswith("layers.0.down")


def test_a_layer_is_one_word_and_float32_is_said():
    names = ("embedding", "layers.1.query", "layers.1.key", "layers.10.down")
    figures = replace(FINER, finer=names, float32=names[1:3])
    (line,) = finer_lines({"int8": Report(tasks={"a": figures})})
    assert line.endswith(
        "8 products: embedding, layers.1 (2), layers.10.down; in float32: layers.1 (2)"
    )


@pytest.mark.parametrize(
    "report",
    [Report(), Report(tasks={"a": Figures()}), Report(tasks={"a": Figures(finer=("x",))})],
)
def test_a_report_without_figures_shows_nothing(report):
    assert loss_rows({"int8": report}) == []
    assert list(finer_lines({"int8": report})) == []
