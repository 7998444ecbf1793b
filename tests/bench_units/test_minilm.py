"""The benchmark of a real encoder: its texts, its figures, its verdicts."""

import numpy as np
import pytest

from bench.minilm.quality import BARS, judge, read_pairs
from bench.minilm.run import NAMES, speed_table
from bench.minilm.worker import KINDS, beside, on_words, words_of
from bench.race.compete import Result
from bench.race.work import parse, texts_of


def test_every_contender_has_a_worker():
    assert set(NAMES.values()) == set(KINDS)
    assert beside("models/bge-small-en-v1.5", "pack").name == "bge-small-en-v1.5.pack"


def test_a_text_has_a_word_for_each_token(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nthe\n##ing\nrun\nof\ncafé\nx9y\nstone\n")
    seen = []

    def encode(texts, most):
        seen.extend(texts)
        return np.zeros((len(texts), 2), np.float32)

    assert words_of(["the", "##ing", "of", "café", "run"]) == ["the", "run"]
    work = parse("3x5")
    on_words(str(tmp_path), encode)(texts_of(work, 9), 2)
    assert [len(text.split()) for text in seen] == [5, 5, 5]
    assert {word for text in seen for word in text.split()} <= {"the", "run", "stone"}


def test_pairs_are_read_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "sts.csv"
    path.write_text('sentence1,sentence2,score\n"a, b",c,4.5\nd,e,0\n')
    assert read_pairs(path) == [("a, b", "c", 4.5), ("d", "e", 0.0)]
    path.write_text("a,b,1\nc,d\n")
    with pytest.raises(ValueError, match="line 2: not sentence, sentence, score"):
        read_pairs(path)


def test_quality_of_vectors_that_a_reader_can_compare():
    texts = ["a", "b", "c"]
    pairs = [("a", "b", 5.0), ("b", "c", 3.0), ("a", "c", 1.0)]
    theirs = np.array([[1, 0], [1, 1], [0, 1.5]], np.float32)
    same = judge(2 * theirs, theirs, texts, pairs)
    assert same.least == pytest.approx(1)
    assert same.score == same.theirs
    assert same.missed(BARS["fp32"]) == []
    turned = theirs.copy()
    turned[2] = [1.5, -0.1]
    other = judge(turned, theirs, texts, pairs)
    assert other.farthest == "c"
    assert other.least == pytest.approx(-0.1 / np.hypot(1.5, 0.1), abs=1e-6)
    assert other.missed(BARS["int8"])[0].startswith("least cosine -0.066")


def test_the_verdict_is_on_the_best_peer():
    results = {
        "embedge int8": Result(times={"1x16": [0.9, 1.0, 1.1]}),
        "fastembed": Result(times={"1x16": [2.0, 1.6, 2.5]}),
        "Sentence Transformers torch": Result(times={"1x16": [1.4, 1.4, 1.9]}),
        "Sentence Transformers ONNX": Result(failure="it died"),
    }
    table = speed_table(results, ["1x16"])
    assert "| fastembed | 1 (0) |" in table.replace("nan", "")  # 0.6 and 0.5 texts a second
    assert "| Sentence Transformers ONNX | it died |" in table
    assert (
        "1x16: embedge int8 is 1.40 x Sentence Transformers torch, the best peer; bar 1.5: missed"
        in table
    )
