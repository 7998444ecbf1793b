"""The logic of `make bench-gpu`, which runs elsewhere."""

import pytest

from bench import gpu
from bench.gpu import covers, grid, mark_larger, merge, table
from bench.machine import cuda
from bench.race.compete import Result
from bench.race.work import parse


def test_the_grid_has_every_shape_once_smallest_first():
    works = grid([1, 4, 256], [32, 8192])
    assert [work.name for work in works] == [
        "1x32", "4x32", "256x32", "1x8192", "4x8192", "256x8192",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("larger", "smaller", "answer"),
    [
        ("4x64", "4x64", True),
        ("8x64", "4x64", True),
        ("8x32", "4x64", False),
        ("4x128", "1x64", True),
    ],
)
def test_covering(larger, smaller, answer):
    assert covers(parse(larger), parse(smaller)) is answer


def test_what_is_larger_than_what_did_not_fit_is_not_tried():
    works = grid([1, 4, 16], [32, 512])
    result = Result(times={"1x32": [1.0]}, skipped={"4x512": "CUDA out of memory. Tried 3 GiB"})
    mark_larger(result, works)
    assert result.skipped == {"4x512": "CUDA out of memory. Tried 3 GiB", "16x512": gpu.SMALLER}
    mark_larger(result, works)
    assert len(result.skipped) == 2

    other = Result(skipped={"4x32": "would take some 40 s"})
    mark_larger(other, works)
    assert set(other.skipped) == {"4x32"}


def test_rounds_add_up_and_what_failed_once_has_no_figure():
    first = {"a": Result(times={"1x32": [1.0], "4x32": [1.0]})}
    second = {"a": Result(times={"1x32": [2.0]}, skipped={"4x32": "out of memory"})}
    merged = merge([first, second])["a"]
    assert merged.times == {"1x32": [1.0, 2.0]}
    assert merged.skipped == {"4x32": "out of memory"}
    assert merge([first, {"a": Result(failure="died")}])["a"].failure == "died"


def test_the_table_says_what_did_not_fit_and_compares_with_torchs_better_one():
    results = {
        "embedge fp16": Result(times={"1x100": [0.5, 1.0, 2.0], "4x100": [1.0]}),
        "torch bf16": Result(times={"1x100": [2.0]}, skipped={"4x100": "CUDA out of memory."}),
        "torch fp16": Result(times={"1x100": [1.0]}, skipped={"4x100": gpu.SMALLER}),
    }
    lines = table(results, [parse("1x100"), parse("4x100"), parse("8x100")]).splitlines()
    assert lines[2:] == [
        "| 1x100 | 200 (100) | 50 (50) | 100 (100) | 2.00 |",
        "| 4x100 | 400 (400) | no memory | no memory | - |",
        "| 8x100 | - | - | - | - |",
    ]


def test_without_a_device_it_says_so_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    monkeypatch.setattr(cuda, "problem", lambda: "this machine has no CUDA device")
    assert gpu.main() == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "bench-gpu: this machine has no CUDA device\n")
