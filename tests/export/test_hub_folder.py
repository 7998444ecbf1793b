"""Hub folders: their files, two outputs of each graph, padding on either side, all or nothing."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.errors import ExportError, GateError
from embedge_export import hub_folder
from embedge_export.export import export_pack
from embedge_export.gate.compare import compare, pad_left, worst_of
from embedge_export.head import truth
from embedge_export.head.head import MODES, Head
from embedge_export.hub_folder import export_hub_folders
from embedge_export.model import open_model, reference
from embedge_export.source.folder import open_source
from support.heads import NORMALIZE, dense, write_head

KINDS = {
    "v5-text-small": lambda folder: seeded.write_v5_text_small(folder, size="tiny", seed=7),
    "v5-text-nano": lambda folder: seeded.write_v5_text_nano(folder, size="tiny", seed=7),
    "bert": lambda folder: seeded.write_bert(folder, pooling="mean_tokens"),
}
LENGTHS = (5, 1, 9, 3)


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """A source, and the hub folder of its first task in all precisions but int4."""
    place = tmp_path_factory.mktemp("hub")
    KINDS[request.param](place / "source")
    task = open_source(place / "source").tasks[0]
    found = export_hub_folders(place / "source", out=place / "out", tasks=[task])
    assert list(found.folders) == [task]
    return place / "source", found.folders[task]


def batch(lengths=LENGTHS, seed=3):
    """Ids and mask (B, S), padded on the right; the padding holds ids of real tokens."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(3, 60, (len(lengths), max(lengths)))
    return ids, (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)


def run(path, ids, mask):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids, "attention_mask": mask}
    return session.run(["last_hidden_state", "sentence_embedding"], feed)


def test_the_files_are_those_that_other_programs_look_for(made):
    _, folder = made
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    graphs = {
        f"onnx/model{suffix}.{ending}"
        for suffix in ("", "_fp16", "_quantized")
        for ending in ("onnx", "onnx_data")
    }
    assert graphs == {name for name in names if name.startswith("onnx/")}
    assert names >= {
        *("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"),
        *("modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"),
    }
    noted = json.loads((folder / "config.json").read_text())["transformers.js_config"]
    assert {f"onnx/{name}_data" for name in noted["use_external_data_format"]} < graphs
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"))
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert shapes == {
        "last_hidden_state": ["batch", "sequence", width],
        "sentence_embedding": ["batch", width],
    }
    assert all(value.type == "tensor(float)" for value in session.get_outputs())
    assert {value.name: value.type for value in session.get_inputs()} == dict.fromkeys(
        ("input_ids", "attention_mask"), "tensor(int64)"
    )


@pytest.mark.parametrize("name", ["model", "model_fp16", "model_quantized"])
def test_padding_on_either_side_gives_the_same(made, name):
    path = made[1] / f"onnx/{name}.onnx"
    ids, mask = batch()
    rows, vectors = run(path, ids, mask)
    left = run(path, *pad_left(ids, mask))
    np.testing.assert_array_equal(left[1], vectors)
    for text, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(left[0][text, -length:], rows[text, :length])
        assert not left[0][text, :-length].any()
        assert not rows[text, length:].any()
    alone = run(path, ids[2:3], mask[2:3])  # the longest: a mask of ones
    assert mask[2].all()
    np.testing.assert_allclose(alone[1][0], vectors[2], atol=2e-6 if name == "model" else 2e-3)


def pooled(rows, mask, pooling):
    """As the model cards do it by hand."""
    if pooling == "last_token":
        return rows[np.arange(len(rows)), mask.sum(1) - 1]
    return (rows * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)


def test_what_is_written_is_a_source_again(made):
    source, folder = (open_source(place) for place in made)
    assert folder.head == source.head
    assert (folder.prompts, folder.max_length) == (source.prompts, source.max_length)
    open_model(folder)


def test_rows_pool_to_the_vectors(made):
    source, folder = made
    pooling = open_source(source).head.pooling
    ids, mask = batch()
    rows, vectors = run(folder / "onnx/model_quantized.onnx", ids, mask)
    np.testing.assert_allclose(pooled(rows, mask, pooling), vectors, atol=1e-6)


@pytest.mark.parametrize("name", ["model", "model_quantized"])
def test_rows_are_those_of_the_truth(made, name):
    """Every mode of pooling gives of them what it gives of the truth's: all rows count in some."""
    source, folder = made
    model = open_model(open_source(source))
    head = Head(model.config.hidden_size, MODES)
    ids, mask = batch()
    texts = [row[:length].astype(np.int32) for row, length in zip(ids, LENGTHS, strict=True)]
    weights = model.weights(model.source.tasks[0])
    expected = model.family.vectors(model.config, weights, texts, head=head)
    rows, _ = run(folder / f"onnx/{name}.onnx", ids, mask)
    found = truth.vectors(rows[mask == 1], np.cumsum([0, *LENGTHS]), head)
    tolerance = 2e-5 if name == "model" else 0.25
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_vectors_are_those_of_the_pack(made, tmp_path):
    source, folder = made
    task = open_source(source).tasks[0]
    export_pack(source, out=tmp_path / "pack", tasks=[task], precisions=["fp32"])
    texts = ["a red stone", "on the hill", "a much longer text than the others are, all in all"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with Embedder(tmp_path / "pack") as embedder:
        prompt = embedder.manifest.prompts.get(embedder.manifest.default_prompt or "", "")
        for text, expected in zip(texts, embedder.encode(texts), strict=True):
            ids = np.array([tokenizer.encode(prompt + text).ids], np.int64)
            _, (vector,) = run(folder / "onnx/model.onnx", ids, np.ones_like(ids))
            np.testing.assert_allclose(vector / np.linalg.norm(vector), expected, atol=1e-6)


def test_layers_behind_the_pooling_are_in_the_vector_alone(tmp_path):
    source = seeded.write_bert(tmp_path / "source")
    write_head(source, ["mean", "max"], [dense(48), NORMALIZE])
    made = export_hub_folders(source, out=tmp_path / "out", precisions=["fp32"])
    assert made.verification["fp32"].passed
    folder = made.folders["base"]
    rows, vectors = run(folder / "onnx/model.onnx", *batch())
    hidden = json.loads((folder / "config.json").read_text())["hidden_size"]
    assert (rows.shape[2], vectors.shape[1]) == (hidden, 48)
    assert (folder / "2_Dense/model.safetensors").is_file()


# -- the gate


def test_both_outputs_pass_the_gate(made, monkeypatch, tmp_path):
    """Rows that do not pool to the truth's vectors fail it, and nothing is written."""
    source, _ = made
    model = open_model(open_source(source))
    task = model.source.tasks[0]
    gate = reference(model)
    path = made[1] / "onnx/model.onnx"
    assert not hub_folder._judge(task, model, gate, 1, path).failures(hub_folder_precision("fp32"))
    wrong = replace(
        model, source=replace(model.source, head=replace(model.source.head, modes=("cls",)))
    )
    report = hub_folder._judge(task, wrong, gate, 1, path)
    assert report.cosine_min < 0.99
    monkeypatch.setattr(hub_folder, "_judge", lambda *_: report)
    with pytest.raises(GateError, match="fp32, task"):
        export_hub_folders(source, out=tmp_path / "out", tasks=[task], precisions=["fp32"])
    assert not (tmp_path / "out").exists()


def hub_folder_precision(name):
    (precision,) = hub_folder.choose_precisions([name])
    return precision


def test_the_worse_of_two_comparisons():
    reference = np.eye(6, 8, dtype=np.float32)
    texts = [np.arange(1, n + 2, dtype=np.int32) for n in range(6)]

    def report(angle):
        tilted = reference * np.cos(angle) + np.roll(reference, 1, axis=1) * np.sin(angle)
        return compare(lambda ids, mask: tilted[mask.sum(1) - 1], texts, reference)

    good, bad = report(0.0), report(0.5)
    for pair in ((good, bad), (bad, good)):
        worst = worst_of(*pair)
        assert (worst.cosine_min, worst.cosines) == (bad.cosine_min, bad.cosines)
        assert worst.difference_max == bad.difference_max
    assert worst_of(good, replace(bad, finite=False)).finite is False
    assert worst_of(replace(bad, finite=False), good).finite is False


def test_padding_is_moved_to_the_left():
    ids, mask = (
        np.array([[7, 8, 0], [9, 0, 0], [4, 5, 6]]),
        np.array([[1, 1, 0], [1, 0, 0], [1] * 3]),
    )
    moved, moved_mask = pad_left(ids, mask)
    assert moved.tolist() == [[0, 7, 8], [0, 0, 9], [4, 5, 6]]
    assert moved_mask.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 1]]


# -- the command; all or nothing


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "source"
    return seeded.write_v5_text_small(folder, size="tiny", seed=7)


def test_the_command(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["export", str(tiny), "--layout", "hub", "--out", str(out), "--precisions", "fp16"]
    assert main([*command, "--tasks", "retrieval,clustering", "--dtype", "bfloat16"]) == 0
    shown = capsys.readouterr().out
    assert "passed" in shown
    assert str(out / "retrieval") in shown
    assert sorted(path.name for path in out.iterdir()) == ["clustering", "retrieval"]
    assert json.loads((out / "retrieval/config.json").read_text())["torch_dtype"] == "bfloat16"
    assert [path.name for path in sorted((out / "clustering/onnx").iterdir())] == [
        "model_fp16.onnx",
        "model_fp16.onnx_data",
    ]
    before = (out / "retrieval/config.json").stat().st_mtime_ns
    assert main([*command, "--tasks", "retrieval"]) == 2
    assert "retrieval exists already" in capsys.readouterr().err
    assert (out / "retrieval/config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layout", "hub", "--merged", "plain"], "--merged does not go with --layout hub"),
        (["--layout", "hub", "--replace"], "--replace does not go with --layout hub"),
        (["--dtype", "float16"], "--dtype is that of plain model folders"),
        (["--layout", "hub", "--precisions", "int2"], "'int2' is unknown"),
    ],
)
def test_options_that_do_not_go_together(tiny, tmp_path, capsys, options, words):
    assert main(["export", str(tiny), "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_without_a_plain_form_is_refused(tmp_path, capsys):
    source = seeded.write_v3(tmp_path / "source")
    assert main(["export", str(source), "--layout", "hub", "--out", str(tmp_path / "out")]) == 2
    assert "no plain form of model_type" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_export_leaves_nothing(tiny, tmp_path):
    def interrupt(step):
        if (step.task, step.precision) == ("clustering", "fp32"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_hub_folders(tiny, out=tmp_path / "out", precisions=["fp32"], progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_appears_meanwhile_is_not_replaced(tiny, tmp_path):
    def appear(step):
        if step.precision:
            (tmp_path / "out/retrieval").mkdir(exist_ok=True)

    with pytest.raises(ExportError, match="retrieval appeared meanwhile"):
        export_hub_folders(
            tiny, out=tmp_path / "out", tasks=["retrieval"], precisions=["fp32"], progress=appear
        )
    assert not list((tmp_path / "out/retrieval").iterdir())
