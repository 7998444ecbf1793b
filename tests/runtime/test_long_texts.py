"""Texts of megabytes: in bounded memory, without what the library fails at, and cancellable."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from embedge.errors import CancelledError, OptionError, TextTooLongError
from embedge.texts import tokens
from embedge.texts.long import fold_spaces, pieces_of
from embedge.texts.tokens import PIECE, TextTokenizer
from support.tiny import byte_tokenizer

WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte-level BPE with the usual words, and with tokens of many spaces, digits and letters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    runs = [run * 40 for run in (" ", "\t", "\n", "a", "ab", "1", "e\u0301", "光")]
    tokenizer.train_from_iterator(runs * 3, trainer)
    path = tmp_path_factory.mktemp("long") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


class Watched:
    """Notes the length of every text that the library is given."""

    def __init__(self, tokenizer: TextTokenizer, before: Callable[[], None] = lambda: None) -> None:
        self.inner = tokenizer._tokenizer
        self.sizes: list[int] = []
        self.before = before

    def encode(self, text: str, **options: Any) -> Any:
        self.before()
        self.sizes.append(len(text))
        return self.inner.encode(text, **options)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.before()
        self.sizes.append(sum(map(len, texts)))
        return self.inner.encode_batch_fast(texts, **options)


@pytest.mark.parametrize("run", [" ", "\t", "\n", "a", "1", "\u0301", "光"])
def test_a_run_of_millions_is_cut_for_good(
    path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    """Ten million spaces are also where the library's regular expressions give up."""
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    encoded = tokenizer.encode([run * 10_000_000, "good"], prompt="", max_length=8)
    assert encoded.truncated == [0]
    assert (
        encoded.ids[0].tolist()
        == tokenizer.encode([run * 2000], prompt="", max_length=8).ids[0].tolist()
    )
    assert max(watched.sizes) <= PIECE


@pytest.mark.parametrize("run", [" ", "\t", "\n", "a", "ab", "1", "e\u0301", "光"])
@pytest.mark.parametrize("before", ["", "light "])
def test_the_tokens_of_a_run_that_was_cut_are_those_of_the_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch, before: str, run: str
) -> None:
    text = before + run * 3000
    whole = TextTokenizer(path).encode([text], prompt="", max_length=9)
    monkeypatch.setattr(tokens, "PIECE", 400)
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    cut = tokenizer.encode([text], prompt="", max_length=9)
    assert cut.ids[0].tolist() == whole.ids[0].tolist()
    assert cut.truncated == whole.truncated == [0]
    assert max(watched.sizes) < len(text)


def test_too_long_is_known_without_tokenizing_all_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    with pytest.raises(TextTooLongError, match="item 0 is longer than 8 tokens"):
        tokenizer.encode(["7" * 4_000_000], prompt="", max_length=8, on_overflow="error")
    assert sum(watched.sizes) < 2 * PIECE


def test_a_call_holds_a_bounded_number_of_characters_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "PIECE", 1000)
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    encoded = tokenizer.encode(["light " * 100] * 20, prompt="", max_length=1000)
    assert len(encoded.ids) == 20
    assert encoded.truncated == []
    assert max(watched.sizes) <= 1000


def test_cancel_is_heard_between_long_texts_and_within_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = threading.Event()
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    done: list[int] = []

    def progress() -> None:
        done.append(len(watched.sizes))
        if len(done) == 2:
            watched.before = cancel.set  # while the third text's first piece is encoded

    with pytest.raises(CancelledError, match="after tokenizing 2 of 9"):
        tokenizer.encode(
            ["a" * 100_000] * 9, prompt="", max_length=8, progress=progress, cancel=cancel
        )
    assert len(watched.sizes) == done[-1] + 1


def test_spaces_that_a_tokenizer_drops_do_not_hide_the_words_behind_them(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "t.json"))
    text = " \n" * 400_000 + "a" + "\t" * 800_000 + "b" + " " * 800_000
    encoded = TextTokenizer(tmp_path / "t.json").encode([text], prompt="", max_length=4)
    assert encoded.ids[0].tolist() == [1, 2]
    assert encoded.truncated == []


def test_runs_of_spaces_are_folded_and_short_ones_kept() -> None:
    assert fold_spaces("a" + " " * 64 + "b") == "a" + " " * 64 + "b"
    assert fold_spaces("a" + " " * 6400 + "b\n") == "a" + " " * 64 + "b\n"


def test_counting_goes_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "light travels fast " * 300
    (whole,) = TextTokenizer(path).count([text], prompt="")
    monkeypatch.setattr(tokens, "PIECE", 1000)
    tokenizer = TextTokenizer(path)
    watched = Watched(tokenizer)
    monkeypatch.setattr(tokenizer, "_tokenizer", watched)
    assert tokenizer.count(["", text], prompt="").tolist() == [0, whole]
    assert max(watched.sizes) <= 1000
    assert "".join(pieces_of("x" * 25, 10)) == "x" * 25


def test_a_prompt_of_megabytes_is_refused(tmp_path: Path) -> None:
    byte_tokenizer().save(str(tmp_path / "t.json"))
    with pytest.raises(OptionError, match="the prompt has 1,000,000 characters"):
        TextTokenizer(tmp_path / "t.json").encode(["x"], prompt=" " * 10**6, max_length=64)
