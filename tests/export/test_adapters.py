"""Adapters in folders of their own, and adapters of BERT-like encoders."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.cli import main
from embedge.errors import AdapterError, ExportError, OptionError, SourceError
from embedge.pack.reading import read_manifest
from embedge_export import export_pack, open_source, write_merged
from embedge_export.model import open_model
from embedge_export.tensors.checkpoint import open_file, open_weights

RANK, ALPHA = 2, 6


def write_adapter(folder, base, ends, *, start="", base_name=None, seed=0):
    """An adapter of every linear of `base` whose module has one of these ends.

    `start` is what training put before the names of modules; with "-" in front, what it left out.
    """
    folder.mkdir(parents=True)
    generator, tensors = np.random.default_rng(seed), {}
    for key, weight in load_file(base / "model.safetensors").items():
        module = key.removesuffix(".weight")
        if weight.ndim == 2 and module.endswith(ends):
            inner = module.removeprefix(start[1:]) if start.startswith("-") else start + module
            for side, shape in (("A", (RANK, weight.shape[1])), ("B", (weight.shape[0], RANK))):
                values = generator.normal(0, 0.1, shape).astype(np.float32)
                tensors[f"base_model.model.{inner}.lora_{side}.weight"] = values
    assert tensors
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": list(ends),
        "base_model_name_or_path": base_name,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return seeded.write_decoder(tmp_path_factory.mktemp("adapters") / "base", "qwen3")


@pytest.fixture(scope="module")
def search(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "my search"
    return write_adapter(folder, base, ("q_proj", "v_proj"), base_name=str(base))


def test_an_adapter_elsewhere_is_as_one_in_the_models_folder(base, search, tmp_path):
    pair = {"search": search, "other": write_adapter(tmp_path / "other", base, ("o_proj",))}
    inside = shutil.copytree(base, tmp_path / "base")
    for task, folder in pair.items():
        shutil.copytree(folder, inside / "adapters" / task)
    one = open_source(base, adapters=pair, default_task="search", name="base")
    two = open_source(inside, default_task="search", name="base")
    assert one.files == two.files
    assert set(one.tasks) == set(two.tasks) == {"search", "other"}
    for task in one.tasks:
        left, right = (open_model(source).weights(task) for source in (one, two))
        for key in sorted(left.keys()):
            np.testing.assert_array_equal(left.read(key), right.read(key))


def test_the_road_to_a_pack_and_back(base, search, tmp_path):
    out = tmp_path / "pack"
    command = ["export", str(base), "--adapter", f"search={search}", "--out", str(out)]
    assert main([*command, "--precisions", "int8"]) == 0
    manifest = read_manifest(out)
    assert manifest.tasks == ("search",)
    assert "adapters/search/adapter_model.safetensors" in manifest.source["files"]
    assert str(search) not in (out / "manifest.json").read_text()  # nobody else's business
    check = ["verify", str(out), "--in-process", "--source", str(base)]
    assert main([*check, "--adapter", f"search={search}"]) == 0
    assert main(["verify", str(out), "--adapter", f"search={search}"]) == 2  # of what source?
    assert main(check) != 0  # without it the source has no such task


def test_a_lone_adapter_finds_its_base(base, search, tmp_path, monkeypatch):
    source = open_source(search)
    assert (source.model_id, source.tasks, source.folder) == ("my search", ("my-search",), base)
    assert source.overrides == {}
    out = tmp_path / "pack"
    assert main(["export", str(search), "--out", str(out), "--precisions", "int8"]) == 0
    assert main(["verify", str(out), "--in-process", "--source", str(search)]) == 0
    # The base model may have been moved since it was trained.
    moved = shutil.copytree(base, tmp_path / "moved")
    lone = write_adapter(tmp_path / "lone", base, ("q_proj",), base_name="gone/elsewhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match=r"LoRA adapter of 'gone/elsewhere': .*--base FOLDER"):
        open_source(lone, offline=True)
    assert open_source(lone, base=moved).folder == moved
    assert open_source(lone, base=moved, name="mine").model_id == "mine"


# -- an adapter as Sentence Transformers saves it: all settings, and no config.json


@pytest.fixture
def sentences(base, search, tmp_path):
    """As `SentenceTransformer.save_pretrained` after `add_adapter`; pooling and prompts its own."""
    folder = tmp_path / "my sentences"
    left_out = shutil.ignore_patterns("config.json", "*.safetensors*", "README.md")
    shutil.copytree(base, folder, ignore=left_out)
    for path in search.iterdir():
        shutil.copy(path, folder)
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"type": f"sentence_transformers.models.{kind}", "path": place}
                for kind, place in (("Transformer", ""), ("Pooling", "1_Pooling"))
            ]
        )
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "mean"}')
    settings = {"prompts": {"query": "my query: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def test_a_folder_of_sentence_transformers_brings_its_own_settings(base, search, sentences):
    (sentences / "README.md").write_text("---\nlicense: mit\n---\n")
    source, plain = open_source(sentences), open_source(base)
    assert source.prompts == {"query": "my query: "}
    assert (source.head.pooling, plain.head.pooling) == ("mean", "last_token")
    assert (source.model_id, source.tasks) == ("my sentences", ("my-sentences",))
    assert (source.folder, source.base) == (sentences, base)
    assert source.license == f"{plain.license} and mit"
    assert "base/README.md" in source.files
    assert source.files["config.json"] == plain.files["config.json"]
    assert source.files["model.safetensors"] == plain.files["model.safetensors"]
    left = open_model(source).weights("my-sentences")
    right = open_model(open_source(base, adapters={"search": search})).weights("search")
    for key in sorted(right.keys()):
        np.testing.assert_array_equal(left.read(key), right.read(key))


def test_it_is_exported_and_verified_as_any_model(base, sentences, tmp_path, capsys):
    out, plain = tmp_path / "pack", tmp_path / "plain"
    command = ["export", str(sentences), "--out", str(out), "--precisions", "int8"]
    assert main([*command, "--merged", str(plain)]) == 0
    assert f"weights those of {base}" in capsys.readouterr().err
    assert main(["verify", str(out), "--in-process", "--source", str(sentences)]) == 0
    manifest = read_manifest(out)
    assert (manifest.pooling, manifest.prompts) == ("mean", {"query": "my query: "})
    merged = open_source(plain / "my-sentences")
    assert (merged.head, merged.prompts) == (open_source(sentences).head, manifest.prompts)


def test_the_base_of_it_is_found_or_asked_for(base, sentences, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = sentences / "adapter_config.json"
    for gone in ("gone/elsewhere", "/home/somebody/else/base"):
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": gone})
        )
        with pytest.raises(SourceError, match=f"LoRA adapter of '{gone}': .*--base FOLDER"):
            open_source(sentences)
    assert open_source(sentences, base=base).base == base
    # transformers may leave the configuration of the network there, too.
    shutil.copy(base / "config.json", sentences)
    assert open_source(sentences, base=base).base == base
    with pytest.raises(ExportError, match="the folder of the model itself"):
        export_pack(sentences, out=base / "pack", base=base)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_base_that_changes_meanwhile_is_noticed(name, base, sentences, tmp_path):
    copy = shutil.copytree(base, tmp_path / "copy")
    source = open_source(sentences, base=copy)
    source.check_unchanged()
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(SourceError, match="changed while the model was read"):
        source.check_unchanged()


def test_the_license_of_an_adapter_counts_too(base, search, tmp_path):
    folder = shutil.copytree(search, tmp_path / "licensed")
    own = open_source(base).license
    assert own is not None
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    source = open_source(base, adapters={"search": folder})
    assert source.license == f"{own} and cc-by-nc-4.0"
    assert "adapters/search/README.md" in source.files


def test_an_adapter_that_changes_meanwhile_is_noticed(base, search, tmp_path):
    folder = shutil.copytree(search, tmp_path / "changing")
    source = open_source(base, adapters={"search": folder})
    source.check_unchanged()
    path = folder / "adapter_config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(SourceError, match="changed while the model was read"):
        source.check_unchanged()


def test_what_is_refused(base, search, tmp_path):
    with pytest.raises(OptionError, match="there is no folder 'nowhere'"):
        open_source(base, adapters={"search": "nowhere"})
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        open_source(base, adapters={"search": base})
    with pytest.raises(OptionError, match="is a model of its own"):
        open_source(base, base=base)
    with pytest.raises(OptionError, match="is an adapter itself"):
        open_source(search, adapters={"search": search})
    with pytest.raises(SourceError, match="which is one itself"):
        open_source(search, base=search)
    with pytest.raises(SourceError, match=r'"base_model_name_or_path" .* is None; pass --base'):
        open_source(write_adapter(tmp_path / "orphan", base, ("q_proj",)))
    with pytest.raises(ExportError, match="the folder of the model itself"):
        export_pack(search, out=search / "pack")
    sentences = shutil.copytree(search, tmp_path / "sentences")
    shutil.copy(base / "modules.json", sentences)
    with pytest.raises(
        AdapterError, match=r"has modules\.json.*Export the folder itself.*--pooling"
    ):
        open_source(base, adapters={"search": sentences})
    assert open_source(base, adapters={"search": sentences}, pooling="cls").head.pooling == "cls"


def test_none_is_added_under_a_name_that_is_taken(tiny_source, search, tmp_path):
    folder = tiny_source / "adapters" / "retrieval"
    with pytest.raises(SourceError, match="'retrieval'; give it another name"):
        open_source(tiny_source, adapters={"retrieval": folder})
    source = open_source(tiny_source, adapters={"again": folder}, tasks=["again", "retrieval"])
    model = open_model(source)
    key = "layers.0.self_attn.q_proj.weight"
    again, retrieval = (model.weights(task).read(key) for task in ("again", "retrieval"))
    np.testing.assert_array_equal(again, retrieval)
    v3 = seeded.write_v3(tmp_path / "v3")
    with pytest.raises(SourceError, match="has adapters among its weights"):
        open_source(v3, adapters={"search": search})


# ---------------------------------------------------------------------------- BERT-like encoders


@pytest.mark.parametrize(
    ("kind", "prefix", "start", "ends"),
    [
        ("bert", "", "", ("query", "value")),
        ("bert", "bert.", "-bert.", ("query", "value")),  # trained as AutoModel
        ("bert", "", "bert.", ("query", "intermediate.dense")),  # as a model with a head
        ("xlm-roberta", "", "", ("key", "attention.output.dense")),
        ("distilbert", "", "", ("q_lin", "lin2")),
        ("mpnet", "", "", ("attn.q", "attn.o")),
        ("modernbert", "", "", ("Wqkv", "mlp.Wo")),
    ],
)
def test_adapters_of_encoders(kind, prefix, start, ends, tmp_path):
    if kind == "modernbert":
        folder = seeded.write_modernbert(tmp_path / "model")
    else:
        folder = seeded.write_bert(tmp_path / "model", kind, prefix=prefix)
    adapter = write_adapter(folder / "adapters" / "search", folder, ends, start=start)
    source = open_source(folder)
    model = open_model(source)
    stored, pairs = open_weights(folder), open_file(adapter / "adapter_model.safetensors")

    def found(wanted):
        read = (model.weights("search").read(key) for key in model.adapters["search"].adapted)
        return [value for value in read if value.shape == wanted.shape]

    changed = 0
    for name in sorted(stored.keys()):
        module = name.removesuffix(".weight")
        inner = module.removeprefix(start[1:]) if start.startswith("-") else start + module
        a = f"base_model.model.{inner}.lora_A.weight"
        if a not in pairs:
            continue
        update = pairs.read(a.replace("lora_A", "lora_B")) @ pairs.read(a) * (ALPHA / RANK)
        whole = stored.read(name) + update
        # ModernBERT has several weights in one, below each other.
        parts = 3 if module.endswith("Wqkv") else 2 if module.endswith("Wi") else 1
        for wanted in np.split(whole, parts):
            assert sum(np.allclose(value, wanted, atol=1e-6) for value in found(wanted)) == 1
            changed += 1
    assert changed == len(model.adapters["search"].adapted) > 0


def test_a_pack_of_an_encoder_with_adapters(tmp_path):
    """The gate compares graphs with a truth that reads the same merged weights."""
    folder = seeded.write_bert(tmp_path / "model")
    write_adapter(folder / "adapters" / "search", folder, ("query", "value"))
    write_adapter(folder / "adapters" / "topics", folder, ("output.dense",), seed=1)
    manifest = export_pack(folder, out=tmp_path / "pack", precisions=["fp32", "int8"])
    assert manifest.tasks == ("search", "topics")
    assert all(manifest.passed_gate(p) for p in ("fp32", "int8"))
    samples = np.load(tmp_path / "pack" / "samples.npy")
    assert np.abs(samples[0] - samples[1]).max() > 1e-3
    merged = write_merged(open_source(folder), tmp_path / "merged", dtype="float32")
    alone = open_model(open_source(merged[0]))
    joined = open_model(open_source(folder))
    for key in sorted(alone.base.keys()):
        np.testing.assert_allclose(
            alone.base.read(key), joined.weights("search").read(key), atol=1e-7
        )


def test_an_adapter_of_another_encoder_is_refused(tmp_path):
    folder = seeded.write_bert(tmp_path / "model")
    other = seeded.write_bert(tmp_path / "other", "distilbert")
    write_adapter(folder / "adapters" / "search", other, ("q_lin",))
    with pytest.raises(AdapterError, match="the adapter of another model"):
        open_model(open_source(folder))
