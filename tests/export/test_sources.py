"""Opening local model folders: what is read from where, and what is refused."""

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import embedge_export
import seeded
from embedge.errors import AdapterError, EmbedgeError, MissingExtraError, SourceError
from embedge_export.model import open_model
from embedge_export.source import folder as sources
from embedge_export.source.folder import open_source

TASKS = ("retrieval", "text-matching", "clustering", "classification")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One model of each kind."""
    folder = tmp_path_factory.mktemp("sources")
    seeded.write_v5_text_small(folder / "small")
    seeded.write_v5_text_nano(folder / "nano")
    for kind in ("qwen3", "qwen2", "llama"):
        seeded.write_decoder(folder / kind, kind)
    return folder


@pytest.fixture
def small(models, tmp_path):
    """A copy of v5-text-small's layout, to be changed."""
    return shutil.copytree(models / "small", tmp_path / "small")


@pytest.fixture
def qwen3(models, tmp_path):
    return shutil.copytree(models / "qwen3", tmp_path / "qwen3")


@pytest.fixture
def llama(models, tmp_path):
    return shutil.copytree(models / "llama", tmp_path / "llama")


def change(path: Path, drop=(), **fields):
    """Edits a JSON object in a file."""
    value = json.loads(path.read_text()) if path.exists() else {}
    value = {key: item for key, item in (value | fields).items() if key not in drop}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def test_v5_text_small(models):
    source = open_source(models / "small")
    assert source.tasks == TASKS
    assert source.adapters == {task: models / "small" / "adapters" / task for task in TASKS}
    assert source.default_task == "text-matching"
    assert source.prompts == {"query": "Query: ", "document": "Document: "}
    assert source.default_prompt == "document"
    assert source.head.pooling == "last_token"
    assert source.matryoshka_dimensions == (32, 64)
    assert source.max_length == 32768  # its tokenizer says 131072
    assert source.pad_token_id == source.config["bos_token_id"]  # <|endoftext|>
    assert source.license == "cc0-1.0"
    assert source.model_id == "seeded/jina-embeddings-v5-text-small-tiny"
    assert source.revision is None
    assert source.tokenizer == models / "small" / "tokenizer.json"


def test_v5_text_nano_pads_as_its_tokenizer_says(models):
    source = open_source(models / "nano")
    tokens = json.loads(source.tokenizer.read_text())["added_tokens"]
    pad = next(token["id"] for token in tokens if token["content"] == "<|pad|>")
    assert source.pad_token_id == pad != source.config["pad_token_id"]
    assert source.max_length == 8192  # the tokenizer's 1e30 is no limit
    assert source.head.pooling == "last_token"


def test_qwen3_embedding(models):
    source = open_source(models / "qwen3")
    assert source.tasks == ("base",)
    assert source.default_task == "base"
    assert source.adapters == {}
    assert source.prompts["query"].startswith("Instruct: ")
    assert source.prompts["document"] == ""
    assert source.default_prompt is None
    assert source.head.pooling == "last_token"
    assert source.matryoshka_dimensions == ()


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_decoders_without_sentence_transformers_files(models, kind):
    source = open_source(models / kind)
    assert source.head.pooling == "last_token"
    assert source.prompts == {}
    assert source.default_prompt is None


# -- where it comes from


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else 1)
    with pytest.raises(MissingExtraError, match=r"exporting needs onnx; .*'embedge\[export\]'"):
        importlib.reload(embedge_export)


def test_the_current_folder_can_be_the_source(small, monkeypatch):
    monkeypatch.chdir(small)
    (small / "README.md").unlink()
    assert open_source(".").model_id == "small"


def test_a_folder_called_like_a_hub_id_never_touches_the_network(models, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was touched")

    (tmp_path / "jinaai").mkdir()
    shutil.copytree(models / "small", tmp_path / "jinaai" / "jina-embeddings-v5-text-small")
    monkeypatch.chdir(tmp_path)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    source = open_source("jinaai/jina-embeddings-v5-text-small")
    assert source.folder == Path("jinaai/jina-embeddings-v5-text-small")


def test_a_local_folder_does_not_even_import_the_hub_library(models):
    code = (
        "import sys; from embedge_export.source.folder import open_source; "
        f"open_source({str(models / 'small')!r}); "
        "print('huggingface_hub' in sys.modules, 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "spec", ["./nowhere", "/nowhere/at/all", "nowhere", "a/b/c", "owner/name with space", "../x"]
)
def test_what_is_neither_folder_nor_hub_id(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"there is no folder .* on the hub is named owner/"):
        open_source(spec)


@pytest.mark.parametrize("spec", ["", " ", "\t\n"])
def test_an_empty_source_is_not_the_current_folder(small, spec, monkeypatch):
    monkeypatch.chdir(small)
    with pytest.raises(SourceError, match=r"the source is empty \(a variable that is not set\?\)"):
        open_source(spec)


@pytest.mark.parametrize("spec", ["x\0y", "a" * 5000, "a" * 300 + "/" + "b" * 300 + "/c"])
def test_names_that_no_system_takes(spec):
    with pytest.raises(SourceError, match="there is no folder"):
        open_source(spec)


def test_a_path_that_looks_like_a_hub_id_is_never_looked_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="there is no folder"):
        open_source(Path("owner/name"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whole.pt", "can run code, so it is not read.*save_pretrained"),
        ("pytorch_model.bin", "can run code, so it is not read"),
        ("model.safetensors", r"is not a folder; name the folder that holds config\.json"),
        ("config.json", "is not a folder; name the folder"),
        ("model.gguf", "converted already"),
        ("model.onnx", "converted already"),
        ("model.zip", "an archive; unpack it"),
        ("owner/model", "is not a folder"),
    ],
)
def test_a_file_that_is_there_is_called_one(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    for spec in (name, str(tmp_path / name), Path(name)):
        with pytest.raises(SourceError, match=message):
            open_source(spec)


@pytest.mark.parametrize(
    "address",
    [
        "https://huggingface.co/owner/na.me",
        "https://huggingface.co/owner/na.me/tree/main",
        "https://huggingface.co/owner/na.me.git",
    ],
)
def test_an_address_of_the_hub(address):
    with pytest.raises(SourceError, match=r"is an address; name the model itself: owner/na\.me$"):
        open_source(address)


def test_the_home_folder_is_meant_by_its_sign(small, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(small.parent))
    assert open_source("~/small").folder == small


def test_a_folder_around_the_model_says_where_it_is(small, tmp_path):
    with pytest.raises(SourceError, match=rf"has no config\.json, and {small} has; name that"):
        open_source(tmp_path)
    cache = tmp_path / "models--owner--name"
    shutil.copytree(small, cache / "snapshots" / "abc")
    with pytest.raises(SourceError, match="snapshots/abc has; name that folder"):
        open_source(cache)


def test_a_pack_is_not_a_model(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SourceError, match=r"holds a manifest\.json as packs do"):
        open_source(tmp_path)


def test_a_local_folder_has_no_revision(models):
    with pytest.raises(SourceError, match="has no revision 'main'"):
        open_source(models / "small", revision="main")


def test_a_snapshot_in_the_hub_s_cache_keeps_its_name_and_commit(models, tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    folder = tmp_path / "models--jinaai--jina-v5" / "snapshots" / commit
    shutil.copytree(models / "small", folder)
    source = open_source(folder)
    assert (source.model_id, source.revision) == ("jinaai/jina-v5", commit)


@pytest.mark.parametrize(
    ("field", "card", "expected"),
    [
        ("owner/model", "model_name: card/model", "owner/model"),
        ("/home/someone/checkpoint-500", "model_name: card/model", "card/model"),
        (None, "model_name: card/model", "card/model"),
        (None, "tags: [x]", "small"),
    ],
)
def test_model_id(small, field, card, expected):
    change(small / "config.json", _name_or_path=field)
    (small / "README.md").write_text(f"---\n{card}\n---\n")
    assert open_source(small).model_id == expected


@pytest.mark.parametrize(
    "name", ["one\ntwo", "\x1b[31mred", "n" * 250, "\u202egpj", " x ", "\u200b"]
)
def test_a_folder_s_name_becomes_a_plain_model_id(small, name):
    (small / "README.md").unlink()
    try:
        folder = small.rename(small.parent / name)
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    model_id = open_source(folder).model_id
    assert model_id.encode().decode() == model_id
    assert model_id.isprintable()
    assert model_id == model_id.strip()
    assert 0 < len(model_id) <= 200


def test_a_folder_whose_name_is_no_text_is_refused_by_name(small):
    try:
        folder = small.rename(small.parent / "caf\udce9")  # a byte of Latin-1
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    with pytest.raises(SourceError, match="not UTF-8; rename it"):
        open_source(folder)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ('---\nlicense: "apache-2.0" # see LICENSE\n---\n', "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nmodel-index:\n  license: mit\n---\n", None),
        ("---\ntags:\n- license: mit\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("# Model\n\nlicense: mit\n", None),
        ("---\nlicense:\n---\n", None),
        ("---\nlicense: null\n---\n", None),
        ("---\nlicense: >\n  mit\n---\n", None),
        ("---\nlicense: [mit]\n---\n", "mit"),
        ("---\nlicense: m\x1b[1Kit\x00\u202e\n---\n", "m [1Kit"),
        ("---\nlicense: \x1b\n---\n", None),
        ("---\nlicense: other\nlicense_name: \x07\n---\n", "other"),
        ("---\nlicense: " + "m" * 10_000 + "\n---\n", "m" * 200),
        ("", None),
    ],
)
def test_license(small, card, expected):
    (small / "README.md").write_bytes(card.encode())
    assert open_source(small).license == expected


def test_no_card_no_license(small):
    (small / "README.md").unlink()
    assert open_source(small).license is None


# -- tasks


def test_a_subset_keeps_the_source_s_order(small):
    source = open_source(small, tasks=["classification", "retrieval"])
    assert source.tasks == ("retrieval", "classification")
    assert source.default_task == "retrieval"
    assert not any("clustering" in name for name in source.files)


def test_an_unknown_task_lists_those_that_exist(small, llama):
    with pytest.raises(SourceError, match="no task 'search'; it has retrieval, text-matching"):
        open_source(small, tasks=["search"])
    with pytest.raises(SourceError, match="no task 'retrieval'; it has base"):
        open_source(llama, tasks=["retrieval"])
    with pytest.raises(SourceError, match="no task was chosen"):
        open_source(small, tasks=[])
    assert open_source(llama, tasks=["base"]).tasks == ("base",)


@pytest.mark.parametrize("lost", ["", "adapter_config.json", "adapter_model.safetensors"])
def test_a_listed_task_without_its_adapter_is_never_the_bare_base(small, lost):
    place = small / "adapters" / "clustering"
    shutil.rmtree(place) if not lost else (place / lost).unlink()
    with pytest.raises(AdapterError, match="clustering has no adapter"):
        open_source(small)
    assert open_source(small, tasks=["retrieval"]).tasks == ("retrieval",)


def test_without_task_names_the_adapters_name_the_tasks(small):
    change(small / "config.json", drop=["task_names"])
    source = open_source(small)
    assert source.tasks == tuple(sorted(TASKS))
    assert source.default_task == "text-matching"
    shutil.rmtree(small / "adapters" / "text-matching")
    assert open_source(small).default_task == "classification"


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".git", ".cache", "__pycache__", "__MACOSX", "retrieval~", "._x"],
)
def test_what_tools_leave_beside_adapters_is_not_one(small, name):
    change(small / "config.json", drop=["task_names"])
    before = open_source(small)
    shutil.copytree(small / "adapters" / "retrieval", small / "adapters" / name)
    (small / "adapters" / ".DS_Store").touch()
    (small / "adapters" / "._retrieval").touch()
    after = open_source(small)
    assert after.tasks == before.tasks == tuple(sorted(TASKS))
    assert after.files == before.files


def test_a_folder_beside_adapters_that_holds_none_is_not_one(small):
    change(small / "config.json", drop=["task_names"])
    for name in ("notes", "empty", "logs"):
        (small / "adapters" / name).mkdir()
    (small / "adapters" / "notes" / "README.md").touch()
    (small / "adapters" / "logs" / "._weights.safetensors").touch()
    (small / "adapters" / "logs" / ".ipynb_checkpoints").mkdir()
    (small / "adapters" / "logs" / ".ipynb_checkpoints" / "adapter_config.json").touch()
    assert open_source(small).tasks == tuple(sorted(TASKS))


@pytest.mark.parametrize(
    "file",
    [
        "adapter_model.safetensors",
        "adapter_model.bin",
        "weights.pt",
        "checkpoint-100/adapter_config.json",
    ],
)
def test_an_adapter_without_its_configuration_is_named(small, file):
    change(small / "config.json", drop=["task_names"])
    (small / "adapters" / "search" / file).parent.mkdir(parents=True)
    (small / "adapters" / "search" / file).touch()
    with pytest.raises(AdapterError, match=r"search has no adapter_config\.json; .*not an adapter"):
        open_source(small)
    assert open_source(small, tasks=["retrieval"]).tasks == ("retrieval",)


def test_a_name_that_cannot_be_a_task_matters_only_if_it_is_one(small):
    change(small / "config.json", drop=["task_names"])
    shutil.copytree(small / "adapters" / "retrieval", small / "adapters" / "my copy")
    with pytest.raises(SourceError, match="'my copy' cannot be part of a file name"):
        open_source(small)
    assert open_source(small, tasks=["retrieval"]).tasks == ("retrieval",)


@pytest.mark.parametrize(
    "names",
    [
        ["../retrieval"],
        ["a/b"],
        [""],
        ["retrieval", "retrieval"],
        "retrieval",
        [1],
        ["a\nb"],
        ["."],
    ],
)
def test_task_names_that_cannot_be(small, names):
    change(small / "config.json", task_names=names)
    with pytest.raises(SourceError, match="task"):
        open_source(small)


def test_an_adapter_repository_is_not_a_model(small):
    shutil.copy(small / "adapters" / "retrieval" / "adapter_config.json", small)
    with pytest.raises(SourceError, match=r"adapter_config\.json beside config\.json.*--adapter"):
        open_source(small)


# -- prompts and pooling


def test_v5_has_its_prompts_even_without_the_file(small, llama):
    (small / "config_sentence_transformers.json").unlink()
    source = open_source(small)
    assert source.prompts == {"query": "Query: ", "document": "Document: "}
    assert source.default_prompt == "document"
    assert open_source(llama).prompts == {}


@pytest.mark.parametrize(
    "fields",
    [{"prompts": ["Query: "]}, {"prompts": {"query": 1}}, {"default_prompt_name": "passage"}],
)
def test_prompts_that_cannot_be(small, fields):
    change(small / "config_sentence_transformers.json", **fields)
    with pytest.raises(
        SourceError, match=r"config_sentence_transformers\.json: \"(prompts|default)"
    ):
        open_source(small)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last_token"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["lasttoken"]}, "last_token"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len_tokens"),
        # Several are joined: flags in the order of the table, names in their own.
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls+mean"),
        ({"pooling_mode": ["mean", "cls"], "pooling_mode_cls_token": False}, "mean+cls"),
    ],
)
def test_pooling(qwen3, config, expected):
    (qwen3 / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert open_source(qwen3).head.pooling == expected
    (qwen3 / "modules.json").unlink()  # the folder alone says it too
    assert open_source(qwen3).head.pooling == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode": "min"}, "pooling min is not supported; cls, max, mean"),
        ({"pooling_mode": ["mean", "median"]}, r"pooling mean \+ median is not"),
        ({"pooling_mode": []}, "without any mode"),
        ({}, "without any mode"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, '"include_prompt" is fal'),
    ],
)
def test_pooling_that_is_not_done_is_named(qwen3, config, message):
    (qwen3 / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=message):
        open_source(qwen3)


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.WordWeights",
        "sentence_transformers.models.LSTM",
        "own.Dense",
        "sentence_transformers.models.WeightedLayerPooling",
        "sentence_transformers.models.StaticEmbedding",
        "sentence_transformers.models.CNN",
        "modeling_own.Transformer",
        "own.Normalize",
    ],
)
def test_a_module_that_changes_the_vectors_is_never_skipped(qwen3, kind):
    path = qwen3 / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([*modules, {"idx": 3, "name": "3", "path": "3_X", "type": kind}]))
    with pytest.raises(SourceError, match=rf"{kind}' \(3_X\) changes the vectors"):
        open_source(qwen3)


def test_newer_module_names(qwen3):
    path = qwen3 / "modules.json"
    text = path.read_text()
    text = text.replace(
        "sentence_transformers.models.Pooling",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    )
    path.write_text(text)
    assert open_source(qwen3).head.pooling == "last_token"


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "sentence_transformers.models.Transformer", "path": "0_T"}], "sub-folder '0_T'"),
        ([{"type": "sentence_transformers.models.Transformer", "path": ""}], "does not say how"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "../x"}], "not the name of a"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "/x"}], "not the name of a"),
        (
            [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}] * 2,
            "two Pooling",
        ),
        ({}, "not a list of modules"),
        ([1], "not a list of modules"),
    ],
)
def test_modules_that_cannot_be(qwen3, modules, message):
    (qwen3 / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SourceError, match=message):
        open_source(qwen3)


def test_an_encoder_without_pooling_is_not_guessed(llama):
    change(llama / "config.json", model_type="bert")
    with pytest.raises(SourceError, match=r"does not say how it pools.*1_Pooling/config\.json"):
        open_source(llama)


# -- numbers


@pytest.mark.parametrize(
    ("positions", "sentence", "tokenizer", "expected"),
    [
        (32768, None, 131072, 32768),
        (514, None, 512, 512),
        (512, 256, 512, 256),
        (512, 1024, 1024, 512),
        (512, 384, 256, 384),  # Sentence Transformers sets its own in place of the tokenizer's
        (512, None, int(1e30), 512),
        (512, None, 1e30, 512),
        (None, 128, None, 128),
    ],
)
def test_max_length_is_the_lowest_that_is_sane(llama, positions, sentence, tokenizer, expected):
    change(llama / "config.json", max_position_embeddings=positions)
    change(llama / "sentence_bert_config.json", max_seq_length=sentence)
    change(llama / "tokenizer_config.json", model_max_length=tokenizer)
    assert open_source(llama).max_length == expected


@pytest.mark.parametrize("limit", [0, -1, "512", True, [512]])
def test_a_length_limit_that_cannot_be(llama, limit):
    change(llama / "config.json", max_position_embeddings=limit)
    with pytest.raises(SourceError, match=r"config\.json: the length limit is"):
        open_source(llama)


def test_no_length_limit_at_all(llama):
    change(llama / "config.json", drop=["max_position_embeddings"])
    change(llama / "tokenizer_config.json", drop=["model_max_length"])
    with pytest.raises(SourceError, match='no "max_position_embeddings"'):
        open_source(llama)


def test_pad_token_from_map_then_tokenizer_then_config(llama):
    ids = {
        token["content"]: token["id"]
        for token in json.loads((llama / "tokenizer.json").read_text())["added_tokens"]
    }
    change(llama / "config.json", eos_token_id=[5, 6])
    assert open_source(llama).pad_token_id == 5
    change(llama / "config.json", pad_token_id=7)
    assert open_source(llama).pad_token_id == 7
    change(llama / "tokenizer_config.json", pad_token="<|im_start|>")
    assert open_source(llama).pad_token_id == ids["<|im_start|>"]
    change(llama / "special_tokens_map.json", pad_token={"content": "<|im_end|>"})
    assert open_source(llama).pad_token_id == ids["<|im_end|>"]
    # With this field transformers reads tokenizer_config.json alone.
    tokens = json.loads((llama / "tokenizer.json").read_text())["added_tokens"]
    decoder = {str(token.pop("id")): token for token in tokens}
    change(llama / "tokenizer_config.json", added_tokens_decoder=decoder)
    assert open_source(llama).pad_token_id == ids["<|im_start|>"]


def test_pad_token_without_any_word(llama):
    change(llama / "config.json", drop=["pad_token_id", "eos_token_id"])
    assert open_source(llama).pad_token_id == 0


def test_matryoshka_of_the_config_goes_first(small):
    change(small / "config.json", matryoshka_dimensions=[16, 48])
    assert open_source(small).matryoshka_dimensions == (16, 48)


@pytest.mark.parametrize("dimensions", [[128], [0], ["32"], 32, [True]])
def test_matryoshka_that_cannot_be(small, dimensions):
    change(small / "config.json", matryoshka_dimensions=dimensions)
    with pytest.raises(SourceError, match="matryoshka_dimensions"):
        open_source(small)


@pytest.mark.parametrize("width", [None, "64", 0, True])
def test_a_width_that_cannot_be(small, width):
    change(small / "config.json", hidden_size=width)
    with pytest.raises(SourceError, match="hidden_size"):
        open_source(small)


# -- files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"no config\.json"),
        ("tokenizer.json", r"no tokenizer\.json.*save_pretrained"),
        ("model.safetensors", r"neither model\.safetensors"),
    ],
)
def test_a_missing_file_is_named(small, name, message):
    (small / name).unlink()
    with pytest.raises(SourceError, match=message):
        open_source(small)


def test_what_is_no_tokenizer(small):
    (small / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(SourceError, match=r"tokenizer\.json is not a tokenizer"):
        open_source(small)


def test_files_are_all_hashed_and_truly(models):
    folder = models / "small"
    source = open_source(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(source.files) == present
    for name, digest in source.files.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234\n"


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "modules.json",
        "adapters/retrieval/adapter_model.safetensors",
        "adapters/retrieval/adapter_config.json",
    ],
)
def test_a_pointer_of_git_lfs_is_called_one(small, name):
    (small / name).write_text(LFS)
    with pytest.raises(SourceError, match=rf"{name} is a Git LFS pointer.*`git lfs pull`"):
        open_model(open_source(small))


def test_a_pointer_in_place_of_a_shard_is_called_one(tmp_path):
    folder = seeded.write_decoder(tmp_path / "sharded", "qwen3", shards=2)
    (folder / "model-00002-of-00002.safetensors").write_text(LFS)
    with pytest.raises(SourceError, match=r"00002-of-00002\.safetensors is a Git LFS pointer"):
        open_source(folder)
    (folder / "model.safetensors.index.json").write_text(LFS)
    with pytest.raises(SourceError, match=r"index\.json is a Git LFS pointer"):
        open_source(folder)


def test_a_file_that_changes_while_the_source_is_opened(small, monkeypatch):
    """Settings are read before they are hashed, and the hash must be of what was read."""
    read = sources.read_prompts

    def and_change(folder, *about):
        found = read(folder, *about)
        path = folder / "config_sentence_transformers.json"
        path.write_text(path.read_text().replace("Query: ", "Find: "))
        return found

    monkeypatch.setattr(sources, "read_prompts", and_change)
    with pytest.raises(SourceError, match=r"transformers\.json changed while the model was read"):
        open_source(small)


def test_a_file_that_appears_while_the_source_is_opened(small, monkeypatch):
    read = sources.read_prompts

    def and_add(folder, *about):
        (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 300}')
        return read(folder, *about)

    monkeypatch.setattr(sources, "read_prompts", and_add)
    with pytest.raises(SourceError, match=r"sentence_bert_config\.json changed"):
        open_source(small)


@pytest.mark.parametrize("how", ["written", "replaced", "put back", "gone"])
def test_a_file_that_changes_after_it_was_hashed(small, how):
    source = open_source(small)
    source.check_unchanged()
    path = small / "adapters" / "clustering" / "adapter_model.safetensors"
    data, status = path.read_bytes(), path.stat()
    if how == "gone":
        path.unlink()
    elif how == "replaced":  # as long as before, and with its times
        path.rename(small / "old")
        path.write_bytes(_flip(data))
    else:
        path.write_bytes(_flip(data))
    if how in ("replaced", "put back"):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceError, match=r"clustering/adapter_model\.safetensors changed while"):
        source.check_unchanged()


def test_a_link_or_a_permission_more_is_no_change(small):
    source = open_source(small)
    path = small / "model.safetensors"
    os.link(path, small.parent / "backup")
    path.chmod(0o400)
    source.check_unchanged()


def test_shards_and_pooling_are_hashed(tmp_path):
    folder = seeded.write_decoder(tmp_path / "sharded", "qwen3", shards=2)
    assert {
        "1_Pooling/config.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    } <= set(open_source(folder).files)


def test_any_changed_byte_changes_the_provenance(models, small):
    before = dict(open_source(small).files)
    for name in before:
        path = small / name
        original = path.read_bytes()
        # The last byte is data (weights), the end of an object, or a line break.
        path.write_bytes(original + b" " if name.endswith((".json", ".md")) else _flip(original))
        after = dict(open_source(small).files)
        assert {key for key in before if before[key] != after[key]} == {name}
        path.write_bytes(original)
    assert dict(open_source(small).files) == before


def _flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def test_other_files_do_not_change_the_provenance(small):
    before = open_source(small).files
    (small / "modeling_own.py").write_text("raise SystemExit('code of a model was run')")
    (small / "onnx").mkdir()
    (small / "onnx" / "model.onnx").write_bytes(b"x")
    assert open_source(small).files == before


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
        "modules.json",
        "tokenizer.json",
    ],
)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_named_and_never_a_traceback(small, name, data):
    (small / name).write_bytes(data)
    try:
        open_source(small)
    except EmbedgeError as error:
        assert name in str(error) or "pools" in str(error)  # noqa: PT017 - not always an error
    else:
        assert (name, data) == ("modules.json", b"[]")  # no module: v5 pools by itself


def test_a_source_cannot_be_changed(models):
    source = open_source(models / "small")
    with pytest.raises(AttributeError):
        source.tasks = ()  # type: ignore[misc]
