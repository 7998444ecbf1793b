"""How the peers' texts are batched and pooled, with networks that count."""

import numpy as np

from bench.race.peers import plain
from bench.race.work import parse, texts_of
from bench.race.worker import answer, batched, last, opener, pad


def test_a_peer_gets_sorted_batches_and_answers_in_order():
    seen = []

    def forward(ids, mask):
        seen.append((ids.shape, int(mask.sum())))
        return np.stack([ids.sum(axis=1), mask.sum(axis=1)], axis=1)

    work = parse("sentences")
    texts = texts_of(work, 1000)
    vectors = batched(forward)(texts, 32)
    np.testing.assert_array_equal(vectors[:, 0], [text.sum() for text in texts])
    np.testing.assert_array_equal(vectors[:, 1], work.lengths)
    assert len(seen) == 8
    assert [shape[0] for shape, _ in seen] == [32] * 8
    assert seen[0][0][1] == max(work.lengths)
    assert sum(tokens for _, tokens in seen) == work.tokens


def test_pooling_takes_the_last_token_and_not_the_padding():
    ids, mask = pad([np.array([5, 6, 7]), np.array([8])])
    np.testing.assert_array_equal(ids, [[5, 6, 7], [8, 0, 0]])
    hidden = np.arange(6.0).reshape(2, 3, 1)
    np.testing.assert_array_equal(last(hidden, mask), [[2.0], [3.0]])


def test_a_shape_runs_at_once_and_a_failure_is_an_answer():
    calls = []

    def run(texts, most):
        calls.append((len(texts), most))
        return np.ones((len(texts), 2), np.float32)

    told = answer(run, 100, {"work": "64x4", "seconds": 0})
    assert calls == [(64, 64)]
    assert told["vector"] == [1.0, 1.0]
    assert len(told["times"]) == 1

    def broken(texts, most):
        raise ValueError("no\n room")

    assert answer(broken, 100, {"work": "64x4", "seconds": 0}) == {"error": "no room"}


def test_a_budget_is_part_of_a_name():
    def opened(path, threads, *, budget=None):
        return path, threads, budget

    kinds = {"embedge-int8": opened}
    assert opener("embedge-int8", kinds)("pack", 2) == ("pack", 2, None)
    assert opener("embedge-int8-budget-4096", kinds)("pack", 2) == ("pack", 2, 4096)
    assert plain("embedge int8 budget 4096") == "embedge int8"
    for name in ("embedge int8", "torch bf16 budget 4096", "embedge int8 budget 0"):
        assert plain(name) == name
