"""The whole road on a tiny model, and what happens when it is interrupted or repeated."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.errors import ExportError, GateError, ManifestError, OptionError, SourceError
from embedge.pack.files import open_pack, verify_files
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import read_manifest
from embedge_export.export import export_pack
from embedge_export.gate import refine
from embedge_export.model import open_model
from embedge_export.output import reuse
from embedge_export.output.space import pack_bytes
from embedge_export.output.stage import LOCK
from embedge_export.precision.int8 import Int8
from embedge_export.recheck import verify_pack
from embedge_export.source.folder import open_source
from support import massive

TASKS = ("retrieval", "text-matching", "clustering", "classification")


class NoPrecision:
    """In the place of `Refinable`: none can be made finer."""


def times(pack):
    return {path.name: path.stat().st_mtime_ns for path in pack.iterdir()}


@pytest.fixture
def pack(tiny_pack, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(tiny_pack, tmp_path / "pack")


@pytest.fixture(scope="module")
def plain_source(tmp_path_factory):
    """One task: for tests that export several times."""
    return seeded.write_decoder(tmp_path_factory.mktemp("source") / "plain", "llama", seed=2)


@pytest.fixture(scope="module")
def made_plain_pack(plain_source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs") / "plain"
    export_pack(plain_source, out=folder, precisions=("fp32", "int8"))
    return folder


@pytest.fixture
def plain_pack(made_plain_pack, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made_plain_pack, tmp_path / "plain")


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
    assert all(report.passed for report in reports.values())


def test_a_pack_of_another_source_does_not_verify(tiny_pack, tmp_path):
    seeded.write_v5_text_small(tmp_path / "other", size="tiny", seed=8)
    reports = verify_pack(tiny_pack, open_source(tmp_path / "other"), threads=2)
    assert not any(report.passed for report in reports.values())


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
        monkeypatch.setitem(reuse.RECIPES, "int8", 999)
    after = export_pack(source, out=pack, precisions=("int8",))
    assert verify_files(open_pack(pack)) == []
    if change == "adapter":
        assert after.fingerprint("int8") != before.fingerprint("int8")
    if change == "prompt":
        assert after.prompts["query"] == "Question: "
    if change == "adapter":  # the other tasks are what they were, in every precision
        assert {name for name in after.files if after.files[name] != before.files[name]} == {
            "samples.npy",
            *(name for name in after.files if name.startswith("clustering.")),
        } - {"clustering.fp32.onnx", "clustering.fp16.onnx", "clustering.int8.onnx"}
    # Made from what is no longer there, nothing is left.
    assert after.precisions() == (("int8",) if change == "prompt" else ("fp32", "fp16", "int8"))
    assert {path.name for path in pack.iterdir()} == {MANIFEST, *after.files}


@pytest.mark.parametrize("name", ["shared.int8.data", "base.int8.onnx"])
def test_a_damaged_graph_that_would_be_kept_is_made_again(name, plain_source, plain_pack):
    whole, path = times(plain_pack), plain_pack / name
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # as long as before
    said = []
    # Its precision need not be named: what the pack has is what is looked after.
    manifest = export_pack(plain_source, out=plain_pack, precisions=("fp32",), notice=said.append)
    assert manifest.precisions() == ("fp32", "int8")
    assert verify_files(open_pack(plain_pack)) == []
    assert path.read_bytes() == good
    assert all(times(plain_pack)[n] == whole[n] for n in whole if ".fp32." in n)
    assert said == []


@pytest.mark.parametrize("name", ["tokenizer.json", "samples.npy"])
def test_a_damaged_file_beside_the_graphs_is_made_again(name, plain_source, plain_pack):
    whole, path = times(plain_pack), plain_pack / name
    good = path.read_bytes()
    for damage in (good[:-1] + bytes([good[-1] ^ 1]), b"", None):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        export_pack(plain_source, out=plain_pack, precisions=("int8",))
        assert path.read_bytes() == good
        assert verify_files(open_pack(plain_pack)) == []
    assert all(times(plain_pack)[n] == whole[n] for n in whole if n.endswith((".onnx", ".data")))


def test_a_manifest_that_says_something_else_of_the_model_is_written_again(tiny_source, pack):
    good = read_manifest(pack)
    changed = json.loads((pack / MANIFEST).read_text()) | {"license": "mit", "pooling": "cls"}
    (pack / MANIFEST).write_text(json.dumps(changed))
    assert export_pack(tiny_source, out=pack, precisions=("int8",)) == good
    assert read_manifest(pack) == good


def test_what_the_old_pack_loses_is_said_before_it_is_lost(tiny_source, pack):
    said = []

    def notice(sentence):
        said.append((sentence, read_manifest(pack).tasks))

    only = {"tasks": ["retrieval"], "precisions": ("int8",), "notice": notice}
    export_pack(tiny_source, out=pack, replace=True, **only)
    ((sentence, tasks),) = said
    assert tasks == TASKS
    assert "the tasks text-matching, clustering, classification will be removed" in sentence
    assert read_manifest(pack).tasks == ("retrieval",)
    assert verify_files(open_pack(pack)) == []
    said.clear()
    export_pack(tiny_source, out=pack, **only)
    assert [sentence for sentence, _ in said] == [f"{pack} is up to date"]


def test_the_pack_of_another_model_is_replaced_only_if_that_is_asked_for(
    tiny_source, nano_source, pack, capsys
):
    before = times(pack)
    with pytest.raises(ExportError, match=r"holds the pack of another model, 'seeded/.*--replace"):
        export_pack(nano_source, out=pack, precisions=("fp32",))
    command = ["export", str(nano_source), "--out", str(pack), "--precisions", "fp32"]
    assert main(command) == 2
    assert times(pack) == before
    assert main([*command, "--replace"]) == 0
    assert "the pack of seeded/jina-embeddings-v5-text-small-tiny is replaced" in (
        capsys.readouterr().err
    )
    manifest = read_manifest(pack)
    assert manifest.family == "eurobert"
    assert {path.name for path in pack.iterdir()} == {MANIFEST, *manifest.files}


def test_the_same_weights_under_another_name_are_the_same_model(tiny_source, pack, tmp_path):
    copy = shutil.copytree(tiny_source, tmp_path / "copy")
    (copy / "README.md").unlink()
    manifest = export_pack(copy, out=pack, precisions=("fp32",))
    assert manifest.model_id == "copy"


def test_other_people_s_files_stay_where_they_are(plain_source, plain_pack, tmp_path, monkeypatch):
    """Whatever they are called, beside a pack and where there is none."""
    project = tmp_path / "project"
    files = {"customers.data": "rows", "other.onnx": "net", "sub/.lock": "x", ".part/x": "x"}
    for folder in (project, plain_pack):
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_text(text)
    monkeypatch.chdir(project)
    for out in ("", " ", ".", project, "sub", ".part", "customers.data", "customers.data/x"):
        with pytest.raises(ExportError):
            export_pack(plain_source, out=out, precisions=("int8",))
    monkeypatch.setitem(reuse.RECIPES, "int8", 999)
    export_pack(plain_source, out=plain_pack, precisions=("int8",))
    export_pack(plain_source, out=plain_pack, precisions=("fp32",))
    for folder in (project, plain_pack):
        assert {name: (folder / name).read_text() for name in files} == files
    assert len([path for path in project.rglob("*") if path.is_file()]) == len(files)


def test_a_name_that_is_taken_is_found_before_the_work(tiny_source, pack):
    (pack / "retrieval.int4.data").write_text("the user's")
    steps = []
    with pytest.raises(ExportError, match=r"retrieval\.int4\.data is in the way"):
        export_pack(tiny_source, out=pack, precisions=("int4",), progress=steps.append)
    assert steps == []


@pytest.mark.parametrize("place", ["", "pack", ".."])
def test_a_pack_is_not_written_into_its_model(place, tiny_source, tmp_path):
    source = shutil.copytree(tiny_source, tmp_path / "models" / "source")
    before = sorted(source.rglob("*"))
    with pytest.raises(ExportError, match="the folder of the model itself"):
        export_pack(source, out=source / place, precisions=("fp32",))
    assert sorted(source.rglob("*")) == before


def test_a_full_disk_is_known_before_the_work(
    tiny_source, tiny_model, tiny_pack, tmp_path, monkeypatch
):
    manifest = read_manifest(tiny_pack)
    tables = 2 * 32768 * 16 * 4  # cosines and sines of the positions, which are not counted
    for precision in ("fp32", "fp16", "int8"):
        files = {n for g in manifest.graphs if g.precision == precision for n in g.data}
        real = sum(manifest.files[name].size for name in files)
        assert 0.5 * (real - tables) < pack_bytes(tiny_model, [precision]) <= real
    free = SimpleNamespace(total=10**12, free=pack_bytes(tiny_model, ["fp32", "int8"]) - 1)
    monkeypatch.setattr("embedge_export.output.destination.shutil.disk_usage", lambda path: free)
    steps = []
    with pytest.raises(ExportError, match="the pack takes at least"):
        export_pack(
            tiny_source, out=tmp_path / "p", precisions=("fp32", "int8"), progress=steps.append
        )
    assert steps == []
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("write", "precisions"),
    [
        (seeded.write_bert, ("fp32", "int8", "int4")),
        (seeded.write_modernbert, ("fp32",)),
        (seeded.write_model2vec, ("fp32", "fp16", "int8")),
        (seeded.write_jina_clip, ("int8",)),
    ],
)
def test_the_estimate_of_room_never_refuses_what_would_fit(write, precisions, tmp_path):
    """It is a floor: at most what the graphs really take, and not far below it."""
    source = tmp_path / "source"
    write(source)
    manifest = export_pack(source, out=tmp_path / "p", precisions=precisions)
    model = open_model(open_source(source))
    for precision in precisions:
        real = manifest.size_of(precision)
        # Of models this small, tables of positions and names of nodes are most of a graph.
        assert 0.1 * real < pack_bytes(model, [precision]) <= real


def test_the_command_says_which_folder_it_lacks(tiny_source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (["--out", ""], ["--out", "  "], ["--out", "pack", "--merged", ""]):
        assert main(["export", str(tiny_source), *arguments]) == 2
        assert f"argument {arguments[-2]}: it is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_changes_meanwhile_makes_no_pack(tiny_source, pack, tmp_path, monkeypatch):
    monkeypatch.setitem(reuse.RECIPES, "fp32", 999)
    source = shutil.copytree(tiny_source, tmp_path / "source")
    before = times(pack)

    def write(step):
        if step.done == step.total - 1:
            with (source / "README.md").open("a") as card:
                card.write("\n")

    with pytest.raises(SourceError, match=r"README\.md changed while the model was read"):
        export_pack(
            source,
            out=pack,
            tasks=["retrieval"],
            precisions=("fp32",),
            replace=True,
            progress=write,
        )
    assert times(pack) == before


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config_sentence_transformers.json", {"prompts": {"q": "\ud800"}}, "surrogate"),
        ("config_sentence_transformers.json", {"prompts": {"\udfff": "x"}}, "surrogate"),
        ("config.json", {"task_names": ["shared"]}, "the task 'shared' would be that of another"),
        ("config.json", {"task_names": ["a", "A"]}, "the task '.' would be that of another"),
        ("config.json", {"task_names": ["a" * 250]}, "not a plain file name"),
    ],
)
def test_what_no_manifest_can_say_is_known_before_the_work(
    tiny_source, tmp_path, name, change, message
):
    source = shutil.copytree(tiny_source, tmp_path / "source")
    path = source / name
    fields = json.loads(path.read_text()) | change
    if "prompts" in change:
        fields["default_prompt_name"] = None
    path.write_text(json.dumps(fields))
    for task in change.get("task_names", ()):
        shutil.rmtree(source / "adapters" / task, ignore_errors=True)
        place = source / "adapters" / task
        if not place.exists():
            shutil.copytree(source / "adapters" / "retrieval", place)
    steps = []
    with pytest.raises(SourceError, match=message):
        export_pack(source, out=tmp_path / "p", precisions=("fp32",), progress=steps.append)
    assert steps == []
    assert not (tmp_path / "p").exists()


def test_plain_folders_that_cannot_be_written_are_known_before_the_pack(
    tiny_source, tmp_path, capsys
):
    out, merged = tmp_path / "pack", tmp_path / "merged"
    (merged / "clustering").mkdir(parents=True)
    command = ["export", str(tiny_source), "--out", str(out), "--precisions", "fp32", "--merged"]
    for place, told in (
        (merged, "clustering exists already"),
        (tiny_source / "merged", "is inside the folder of the model"),
        (out, "in each other's way"),
        (out / "merged", "in each other's way"),
        (Path("/"), "is the root"),
    ):
        assert main([*command, str(place)]) == 2
        assert told in capsys.readouterr().err
    assert not out.exists()


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
    monkeypatch.setattr(refine, "Refinable", NoPrecision)
    monkeypatch.setitem(reuse.RECIPES, "int8", 999)
    with pytest.raises(GateError, match=r"int8, task retrieval: cosine .* < 1\.1"):
        export_pack(tiny_source, out=pack, precisions=("int8",))
    assert times(pack) == before
    manifest = export_pack(tiny_source, out=pack, precisions=("int8",), accept_failures=True)
    assert not manifest.passed_gate("int8")
    with Embedder(pack, device="cpu") as embedder:
        assert embedder.precision == "fp32"  # not chosen by itself


def test_two_exports_do_not_meet(pack, tiny_source):
    with FileLock(pack / LOCK), pytest.raises(ExportError, match="another export"):
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
    """kill -9 at once and at 12 moments over a whole export, new and over an old pack.

    How far an export is at a moment depends on the machine, so that each new one may leave either;
    but the first has no time to end, and one over an old pack leaves that or a new one.
    """
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
    # A pack that must be made again: the recipe of an older version.
    old = tmp_path / "old"
    shutil.copytree(out, old)
    manifest = json.loads((old / MANIFEST).read_text())
    manifest["source"]["recipes"] = {"fp32": 0, "int8": 0}
    (old / MANIFEST).write_text(json.dumps(manifest))
    generator = random.Random(0)
    states = set()
    for attempt, share in enumerate((0.0, *(generator.random() for _ in range(12)))):
        shutil.rmtree(out, ignore_errors=True)
        if attempt % 2:
            shutil.copytree(old, out)
        process = start()
        time.sleep(whole * share)
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
    assert {path.name for path in out.iterdir()} == {MANIFEST, *read_manifest(out).files}


def test_worst_linears_are_kept_finer_until_the_bar_is_met(tmp_path, monkeypatch, capsys):
    """A real miss: massive activations, and a bar that one digit everywhere does not reach."""
    monkeypatch.setattr(Int8, "minimum_cosine", 0.999)
    monkeypatch.setattr(Int8, "wanted_cosine", 0.999)
    source = seeded.write_v5_text_small(tmp_path / "source", size="tiny", seed=7)
    massive.inject(source)
    tasks = ["retrieval", "clustering"]
    out = tmp_path / "pack"
    with monkeypatch.context() as coarse:
        coarse.setattr(refine, "Refinable", NoPrecision)
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
        figures = manifest.verification["int8"].tasks[task]
        before = kept.verification["int8"].tasks[task]
        assert figures.cosine_min_before is not None
        assert figures.cosine_min_before[-1] == before.cosine_min < 0.999
        assert figures.cosine_min >= 0.999
        assert figures.batch_difference == 0
        assert 0 < len(figures.finer) <= figures.linears + 1  # the table is not a linear
        assert figures.float32 == ()
        assert f"int8, {task}: {len(figures.finer)} of " in told
        assert f"{before.cosine_min:.6f} without" in told
        more += figures.finer_bytes
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
    assert next(iter(before.worst_linears)) in table
