"""What the contenders are given."""

import numpy as np
import pytest

from bench.race.lengths import paragraphs, sentences, spread
from bench.race.work import STREAMS, parse, texts_of


def test_a_shape_is_texts_by_tokens():
    work = parse("16x64")
    assert (work.lengths, work.tokens, work.stream) == ((64,) * 16, 1024, False)


@pytest.mark.parametrize("name", ["", "16", "x4", "4x", "0x4", "4x0", "4x-1", "4x8x2", "pages"])
def test_what_is_no_work_is_refused(name):
    with pytest.raises(ValueError, match="is no work: write texts x tokens"):
        parse(name)


def test_streams_have_the_lengths_of_real_text_in_no_order():
    sentence, paragraph = parse("sentences"), parse("paragraphs")
    assert (len(sentence.lengths), len(paragraph.lengths)) == (256, 64)
    assert sentence.stream
    assert paragraph.stream
    # Medians of the Python language reference: 21 tokens a sentence, 56 a paragraph.
    assert np.median(sentence.lengths) == pytest.approx(21, abs=1)
    assert np.median(paragraph.lengths) == pytest.approx(56, abs=1)
    for work in (sentence, paragraph):
        assert list(work.lengths) != sorted(work.lengths)
        assert list(work.lengths) != sorted(work.lengths, reverse=True)


@pytest.mark.parametrize("name", ["4x128", *STREAMS])
def test_everyone_gets_the_same_tokens_and_none_special(name):
    work = parse(name)
    first, again = texts_of(work, 1000), texts_of(work, 1000)
    assert [len(text) for text in first] == list(work.lengths)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    everything = np.concatenate(first)
    assert everything.min() >= 0
    assert everything.max() < 980  # the last fiftieth of a vocabulary is special


def test_lengths_are_of_prose_once_each():
    text = """Grammar ::= "a" | "b" ( c )*.

    A sentence that goes
    on. And another one here.

    not a beginning.

    A sentence that goes on. And another one here."""
    (found,) = paragraphs([text, text])
    assert found == "A sentence that goes on. And another one here."
    assert sentences(found) == ["A sentence that goes on.", "And another one here."]


def test_a_spread_has_the_shape_of_the_whole():
    assert spread([5, 1, 2, 4, 3], 5) == [1, 2, 3, 4, 5]
    assert spread(range(1000), 4) == [125, 375, 625, 875]
    assert spread([7], 3) == [7, 7, 7]
