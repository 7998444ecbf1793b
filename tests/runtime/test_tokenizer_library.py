"""Whatever the `tokenizers` library fails with becomes an error that names the item or the file."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.errors import OptionError, PackFileError, TextError
from embedge.texts.tokenizer_library import TokenizerError, guarded
from embedge.texts.tokens import TextTokenizer
from support.tiny import EOS, byte_tokenizer

SOUND: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
}


class Panic(BaseException):
    """As pyo3's PanicException, which is not an Exception either."""


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**copy.deepcopy(SOUND), **changes}))
    return path


@pytest.mark.parametrize("error", [Panic("range end"), Exception("WordPiece error"), ValueError()])
def test_every_failure_is_one_kind(error: BaseException) -> None:
    with pytest.raises(TokenizerError, match=r"range end|WordPiece error|ValueError"), guarded():
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_what_is_not_the_library_s_own_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), guarded():
        raise error


def charsmap(data: bytes) -> dict[str, str]:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {**SOUND["model"], "merges": ["a c"]}},
        {"model": {**SOUND["model"], "continuing_subword_prefix": "####"}},  # a panic
        {"normalizer": charsmap(b"\x08\0\0\0")},  # a panic
        {  # a panic, and only while a text is encoded
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "[X]", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {},
            }
        },
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path / "tokenizer.json", **changes)
    with pytest.raises(PackFileError, match=r"tokenizer\.json is not a tokenizer"):
        TextTokenizer(path)


def test_a_tokenizer_that_can_encode_nothing_is_named(tmp_path: Path) -> None:
    """Its vocabulary lacks the token for unknown words, and every word is unknown."""
    model = {"type": "WordLevel", "vocab": {"a b": 0}, "unk_token": "[UNK]"}
    path = write(
        tmp_path / "tokenizer.json", model=model, pre_tokenizer={"type": "WhitespaceSplit"}
    )
    with pytest.raises(PackFileError, match=r"tokenizer\.json .*\[UNK\]"):
        TextTokenizer(path)


@pytest.fixture
def unknown(tmp_path: Path) -> TextTokenizer:
    """A tokenizer that fails at every word but "a" and "b"."""
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "[UNK]"}
    return TextTokenizer(
        write(tmp_path / "t.json", model=model, pre_tokenizer={"type": "WhitespaceSplit"})
    )


@pytest.mark.parametrize("bad", ["c", "c " * 500])
def test_a_text_that_the_library_fails_at_costs_itself(unknown: TextTokenizer, bad: str) -> None:
    texts = ["a b", bad, "b", None]
    with pytest.raises(TextError, match=r"item 1: the tokenizer cannot take this text .*\[UNK\]"):
        unknown.encode(texts, prompt="", max_length=4)
    refused: dict[int, str] = {}
    encoded = unknown.encode(texts, prompt="", max_length=4, on_error=refused.__setitem__)
    assert [row.tolist() for row in encoded.ids] == [[0, 1], [], [1], []]
    assert list(refused) == [1]
    with pytest.raises(TextError, match="item 1"):
        unknown.count(["a", bad], prompt="")
    with pytest.raises(OptionError, match="cannot take the prompt"):
        unknown.encode(["a"], prompt="c", max_length=4)


def test_an_id_that_the_network_does_not_know_costs_its_text(tmp_path: Path) -> None:
    byte_tokenizer().save(str(tmp_path / "t.json"))
    tokenizer = TextTokenizer(tmp_path / "t.json", vocabulary_size=257)
    texts = ["fine", "an <eos> here", "and behind the cut <eos>"]
    with pytest.raises(TextError, match=r"item 1: gives the token '<eos>' \(id 257\)"):
        tokenizer.encode(texts, prompt="", max_length=12)
    refused: dict[int, str] = {}
    encoded = tokenizer.encode(texts, prompt="", max_length=12, on_error=refused.__setitem__)
    assert list(refused) == [1]
    assert [len(ids) for ids in encoded.ids] == [4, 0, 12]
    known = TextTokenizer(tmp_path / "t.json", vocabulary_size=258)
    assert EOS in np.concatenate(known.encode(texts, prompt="", max_length=12).ids)


def test_a_token_put_to_every_text_must_be_known(tmp_path: Path) -> None:
    byte_tokenizer(eos=True).save(str(tmp_path / "t.json"))
    with pytest.raises(PackFileError, match=r"t\.json puts the token 257 to every text"):
        TextTokenizer(tmp_path / "t.json", vocabulary_size=257)
