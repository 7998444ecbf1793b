"""`info`, `doctor`, `bench` and the progress line: what they tell, and when they raise alarm."""

import dataclasses
import io
import json
import math
import os

import pytest

from embedge.choice import Choice
from embedge.cli import main, screen
from embedge.cli.commands import doctor
from embedge.engine import kernels, loading, session
from embedge.engine.providers import cuda
from embedge.progress import ProgressBar
from support.fakes import MANIFEST, FakeEmbedder, samples_for, write_pack


@pytest.fixture
def fake(monkeypatch):
    embedder = FakeEmbedder()
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options, **_: embedder)
    return embedder


@pytest.fixture
def sound_runtime(package, monkeypatch):
    """An installation without fault and without a pack, whatever the machine is."""
    monkeypatch.setattr(kernels, "integer_kernel", lambda: Choice(kernels.EXACT, "tried"))
    monkeypatch.setattr(loading, "installed_distributions", lambda: ["onnxruntime"])
    module = type("Runtime", (), {"__version__": "1.23.2", "__file__": "/site/onnxruntime"})
    module.get_available_providers = staticmethod(lambda: ["CPUExecutionProvider"])
    for place in (loading, session):  # the latter holds it by name
        monkeypatch.setattr(place, "load_runtime", lambda: module)
    monkeypatch.setattr(cuda, "cuda_problem", lambda: "no CUDA provider")
    versions = {"onnxruntime": "1.23.2", "onnxruntime-gpu": "1.23.2"}
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: versions.get(name) or real(name))
    return module


def test_info(capsys, tmp_path):
    pack = write_pack(tmp_path / "pack")
    assert main(["info", str(pack)]) == 0
    out = capsys.readouterr().out
    assert "cc-by-nc-4.0  (non-commercial use only" in out
    assert "text-matching (default)" in out
    assert 'query "Query: "' in out
    assert "4 (also 2)" in out
    assert "int8       1.2 KiB  MISSED" in out  # two graphs of 100 bytes, shared data once
    assert main(["info", str(pack), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["precisions"]["int8"]["size"] == 1024 + 200
    assert facts["precisions"]["fp32"]["passed"] is True
    assert facts["license"] == "cc-by-nc-4.0"


@pytest.mark.parametrize("license", [None, "apache-2.0"])
def test_info_on_other_licenses(capsys, tmp_path, license):
    pack = write_pack(tmp_path, dataclasses.replace(MANIFEST, license=license))
    assert main(["info", str(pack)]) == 0
    out = capsys.readouterr().out
    assert "non-commercial" not in out
    assert ("UNKNOWN" in out) == (license is None)


def test_info_of_what_is_no_pack(capsys, tmp_path):
    assert main(["info", str(tmp_path)]) == 2
    assert "embedge export" in capsys.readouterr().err


def test_info_says_whether_the_pack_is_bundled(package, capsys):
    folder = write_pack(package / "default")
    for arguments, bundled in ([], True), ([str(folder)], False):
        assert main(["info", "--json", *arguments]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["pack"], facts["bundled"]) == (str(folder), bundled)


def test_doctor_without_pack(sound_runtime, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in ("python", "onnxruntime file", "device", "threads", "memory limit", "kernel"):
        assert name in out
    assert "`make default`" in out
    assert "no problem found" in out


def test_doctor_looks_at_the_bundled_pack(sound_runtime, fake, package, capsys):
    write_pack(package / "default")
    assert main(["doctor"]) == 0
    assert "(fake/words, bundled with embedge)" in capsys.readouterr().out


def test_doctor_tells_a_broken_bundled_pack(sound_runtime, package, capsys):
    write_pack(package / "default").joinpath("manifest.json").write_text("{")
    assert main(["doctor"]) == 1
    assert "PROBLEM  pack: " in capsys.readouterr().out


def test_doctor_finds_both_distributions(sound_runtime, monkeypatch, capsys):
    both = ["onnxruntime", "onnxruntime-gpu"]
    monkeypatch.setattr(loading, "installed_distributions", lambda: both)
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (problem,) = [f["problem"] for f in report["findings"] if f["problem"]]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problem
    assert report["problems"] == 1


def test_doctor_finds_another_copy_in_the_way(sound_runtime, capsys):
    sound_runtime.__version__ = "1.25.0"
    assert main(["doctor"]) == 1
    assert "another copy is in the way" in capsys.readouterr().out


def test_doctor_finds_an_old_runtime(sound_runtime, capsys):
    sound_runtime.__version__ = "1.17.3"
    assert main(["doctor"]) == 1
    assert "1.17.3 is older than 1.23" in capsys.readouterr().out


def test_doctor_finds_that_nothing_is_installed(sound_runtime, monkeypatch, capsys):
    from embedge.errors import MissingExtraError

    def missing():
        raise MissingExtraError('pip install "embedge[cpu]"')

    monkeypatch.setattr(loading, "load_runtime", missing)
    monkeypatch.setattr(loading, "installed_distributions", list)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "not installed" in out
    assert 'PROBLEM  onnxruntime: pip install "embedge[cpu]"' in out


def test_doctor_warns_of_wrong_integer_sums(sound_runtime, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "integer_kernel", lambda: Choice(kernels.INEXACT, "it saturates"))
    assert main(["doctor"]) == 1
    assert "--precision fp32" in capsys.readouterr().out


@pytest.mark.parametrize(("wrong", "code"), [(0.0, 0), (0.5, 1), (math.nan, 1)])
def test_doctor_compares_vectors(sound_runtime, fake, capsys, tmp_path, wrong, code):
    samples_for(fake, tmp_path, wrong)
    assert main(["doctor", str(tmp_path)]) == code
    out = capsys.readouterr().out
    assert "told so" in out  # the reason of the choice
    assert ("PROBLEM  vectors, text-matching" in out) == bool(code)
    assert "PROBLEM  vectors, retrieval" not in out


def test_doctor_tells_a_broken_pack(sound_runtime, capsys, tmp_path):
    assert main(["doctor", str(tmp_path)]) == 1
    assert "PROBLEM  pack: " in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_samples_that_are_a_pipe_do_not_keep_doctor_waiting(sound_runtime, fake, capsys, tmp_path):
    samples_for(fake, tmp_path)
    (tmp_path / "samples.npy").unlink()
    os.mkfifo(tmp_path / "samples.npy")
    assert main(["doctor", str(tmp_path)]) == 1
    assert "samples.npy is not a regular file" in capsys.readouterr().out


def test_bench(fake, capsys):
    arguments = ["bench", "x", "--shapes", "1x16,3x8", "--seconds", "0.001"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    # The fake counts one token a word and one for the prompt, and texts are made to fit.
    assert [(line["shape"], line["tokens"]) for line in report["shapes"]] == [
        ("1x16", 16),
        ("3x8", 24),
    ]
    for line in report["shapes"]:
        assert line["threads"] == 3
        assert line["best_tokens_per_second"] >= line["median_tokens_per_second"] > 0
        assert line["repeats"] >= 3
    assert main(arguments) == 0
    assert "load " in capsys.readouterr().out


@pytest.mark.parametrize("shapes", ["", "16", "0x4", "4x", "axb", "1x2,,3x4", "1x-2"])
def test_bench_refuses_odd_shapes(fake, capsys, shapes):
    assert main(["bench", "x", "--shapes", shapes]) == 2
    assert "--shapes" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_unless_on_a_terminal():
    stream = io.StringIO()
    with ProgressBar(stream=stream) as progress:
        progress.update(0.5, "half")
    assert stream.getvalue() == ""


def test_progress_tells_the_time_left_and_cleans_up():
    now = [0.0]
    stream = Terminal()
    with ProgressBar(stream=stream, clock=lambda: now[0]) as progress:
        now[0] = 30.0
        progress.update(0.25, "layer 7")
        assert stream.getvalue().endswith("[######..................]  25%  layer 7  1:30 left")
        now[0] += 0.01
        progress.update(0.26, "too soon to be drawn")
        progress.say("a bad line")
    lines = stream.getvalue().split("\r")
    assert "too soon" not in stream.getvalue()
    assert "a bad line\n" in lines  # on a line of its own
    assert lines[-1] == "a bad line\n"


def test_progress_says_how_long_it_took_and_nothing_that_it_does_not_know():
    now = [0.0]
    stream = Terminal()
    with ProgressBar(stream=stream, clock=lambda: now[0]) as progress:
        progress.update(0.005, "1 of 200")
        assert stream.getvalue().rstrip().endswith("1 of 200")
        now[0] = 90.0
        progress.update(1.0, "200 of 200")
        assert stream.getvalue().rstrip().endswith("200 of 200  1:30")


def test_progress_never_exceeds_the_line():
    stream = Terminal()
    with ProgressBar(stream=stream) as progress:
        progress.update(1.0, "x" * 500)
    assert max(len(part) for part in stream.getvalue().split("\r")) <= 79


def test_table_aligns():
    assert screen.table([("a", "1"), ("bbb", "22")], right=(1,)) == "a     1\nbbb  22"
