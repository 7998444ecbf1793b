"""What a million texts cost by their length: the texts, and the arithmetic."""

from types import SimpleNamespace

import pytest

from bench import bulk_lengths
from bench.bulk_lengths import cell, cpu_seconds, texts_of
from embedge import OptionError


def fake(cut=1.0, error=None):
    """An embedder that cuts such a share of its texts."""

    def encode(texts, **options):
        if error:
            raise error
        held.truncations += int(cut * len(texts))

    held = SimpleNamespace(truncations=3, tasks=("retrieval",), encode=encode)
    return held


def test_texts_differ_and_are_long_enough():
    texts = texts_of(32, 100)
    assert len(set(texts)) == 100
    assert {len(text) for text in texts} == {256}
    assert texts == texts_of(32, 100)


def test_a_text_that_is_too_short_for_its_length_is_an_error():
    assert cpu_seconds(fake(), ["a", "b"], 8) >= 0
    with pytest.raises(SystemExit, match="1 texts have fewer than 8 tokens"):
        cpu_seconds(fake(cut=0.5), ["a", "b"], 8)


def test_minutes_for_a_million(monkeypatch):
    seconds = iter([9.0, 6.0])
    monkeypatch.setattr(bulk_lengths, "cpu_seconds", lambda *_: next(seconds))
    assert cell(fake(), 16_384, 2) == f"{6.0 / 8 * 1_000_000 / 60:,.1f}"
    monkeypatch.undo()
    assert cell(fake(error=OptionError("longer than the model takes")), 512, 2) == ""
