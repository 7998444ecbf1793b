"""`make bench-gpu`, on a CPU with a tiny pack in place of the models, and with a fake device."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.gpu import run, speed, user
from bench.gpu.speed import OURS, TRUTH, Figures
from bench.machine import cuda
from bench.race.compete import Result
from bench.race.peers import Contender
from bench.race.work import parse
from support.tiny import write_image_graph

HERE = Path(sys.executable)


@pytest.fixture
def folder(make_pack):
    return make_pack(precisions=("fp32", "fp16"))


@pytest.fixture
def command(folder, tmp_path, monkeypatch):
    """Runs the command with these options on the CPU; its code. The models are a tiny pack."""
    write_image_graph(tmp_path, "image.fp16.onnx", constant=[0, 0, 0, 0, 1], size=4)
    monkeypatch.setattr(run.Setup, "pack", lambda self, kind: folder)
    monkeypatch.setattr(run.Setup, "vocabulary", lambda self, kind: 200)
    monkeypatch.setattr(run.Setup, "tower", lambda self: (tmp_path, tmp_path))

    def start(*options):
        fixed = ["--device", "cpu", "--no-peers", "--out", str(tmp_path), "--seconds", "0.01"]
        monkeypatch.setattr("sys.argv", ["gpu", *fixed, *options])
        return run.main()

    return start


def test_every_part_prints_its_table_as_it_comes(command, capfd, tmp_path):
    code = command(
        *("--small", "1x8,2x4", "--nano", "1x8", "--images", "1x1,2x1"),
        *("--sentences", "40", "--passages", "5", "--memory-shapes", "2x8,1x16"),
    )
    out = capfd.readouterr().out
    assert code == 0, out
    assert out.count("\n## ") == len(run.PARTS)
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    for start in ("| 1x8 | ", "| 2x4 | ", "| 2x1 | ", "| embedge fp16 | ", "| 1x16 | ", "| 1GB | "):
        [*_, row] = [row for row in rows if row.startswith(start)]
        assert any(letter.isdigit() for letter in row.removeprefix(start)), row
    assert sum(row.startswith("| 1x8 | ") for row in rows) == 2  # small's and nano's
    assert "failed" not in out
    assert (tmp_path / "gpu.md").read_text() == out


def test_parts_are_left_out_and_one_that_fails_does_not_stop_the_others(
    command, capfd, monkeypatch
):
    def full(*_, **__):
        raise RuntimeError("the GPU is\nfull")

    monkeypatch.setattr(run.memory, "tables", full)
    assert command("--parts", "memory,nano", "--nano", "1x8") == 1
    out = capfd.readouterr().out
    assert "The part failed: the GPU is full" in out
    assert "| 1x8 | " in out.partition("## nano")[2]
    assert "## small" not in out
    with pytest.raises(SystemExit):
        command("--parts", "everything")
    assert "no such part: everything" in capfd.readouterr().err


def test_prepared_only_it_measures_nothing(command, capfd):
    assert command("--prepare-only") == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "prepared in" in told.err


def test_without_a_device_it_says_so_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu"])
    monkeypatch.setattr(cuda, "problem", lambda: "this machine has no CUDA device")
    assert run.main() == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "bench-gpu: this machine has no CUDA device\n")


def test_the_truth_runs_once_and_the_others_are_compared_with_it(folder):
    contenders = [
        Contender(OURS, HERE, "embedge-fp16", folder),
        Contender(TRUTH, HERE, "embedge-fp32", folder),
        Contender("torch bf16", HERE, "unknown-kind", folder),
    ]
    works = [parse("1x8"), parse("2x4")]
    found = speed.measure(contenders, works, vocabulary=200, seconds=0.02, rounds=2)
    assert all(len(found.results[TRUTH].times[work.name]) == 1 for work in works)
    assert all(len(found.results[OURS].times[work.name]) > 2 for work in works)
    assert "unknown-kind" in found.results["torch bf16"].failure
    assert all(found.cosine(OURS, work) == pytest.approx(1, abs=1e-6) for work in works)
    assert found.cosine("torch bf16", works[0]) is None
    assert "onnxruntime" in speed.versions(found.results)


def test_the_table_says_what_did_not_fit_and_compares_with_torchs_better_one():
    figures = Figures(
        {
            OURS: Result(times={"1x100": [0.5, 1.0, 2.0], "4x100": [1.0]}),
            "torch bf16": Result(times={"1x100": [2.0]}, skipped={"4x100": "CUDA out of memory."}),
            "torch fp16": Result(times={"1x100": [1.0]}, skipped={"4x100": "illegal address"}),
        },
        {OURS: {"1x100": [1.0, 0.0]}, TRUTH: {"1x100": [1.0, 1.0], "4x100": [1.0, 0.0]}},
    )
    works = [parse("1x100"), parse("4x100"), parse("8x100")]
    lines = speed.table(figures, works, unit="texts x tokens").splitlines()
    assert lines[2:] == [
        "| 1x100 | 200 (100) | 50 (50) | 100 (100) | 2.00 | 0.707107 |",
        "| 4x100 | 400 (400) | no memory | - | - | - |",
        "| 8x100 | - | - | - | - | - |",
    ]


def test_a_users_texts_are_all_different_and_passages_are_longer():
    jobs = user.jobs(few=50, many=3000)
    assert [len(jobs[name]) for name in ("sentences", "passages")] == [3000, 50]
    assert all(len(set(texts)) == len(texts) for texts in jobs.values())
    sentence, passage = (np.mean([len(t) for t in jobs[n]]) for n in ("sentences", "passages"))
    assert passage > 3 * sentence


def test_a_user_sees_the_quickest_call_and_how_near_the_vectors_are():
    def showed(seconds, vector, batch=0):
        one = {"seconds": seconds, "batch": batch, "vectors": [vector]}
        return {"sentences": one, "passages": one}

    found = {
        user.OURS: showed([2.0, 1.0], [1.0, 0.0]),
        "Sentence Transformers fp16": showed([4.0, 5.0], [0.6, 0.8], batch=128),
    }
    lines = user.table(found, {"sentences": 200, "passages": 20}).splitlines()
    assert lines[2:] == [
        "| embedge fp16 | 200 | 20 | - |",
        "| Sentence Transformers fp16 | 50 (batches of 128) | 5 (batches of 128) | 0.60000 |",
    ]


def test_who_cannot_run_is_told_and_why(folder, tmp_path):
    texts = tmp_path / "texts.json"
    texts.write_text('{"sentences": ["a", "b"]}')
    contenders = [
        Contender(user.OURS, HERE, "embedge", folder),
        Contender("Sentence Transformers fp16", HERE, "float16", folder),  # torch is not here
    ]
    found, absent = user.measure(contenders, texts, "cpu")
    assert len(found[user.OURS]["sentences"]["vectors"]) == 2
    assert "torch" in absent["Sentence Transformers fp16"]
