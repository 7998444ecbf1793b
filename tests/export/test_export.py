"""The whole road on a tiny model, and what happens when it is interrupted or repeated."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock

import massive
import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.errors import ExportError, GateError, ManifestError, OptionError, SourceError
from embedge.manifest import MANIFEST, read_manifest
from embedge.packs import open_pack, verify_files
from embedge_export import export
from embedge_export.export import export_pack
from embedge_export.model import open_model
from embedge_export.precision.int8 import Int8
from embedge_export.sources import open_source
from embedge_export.verify import verify_pack

TASKS = ("retrieval", "text-matching", "clustering", "classification")


def times(pack):
    return {path.name: path.stat().st_mtime_ns for path in pack.iterdir()}


@pytest.fixture
def pack(tiny_pack, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(tiny_pack, tmp_path / "pack")


def test_the_pack_is_what_its_manifest_says(tiny_pack):
    manifest = read_manifest(tiny_pack)
    assert manifest.tasks == TASKS
    assert manifest.default_task == "text-matching"
    assert manifest.prompts == {"query": "Query: ", "document": "Document: "}
    assert manifest.precisions() == ("fp32", "fp16", "int8")
    assert manifest.text.padding == "right"
    assert {path.name for path in tiny_pack.iterdir()} == {MANIFEST, *manifest.files}
    assert verify_files(open_pack(tiny_pack)) == []
    assert all(manifest.passed_gate(precision) for precision in manifest.precisions())


def test_what_the_manifest_of_an_encoder_says(nano_pack):
    manifest = read_manifest(nano_pack)
    assert (manifest.family, manifest.pooling) == ("eurobert", "last_token")
    assert manifest.text.padding == "either"
    assert manifest.memory.per_token_squared == 0  # its attention works in blocks everywhere
    assert all(manifest.passed_gate(precision) for precision in ("fp32", "fp16", "int8"))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_pooling_without_a_writer_is_refused_by_name(tmp_path, pooling):
    source = seeded.write_decoder(tmp_path / "source")
    flag = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[pooling]
    (source / "1_Pooling" / "config.json").write_text(json.dumps({flag: True}))
    with pytest.raises(SourceError, match=f"pools by '{pooling}'; a graph of a .* pools by"):
        open_model(open_source(source))


def test_a_plain_encoder_does_not_guess_its_pooling(tmp_path):
    source = seeded.write_eurobert(tmp_path / "source", pooling=None)
    with pytest.raises(SourceError, match="does not say how it pools"):
        open_source(source)


def test_what_tasks_share_stands_once(tiny_pack):
    manifest = read_manifest(tiny_pack)
    for precision in manifest.precisions():
        data = [g.data for g in manifest.graphs if g.precision == precision]
        assert {names[0] for names in data} == {f"shared.{precision}.data"}
        assert len({names[1] for names in data}) == len(TASKS)
    # The table is in the shared file alone: 256 tokens at least, 64 wide, float32.
    assert (tiny_pack / "shared.fp32.data").stat().st_size > 256 * 64 * 4


def test_the_samples_are_what_the_pack_computes(tiny_pack):
    manifest = read_manifest(tiny_pack)
    samples = np.load(tiny_pack / manifest.samples.file)
    assert samples.shape == (4, len(manifest.samples.texts), manifest.dimension)
    with Embedder(tiny_pack, precision="fp32") as embedder:
        for task, expected in zip(TASKS, samples, strict=True):
            got = embedder.encode(manifest.samples.texts, task=task)
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_pack_can_be_verified_against_its_source(tiny_pack, tiny_source):
    reports = verify_pack(tiny_pack, open_source(tiny_source), threads=2)
    assert set(reports) == {"fp32", "fp16", "int8"}
    assert all(report["passed"] for report in reports.values())


def test_a_pack_of_another_source_does_not_verify(tiny_pack, tmp_path):
    seeded.write_v5_text_small(tmp_path / "other", size="tiny", seed=8)
    reports = verify_pack(tiny_pack, open_source(tmp_path / "other"), threads=2)
    assert not any(report["passed"] for report in reports.values())


def test_a_second_export_does_nothing(pack, tiny_source):
    before = times(pack)
    export_pack(tiny_source, out=pack, precisions=("fp32", "int8"))
    assert times(pack) == before


def test_a_new_precision_leaves_the_others_alone(tiny_source, tmp_path):
    out = tmp_path / "pack"
    export_pack(tiny_source, out=out, precisions=("int8",))
    before = times(out)
    manifest = export_pack(tiny_source, out=out, precisions=("fp32",))
    assert manifest.precisions() == ("fp32", "int8")
    assert verify_files(open_pack(out)) == []
    after = times(out)
    assert all(after[name] == before[name] for name in before if ".int8." in name)


@pytest.mark.parametrize("change", ["adapter", "prompt", "recipe"])
def test_a_change_rebuilds(change, tiny_source, pack, tmp_path, monkeypatch):
    source = shutil.copytree(tiny_source, tmp_path / "source")
    before = read_manifest(pack)
    if change == "adapter":
        seeded.write_v5_text_small(tmp_path / "other", size="tiny", seed=9)
        name = "adapters/clustering/adapter_model.safetensors"
        shutil.copy(tmp_path / "other" / name, source / name)
    elif change == "prompt":
        path = source / "config_sentence_transformers.json"
        path.write_text(path.read_text().replace("Query: ", "Question: "))
    else:
        monkeypatch.setitem(export.RECIPES, "int8", 999)
    after = export_pack(source, out=pack, precisions=("int8",))
    assert verify_files(open_pack(pack)) == []
    if change == "adapter":
        assert after.fingerprint("int8") != before.fingerprint("int8")
    if change == "prompt":
        assert after.prompts["query"] == "Question: "
    # Of the other precisions, made from what is no longer there, nothing is left.
    assert after.precisions() == (("fp32", "fp16", "int8") if change == "recipe" else ("int8",))
    assert {path.name for path in pack.iterdir()} == {MANIFEST, *after.files}


def test_some_tasks_only(tiny_source, tmp_path):
    manifest = export_pack(
        tiny_source, out=tmp_path / "p", tasks=["clustering"], precisions=("fp32",)
    )
    assert manifest.tasks == ("clustering",)
    assert manifest.default_task == "clustering"


def test_a_model_without_adapters_has_one_task(tmp_path):
    seeded.write_decoder(tmp_path / "source", model_type="llama", seed=2)
    manifest = export_pack(tmp_path / "source", out=tmp_path / "p", precisions=("fp32", "int8"))
    assert manifest.tasks == ("base",)
    assert [g.data for g in manifest.graphs] == [("shared.fp32.data",), ("shared.int8.data",)]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"precisions": ("int7",)}, OptionError),
        ({"precisions": ()}, OptionError),
        ({"tasks": ["poetry"]}, SourceError),
        ({"revision": "main"}, SourceError),
    ],
)
def test_bad_options_write_nothing(options, error, tiny_source, tmp_path):
    with pytest.raises(error):
        export_pack(tiny_source, out=tmp_path / "pack", **options)
    assert not (tmp_path / "pack").exists()


def test_a_missed_bar_leaves_the_pack_as_it_was(pack, tiny_source, monkeypatch):
    before = times(pack)
    monkeypatch.setattr(Int8, "minimum_cosine", 1.1)
    monkeypatch.setitem(export.RECIPES, "int8", 999)
    with pytest.raises(GateError, match=r"int8, task retrieval: cosine .* < 1\.1"):
        export_pack(tiny_source, out=pack, precisions=("int8",))
    assert times(pack) == before
    manifest = export_pack(tiny_source, out=pack, precisions=("int8",), accept_failures=True)
    assert not manifest.passed_gate("int8")
    with Embedder(pack, device="cpu") as embedder:
        assert embedder.precision == "fp32"  # not chosen by itself


def test_two_exports_do_not_meet(pack, tiny_source):
    with FileLock(pack / ".lock"), pytest.raises(ExportError, match="another export"):
        export_pack(tiny_source, out=pack, precisions=("fp32",))


def test_progress_counts_to_its_end(tiny_source, tmp_path):
    steps = []
    export_pack(tiny_source, out=tmp_path / "p", precisions=("fp32", "int8"), progress=steps.append)
    assert [step.done for step in steps] == list(range(len(steps)))
    assert steps[-1].total == len(steps)
    assert {step.task for step in steps} == set(TASKS)


KILLED = """
import sys
from embedge_export.export import export_pack
print("ready", flush=True)
export_pack(sys.argv[1], out=sys.argv[2], precisions=("fp32", "int8"))
"""


def test_killed_at_any_moment_it_leaves_a_whole_pack_or_none(tiny_source, tmp_path):
    """kill -9 at 12 moments over a whole export, new and over an old pack."""
    out = tmp_path / "pack"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = KILLED.replace("out=sys.argv[2]", "out=__import__('pathlib').Path(sys.argv[2])")

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tiny_source), str(out)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        return process

    begin = time.monotonic()
    process = start()
    process.communicate()
    assert process.returncode == 0
    whole = time.monotonic() - begin
    generator = random.Random(0)
    states = set()
    for attempt in range(12):
        if attempt % 2:
            # Over a pack that must be made anew: the recipe of an older version.
            path = out / MANIFEST
            if path.exists():
                manifest = json.loads(path.read_text())
                manifest["source"]["recipes"] = {"fp32": 0, "int8": 0}
                path.write_text(json.dumps(manifest))
        else:
            shutil.rmtree(out, ignore_errors=True)
        process = start()
        time.sleep(whole * generator.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        try:
            problems = verify_files(open_pack(out))
        except ManifestError:
            states.add("none")
        else:
            assert problems == []
            states.add("whole")
    assert states == {"none", "whole"}
    export_pack(tiny_source, out=out, precisions=("fp32", "int8"))
    assert verify_files(open_pack(out)) == []
    assert not (out / ".part").exists()


def test_worst_linears_are_kept_finer_until_the_bar_is_met(tmp_path, monkeypatch, capsys):
    """A real miss: massive activations, and a bar that one digit everywhere does not reach."""
    monkeypatch.setattr(Int8, "minimum_cosine", 0.999)
    source = seeded.write_v5_text_small(tmp_path / "source", size="tiny", seed=7)
    massive.inject(source)
    tasks = ["retrieval", "clustering"]
    out = tmp_path / "pack"
    with monkeypatch.context() as coarse:
        coarse.setattr(export, "_FINER", ())
        coarse.setattr(export, "OUTLYING", "no such linear")
        with pytest.raises(GateError, match=r"int8, task retrieval: cosine .* < 0\.999"):
            export_pack(source, out=out, tasks=tasks, precisions=("int8",))
        kept = export_pack(
            source, out=tmp_path / "coarse", tasks=tasks, precisions=("int8",), accept_failures=True
        )
    command = ["export", str(source), "--out", str(out), "--tasks", ",".join(tasks)]
    assert main([*command, "--precisions", "int8"]) == 0
    manifest = read_manifest(out)
    assert manifest.passed_gate("int8")
    told = capsys.readouterr().out
    more = 0
    for task in tasks:
        figures = manifest.verification["int8"]["tasks"][task]
        before = kept.verification["int8"]["tasks"][task]
        assert figures["cosine_min_before"][-1] == before["cosine_min"] < 0.999
        assert figures["cosine_min"] >= 0.999
        assert figures["batch_difference"] == 0
        assert figures["finer"][:4] == list(before["worst_linears"])[:4]
        assert f"int8, {task}: {len(figures['finer'])} linears kept finer" in told
        assert f"{before['cosine_min']:.6f} without" in told
        more += figures["finer_bytes"]
    sizes = [
        sum(entry.size for name, entry in m.files.items() if name.endswith(".data"))
        for m in (manifest, kept)
    ]
    assert more == sizes[0] - sizes[1] > 0
    # The very bits, alone and in a batch, through the runtime.
    texts = ["a", "two words", "the quick brown fox jumps over the lazy dog " * 5, "Ein Zug."]
    with Embedder(out, device="cpu") as embedder:
        assert embedder.precision == "int8"
        together = embedder.encode(texts, task="retrieval")
        for text, vector in zip(texts, together, strict=True):
            np.testing.assert_array_equal(embedder.encode(text, task="retrieval"), vector)
    assert main(["verify", str(out)]) == 0
    table = capsys.readouterr().out.partition("linears that rounding changes most")[2]
    assert "kept finer" in table
    assert next(iter(before["worst_linears"])) in table
