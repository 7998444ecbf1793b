"""A gate that cannot fail proves nothing: each kind of wrongness must be seen."""

import numpy as np
import pytest

from embedge.vectors import normalize
from embedge_export.gate.compare import compare
from embedge_export.gate.report import report as entry_of
from embedge_export.precision import PRECISIONS

TEXTS = [np.arange(1, n + 1, dtype=np.int32) for n in (1, 2, 3, 5, 8, 13)]
TABLE = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
REFERENCE = np.stack([TABLE[ids].sum(axis=0) for ids in TEXTS])
FP32, INT8 = PRECISIONS["fp32"], PRECISIONS["int8"]


def honest(ids, mask):
    return np.stack(
        [TABLE[row[keep == 1]].sum(axis=0) for row, keep in zip(ids, mask, strict=True)]
    )


def test_a_faithful_graph_passes():
    report = compare(honest, TEXTS, REFERENCE)
    assert report.failures(FP32) == []
    assert report.rank_correlation == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda ids, mask: honest(ids, mask) + 0.05, "cosine"),
        (lambda ids, mask: honest(ids, np.ones_like(mask)), "in a batch"),  # pads are seen
        (lambda ids, mask: honest(ids, mask) * np.nan, "NaN"),
        (lambda ids, mask: honest(ids, mask) / (len(ids) == 1), "NaN"),  # only in batches
        (lambda ids, mask: honest(ids, mask)[:, ::-1], "cosine"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_wrong_graph_fails(wrong, said):
    failures = compare(wrong, TEXTS, REFERENCE).failures(FP32)
    assert any(said in failure for failure in failures), failures


def test_int8_may_not_depend_on_the_batch_at_all():
    def drifting(ids, mask):
        return honest(ids, mask) + 1e-5 * len(ids)

    assert any("batch" in f for f in compare(drifting, TEXTS, REFERENCE).failures(INT8))


def test_the_manifest_entry_names_the_task_that_failed():
    good = compare(honest, TEXTS, REFERENCE)
    bad = compare(lambda ids, mask: honest(ids, mask) + 1, TEXTS, REFERENCE)
    entry = entry_of(FP32, {"a": good, "b": bad}, len(TEXTS))
    assert entry.passed is False
    assert list(entry.failures) == ["b"]
    assert entry.tasks["a"].cosine_min == pytest.approx(1)


def test_length_does_not_matter_direction_does():
    def longer(ids, mask):
        return honest(ids, mask) * 7

    assert compare(longer, TEXTS, REFERENCE).failures(FP32) == []
    np.testing.assert_allclose(normalize(REFERENCE * 7), normalize(REFERENCE), rtol=1e-5)
