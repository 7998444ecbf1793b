"""`make fidelity` sees what it is there to see: wrong vectors, and texts that see each other."""

import json
import sys
from unittest import mock

import numpy as np
import pytest

from embedge import sessions


def test_the_corpus_is_large_varied_and_always_the_same():
    from bench.fidelity.corpus import corpus

    pairs = corpus()
    assert pairs == corpus()
    texts = [text for _, text in pairs]
    assert len(set(texts)) == len(texts) >= 200
    assert {"word", "languages", "code", "numbers", "symbols", "repetition", "long"} <= {
        kind for kind, _ in pairs
    }
    assert max(len(text) for text in texts) > 8000


def test_measures_of_vectors_that_can_be_checked_by_hand():
    from bench.fidelity.measures import BARS, compare, cosines, missed

    want = np.array([[1, 0], [0, 1], [1, 1], [2, 1]], np.float32)
    got = np.array([[2, 0], [1, 0], [3, 3], [2, 1]], np.float32)
    np.testing.assert_allclose(cosines(got, want), [1, 0, 1, 1], atol=1e-12)
    same = compare(want * 7, want)
    assert same["cosine_min"] == pytest.approx(1)
    assert same["spearman"] == pytest.approx(1)
    assert same["neighbors_kept"] == 1
    assert compare(got, want)["cosine_mean"] == pytest.approx(0.75)
    assert compare(got, want)["spearman"] < 0.9
    good = same | {
        "batch_difference": 0.0,
        "padding_difference": 0.0,
        "cosine_min_but_ties": 0.9986,
    }
    assert missed(good, BARS["int8"]) == []
    for name in good:
        if name not in ("cosine_p1", "neighbors_kept"):
            assert len(missed(good | {name: float("nan")}, BARS["int8"])) == 1


class Sociable:
    """A network whose vectors depend on how many texts run together, and on padding."""

    def __init__(self, session):
        self._session = session

    def run(self, ids, mask, **options):
        vectors = self._session.run(ids, mask, **options)
        vectors[:, 0] += 0.1 * (len(ids) > 1) + 0.1 * (mask == 0).any()
        return vectors


def test_a_network_whose_texts_see_each_other_is_found_out(tiny_pack, tmp_path, capsys):
    from bench.fidelity import run as fidelity

    texts = [("word", "one"), ("word", "two, and three"), ("data", "{}"), ("english", "a b " * 9)]
    command = ["fidelity", str(tiny_pack), "--tasks", "clustering", "--out", str(tmp_path)]
    real = sessions.open_session
    with mock.patch.object(fidelity, "corpus", return_value=texts):
        with mock.patch.object(sys, "argv", [*command, "--threads", "1"]):
            fidelity.main()
        (good,) = json.loads((tmp_path / "fidelity.json").read_text())["results"].values()
        assert good["texts"] == 4
        assert good["batch_difference"] == good["padding_difference"] == 0
        assert good["cosine_min"] > 0.99
        assert good["plain int8"]["alone"]["cosine_min"] < good["cosine_min"]
        assert "| v5-tiny, clustering, int8 |" in capsys.readouterr().out

        with (
            mock.patch("embedge.sessions.open_session", lambda *a, **k: Sociable(real(*a, **k))),
            mock.patch.object(sys, "argv", command),
        ):
            assert fidelity.main() == 1
    assert "MISSED  v5-tiny, clustering, int8: batch difference" in capsys.readouterr().out
