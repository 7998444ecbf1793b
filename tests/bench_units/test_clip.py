"""What clip.py makes for its contenders: graphs, merged weights, images; the race on our own."""

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import seeded
from bench.clip import run as clip
from bench.clip.worker import noise
from bench.race.compete import Race, Result
from bench.race.work import parse, texts_of
from embedge_export.families.bert.truth import bert_vectors
from embedge_export.model import open_model
from embedge_export.source.folder import open_source

VOCABULARY = 250


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return seeded.write_jina_clip(tmp_path_factory.mktemp("clip") / "jina-clip-v2")


@pytest.fixture(scope="module")
def results(source):
    contenders, absent = clip.prepare(source.parent, source, ["embedge int8", "embedge fp32"])
    assert absent == {}
    found = {}
    for tower, work in (("image", "2x1"), ("text", "2x16")):
        race = Race(
            contenders[tower],
            vocabulary=VOCABULARY,
            threads=1,
            seconds=0.01,
            longest=10,
            program=clip.WORKER,
        )
        race.run(parse(work), rounds=1)
        found[tower] = race, race.finish()
    return found


def test_the_graphs_give_the_references_vectors(source, results):
    """Of the very pixels and ids that every contender is given."""
    model = open_model(open_source(source, tasks=[clip.TASK]))
    first = texts_of(parse("2x1"), VOCABULARY)[0]
    pixels = noise(tuple(first.tolist()), model.image.input.size)[None]
    ids = texts_of(parse("2x16"), VOCABULARY)[0]
    wanted = {
        "image": model.image.reference(pixels, advance=lambda label: None),
        "text": bert_vectors(
            model.config, model.weights(clip.TASK), [ids.astype(np.int32)], head=model.source.head
        ),
    }
    for tower, (race, found) in results.items():
        (vectors,) = race._vectors.values()
        np.testing.assert_allclose(vectors["embedge fp32"], wanted[tower][0], atol=1e-4)
        assert found["embedge fp32"].failure == ""
        assert 0.995 < found["embedge int8"].cosine < 1
        assert found["embedge int8"].memory["peak"] > 0


def test_the_merged_weights_are_transformers_own(source, tmp_path):
    clip.write_merged(source, tmp_path / "text")
    model = open_model(open_source(source, tasks=[clip.TASK]))
    tensors = load_file(tmp_path / "text" / "model.safetensors")
    key = "layers.1.mlp.fc1.weight"
    np.testing.assert_array_equal(tensors[key], model.weights(clip.TASK).read(key))
    assert np.abs(tensors[key] - model.base.read(key)).max() > 0  # the adapter is in
    config = json.loads((tmp_path / "text" / "config.json").read_text())
    assert config["model_type"] == "jina_embeddings_v3"
    assert config["vocab_size"] == len(tensors["embeddings.word_embeddings.weight"])


def test_the_report():
    """Images a second are images over seconds; whoever is absent is told."""
    told = {
        "image": {"embedge int8": Result(times={"4x1": [20.0, 10.0, 40.0]}, cosine=0.9987)},
        "text": {"embedge int8": Result(times={"1x16": [0.5]}, cosine=0.5)},
    }
    works = {"image": [parse("4x1")], "text": [parse("1x16")]}
    here = clip.facts.machine()
    text = clip.report("a model", here, 2, told, works, {"torch fp32": "it is not here"})
    assert "| embedge int8 | 0.400 (0.200) |" in text
    assert "| embedge int8 | 32 (32) |" in text
    assert "0.9987" in text
    assert "- torch fp32 is left out: it is not here." in text


def test_options(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clip.py", "--images", "two"])
    with pytest.raises(SystemExit):
        clip._options()
    assert "twox1" in capsys.readouterr().err
