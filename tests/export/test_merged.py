"""Plain per-task folders: exact weights, the files other programs look for, whole or not at all."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import seeded
from embedge.cli import main
from embedge.errors import ExportError, SourceError
from embedge_export import merged, plain_folder
from embedge_export.merged import write_merged
from embedge_export.model import open_model
from embedge_export.output.stage import MARKER, PREFIX
from embedge_export.plain_folder import plain_config
from embedge_export.source.folder import open_source
from embedge_export.source.unchanged import hash_files
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import MergedWeights, load_adapter


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merged")
    seeded.write_v5_text_small(folder / "small")
    seeded.write_v5_text_nano(folder / "nano")
    for kind in ("qwen3", "qwen2", "llama"):
        seeded.write_decoder(folder / kind, kind)
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text())


def nearest_even(values):
    """bfloat16 by hand: the upper 16 bits, after adding half, and one more where that is odd."""
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype(np.uint16).view(ml_dtypes.bfloat16)


def test_weights_are_the_merge_rounded_once(models, tmp_path):
    source = open_source(models / "small")
    folders = write_merged(source, tmp_path / "out")
    assert folders == [tmp_path / "out" / task for task in source.tasks]
    base = open_weights(source.folder)
    for task, folder in zip(source.tasks, folders, strict=True):
        expected = MergedWeights(base, load_adapter(source.adapters[task], base))
        written = load_file(folder / "model.safetensors")
        assert written.keys() == set(expected.keys())
        for key, value in written.items():
            assert value.tobytes() == nearest_even(expected.read(key)).tobytes(), (task, key)
    values = [load_file(f / "model.safetensors") for f in folders]
    key = "layers.0.mlp.up_proj.weight"
    assert len({value[key].tobytes() for value in values}) == 4  # every task has its own
    assert len({value["embed_tokens.weight"].tobytes() for value in values}) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_dtypes(models, tmp_path, dtype):
    source = open_source(models / "small")
    (folder,) = write_merged(source, tmp_path, tasks=["retrieval"], dtype=dtype)
    base = open_weights(source.folder)
    expected = MergedWeights(base, load_adapter(source.adapters["retrieval"], base))
    for key, value in load_file(folder / "model.safetensors").items():
        np.testing.assert_array_equal(value, expected.read(key).astype(dtype))
    assert read(folder, "config.json")["torch_dtype"] == dtype


def test_small_is_a_plain_qwen3(models, tmp_path):
    source = open_source(models / "small")
    (folder,) = write_merged(source, tmp_path, tasks=["retrieval"])
    config = read(folder, "config.json")
    assert (config["architectures"], config["model_type"]) == (["Qwen3Model"], "qwen3")
    assert not {"auto_map", "task_names"} & config.keys()
    assert config["rope_theta"] == 3500000
    assert config["head_dim"] == source.config["head_dim"]
    assert config["torch_dtype"] == "bfloat16"


def test_the_rotary_base_stands_where_older_programs_look_for_it(models, tmp_path):
    source = open_source(models / "llama")
    assert "rope_theta" not in source.config
    config = plain_config(source.config, "float32")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100000


def test_nano_is_a_plain_eurobert(models, tmp_path):
    (folder,) = write_merged(open_source(models / "nano"), tmp_path, tasks=["retrieval"])
    config = read(folder, "config.json")
    assert (config["architectures"], config["model_type"]) == (["EuroBertModel"], "eurobert")
    assert config["rope_theta"] == 1000000


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert", "mpnet"])
def test_an_encoder_is_its_own_checkpoint(tmp_path, kind):
    source = open_source(seeded.write_bert(tmp_path / "source", kind))
    (folder,) = write_merged(source, tmp_path / "out", dtype="float32")
    written, stored = load_file(folder / "model.safetensors"), open_weights(source.folder)
    assert written.keys() <= set(stored.keys())
    assert all(np.array_equal(value, stored.read(key)) for key, value in written.items())
    assert read(folder, "config.json")["model_type"] == kind
    again = open_source(folder)
    assert (again.head, again.max_length) == (source.head, source.max_length)
    open_model(again)  # every weight of the network is there


def test_one_task_of_v3_in_the_layout_of_transformers(tmp_path):
    source = open_source(seeded.write_v3_native(tmp_path / "source"))
    (folder,) = write_merged(source, tmp_path / "out", dtype="float32")
    written, stored = load_file(folder / "model.safetensors"), open_weights(source.folder)
    assert written.keys() == set(stored.keys())
    assert all(np.array_equal(value, stored.read(key)) for key, value in written.items())
    assert read(folder, "config.json")["architectures"] == ["JinaEmbeddingsV3Model"]


def test_adapters_among_the_weights_are_never_left_out(tmp_path):
    source = seeded.write_v3(tmp_path / "source")
    for config in ({"model_type": "jina_embeddings_v3"}, {"model_type": "xlm-roberta"}):
        with pytest.raises(SourceError, match="no plain form"):
            plain_config({**config, "lora_adaptations": ["retrieval.query"]}, "float32")
    assert "lora_adaptations" in read(source, "config.json")


def test_a_buffer_is_not_written_as_a_weight(tmp_path):
    source = seeded.write_bert(tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    buffer = {"embeddings.position_ids": np.arange(8, dtype=np.int64)[None]}
    save_file(weights | buffer, source / "model.safetensors", {"format": "pt"})
    (folder,) = write_merged(open_source(source), tmp_path / "out")
    assert load_file(folder / "model.safetensors").keys() == weights.keys()


def test_sentence_transformers_files(models, tmp_path):
    source = open_source(models / "small")
    (folder,) = write_merged(source, tmp_path, tasks=["text-matching"])
    kinds = [module["type"].rpartition(".")[2] for module in read(folder, "modules.json")]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    assert all((folder / module["path"]).is_dir() for module in read(folder, "modules.json"))
    pooling = read(folder, "1_Pooling/config.json")
    assert pooling["word_embedding_dimension"] == 64
    assert [name for name, on in pooling.items() if on is True] == ["pooling_mode_lasttoken"]
    settings = read(folder, "config_sentence_transformers.json")
    assert settings["prompts"] == {"query": "Query: ", "document": "Document: "}
    assert settings["default_prompt_name"] == "document"
    for name in ("tokenizer.json", "tokenizer_config.json", "README.md"):
        assert (folder / name).read_bytes() == (source.folder / name).read_bytes()


@pytest.mark.parametrize("model", ["small", "nano", "qwen3", "qwen2", "llama"])
def test_what_is_written_is_a_source_again(models, tmp_path, model):
    source = open_source(models / model)
    (folder,) = write_merged(source, tmp_path, tasks=source.tasks[:1], dtype="float32")
    again = open_source(folder)
    assert again.tasks == ("base",)
    for field in ("prompts", "default_prompt", "head", "max_length", "pad_token_id", "license"):
        assert getattr(again, field) == getattr(source, field), field
    first, second = open_weights(source.folder), open_weights(folder)
    assert set(first.keys()) == set(second.keys())
    if not source.adapters:
        assert all(
            first.read(key).tobytes() == second.read(key).tobytes() for key in sorted(first.keys())
        )


def test_a_tokenizer_without_a_pad_token_gets_the_one_that_packs_pad_with(models, tmp_path):
    source = open_source(models / "llama")
    assert "pad_token" not in read(source.folder, "tokenizer_config.json")
    (folder,) = write_merged(source, tmp_path)
    settings = read(folder, "tokenizer_config.json")
    token = Tokenizer.from_file(str(source.tokenizer)).id_to_token(source.pad_token_id)
    assert settings == read(source.folder, "tokenizer_config.json") | {"pad_token": token}


def test_a_tokenizer_without_a_limit_gets_that_of_the_model(models, tmp_path):
    source = open_source(models / "nano")
    assert read(source.folder, "tokenizer_config.json")["model_max_length"] > 10**18
    (folder,) = write_merged(source, tmp_path, tasks=["retrieval"])
    assert read(folder, "tokenizer_config.json")["model_max_length"] == source.max_length == 8192


def test_links_of_a_cache_become_files(models, tmp_path):
    linked = tmp_path / "linked"
    for path in (models / "small").rglob("*"):
        if path.is_file():
            place = linked / path.relative_to(models / "small")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    (folder,) = write_merged(open_source(linked), tmp_path / "out", tasks=["retrieval"])
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_an_output_head_is_left_out():
    config = plain_config({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "float32")
    assert config["architectures"] == ["LlamaModel"]


def test_progress(models, tmp_path):
    calls = []
    source = open_source(models / "small")
    write_merged(
        source, tmp_path, tasks=["retrieval"], progress=lambda *arguments: calls.append(arguments)
    )
    count = len(open_weights(source.folder).keys())
    assert calls == [("retrieval", number + 1, count) for number in range(count)]


# -- whole, or not at all


def test_nothing_half_written_survives(models, tmp_path):
    def interrupt(task, written, total):
        if (task, written) == ("text-matching", 3):
            raise KeyboardInterrupt

    source = open_source(models / "small")
    with pytest.raises(KeyboardInterrupt):
        write_merged(source, tmp_path, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["retrieval"]  # the task before, whole
    open_source(tmp_path / "retrieval")
    write_merged(source, tmp_path, tasks=source.tasks[1:])


def test_what_a_killed_run_left_is_swept_and_nothing_else(models, tmp_path):
    place = tmp_path / f"{PREFIX}abc"
    place.mkdir()
    (place / MARKER).write_text("{}")
    (place / "stale.safetensors").write_text("x")
    (tmp_path / "retrieval.part").mkdir()  # the user's
    (tmp_path / "retrieval.part" / "thesis.txt").write_text("x")
    write_merged(open_source(models / "small"), tmp_path, tasks=["retrieval"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["retrieval", "retrieval.part"]
    assert [path.name for path in (tmp_path / "retrieval.part").iterdir()] == ["thesis.txt"]


def test_two_at_once_do_not_meet(models, tmp_path):
    source = open_source(models / "small")
    seen = []

    def second(task, written, total):
        if not seen:
            seen.append(task)
            with pytest.raises(ExportError, match="another export is writing here"):
                write_merged(source, tmp_path, tasks=["clustering"])

    write_merged(source, tmp_path, tasks=["retrieval"], progress=second)
    assert seen == ["retrieval"]
    assert [path.name for path in tmp_path.iterdir()] == ["retrieval"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(models, tmp_path):
    def appear(task, written, total):
        (tmp_path / "retrieval").mkdir(exist_ok=True)  # empty: a rename would take its place

    with pytest.raises(ExportError, match="retrieval appeared meanwhile"):
        write_merged(open_source(models / "small"), tmp_path, tasks=["retrieval"], progress=appear)
    assert [path.name for path in tmp_path.iterdir()] == ["retrieval"]
    assert list((tmp_path / "retrieval").iterdir()) == []


def test_a_source_that_changes_meanwhile_is_not_merged(models, tmp_path):
    source = shutil.copytree(models / "small", tmp_path / "source")

    def change(task, written, total):
        (source / "tokenizer_config.json").write_text("{}")

    with pytest.raises(SourceError, match=r"tokenizer_config\.json changed while"):
        write_merged(open_source(source), tmp_path / "out", tasks=["retrieval"], progress=change)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_known_before_the_work(models, tmp_path, monkeypatch):
    source, calls = open_source(models / "small"), []
    free = SimpleNamespace(total=10**12, free=1000)
    monkeypatch.setattr("embedge_export.output.destination.shutil.disk_usage", lambda path: free)
    with pytest.raises(ExportError, match="the plain folders take at least"):
        write_merged(source, tmp_path, progress=lambda *arguments: calls.append(arguments))
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_the_pack_is_made(models, tmp_path, monkeypatch, capsys):
    need = merged.merged_bytes(open_weights(models / "llama"), 1, 4)
    free = SimpleNamespace(total=10**12, free=need - 1)
    monkeypatch.setattr("embedge_export.output.destination.shutil.disk_usage", lambda path: free)
    out, plain = tmp_path / "pack", tmp_path / "plain"
    command = ["export", str(models / "llama"), "--out", str(out), "--precisions", "int8"]
    assert main([*command, "--merged", str(plain), "--dtype", "float32"]) == 2
    assert "the plain folders take at least 0.00 GB" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_of_the_user_is_never_overwritten(models, tmp_path):
    (tmp_path / "classification").mkdir()
    with pytest.raises(ExportError, match="classification exists already"):
        write_merged(open_source(models / "small"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["classification"]  # nothing was begun


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_dtype_is_the_model_s_own(dtype, tmp_path):
    source = seeded.write_decoder(tmp_path / "source", "llama")
    weights = load_file(source / "model.safetensors")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    weights = {name: value.astype(kind) for name, value in weights.items()}
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    (folder,) = write_merged(open_source(source), tmp_path / "out")
    written = load_file(folder / "model.safetensors")
    assert written.keys() == {name.removeprefix("model.") for name in weights}
    assert {str(value.dtype) for value in written.values()} == {dtype}
    assert read(folder, "config.json").get("dtype", dtype) == dtype
    for name, value in weights.items():
        assert written[name.removeprefix("model.")].tobytes() == value.tobytes()


def test_of_several_dtypes_float32_holds_all(tmp_path):
    source = seeded.write_decoder(tmp_path / "source", "llama")
    weights = load_file(source / "model.safetensors")
    name = next(name for name, value in weights.items() if value.ndim == 2)
    weights[name] = weights[name].astype(np.float16)
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    (folder,) = write_merged(open_source(source), tmp_path / "out")
    assert {str(value.dtype) for value in load_file(folder / "model.safetensors").values()} == {
        "float32"
    }


# -- again


def bytes_of(folder):
    names = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def test_a_second_run_says_that_all_is_up_to_date(models, tmp_path, capsys):
    out, made = tmp_path / "pack", tmp_path / "plain"
    command = ["export", str(models / "qwen2"), "--out", str(out), "--precisions", "fp32"]
    assert main([*command, "--merged", str(made)]) == 0
    first = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    capsys.readouterr()
    assert main([*command, "--merged", str(made)]) == 0
    assert f"embedge: {made / 'base'} is up to date" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == first


def test_what_changed_or_is_damaged_is_made_again_and_nothing_else(models, tmp_path):
    copy, out, said = shutil.copytree(models / "small", tmp_path / "source"), tmp_path / "out", []
    tasks = ["retrieval", "clustering"]
    write_merged(open_source(copy), out, tasks=tasks)
    good = bytes_of(out)

    def changed():
        said.clear()
        write_merged(open_source(copy), out, tasks=tasks, notice=said.append)
        up_to_date = {f"{out / task} is up to date" for task in tasks}
        again = [task for task in tasks if f"{out / task} is up to date" not in said]
        assert len(said) == len(tasks)
        assert {line for line in said if line in up_to_date} == up_to_date - {
            f"{out / task} is up to date" for task in again
        }
        assert sorted(path.name for path in out.iterdir()) == sorted(tasks)
        return again

    assert changed() == []
    (out / "clustering/config.json").write_text("{}")
    assert changed() == ["clustering"]
    assert bytes_of(out) == good
    (out / "retrieval/tokenizer.json").unlink()
    assert changed() == ["retrieval"]
    assert bytes_of(out) == good
    name = "adapter_model.safetensors"
    shutil.copy(copy / "adapters/classification" / name, copy / "adapters/retrieval" / name)
    assert changed() == ["retrieval"]
    fresh = tmp_path / "fresh"
    write_merged(open_source(copy), fresh, tasks=tasks)
    assert bytes_of(out) == bytes_of(fresh)
    write_merged(open_source(copy), out, tasks=tasks, dtype="float32", notice=said.append)
    assert read(out / "retrieval", "config.json")["torch_dtype"] == "float32"


def test_a_folder_with_a_file_of_the_user_is_not_made_again(models, tmp_path):
    write_merged(open_source(models / "llama"), tmp_path)
    (tmp_path / "base" / "notes.txt").write_text("mine")
    before = bytes_of(tmp_path)
    with pytest.raises(ExportError, match=r"holds 'notes\.txt' too"):
        write_merged(open_source(models / "llama"), tmp_path, dtype="float32")
    assert bytes_of(tmp_path) == before


def test_a_plain_folder_is_never_written_into_itself(models, tmp_path):
    """Its own output as the source, under the name that its task has."""
    (folder,) = write_merged(open_source(models / "llama"), tmp_path)
    before = bytes_of(tmp_path)
    with pytest.raises(ExportError, match="is the folder of the model itself"):
        write_merged(open_source(folder), tmp_path, dtype="float32")
    assert bytes_of(tmp_path) == before


def test_a_value_that_float16_cannot_hold(models, tmp_path, monkeypatch):
    original = MergedWeights.read
    monkeypatch.setattr(
        plain_folder.MergedWeights, "read", lambda self, key: original(self, key) + np.float32(1e5)
    )
    with pytest.raises(ExportError, match=r"of task 'retrieval' does not fit float16"):
        write_merged(open_source(models / "small"), tmp_path, tasks=["retrieval"], dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_a_library_is_refused(models, tmp_path):
    source = dataclasses.replace(open_source(models / "llama"), via="optimum")
    with pytest.raises(SourceError, match="taken from optimum has no plain folder"):
        write_merged(source, tmp_path / "out")


def test_refusals(models, tmp_path):
    source = open_source(models / "small")
    with pytest.raises(ExportError, match="dtype 'int8' is unknown; one of bfloat16, float16"):
        write_merged(source, tmp_path, dtype="int8")
    with pytest.raises(SourceError, match="no task 'search'"):
        write_merged(source, tmp_path, tasks=["search"])
    with pytest.raises(SourceError, match="no plain form of model_type 'jina_clip'"):
        plain_config({"model_type": "jina_clip"}, "float32")
    other = shutil.copytree(models / "llama", tmp_path / "bert")
    (other / "config.json").write_text(
        (other / "config.json").read_text().replace('"llama"', '"mistral"')
    )
    with pytest.raises(SourceError, match="model_type 'mistral' is not supported"):
        write_merged(open_source(other), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- refused before the work


@pytest.mark.parametrize("kind", ["v3", "jina_clip"])
def test_a_network_without_a_plain_form_is_refused_before_anything_is_hashed(
    kind, tmp_path, monkeypatch, capsys
):
    source, out = tmp_path / "source", tmp_path / "pack"
    getattr(seeded, f"write_{kind}")(source)

    def hashed(*_):
        raise AssertionError("a file was hashed")

    monkeypatch.setattr("embedge_export.source.folder.hash_files", hashed)
    command = ["export", str(source), "--out", str(out), "--merged", str(tmp_path / "plain")]
    assert main(command) == 2
    assert "no plain form of model_type" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_source_is_opened_once_and_the_gate_is_printed_first(
    models, tmp_path, monkeypatch, capsys
):
    opened = []

    def count(*arguments):
        opened.append(arguments)
        return hash_files(*arguments)

    def fail(*_, **__):
        raise ExportError("the disk is full")

    monkeypatch.setattr("embedge_export.source.folder.hash_files", count)
    monkeypatch.setattr(plain_folder, "_write_weights", fail)
    command = ["export", str(models / "qwen2"), "--out", str(tmp_path / "pack")]
    assert main([*command, "--precisions", "fp32", "--merged", str(tmp_path / "plain")]) == 2
    shown = capsys.readouterr()
    assert len(opened) == 1
    assert "fp32" in shown.out
    assert "passed" in shown.out
    assert "the disk is full" in shown.err
