"""Tokenizers that turn a short text into one that no memory holds are refused before any text."""

import base64
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers

from embedge import Embedder, PackFileError
from embedge.texts.growth import MOST_MAPPED, find_growth
from support.tiny import byte_tokenizer, relist


def with_normalizer(normalizer: Any) -> Tokenizer:
    tokenizer = byte_tokenizer()
    tokenizer.normalizer = normalizer
    return tokenizer


BOMBS = {
    "five times a hundred": normalizers.Sequence([normalizers.Replace("a", "a" * 100)] * 5),
    "nested": normalizers.Sequence(
        [normalizers.Sequence([normalizers.Replace("a", "a" * 10)]) for _ in range(3)]
    ),
    "between all": normalizers.Replace(Regex(""), "x" * 100),
    "by a pattern": normalizers.Sequence([normalizers.Replace(Regex("."), "xxxxxxxxx")] * 3),
    "before": normalizers.Prepend("x" * 2000),
}
FINE = {
    "none": None,
    "spaces": normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Prepend("\u2581"),
            normalizers.Replace(" ", "\u2581"),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace("<br>", " line "),
        ]
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, pack: Path) -> None:
    tokenizer = with_normalizer(BOMBS[name])
    assert find_growth(tokenizer) is not None
    tokenizer.save(str(pack / "tokenizer.json"))
    relist(pack, "tokenizer.json")
    with (
        Embedder(pack) as embedder,
        pytest.raises(PackFileError, match=r"tokenizer\.json .*its normalizer"),
    ):
        embedder.encode("aaa")


@pytest.mark.parametrize("name", FINE)
def test_what_real_tokenizers_do(name: str) -> None:
    assert find_growth(with_normalizer(FINE[name])) is None


def test_a_table_of_characters() -> None:
    class Held:
        """As `Precompiled` gives its state; its class refuses tables that lead nowhere."""

        def __init__(self, size: int) -> None:
            table = (8).to_bytes(4, "little") + bytes(8) + b"short\0" + b"x" * size + b"\0"
            self.text = base64.b64encode(table).decode()

        def __getstate__(self) -> bytes:
            return f'{{"type": "Precompiled", "precompiled_charsmap": "{self.text}"}}'.encode()

    class Fake:
        model = models.Unigram([("a", 0.0)], 0)
        normalizer: Any = None

    for size, refused in ((33, False), (MOST_MAPPED, False), (MOST_MAPPED + 1, True)):
        Fake.normalizer = Held(size)
        assert (find_growth(Fake()) is not None) is refused


@pytest.mark.parametrize("name", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_parts_of_words(name: str) -> None:
    for size, refused in ((2, False), (5000, True)):
        model = models.BPE(vocab={"a": 0}, merges=[], **{name: "#" * size})
        assert (find_growth(Tokenizer(model)) is not None) is refused
