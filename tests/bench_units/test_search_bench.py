"""The benchmark of a large search index: its fillers, its queries, its table."""

import numpy as np
import pytest

from bench import search


def test_a_filler_is_a_mixture_that_comes_again() -> None:
    embedder = object.__new__(search.Filling)
    embedder.real = np.eye(8, dtype=np.float32)
    rows = embedder.encode_document(["text #3", "text #8", "other #8", "text #9"])
    assert np.array_equal(rows[0], embedder.real[3])
    assert np.array_equal(rows[1], rows[2])
    assert not np.array_equal(rows[1], rows[3])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0)
    assert rows.dtype == np.float32


def test_real_passages_are_distinct_and_queries_stand_in_them() -> None:
    texts = [text for text, _ in zip(search.real_passages(), range(300), strict=False)]
    assert len(set(texts)) == 300
    assert all(80 < len(text) <= 1100 for text in texts)
    (query,) = search.queries(1)
    assert len(query.split()) == 9
    assert any(query in " ".join(text.split()) for text in texts)


def test_the_table() -> None:
    shown = search.table(
        {
            "passages": 1_000_000,
            "bytes": 2e9,
            "load": 0.5,
            "first": 0.3,
            "ways": {"hybrid": (0.1, 0.25)},
            "peak": 210.4,
            "peak_before": 104.2,
        }
    )
    assert "| 1,000,000 passages | 2.00 GB |" in shown
    assert "| hybrid: median, slowest | 100 ms, 250 ms |" in shown
    assert "210 MiB; 104 MiB" in shown
