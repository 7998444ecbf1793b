"""A tokenizer that would fail is refused before the work, in one sentence that names its file."""

import base64
import json
import os

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from embedge.errors import SourceError
from embedge_export.source.tokenizer import classes as tokenizer_classes
from embedge_export.source.tokenizer.trial import TRIAL, try_tokenizer
from support.tiny import byte_tokenizer

BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
WORDS = {"type": "WhitespaceSplit"}
SPECIAL = {"SpecialToken": {"id": "[X]", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [SPECIAL, TEXT],
    "pair": [TEXT],
    "special_tokens": {},
}


def charsmap(data):
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}


def refusal(tmp_path, capfd, **changes):
    """What is said of a file, and whether the library wrote to stderr."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": BPE, **changes}))
    with pytest.raises(SourceError) as caught:
        try_tokenizer(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message, capfd.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"model": BPE | {"merges": ["a b", "ab b"]}},
        {"model": BPE | {"merges": [["a", "b"], ["b", "a"]]}},
        {"model": BPE | {"merges": ["a b", "a c"]}},
        {"model": BPE | {"continuing_subword_prefix": "####"}},
        {"post_processor": TEMPLATE},
        {"post_processor": {"type": "Sequence", "processors": [TEMPLATE]}},
        {"normalizer": charsmap(b"")},
        {"normalizer": charsmap(b"\xff\xff\xff\x7f12345678")},
        {"normalizer": charsmap(b"\x08\0\0\0abcdefgh\xff")},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "@@@"}},
        {"normalizer": {"type": "Sequence", "normalizers": [charsmap(b"\x08\0\0\0")]}},
    ],
)
def test_what_would_panic_is_found_without_a_panic(tmp_path, capfd, changes):
    """A panic would write to stderr."""
    message, errors = refusal(tmp_path, capfd, **changes)
    assert errors == ""
    assert "Download it again" in message


@pytest.mark.parametrize(
    "model",
    [
        {"type": "WordPiece", "vocab": {"how": 0}, "unk_token": "[UNK]"},
        {"type": "WordLevel", "vocab": {"How": 0}, "unk_token": "[UNK]"},
        {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]], "unk_id": None},
    ],
)
def test_unknown_words_without_a_token_for_them(tmp_path, capfd, model):
    model = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100, **model}
    message, errors = refusal(tmp_path, capfd, model=model, pre_tokenizer=WORDS)
    assert errors == ""
    assert "fails at texts such as 'How fast" in message


def test_a_trie_that_points_nowhere_is_caught_though_it_panics(tmp_path, capfd):
    message, _ = refusal(tmp_path, capfd, normalizer=charsmap(b"\x08\0\0\0" + b"\x7f" * 8 + b"a\0"))
    assert "fails at texts" in message


def test_an_expression_that_gives_up_is_caught(tmp_path, capfd):
    split = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    message, _ = refusal(tmp_path, capfd, pre_tokenizer=split)
    assert "fails at texts such as 'aaa" in message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"tokenizer\.json"):
        try_tokenizer(tmp_path / "tokenizer.json")


def test_sound_ones_pass(tmp_path):
    path = tmp_path / "tokenizer.json"
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("a", -2.0)]
    unigram = Tokenizer(models.Unigram(pieces, unk_id=0))
    unigram.normalizer = normalizers.NFKC()
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    word_piece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    word_piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    for tokenizer in (unigram, word_piece, byte_tokenizer(eos=True)):
        tokenizer.save(os.fspath(path))
        assert try_tokenizer(path).get_vocab_size() == tokenizer.get_vocab_size()
    assert len(set(TRIAL)) == len(TRIAL)


def test_parts_that_do_not_go_together_give_other_ids_and_no_traceback():
    """A vocabulary without a token for unknown words, and a class that splits by other rules."""
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]"))
    assert tokenizer_classes._ids(words) == []
    assert tokenizer_classes._ids(byte_tokenizer()) != []
