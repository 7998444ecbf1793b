"""Tasks add to a pack as precisions do: what is there stays, or nothing is written."""

import json
import shutil

import numpy as np
import pytest

import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.errors import ExportError
from embedge.pack.files import open_pack, verify_files
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import read_manifest
from embedge_export.export import export_pack
from embedge_export.output import reuse
from embedge_export.recheck import open_pack_source, verify_pack

PRECISIONS = ("fp32", "int8")
TASKS = ("retrieval", "clustering")


@pytest.fixture(scope="module")
def apart(tiny_source, tmp_path_factory):
    """A base model, and two adapters of it in folders of their own."""
    folder = tmp_path_factory.mktemp("apart")
    base = seeded.write_decoder(folder / "base", "qwen3")
    for task in TASKS:
        shutil.copytree(tiny_source / "adapters" / task, folder / task)
    return base, {task: folder / task for task in TASKS}


@pytest.fixture(scope="module")
def together(tiny_source, tmp_path_factory):
    """Two tasks of one export."""
    out = tmp_path_factory.mktemp("packs") / "together"
    export_pack(tiny_source, out=out, tasks=TASKS, precisions=PRECISIONS)
    return out


@pytest.fixture(scope="module")
def made_one_task(tiny_source, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "one"
    export_pack(tiny_source, out=out, tasks=TASKS[:1], precisions=PRECISIONS)
    return out


@pytest.fixture
def one_task(made_one_task, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made_one_task, tmp_path / "one")


def contents(pack):
    return {path.name: path.read_bytes() for path in pack.iterdir() if path.name != MANIFEST}


def test_a_task_added_later_is_that_of_one_export(tiny_source, together, one_task):
    before = {path.name: path.stat().st_mtime_ns for path in one_task.iterdir()}
    steps, said = [], []
    manifest = export_pack(
        tiny_source, out=one_task, tasks=TASKS[1:], progress=steps.append, notice=said.append
    )
    assert contents(one_task) == contents(together)
    whole = read_manifest(together)
    assert manifest.tasks == whole.tasks == TASKS
    assert manifest.precisions() == PRECISIONS  # those that the pack has
    assert manifest.verification == whole.verification
    assert manifest.source == whole.source
    assert set(manifest.graphs) == set(whole.graphs)
    for precision in PRECISIONS:
        assert manifest.fingerprint(precision) == whole.fingerprint(precision)
    kept = [n for n in before if n.startswith(("shared.", "retrieval."))]
    assert len(kept) == 6
    assert all((one_task / name).stat().st_mtime_ns == before[name] for name in kept)
    assert {step.task for step in steps} == {"clustering"}
    assert [step.done for step in steps] == list(range(steps[0].total))
    assert said == [f"{one_task}: task retrieval, not exported now, kept"]
    assert all((one_task / name).stat().st_nlink == 1 for name in manifest.files)
    with Embedder(one_task) as embedder, Embedder(together) as other:
        for task in TASKS:
            texts = ["a small boat", "the tide"]
            np.testing.assert_array_equal(
                embedder.encode(texts, task=task), other.encode(texts, task=task)
            )


def test_naming_all_tasks_makes_the_new_one_alone(tiny_source, together, one_task):
    steps = []
    export_pack(
        tiny_source, out=one_task, tasks=TASKS, precisions=PRECISIONS, progress=steps.append
    )
    assert contents(one_task) == contents(together)
    assert {step.task for step in steps} == {"clustering"}


def test_a_precision_is_added_to_all_tasks(tiny_source, together, one_task):
    export_pack(tiny_source, out=one_task, tasks=TASKS[1:])
    manifest = export_pack(tiny_source, out=one_task, tasks=TASKS, precisions=("fp16",))
    assert manifest.precisions() == ("fp32", "fp16", "int8")
    assert contents(one_task).items() >= contents(together).items()


def test_adapters_in_folders_of_their_own_add_too(apart, tmp_path, capsys):
    base, adapters = apart
    out, first, second = tmp_path / "pack", *TASKS
    command = ["export", str(base), "--out", str(out), "--adapter"]
    options = ["--precisions", "int8", "--license", "mit", "--default-task", first]
    assert main([*command, f"{first}={adapters[first]}", *options, "--prompt", "query=q: "]) == 0
    assert main([*command, f"{second}={adapters[second]}"]) == 0
    assert f"{out}: task {first}, not exported now, kept" in capsys.readouterr().err
    manifest = read_manifest(out)
    assert (manifest.tasks, manifest.precisions()) == (TASKS, ("int8",))
    assert (manifest.license, manifest.default_task) == ("mit", first)
    assert manifest.prompts["query"] == "q: "
    assert verify_files(open_pack(out)) == []
    source = open_pack_source(manifest, base, adapters=adapters)
    assert dict(source.files) == manifest.source["files"]
    assert all(report.passed for report in verify_pack(out, source, threads=2).values())


def test_the_model_without_an_adapter_is_a_task_beside_them(apart, tmp_path):
    base, adapters = apart
    out, task = tmp_path / "pack", TASKS[0]
    export_pack(base, out=out, precisions=("int8",))
    manifest = export_pack(base, out=out, adapters={task: adapters[task]})
    assert manifest.tasks == ("base", task)
    source = open_pack_source(manifest, base, adapters={task: adapters[task]})
    assert source.tasks == ("base", task)
    assert all(report.passed for report in verify_pack(out, source, threads=2).values())


def test_an_adapter_that_changed_is_made_again_alone(apart, tmp_path, tiny_source):
    base, adapters = apart
    out, (first, second) = tmp_path / "pack", TASKS
    export_pack(base, out=out, adapters=adapters, precisions=("int8",))
    before = contents(out)
    manifest = export_pack(base, out=out, adapters={first: tiny_source / "adapters/classification"})
    after = contents(out)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {f"{first}.int8.data", "samples.npy"}
    assert manifest.tasks == TASKS
    assert verify_files(open_pack(out)) == []
    assert second in manifest.tasks


@pytest.mark.parametrize(
    "change", ["precision", "recipe", "damage", "samples", "prompt", "adapter"]
)
def test_what_cannot_stay_is_refused_before_the_work(
    change, tiny_source, one_task, tmp_path, monkeypatch, capsys
):
    source, precisions = shutil.copytree(tiny_source, tmp_path / "source"), None
    if change == "precision":
        precisions, told = ("fp16",), "is not there in fp16, which is for all tasks"
    elif change == "recipe":
        monkeypatch.setitem(reuse.RECIPES, "int8", 999)
        told = "from an older version"
    elif change == "damage":
        path = one_task / "retrieval.int8.data"
        path.write_bytes(b"x" * path.stat().st_size)
        told = "is damaged"
    elif change == "samples":
        (one_task / "samples.npy").write_bytes(b"")
        told = "has damaged sample vectors"
    elif change == "prompt":
        path = source / "config_sentence_transformers.json"
        path.write_text(path.read_text().replace("Query: ", "Question: "))
        told = "stands in a pack that was made from other files"
    else:
        name = "adapter_model.safetensors"
        shutil.copy(tiny_source / "adapters/classification" / name, source / "adapters/retrieval")
        told = "other files"
    before, steps = contents(one_task), []
    only = {"out": one_task, "tasks": ["clustering"], "precisions": precisions}
    with pytest.raises(ExportError, match=f"the task retrieval .*{told}.*--tasks, --adapter"):
        export_pack(source, **only, progress=steps.append)
    assert steps == []
    assert contents(one_task) == before
    command = ["export", str(source), "--out", str(one_task), "--tasks", "clustering", "--replace"]
    assert main([*command, "--precisions", "int8"]) == 0
    assert "retrieval" in capsys.readouterr().err
    manifest = read_manifest(one_task)
    assert manifest.tasks == ("clustering",)
    assert {path.name for path in one_task.iterdir()} == {MANIFEST, *manifest.files}


def test_a_missed_bar_of_a_new_task_leaves_the_pack_as_it_was(
    tiny_source, one_task, monkeypatch, capsys
):
    from embedge_export.gate import refine
    from embedge_export.precision.int8 import Int8

    monkeypatch.setattr(Int8, "minimum_cosine", 1.1)
    monkeypatch.setattr(refine, "Refinable", int)
    before = contents(one_task)
    command = ["export", str(tiny_source), "--out", str(one_task), "--tasks", "clustering"]
    assert main(command) == 1
    assert contents(one_task) == before
    assert main([*command, "--accept-failures"]) == 1
    report = json.loads((one_task / MANIFEST).read_text())["verification"]["int8"]
    assert not report["passed"]
    assert report["failures"].keys() == {"clustering"}
    assert report["tasks"].keys() == {"retrieval", "clustering"}


@pytest.mark.parametrize(
    ("problem", "precisions"), [("no CUDA provider", ["int8"]), (None, ["fp16", "int8"])]
)
def test_a_new_pack_has_the_precisions_that_this_machine_would_run(
    tiny_source, tmp_path, monkeypatch, problem, precisions
):
    monkeypatch.setattr("embedge.engine.providers.cuda.cuda_problem", lambda: problem)
    said: list[str] = []
    manifest = export_pack(tiny_source, out=tmp_path / "pack", notice=said.append)
    assert list(manifest.precisions()) == precisions
    assert any("--precisions fp16,int8" in sentence for sentence in said) == bool(problem)
    # What is asked for is made wherever it is made.
    manifest = export_pack(tiny_source, out=tmp_path / "other", precisions=("fp32",))
    assert list(manifest.precisions()) == ["fp32"]
