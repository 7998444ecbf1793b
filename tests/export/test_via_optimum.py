"""`--via optimum` as far as it needs no torch: what is missing, options, and what is read."""

import json
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

import seeded
from embedge.batches import Limits, estimate_memory, pad
from embedge.cli import main
from embedge.engine.session import OnnxSession
from embedge.errors import MissingExtraError, OptionError, SourceError
from embedge_export import open_source
from embedge_export.families.optimum import family as optimum
from embedge_export.families.optimum.config import OptimumConfig
from embedge_export.families.register import VIA, family_of
from embedge_export.graph.builder import FLOAT, INT64, GraphBuilder
from embedge_export.graph.packed import PackedBatch
from embedge_export.graph.weight_file import WeightFile
from embedge_export.source import hub


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of a network that is not written here, and its packages as if they were there."""
    folder = seeded.write_bert(tmp_path / "source")
    change(folder, model_type="electra")
    monkeypatch.setattr(optimum, "_is_there", lambda module: True)
    return folder


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


# ------------------------------------------------------------------ what has to be there


def test_missing_packages_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(optimum, "_is_there", lambda module: module == "torch")
    folder = seeded.write_bert(tmp_path / "source")
    with pytest.raises(MissingExtraError) as caught:
        open_source(folder, via="optimum")
    message = str(caught.value)
    assert "(transformers, optimum-onnx)" in message
    assert "embedge[optimum]" in message
    assert "make setup-optimum" in message


def test_the_command_says_it_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(optimum, "_is_there", lambda module: False)
    folder = seeded.write_bert(tmp_path / "source")
    out = tmp_path / "pack"
    assert main(["export", str(folder), "--out", str(out), "--via", "optimum"]) != 0
    said = capsys.readouterr().err
    assert "make setup-optimum" in said
    assert "Traceback" not in said
    assert not out.exists()


def test_a_package_below_one_that_is_missing_is_missing():
    assert not optimum._is_there("no_such_package.below")
    assert optimum._is_there("json")


@pytest.mark.parametrize("via", ["torchscript", ["optimum"]])
def test_another_library_is_refused_by_name(source, via):
    with pytest.raises(OptionError, match=r"via .*choose from optimum"):
        open_source(source, via=via)


@pytest.mark.parametrize("other", [["--merged", "plain"], ["--layout", "hub"]])
def test_plain_forms_do_not_go_with_it(source, tmp_path, capsys, other):
    command = ["export", str(source), "--out", str(tmp_path / "pack"), "--via", "optimum"]
    assert main([*command, *other]) != 0
    assert "--via optimum makes packs alone" in capsys.readouterr().err


# ------------------------------------------------------------------ what is read


def test_a_source_remembers_where_its_network_is_from(source):
    with pytest.raises(SourceError, match=r"'electra' is not supported.*with --via optimum"):
        open_source(source)
    opened = open_source(source, via="optimum")
    assert opened.family is VIA["optimum"]
    assert opened.head.modes == ("mean",)
    assert replace(opened, via=None).via is None


def test_a_hub_id_takes_the_same_road(source, monkeypatch):
    """The model's type is looked at as soon as config.json is there."""

    def download(name, *, check, **about):
        check(source)
        return source, "0" * 40

    monkeypatch.setattr(hub, "download", download)
    opened = open_source("owner/encoder", via="optimum")
    assert (opened.model_id, opened.revision, opened.via) == ("owner/encoder", "0" * 40, "optimum")
    with pytest.raises(SourceError, match="not supported"):
        open_source("owner/encoder")


def test_a_network_that_is_written_here_can_be_taken_from_there_too(source):
    change(source, model_type="bert")
    assert open_source(source, via="optimum").family is VIA["optimum"]
    assert open_source(source).family is family_of({"model_type": "bert"})


@pytest.mark.parametrize("value", [None, 3, ["bert"]])
def test_a_config_without_a_type_is_refused(value):
    with pytest.raises(SourceError, match="model_type"):
        family_of({"model_type": value}, "optimum")


def test_positions_that_begin_after_the_padding_id_are_fewer(source):
    family = VIA["optimum"]
    sizes = {"max_position_embeddings": 514, "pad_token_id": 1}
    assert family.positions(source, {"model_type": "mpnet", **sizes}) == 512
    assert family.positions(source, {"model_type": "electra", **sizes}) == 514


@pytest.mark.parametrize("name", ["hidden_size", "dim", "d_model", "n_embd", "emb_dim"])
def test_a_width_has_many_names(source, name):
    assert VIA["optimum"].width(source, {name: 48}) == 48


def test_without_a_width_the_field_is_named(source):
    with pytest.raises(SourceError, match="hidden_size"):
        VIA["optimum"].width(source, {"hidden_size": 0})


@pytest.mark.parametrize(
    ("kind", "positions", "length", "squares"),
    [("electra", 512, 512, 4), ("deberta", 512, 512, 9), ("modernbert", 8192, 8192, 4)],
)
def test_memory_counts_the_square_of_scores(kind, positions, length, squares):
    """By the runtime's rule, for the longest text that the network takes."""
    config = OptimumConfig(
        family=kind,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        vocab_size=100,
        positions=positions,
        network=None,
    )
    cost = VIA["optimum"].memory_cost(config)
    limits = Limits(token_budget=1, memory=cost, memory_limit=None, blocks=True)
    rest = 6 * 4 * (384 + 1536) * length
    assert estimate_memory(limits, 1, length) == rest + squares * 4 * 12 * length**2


# ------------------------------------------------------------------ runs of texts of one length


def network_of_sums(graph):
    """Each row: the sum of its text's ids, its text's length, its own id."""

    def rows(ids: ir.Value) -> ir.Value:
        own = graph.op("Unsqueeze", ids, graph.numbers(2))
        sums = graph.op("ReduceSum", own, graph.numbers(1), keepdims=1)
        length = graph.op("Shape", ids, dtype=INT64, start=1, end=2)
        shape = graph.op("Shape", own, dtype=INT64)
        parts = [graph.op("Expand", x, shape) for x in (sums, length)]
        joined = graph.op("Concat", *parts, own, axis=2)
        return graph.cast(graph.op("Reshape", joined, graph.numbers(-1, 3)), FLOAT)

    return rows


def test_a_network_runs_on_texts_of_one_length_at_a_time(tmp_path):
    with WeightFile(tmp_path / "sums.data") as file:
        graph = GraphBuilder("sums", own=file, shared=file)
        batch = PackedBatch(graph, None)
        rows = batch.each_length(network_of_sums(graph), FLOAT)
        graph.save(
            tmp_path / "sums.onnx", {"sentence_embedding": batch.pool(rows, "mean")}, ("batch", 3)
        )
    texts = [np.arange(1, 1 + n, dtype=np.int32) for n in (5, 5, 3, 2, 2, 2, 1)]
    ids, mask = pad(texts, 0)
    expected = [[t.sum(), len(t), t.mean()] for t in texts]
    session = OnnxSession(tmp_path / "sums.onnx", device="cpu", threads=1)
    np.testing.assert_allclose(session.run(ids, mask), expected, rtol=1e-6)
    # Padded on the left, and in another order.
    turned = session.run(ids[::-1, ::-1].copy(), mask[::-1, ::-1].copy())
    np.testing.assert_allclose(turned, expected[::-1], rtol=1e-6)
