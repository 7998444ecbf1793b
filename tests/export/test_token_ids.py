"""The tokenizer's ids against the embedding table, and what happens to those beyond it."""

import json
import shutil

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, processors

import seeded
from embedge import Embedder
from embedge.errors import SourceError, TextError
from embedge_export.export import export_pack
from embedge_export.gate import compare
from embedge_export.model import open_model
from embedge_export.recheck import verify_pack
from embedge_export.source.folder import open_source

FILE = "tokenizer.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return seeded.write_decoder(tmp_path_factory.mktemp("ids") / "qwen3", "qwen3")


@pytest.fixture
def qwen3(written, tmp_path):
    return shutil.copytree(written, tmp_path / "qwen3")


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rows(folder):
    return json.loads((folder / "config.json").read_text())["vocab_size"]


def add(folder, *tokens, special=True):
    """Adds tokens, and as many before them as fill the table."""
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    missing = rows(folder) - tokenizer.get_vocab_size()
    tokenizer.add_tokens([f"<filler {n}>" for n in range(missing)])
    tokenizer.add_tokens([AddedToken(token, special=special) for token in tokens])
    tokenizer.save(str(folder / FILE))
    return Tokenizer.from_file(str(folder / FILE)).token_to_id(tokens[0]) if tokens else None


def test_a_table_that_is_longer_is_fine(qwen3):
    assert open_model(open_source(qwen3)).notes == ()
    add(qwen3)  # up to its last row
    assert open_model(open_source(qwen3)).notes == ()


@pytest.mark.parametrize("special", [True, False])
def test_an_added_token_beyond_the_table_is_noted(qwen3, special):
    number = add(qwen3, "<beyond>", *(f"<more {n}>" for n in range(6)), special=special)
    assert number == rows(qwen3)
    (note,) = open_model(open_source(qwen3)).notes
    assert f"beyond the {number:,} rows" in note
    assert f"'<beyond>' ({number}), '<more 0>'" in note
    assert note.count("<more") == 4
    assert "and 2 more. A text that spells one out is refused" in note


def test_a_text_with_such_a_token_costs_itself(qwen3, tmp_path):
    add(qwen3, "<beyond>")
    said = []
    export_pack(qwen3, out=tmp_path / "pack", precisions=("fp32",), notice=said.append)
    assert any("<beyond>" in line for line in said)
    with Embedder(tmp_path / "pack") as embedder:
        with pytest.raises(TextError) as caught:
            embedder.encode(["good", "a <beyond> b", "also good"])
        assert [index for index, _ in caught.value.items] == [1]
        assert np.isfinite(embedder.encode(["good", "also good"])).all()


def test_padding_beyond_the_table_is_refused(qwen3):
    number = add(qwen3, "<beyond>")
    change(qwen3 / "tokenizer_config.json", pad_token="<beyond>")
    with pytest.raises(SourceError, match=rf"fills short rows has the id {number}, and the embedd"):
        open_model(open_source(qwen3))


def test_a_closing_token_beyond_the_table_is_refused(qwen3):
    number = add(qwen3, "<beyond>")
    tokenizer = Tokenizer.from_file(str(qwen3 / FILE))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <beyond>", special_tokens=[("<beyond>", number)]
    )
    tokenizer.save(str(qwen3 / FILE))
    with pytest.raises(SourceError, match=r"tokenizer\.json: its post-processor puts '<beyond>'"):
        open_model(open_source(qwen3))


def test_an_ordinary_piece_beyond_the_table_is_refused(qwen3):
    file = json.loads((qwen3 / FILE).read_text())
    file["model"]["vocab"]["piece"] = rows(qwen3) + 5
    (qwen3 / FILE).write_text(json.dumps(file))
    with pytest.raises(
        SourceError, match=r"tokenizer\.json: the piece 'piece' has the id \d+, and"
    ):
        open_model(open_source(qwen3))


@pytest.mark.parametrize("number", [10**6, 2**31 - 1])
def test_a_number_that_is_no_row_is_refused(qwen3, number):
    for name in ("tokenizer_config.json", "config.json"):
        change(qwen3 / name, pad_token=None, pad_token_id=number)
    with pytest.raises(SourceError, match=f"fills short rows has the id {number}"):
        open_model(open_source(qwen3))


def test_the_gate_pads_as_the_pack_will(written, tmp_path, monkeypatch):
    """With the padding's own id, whose row may be anything, not with 0."""
    seen = []
    pad = compare.pad

    def watch(texts, number):
        seen.append(number)
        return pad(texts, number)

    monkeypatch.setattr(compare, "pad", watch)
    source = open_source(written)
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("fp32",))
    assert set(seen) == {source.pad_token_id} != {0}
    seen.clear()
    verify_pack(tmp_path / "pack", source, threads=1)
    assert set(seen) == {manifest.text.pad_token_id} == {source.pad_token_id}


@pytest.mark.parametrize("length", [40, 10_000])
def test_a_prompt_that_leaves_no_room_is_refused_before_the_work(qwen3, length):
    change(qwen3 / "config_sentence_transformers.json", prompts={"query": "é" * length})
    (qwen3 / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    with pytest.raises(SourceError, match=r"the prompt 'query' takes \d+ tokens.*of the 32 that"):
        open_source(qwen3)


def test_a_normalizer_without_bounds_is_refused(qwen3):
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 50}
    bomb = {"type": "Sequence", "normalizers": [step] * 5}
    change(qwen3 / FILE, normalizer=bomb)
    with pytest.raises(SourceError, match=r"could make a text 3\.12e\+08 times as long"):
        open_source(qwen3)
