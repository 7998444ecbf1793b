"""What a caller says in place of a model's files: pooling, prompts, default task, license, name."""

import json
import shutil

import numpy as np
import pytest

import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.errors import OptionError, SourceError
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import read_manifest
from embedge_export import export_hub_folders, export_pack, open_source


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder that does not say how it pools."""
    folder = seeded.write_bert(tmp_path_factory.mktemp("overrides") / "encoder")
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").unlink()
    return folder


def test_a_pooling_that_no_file_says(encoder, tmp_path):
    with pytest.raises(SourceError, match=r"--pooling \(pooling=\), such as mean or cls"):
        open_source(encoder)
    for pooling in ("mean", "cls", "lasttoken", "mean+max"):
        source = open_source(encoder, pooling=pooling)
        assert source.head.pooling == pooling.replace("lasttoken", "last_token")
        assert source.notes == ()
    manifest = export_pack(encoder, out=tmp_path / "pack", precisions=["fp32"], pooling="cls")
    assert manifest.pooling == "cls"
    assert manifest.source["overrides"] == {"pooling": "cls"}


def test_a_pooling_other_than_that_of_the_files_counts_and_is_said(tmp_path):
    folder = seeded.write_bert(tmp_path / "model")
    written = open_source(folder).head.pooling
    source = open_source(folder, pooling="max")
    assert source.head.pooling == "max"
    assert any(f"pooling max, as asked for, in place of {written}" in note for note in source.notes)
    assert not any("as asked for" in n for n in open_source(folder, pooling=written).notes)


def test_a_static_model_has_one_pooling(tmp_path):
    folder = seeded.write_model2vec(tmp_path / "static")
    assert open_source(folder, pooling="mean").head.pooling == "mean"
    with pytest.raises(SourceError, match="pooling cls is not possible"):
        open_source(folder, pooling="cls")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pooling": "middle"}, "pooling 'middle' is not supported; choose from cls"),
        ({"pooling": "mean+mean"}, "is not supported"),
        ({"license": " "}, "license is ' '; give a text"),
        ({"name": 3}, "name is 3"),
        ({"prompts": ["query"]}, "give texts by name"),
        ({"prompts": {"": "x"}}, "a prompt has no name"),
        ({"default_task": "search"}, "default_task 'search' is not exported; choose from base"),
    ],
)
def test_what_cannot_be_used_is_refused(encoder, overrides, message):
    with pytest.raises(OptionError, match=message):
        open_source(encoder, **{"pooling": "mean", **overrides})


def test_an_argument_that_does_not_exist_is_a_type_error(encoder, tmp_path):
    with pytest.raises(TypeError, match="'pooler'"):
        open_source(encoder, pooler="mean")  # type: ignore[call-arg]
    source = open_source(encoder, pooling="mean")
    with pytest.raises(OptionError, match="pooling: the source is opened already"):
        export_pack(source, out=tmp_path / "pack", pooling="mean")
    assert export_pack(source, out=tmp_path / "pack", precisions=["fp32"]).pooling == "mean"


def test_names_prompts_and_license_stand_in_the_manifest(encoder, tmp_path, capsys):
    out = tmp_path / "pack"
    command = [
        *("export", str(encoder), "--out", str(out), "--precisions", "int8", "--pooling", "mean"),
        *("--prompt", "query=search: ", "--prompt", "document=", "--license", "mit"),
        *("--name", "me/mine"),
    ]
    assert main(command) == 0
    manifest = read_manifest(out)
    assert (manifest.model_id, manifest.license) == ("me/mine", "mit")
    assert manifest.prompts == {"query": "search: ", "document": ""}
    with Embedder(out) as embedder:
        np.testing.assert_array_equal(
            embedder.encode_query("abc"), embedder.encode_document("search: abc")
        )
    # The graphs are kept where only the words change, and made again where vectors do.
    made = (out / "base.int8.onnx").stat().st_mtime_ns
    assert main([*command[:-1], "me/other"]) == 0
    assert read_manifest(out).model_id == "me/other"
    assert read_manifest(out).source["overrides"]["name"] == "me/other"
    assert (out / "base.int8.onnx").stat().st_mtime_ns == made
    assert "the graphs are kept" in capsys.readouterr().err
    assert main(["verify", str(out), "--source", str(encoder)]) == 0
    assert main([*command[:6], "--pooling", "cls"]) == 0
    assert read_manifest(out).pooling == "cls"
    assert (out / "base.int8.onnx").stat().st_mtime_ns != made


def test_the_default_task(tiny_source, tmp_path):
    manifest = export_pack(
        tiny_source,
        out=tmp_path / "pack",
        tasks=["retrieval", "text-matching"],
        precisions=["fp32"],
        default_task="retrieval",
    )
    assert manifest.default_task == "retrieval"


@pytest.mark.parametrize("noted", [5, {"pooler": "mean"}, {"pooling": "middle"}])
def test_a_manifest_that_notes_something_else(encoder, noted, tmp_path, capsys):
    out = tmp_path / "pack"
    export_pack(encoder, out=out, precisions=["fp32"], pooling="mean")
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["source"]["overrides"] = noted
    (out / MANIFEST).write_text(json.dumps(manifest))
    assert main(["verify", str(out), "--in-process", "--source", str(encoder)]) != 0
    captured = capsys.readouterr()
    assert "overrides in its source that cannot be used" in captured.err + captured.out


def test_hub_folders_have_them_too(encoder, tmp_path):
    made = export_hub_folders(
        encoder,
        out=tmp_path / "hub",
        precisions=["fp32"],
        pooling="cls",
        prompts={"query": "search: "},
    )
    (folder,) = made.folders.values()
    source = open_source(folder)
    assert (source.head.pooling, dict(source.prompts)) == ("cls", {"query": "search: "})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "query"], "has no name"),
        (["--prompt", "=x"], "has no name"),
        (["--prompt", "q=a", "--prompt", "q=b"], "a name stands twice"),
        (["--layout", "hub", "--license", "mit"], "--license does not go with --layout hub"),
        (["--layout", "hub", "--default-task", "x"], "--default-task does not go with"),
    ],
)
def test_options_that_cannot_be_used(encoder, options, message, tmp_path, capsys):
    command = ["export", str(encoder), "--out", str(tmp_path / "out"), *options]
    code: object
    try:
        code = main(command)
    except SystemExit as left:
        code = left.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------ the first refusals


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "t5", "is_encoder_decoder": True},
            "'t5' is an encoder with a decoder .* Supported are: .* bert, roberta",
        ),
        ({"model_type": "nomic_bert", "auto_map": {}}, "which is never run. Supported are"),
        ({"model_type": "electra"}, "not supported. Supported are: .* with --via optimum"),
        ({}, 'has no "model_type"'),
    ],
)
def test_the_family_is_checked_before_anything_else(config, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("license: mit\nlanguage: en\ntags:\n- de\n", ("en",)),
        ("language:\n- en\n- 'no'\n- zh-Hant\n- English\nlicense: mit\n", ("en", "no", "zh-Hant")),
        ("language:\n  - multilingual\n  - en\n", ("multilingual", "en")),
        ('language: [en, "de", en]\n', ("en", "de")),
        ("language: all of them\n", ()),
        ("tags:\n- en\n", ()),
    ],
)
def test_the_languages_of_a_model_card(card, languages, tmp_path):
    folder = seeded.write_model2vec(tmp_path / "model")
    (folder / "README.md").write_text(f"---\n{card}---\n")
    assert open_source(folder).languages == languages


def test_languages_stand_in_the_manifest(tmp_path):
    folder = seeded.write_model2vec(tmp_path / "model")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    manifest = export_pack(folder, out=tmp_path / "pack", precisions=["fp32"])
    assert (manifest.languages, manifest.license) == (("en",), "mit")
