"""A pack's vectors against what they should be: each thing compared is a record with its bar."""

import dataclasses
import math

import numpy as np
import pytest

from embedge import Embedder
from embedge.errors import PackFileError
from embedge.pack.verification import Bars, Report
from embedge.selftest import (
    BATCHES,
    IMAGES,
    SAMPLES,
    compare,
    compare_batches,
    compare_images,
    compare_tasks,
    cosine_bar,
    load_samples,
    shift_bar,
)
from support.fakes import MANIFEST, WIDTH, FakeEmbedder, list_samples, samples_for
from support.tiny import IMAGE


@pytest.fixture
def fake():
    return FakeEmbedder()


@pytest.mark.parametrize(("wrong", "passed"), [(0.0, True), (0.5, False), (math.nan, False)])
def test_each_task_is_compared(fake, tmp_path, wrong, passed):
    samples_for(fake, tmp_path, wrong)
    first, second, batches = compare(fake)
    assert (first.name, first.passed, first.skipped) == ("retrieval", True, "")
    assert first.value == pytest.approx(1)
    assert first.bar == cosine_bar(fake.manifest, "int8")
    assert (second.name, second.passed) == ("text-matching", passed)
    assert (batches.name, batches.value, batches.passed) == (BATCHES, 0.0, True)


def test_a_pack_without_samples_says_so(fake):
    skipped, batches = compare(fake)
    assert (skipped.name, skipped.value, skipped.passed) == (SAMPLES, None, True)
    assert "no sample vectors" in skipped.skipped
    assert batches.value == 0


def test_vectors_that_depend_on_the_batch(fake):
    class Shifting(FakeEmbedder):
        def encode(self, texts, **options):
            rows = super().encode(texts, **options)
            return rows if isinstance(texts, str) else rows + np.float32(1e-4)

    comparison = compare_batches(Shifting(), ["a b", "c"])
    assert comparison.value == pytest.approx(1e-4, rel=1e-2)
    assert not comparison.passed


def test_a_real_pack_with_images_and_no_samples(make_pack):
    with Embedder(make_pack(image=IMAGE), precision="fp32") as embedder:
        names = [comparison.name for comparison in compare(embedder)]
        assert names == [SAMPLES, IMAGES, BATCHES]
        assert "no sample images" in compare_images(embedder).skipped


def test_samples_are_not_trusted(fake, tmp_path):
    samples_for(fake, tmp_path)
    assert load_samples(tmp_path, fake.manifest).shape == (2, 2, WIDTH)
    np.save(tmp_path / "samples.npy", np.zeros((1, 2, WIDTH), np.float32))
    with pytest.raises(PackFileError, match="the manifest"):
        list(compare_tasks(fake))
    list_samples(fake, tmp_path)
    with pytest.raises(PackFileError, match="export the pack again"):
        list(compare_tasks(fake))
    np.save(tmp_path / "samples.npy", np.array([{}], object), allow_pickle=True)
    list_samples(fake, tmp_path)
    with pytest.raises(PackFileError, match="holds object, not numbers"):
        list(compare_tasks(fake))


def test_bars_come_from_the_report():
    report = Report(bars=Bars(cosine_min=0.99, batch_difference=1e-3))
    manifest = dataclasses.replace(MANIFEST, verification={"int8": report})
    assert cosine_bar(manifest, "int8") == pytest.approx(0.98)
    assert shift_bar(manifest, "int8") == pytest.approx(2e-3)
    assert cosine_bar(MANIFEST, "fp32") == 0.9999
