"""`embedge list` and `embedge remove`, and exports into the pack folder."""

import json
import shlex
from pathlib import Path

import pytest

import seeded
from embedge.cli import build_parser, main
from embedge.known_models import KNOWN_MODELS
from embedge_export import open_source
from embedge_export.families.register import FAMILIES
from embedge_export.head.head import MODES
from support.tiny import write_pack


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBEDGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "packs"


def test_list_and_remove(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"there is no pack in {shelf}" in captured.err
    shelf.mkdir(parents=True)
    write_pack(shelf / "one")
    write_pack(shelf / "two")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["name", "one", "two"]
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [pack["name"] for pack in listed["packs"]] == ["one", "two"]
    assert main(["info", "one"]) == 0
    assert main(["remove", "one", "three"]) == 2
    assert "the packs there are: one, two" in capsys.readouterr().err
    assert (shelf / "one").exists()  # none is removed where a name is wrong
    assert main(["remove", "one"]) == 0
    assert not (shelf / "one").exists()
    assert (shelf / "two").exists()


def test_an_export_without_out_is_found_by_name(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = seeded.write_model2vec(tmp_path / "models" / "my-model")
    command = ["export", str(model), "--precisions", "int8", "--no-progress"]
    assert main(command) == 0
    assert (shelf / "my-model").is_dir()
    (tmp_path / "linked").symlink_to(model)
    assert main(["export", "linked", *command[2:]]) == 0
    assert (shelf / "linked").is_dir()
    assert main([*command, "--name", "me/other"]) == 0
    assert (shelf / "other").is_dir()
    assert main(["embed", "-p", "my-model", "-t", "one"]) == 0
    assert main(["remove", "my-model", "linked", "other"]) == 0
    assert list(shelf.iterdir()) == []
    capsys.readouterr()
    assert main(["export", ""]) == 2
    assert "SOURCE is empty" in capsys.readouterr().err
    assert main([*command, "--layout", "hub"]) == 2
    assert "--layout hub needs --out" in capsys.readouterr().err


def test_a_short_name_is_that_of_a_known_model(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["export", "bge-small-en-v1.5", "--offline"]) == 2
    error = capsys.readouterr().err
    assert "BAAI/bge-small-en-v1.5 is not (or not wholly) in the local cache" in error
    assert "asks for prompts: --prompt 'query=Represent this sentence" in error


@pytest.mark.parametrize("known", KNOWN_MODELS, ids=lambda known: known.name)
def test_known_models_are_of_families_that_are_written(known: object) -> None:
    from embedge.known_models import KnownModel

    assert isinstance(known, KnownModel)
    assert known.model_type in FAMILIES
    assert known.pooling in MODES
    own = FAMILIES[known.model_type].pooling
    assert own in (None, known.pooling)
    options = build_parser().parse_args(shlex.split(known.command)[1:])
    assert dict(options.prompt) == dict(known.prompts)
    assert options.source == known.model_id


def test_list_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--models"]) == 0
    out = capsys.readouterr().out
    assert all(known.model_id in out for known in KNOWN_MODELS)
    assert main(["list", "--models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == len(KNOWN_MODELS)


def test_the_prompts_of_the_table_can_be_used(tmp_path: Path) -> None:
    folder = seeded.write_bert(tmp_path / "model")
    for known in KNOWN_MODELS:
        prompts = dict(known.prompts)
        source = open_source(folder, prompts=prompts)
        assert prompts.items() <= dict(source.prompts).items()
