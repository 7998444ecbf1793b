"""`embedge verify` and `embedge export`: every fault gives a FAIL line and exit code 1."""

import dataclasses
import hashlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from embedge.cli import golden, main
from embedge.cli.commands import verify
from embedge.cli.exporter import load_exporter
from embedge.cli.reports import gate_rows
from embedge.errors import DeviceError, MissingExtraError, PackFileError
from embedge.pack.manifest import Expected, FileEntry
from embedge.pack.reading import read_manifest
from embedge.pack.verification import Bars, Figures, Report
from support.fakes import MANIFEST, FakeEmbedder, write_pack

TEXTS = ("a bb", "ccc d e")
PASSED = {
    p: Report(passed=True, bars=Bars(cosine_min=0.99, batch_difference=0.0))
    for p in ("fp32", "int8")
}


@pytest.fixture
def pack(tmp_path):
    """A pack whose files are junk of the right hash, with true samples."""
    folder = tmp_path / "pack"
    folder.mkdir()
    embedder = FakeEmbedder()
    samples = np.stack([embedder.encode(list(TEXTS)) for _ in MANIFEST.tasks])
    np.save(folder / "samples.npy", samples)
    for name in MANIFEST.files:
        # The least that is an ONNX file: its format version alone.
        data = b"\x08\x08" if name.endswith(".onnx") else name.encode()
        (folder / name).write_bytes(data)
    files = {
        path.name: FileEntry(
            size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.iterdir()
    }
    manifest = dataclasses.replace(
        MANIFEST,
        files=files,
        samples=Expected(file="samples.npy", texts=TEXTS),
        verification=PASSED,
    )
    return write_pack(folder, manifest)


def figures(cosine: float) -> Figures:
    return Figures(cosine_min=cosine)


@pytest.fixture
def fakes(pack, monkeypatch):
    """Opens fake embedders; `fakes[precision]` may be replaced by one that is wrong."""

    def open_(options, *, precision):
        embedder = made[precision]
        embedder.folder, embedder.precision = pack, precision
        embedder.manifest = read_manifest(pack)
        return embedder

    made: dict[str, FakeEmbedder] = {p: FakeEmbedder() for p in ("fp32", "int8")}
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", open_)
    return made


def failures(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]


def test_a_sound_pack(pack, fakes, capsys):
    assert main(["verify", str(pack)]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    for precision in ("fp32", "int8"):
        for check in ("gate", "on cpu", "retrieval", "text-matching", "batches"):
            assert f"OK    {precision} {check}" in out


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_ends_it(pack, fakes, capsys, damage):
    path = pack / "retrieval.int8.onnx"
    if damage == "remove":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"?")
    assert main(["verify", str(pack)]) == 1
    (line,) = failures(capsys)
    assert "retrieval.int8.onnx" in line
    assert not fakes["int8"].calls  # nothing of a damaged pack is loaded


def test_wrong_vectors(pack, fakes, capsys):
    class Wrong(FakeEmbedder):
        def encode(self, texts, *, task=None, **options):
            rows = super().encode(texts, task=task, **options)
            return rows[..., ::-1] if task == "retrieval" else rows

    fakes["int8"] = Wrong()
    assert main(["verify", str(pack)]) == 1
    (line,) = failures(capsys)
    assert line.startswith("FAIL  int8 retrieval")
    assert "export again" in line


def test_vectors_that_depend_on_the_batch(pack, fakes, capsys):
    class Shifting(FakeEmbedder):
        def encode(self, texts, **options):
            rows = super().encode(texts, **options)
            return rows if isinstance(texts, str) else rows + np.float32(1e-4)

    fakes["fp32"] = Shifting()
    assert main(["verify", str(pack)]) == 1
    (line,) = failures(capsys)
    assert line.startswith("FAIL  fp32 batches")


def test_a_missed_gate(pack, fakes, capsys):
    manifest = json.loads((pack / "manifest.json").read_text())
    manifest["verification"]["int8"]["passed"] = False
    (pack / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(pack)]) == 1
    (line,) = failures(capsys)
    assert line.startswith("FAIL  int8 gate")


def test_what_cannot_run_here_is_no_failure_and_what_does_not_load_is(pack, capsys, monkeypatch):
    errors = {"fp32": DeviceError("no GPU"), "int8": PackFileError("does not load")}

    def fail(options, *, precision):
        raise errors[precision]

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", fail)
    assert main(["verify", str(pack)]) == 1
    captured = capsys.readouterr().out
    assert "skip  fp32" in captured
    assert "FAIL  int8" in captured


def test_golden_needs_published_figures(pack, fakes, capsys):
    assert main(["verify", str(pack), "--golden"]) == 2
    assert "no published figures" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "verdict"), [(0.0, "OK"), (0.009, "OK"), (0.05, "FAIL")])
def test_golden_similarities(change, verdict):
    name = "jina-embeddings-v5-text-small"
    figures = golden.GOLDEN[name].similarities

    class Exact(FakeEmbedder):
        def encode_query(self, texts, **options):
            assert texts == golden.QUERY
            return np.array([1, 0, 0, 0], np.float32)

        def encode_document(self, texts, **options):
            rows = np.zeros((len(texts), 4), np.float32)
            rows[:, 0] = np.array(figures) + np.array([change, 0, 0, 0])
            return rows

    manifest = dataclasses.replace(MANIFEST, model_id=f"jinaai/{name}")
    check = verify._golden_check(manifest, Exact(), "fp32")
    assert check.verdict == verdict


def test_golden_models():
    assert golden.find_golden("jinaai/jina-embeddings-v5-text-nano-retrieval") is not None
    assert golden.find_golden("other/model") is None
    # A7 and B5: the counts of the published ids; nano appends its end token, small nothing.
    counts = {n: [len(t.split()) for t in g.token_ids] for n, g in golden.GOLDEN.items()}
    assert list(counts.values()) == [[11, 30], [12, 25]]


@pytest.mark.parametrize("same", [True, False])
def test_source_goes_to_the_exporter(pack, fakes, capsys, monkeypatch, tmp_path, same):
    report = {
        "int8": Report(
            failures={"retrieval": ("cosine 0.5 < 0.99",)},
            tasks={"retrieval": figures(0.5), "text-matching": figures(0.999)},
        )
    }
    manifest = json.loads((pack / "manifest.json").read_text())
    manifest["source"] = {"files": {"config.json": "1" * 64}}
    (pack / "manifest.json").write_text(json.dumps(manifest))
    source = SimpleNamespace(files={"config.json": ("1" if same else "2") * 64})
    asked = []

    def open_pack_source(manifest, spec):
        assert (spec, manifest.tasks) == (str(tmp_path), MANIFEST.tasks)
        return source

    def verify_pack(folder, source, *, threads, advance):
        advance("retrieval: layer 1")
        asked.append((folder, source))
        return report

    public = {"open_pack_source": open_pack_source, "verify_pack": verify_pack}
    monkeypatch.setattr(verify, "load_exporter", public.__getitem__)
    assert main(["verify", str(pack), "--source", str(tmp_path)]) == 1
    (line,) = failures(capsys)
    assert asked == ([(pack, source)] if same else [])
    assert ("cosine 0.5 < 0.99" if same else "is not what the pack was made from") in line


def test_export_hands_over(monkeypatch, capsys, tmp_path):
    asked = {}

    def export_pack(source, *, progress, notice, **options):
        asked.update(options, source=source)
        notice("the task \x1bclustering will be removed")
        progress(SimpleNamespace(task="retrieval", precision="int8", label="x", done=1, total=2))
        return dataclasses.replace(
            MANIFEST,
            verification={
                "int8": Report(
                    passed=True,
                    tasks={"retrieval": Figures(cosine_min=0.9991, cosine_mean=0.9995)},
                )
            },
        )

    public = {"export_pack": export_pack}
    monkeypatch.setattr("embedge.cli.commands.export.load_exporter", public.__getitem__)
    out = tmp_path / "pack"
    arguments = ["export", "src", "--out", str(out), "--precisions", "int8", "--offline"]
    stated = ["--license", "mit", "--prompt", "query=q=: "]
    assert main([*arguments, "--tasks", "retrieval, clustering", "--progress", *stated]) == 0
    assert asked == {
        "source": "src",
        "out": out,
        "tasks": ("retrieval", "clustering"),
        "precisions": ("int8",),
        "revision": None,
        "offline": True,
        "accept_failures": False,
        "replace": False,
        "via": None,
        "license": "mit",
        "prompts": {"query": "q=: "},
    }
    captured = capsys.readouterr()
    assert "0.9991" in captured.out
    assert "cc-by-nc-4.0" in captured.out
    assert "retrieval int8 x" in captured.err
    assert "embedge: the task  clustering will be removed\n" in captured.err
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["out"] == str(out)
    assert (result["model"], result["license"]) == (MANIFEST.model_id, MANIFEST.license)
    assert result["precisions"]["int8"]["passed"]
    assert result["sizes"]["int8"] == MANIFEST.size_of("int8")
    # A precision that is not good in the end is told by the exit code.
    assert main(["export", "src", "--out", str(out), "--precisions", "fp32"]) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precisions", "int3"], "'int3' is unknown"),
        (["--precisions", ","], "give names"),
        (["--tasks", "a,a"], "each once"),
    ],
)
def test_export_refuses_odd_options(capsys, arguments, told):
    assert main(["export", "src", "--out", "x", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_export_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "embedge_export.export", None)
    with pytest.raises(MissingExtraError, match=r"embedge\[export\]"):
        load_exporter("export_pack")


def test_gate_rows_name_what_missed():
    report = Report(tasks={"t": figures(0.5)}, failures={"t": ("cosine 0.5 < 0.9",)})
    rows = gate_rows({"int8": report})
    assert rows[1][:4] == ("int8", "t", "MISSED: cosine 0.5 < 0.9", "0.5")


def test_a_broken_manifest_is_a_sentence(capsys, tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
