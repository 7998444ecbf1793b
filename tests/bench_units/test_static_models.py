"""The arithmetic of the benchmark of static models."""

import numpy as np

from bench.static_models import mixed, spearman


def test_texts_are_of_all_lengths_and_the_same_each_time():
    texts = mixed(500)
    lengths = [len(text.split()) for text in texts]
    assert texts == mixed(500)
    assert min(lengths) < 4 < 100 < max(lengths)
    assert len(set(texts)) > 490


def test_rank_correlation_counts_ties_in_the_middle(tmp_path):
    angles = {"a": 0.0, "b": 0.1, "c": 0.5, "d": 0.5, "e": 1.2}

    def encode(texts):
        return np.array([[np.cos(angles[text]), np.sin(angles[text])] for text in texts])

    path = tmp_path / "scores.csv"
    path.write_text("a,b,5.0\na,c,3.0\na,d,3.0\na,e,1.0\n")
    assert abs(spearman(encode, path) - 1) < 1e-9
    path.write_text("a,b,1.0\na,c,3.0\na,d,3.0\na,e,5.0\n")
    assert abs(spearman(encode, path) + 1) < 1e-9
