"""Token ids: TextTokenizer against transformers' own tokenizer, on odd texts and long ones."""

import json

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seeded
from embedge.texts.checks import check_texts
from embedge.texts.tokens import TextTokenizer
from reference import oracle

ODD = (
    "",
    " ",
    "\n\n\t ",
    "plain",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈",
    "a\0b\0",
    "\0",
    "e\u0301 \u212b \ufb01 \u1100\u1161",  # NFC changes the first, second and last
    "q\u0307\u0323 q\u0323\u0307",  # NFC reorders
    "\ufeffbom \u200bzero\u200dwidth \u202eoverride",
    "\U0010ffff \ue000 \u0378",
    "<|endoftext|> <|im_end|> <|im_start|>x",
    "<|end_of_text|> <|pad|>x<|begin_of_text|>",
    "<|endoftext",
    "trailing   spaces    ",
    "1234567890" * 20,
    "汉字かな交じり文" * 30,
    "مرحبا בְּרֵאשִׁית नमस्ते ไทย",
    "a\r\nb\rc\u2028d\u0085e",
    "don't I'LL we'Re",
)


WRITERS = {
    "v5": seeded.write_v5_text_small,  # appends nothing
    "qwen3": seeded.write_decoder,  # Qwen3-Embedding: a closing token
    "nano": seeded.write_v5_text_nano,  # Llama 3's cut into words, a closing token
    "eurobert": seeded.write_eurobert,  # the same, and a token in front
}


@pytest.fixture(scope="module", params=list(WRITERS))
def folder(request, sources):
    return WRITERS[request.param](sources / f"tokens-{request.param}")


@pytest.fixture(scope="module")
def ours(folder):
    return TextTokenizer(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def theirs(folder):
    return oracle.open_tokenizer(folder)


def ids(ours, texts, *, prompt="Document: ", max_length=32768):
    return [row.tolist() for row in ours.encode(texts, prompt=prompt, max_length=max_length).ids]


@pytest.mark.parametrize("prompt", [*oracle.PROMPTS.values(), "Q"])
def test_odd_texts(ours, theirs, prompt):
    expected = theirs([prompt + text for text in ODD])["input_ids"]
    assert ids(ours, list(ODD), prompt=prompt) == expected


def test_truncation_of_odd_texts(ours, theirs):
    for limit in (4, 5, 16):
        expected = theirs(["Q" + text for text in ODD], truncation=True, max_length=limit)
        assert ids(ours, list(ODD), prompt="Q", max_length=limit) == expected["input_ids"]


def test_lone_surrogates_are_replaced(ours, theirs):
    """transformers refuses them; ours reads them as U+FFFD, and pairs as their character."""
    texts, _ = check_texts(["bad \ud800 half", "\udfff", "\ud83d\ude42"])
    assert texts == ["bad \ufffd half", "\ufffd", "🙂"]
    assert ids(ours, texts) == theirs(["Document: " + text for text in texts])["input_ids"]


@pytest.mark.parametrize("unit", ["word soup, ", "光速は", "x", " ", "1", "e\u0301", "\n", "🙂 "])
def test_a_megabyte_cut(ours, theirs, unit):
    text = unit * (1_000_000 // len(unit.encode()))
    expected = theirs("Document: " + text, truncation=True, max_length=512)["input_ids"]
    encoded = ours.encode([text], prompt="Document: ", max_length=512)
    assert encoded.ids[0].tolist() == expected
    assert encoded.truncated == [0]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4),
    limit=st.integers(4, 40),  # two special tokens, the prompt and one of the text
)
def test_any_text(ours, theirs, texts, limit):
    expected = theirs(["Q" + text for text in texts], truncation=True, max_length=limit)
    assert ids(ours, texts, prompt="Q", max_length=limit) == expected["input_ids"]


def test_the_class_that_the_source_names(folder, ours):
    """transformers builds it anew from the vocabulary rather than reading all of the file."""
    name = json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]
    eurobert = (folder / "special_tokens_map.json").exists() or "eurobert" in folder.name
    assert name == ("PreTrainedTokenizerFast" if eurobert else "Qwen2Tokenizer")
    tokenizer = getattr(transformers, name).from_pretrained(folder)
    assert ids(ours, list(ODD)) == tokenizer(["Document: " + text for text in ODD])["input_ids"]


def test_real_tokenizer(real_tokenizer):
    """With a real model's file (EMBEDGE_TOKENIZER): odd texts, and the published golden ids."""
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(real_tokenizer))
    ours = TextTokenizer(real_tokenizer)
    expected = theirs(["Document: " + text for text in ODD])["input_ids"]
    assert ids(ours, list(ODD)) == expected
    golden = [2859, 25, 2585, 4937, 1558, 3100, 5821, 304, 264, 28202, 30]
    got = ids(ours, ["How fast does light travel in a vacuum?"], prompt="Query: ")
    assert got == [golden]
