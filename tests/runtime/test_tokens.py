import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from embedge.errors import CancelledError, OptionError, PackFileError, TextError, TextTooLongError
from embedge.texts import tokens
from embedge.texts.checks import check_texts
from embedge.texts.tokens import CHUNK, TextTokenizer
from support.tiny import EOS, byte_tokenizer

CORPUS = [
    "How fast does light travel in a vacuum? It's 299,792,458 metres every second.",
    "Wie schnell ist das Licht? Straße, Übermaß, naïve façade — “quoted”…",
    "光在真空中的速度是多少\uff1f 光速は毎秒約三十万キロメートルである。",
    "def main():\n    return  {'a': 1,\t'b':\n\n 2}\n\n\n",
    "🙂👩‍👩‍👧 e\u0301 ﬁ ½ ١٢٣",
]
# Words that tempt a cut: contractions, runs of spaces and digits, added tokens, marks, emoji.
PIECES = [
    *("light", "travel", " ", "  ", "\n", " \n \n", "it's", "'s", "0123456789", "12", "—", "!!"),
    *(
        "<|end|>",
        "<|end",
        "|>",
        "   <mask>",
        "光速",
        "が",
        "e\u0301",
        "\u0301\u0323",
        "👩‍👩‍👧",
        "½",
        "\0",
    ),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small byte-level BPE tokenizers as real models have: with and without an appended token."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    words = (
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    folder = tmp_path_factory.mktemp("tokenizers")
    paths = {}
    for name in ("plain", "closing", "both"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=800,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|end|>", "<|start|>"],
            show_progress=False,
        )
        # Runs are learnt too, so that where they are grouped decides which tokens they become.
        tokenizer.train_from_iterator([*CORPUS, *(piece * 12 for piece in PIECES)] * 3, trainer)
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
        special = [("<|end|>", 0), ("<|start|>", 1)]
        if name == "closing":
            tokenizer.post_processor = processors.TemplateProcessing(
                single="$A <|end|>", special_tokens=special
            )
        if name == "both":
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<|start|> $A <|end|>", special_tokens=special
            )
            # Settings in the file must not matter: cutting and padding are ours.
            tokenizer.enable_truncation(3)
            tokenizer.enable_padding(length=50)
        paths[name] = folder / f"{name}.json"
        tokenizer.save(str(paths[name]))
    return paths


def reference(path: Path, texts: list[str], max_length: int) -> list[list[int]]:
    """What the library's own truncation gives, which keeps special tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def as_lists(ids: list[Any]) -> list[list[int]]:
    return [row.tolist() for row in ids]


@pytest.mark.parametrize("name", ["plain", "closing", "both"])
@pytest.mark.parametrize("max_length", [3, 4, 7, 20, 1000])
def test_cuts_as_the_library_does_and_keeps_special_tokens(
    trained: dict[str, Path], name: str, max_length: int
) -> None:
    encoded = TextTokenizer(trained[name]).encode(CORPUS, prompt="", max_length=max_length)
    assert as_lists(encoded.ids) == reference(trained[name], CORPUS, max_length)
    full = reference(trained[name], CORPUS, 10_000)
    assert encoded.truncated == [i for i, row in enumerate(full) if len(row) > max_length]


def test_a_closing_token_survives_the_cut_and_none_is_invented(tmp_path: Path) -> None:
    byte_tokenizer(eos=True).save(str(tmp_path / "eos.json"))
    byte_tokenizer().save(str(tmp_path / "none.json"))
    closing = TextTokenizer(tmp_path / "eos.json").encode(["abcdef"], prompt="", max_length=4)
    none = TextTokenizer(tmp_path / "none.json").encode(["abcdef"], prompt="", max_length=4)
    assert as_lists(closing.ids) == [[97, 98, 99, EOS]]
    assert as_lists(none.ids) == [[97, 98, 99, 100]]


# Runs of one piece are what a cut may go wrong in: spaces, digits and marks are grouped.
runs = st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 80)), min_size=1, max_size=4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=runs, tail=st.text(max_size=40), room=st.integers(1, 12))
@example(runs=[("0123456789", 60)], tail="", room=2)
@example(runs=[("light", 1), (" ", 45), ("\n", 80)], tail="x", room=2)
@example(runs=[("light", 1), (" \n \n", 60)], tail="x", room=2)
@example(runs=[("e", 1), ("\u0301\u0323", 80)], tail="", room=5)
@example(runs=[("light", 1), (" ", 60), ("   <mask>", 1)], tail="", room=2)
def test_a_long_text_cut_before_tokenizing_gives_the_tokens_of_the_whole(
    trained: dict[str, Path],
    runs: list[tuple[str, int]],
    tail: str,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (text,), _ = check_texts("".join(piece * times for piece, times in runs) + tail)
    # A piece as short as can be: the cut then falls right behind the tokens that are kept.
    monkeypatch.setattr(tokens, "CHARACTERS_PER_TOKEN", 1)
    monkeypatch.setattr(tokens, "LEAST_MARGIN", 0)
    for name in ("plain", "closing"):
        tokenizer = TextTokenizer(trained[name])
        max_length = room + len(tokenizer.suffix)
        assume(len(reference(trained[name], [text], 10**6)[0]) > 0)
        encoded = tokenizer.encode([text], prompt="", max_length=max_length)
        assert as_lists(encoded.ids) == reference(trained[name], [text], max_length)


@pytest.mark.skipif("EMBEDGE_TOKENIZER" not in os.environ, reason="EMBEDGE_TOKENIZER is not set")
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_the_same_on_the_real_tokenizer(real_tokenizer: Path, data: st.DataObject) -> None:
    tokenizer, whole = _real(real_tokenizer)
    pieces = [*PIECES, *CORPUS, "<|endoftext|>"]
    drawn = data.draw(
        st.lists(st.tuples(st.sampled_from(pieces), st.integers(1, 80)), min_size=1, max_size=8)
    )
    text = "".join(piece * times for piece, times in drawn)
    text += check_texts(data.draw(st.text(max_size=200)))[0][0]
    room = data.draw(st.integers(1, 12))
    expected = whole.encode(text).ids[:room]
    assert as_lists(tokenizer.encode([text], prompt="", max_length=room).ids) == [expected]


def _real(path: Path, kept: dict[Path, Any] = {}) -> tuple[TextTokenizer, Any]:  # noqa: B006
    if path not in kept:
        from tokenizers import Tokenizer

        kept[path] = TextTokenizer(path), Tokenizer.from_file(str(path))
    pair: tuple[TextTokenizer, Any] = kept[path]
    return pair


def test_a_megabyte_is_not_tokenized_to_keep_a_few_tokens(
    trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TextTokenizer(trained["closing"])
    seen: list[int] = []

    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def encode(self, text: str, **options: Any) -> Any:
            seen.append(len(text))
            return self.inner.encode(text, **options)

        def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
            seen.extend(len(text) for text in texts)
            return self.inner.encode_batch_fast(texts, **options)

    monkeypatch.setattr(tokenizer, "_tokenizer", Counting(tokenizer._tokenizer))
    encoded = tokenizer.encode(["light travels fast. " * 50_000], prompt="", max_length=512)
    assert len(encoded.ids[0]) == 512
    assert encoded.truncated == [0]
    assert sum(seen) < 10_000


def test_a_word_that_is_unknown_only_as_a_whole(tmp_path: Path) -> None:
    """WordPiece gives one [UNK] for a word above 100 letters, and pieces for its beginning."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2, "b": 3}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "t.json"))
    encoded = TextTokenizer(tmp_path / "t.json").encode(
        ["a" * 300 + " b" * 100], prompt="", max_length=3
    )
    assert as_lists(encoded.ids) == [[0, 3, 3]]


def test_digits_that_are_grouped_from_their_end(tmp_path: Path) -> None:
    """50 digits begin with a group of two, the first 34 of them with a group of one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    groups = Regex(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))")
    tokenizer = Tokenizer(models.WordLevel({"1": 1, "11": 2, "111": 3, "a": 4}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(groups, "isolated")
    tokenizer.save(str(tmp_path / "t.json"))
    encoded = TextTokenizer(tmp_path / "t.json").encode(["1" * 50 + "a"], prompt="", max_length=2)
    assert as_lists(encoded.ids) == [[2, 3]]


def test_one_endless_word_is_tokenized_whole_and_right(trained: dict[str, Path]) -> None:
    text = "0" * 5000
    encoded = TextTokenizer(trained["plain"]).encode([text], prompt="", max_length=4)
    assert as_lists(encoded.ids) == reference(trained["plain"], [text], 4)


def test_the_prompt_counts_and_stands_before_the_text(tmp_path: Path) -> None:
    byte_tokenizer(eos=True).save(str(tmp_path / "t.json"))
    tokenizer = TextTokenizer(tmp_path / "t.json")
    encoded = tokenizer.encode(["xyz", ""], prompt="Q: ", max_length=5)
    assert as_lists(encoded.ids) == [[*b"Q: x", EOS], [*b"Q: ", EOS]]
    assert tokenizer.count(["xyz", ""], prompt="Q: ").tolist() == [7, 4]
    assert tokenizer.count([], prompt="").dtype == np.int64


@pytest.mark.parametrize(("eos", "least"), [(True, 5), (False, 4)])
def test_a_limit_without_room_for_a_text_names_the_least(
    tmp_path: Path, eos: bool, least: int
) -> None:
    byte_tokenizer(eos=eos).save(str(tmp_path / "t.json"))
    tokenizer = TextTokenizer(tmp_path / "t.json")
    with pytest.raises(OptionError, match=f"use {least} or more"):
        tokenizer.encode(["x"], prompt="Q: ", max_length=least - 1)
    assert len(tokenizer.encode(["x"], prompt="Q: ", max_length=least).ids[0]) == least


def test_overflow_as_an_error_names_the_items_and_the_limit(tmp_path: Path) -> None:
    byte_tokenizer().save(str(tmp_path / "t.json"))
    tokenizer = TextTokenizer(tmp_path / "t.json")
    with pytest.raises(TextTooLongError, match=r"items 1, 3 are longer than 3 tokens"):
        tokenizer.encode(
            ["abc", "abcd", "a", "abcde"], prompt="", max_length=3, on_overflow="error"
        )


def test_a_text_without_any_token_is_refused_and_one_with_a_closing_token_is_not(
    tmp_path: Path,
) -> None:
    byte_tokenizer().save(str(tmp_path / "none.json"))
    byte_tokenizer(eos=True).save(str(tmp_path / "eos.json"))
    none, closing = TextTokenizer(tmp_path / "none.json"), TextTokenizer(tmp_path / "eos.json")
    with pytest.raises(TextError, match="has no token") as caught:
        none.encode(["a", "", "b", ""], prompt="", max_length=9)
    assert [index for index, _ in caught.value.items] == [1, 3]
    assert as_lists(none.encode([""], prompt="D: ", max_length=9).ids) == [[*b"D: "]]
    assert as_lists(closing.encode([""], prompt="", max_length=9).ids) == [[EOS]]


def test_all_bad_items_are_listed_at_once() -> None:
    with pytest.raises(TextError, match="item 1: is None, not str") as caught:
        check_texts(["fine", None, b"bytes", 3, ["nested"], "fine"])
    assert [index for index, _ in caught.value.items] == [1, 2, 3, 4]


@pytest.mark.parametrize("texts", [None, 5, b"bytes", {"a": 1}, {"a"}, np.array([["a"]]), object()])
def test_what_is_no_ordered_list_of_texts_is_refused(texts: object) -> None:
    with pytest.raises(TextError):
        check_texts(texts)


def test_any_ordered_iterable_of_str_is_taken() -> None:
    expected = (["a", "b"], False)
    assert check_texts(("a", "b")) == expected
    assert check_texts(item for item in "ab") == expected
    assert check_texts(np.array(["a", "b"])) == expected
    assert check_texts("ab") == (["ab"], True)
    assert check_texts(np.str_("ab")) == (["ab"], True)
    assert all(type(text) is str for text in check_texts(np.array(["a", "b"]))[0])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udcff", "\ufffd"),
        ("\ud83d\ude00", "😀"),  # a pair, as broken JSON gives it, is the character it means
        ("nul\0 and 😀", "nul\0 and 😀"),
    ],
)
def test_lone_surrogates_become_the_replacement_character(text: str, clean: str) -> None:
    assert check_texts([text])[0] == [clean]


@given(st.text(st.characters(), max_size=50))
def test_whatever_str_comes_out_clean_and_clean_text_unchanged(text: str) -> None:
    (clean,), _ = check_texts([text])
    clean.encode("utf-8")
    if not any(0xD800 <= ord(character) < 0xE000 for character in text):
        assert clean == text


def test_threads_may_share_a_tokenizer_with_different_limits(trained: dict[str, Path]) -> None:
    tokenizer = TextTokenizer(trained["closing"])
    limits = (3, 5, 9, 100)
    expected = {limit: reference(trained["closing"], CORPUS, limit) for limit in limits}
    wrong: list[int] = []

    def work(limit: int) -> None:
        for _ in range(50):
            ids = tokenizer.encode(CORPUS, prompt="", max_length=limit).ids
            if as_lists(ids) != expected[limit]:
                wrong.append(limit)

    threads = [threading.Thread(target=work, args=(limit,)) for limit in limits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_cancel_is_noticed_between_chunks(trained: dict[str, Path]) -> None:
    class SetAfterOne(threading.Event):
        looks = itertools.count()

        def is_set(self) -> bool:
            return next(self.looks) >= 1

    with pytest.raises(CancelledError, match=f"after tokenizing {CHUNK} of"):
        TextTokenizer(trained["plain"]).encode(
            ["a"] * (3 * CHUNK), prompt="", max_length=9, cancel=SetAfterOne()
        )


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(PackFileError, match=r"tokenizer\.json"):
        TextTokenizer(path)


# Published token ids of jina-embeddings-v5-text-small.
GOLDEN = {
    "How fast does light travel in a vacuum?": (
        "Query: ",
        [2859, 25, 2585, 4937, 1558, 3100, 5821, 304, 264, 28202, 30],
    ),
    "In a vacuum, light travels 299,792,458 metres every second - "
    "a universal constant of nature.": (
        "Document: ",
        [
            *(7524, 25, 758, 264, 28202, 11, 3100, 34192, 220, 17, 24, 24, 11, 22, 24, 17, 11, 19),
            *(20, 23, 36256, 1449, 2086, 481, 264, 20178, 6783, 315, 6993, 13),
        ],
    ),
}


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_ids_of_v5_text_small(real_tokenizer: Path, text: str) -> None:
    prompt, ids = GOLDEN[text]
    encoded = TextTokenizer(real_tokenizer).encode([text], prompt=prompt, max_length=32768)
    assert as_lists(encoded.ids) == [ids]


def test_the_real_tokenizer_takes_odd_texts(real_tokenizer: Path) -> None:
    tokenizer = TextTokenizer(real_tokenizer)
    items, _ = check_texts(["", "\x00", "🙂🚀", "\ud800 alone", "a" * 2**20])
    encoded = tokenizer.encode(items, prompt="Document: ", max_length=512)
    assert [len(ids) for ids in encoded.ids[:4]] == tokenizer.count(
        items[:4], prompt="Document: "
    ).tolist()
    assert len(encoded.ids[4]) == 512
    assert encoded.truncated == [4]
