import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedge.errors import OptionError
from embedge.vectors import (
    RangesWarning,
    check_embedding_type,
    check_ranges,
    normalize,
    quantize,
    similarity,
)

RANGES = np.array([[-255.0, 0.0, 0.0], [255.0, 255.0, 0.0]], np.float32)
floats = st.floats(-100, 100, width=32)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(16)), elements=floats)


def test_normalize_by_hand() -> None:
    vectors = np.array([[3, 4], [0, 0], [-2, 0]], np.float32)
    np.testing.assert_allclose(normalize(vectors), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
    assert normalize(vectors).dtype == np.float32


@given(matrices)
def test_every_vector_gets_length_one_or_stays_tiny(vectors: Any) -> None:
    lengths = np.linalg.norm(normalize(vectors), axis=1)
    big = np.linalg.norm(vectors, axis=1) > 1e-6
    np.testing.assert_allclose(lengths[big], 1, atol=1e-5)
    assert (lengths <= 1 + 1e-5).all()


def test_similarity_by_hand() -> None:
    a = np.array([[1, 0], [0, 5], [0, 0]], np.float32)
    np.testing.assert_allclose(
        similarity(a, [[2.0, 2.0]]), [[0.5**0.5], [0.5**0.5], [0]], rtol=1e-6
    )
    assert similarity(a, a).shape == (3, 3)
    assert similarity(a[0], a[1]).tolist() == [[0]]
    assert similarity(np.zeros((0, 2), np.float32), a).shape == (0, 3)


def test_similarity_refuses_what_has_no_cosine() -> None:
    with pytest.raises(OptionError, match="2 dimensions, b has 3"):
        similarity([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(OptionError, match="int8"):
        similarity(np.zeros((1, 2), np.int8), [1.0, 2.0])


@given(matrices, matrices)
def test_similarity_of_bits_counts_those_that_differ(a: Any, b: Any) -> None:
    left, right = quantize(a, "ubinary"), quantize(b, "ubinary")
    differ = np.unpackbits(left[:, None] ^ right[None], axis=2).sum(axis=2)  # (n, m)
    scores = similarity(left, right, embedding_type="ubinary")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 - differ / 8, atol=1e-7)
    signs = [np.where(x > 0, 1.0, -1.0) for x in (a, b)]
    np.testing.assert_allclose(scores, similarity(*signs), atol=1e-6)
    signed = [quantize(x, "binary") for x in (a, b)]
    assert np.array_equal(similarity(*signed, embedding_type="binary"), scores)


def test_many_bits_are_compared_in_blocks() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (9000, 4), dtype=np.uint8)
    scores = similarity(codes[:2], codes, embedding_type="ubinary")
    differ = np.unpackbits(codes[:2, None] ^ codes[None], axis=2).sum(axis=2)
    np.testing.assert_allclose(scores, 1 - differ / 16, atol=1e-7)
    assert similarity(codes[:0], codes, embedding_type="ubinary").shape == (0, 9000)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_similarity_of_buckets(kind: Any) -> None:
    random = np.random.default_rng(1)
    vectors = normalize(random.normal(size=(200, 64)).astype(np.float32))
    floats = similarity(vectors, vectors)
    own = np.stack([vectors.min(axis=0), vectors.max(axis=0)]) * np.float32(1.1)
    small = quantize(vectors, kind, ranges=own)
    scores = similarity(small, small[0], embedding_type=kind, ranges=own)
    np.testing.assert_allclose(scores, floats[:, :1], atol=0.01)
    # One range for all dimensions, symmetric about 0: no ranges are needed to compare.
    most = np.abs(vectors).max()
    one = np.stack([np.full(64, -most), np.full(64, most)]).astype(np.float32)
    small = quantize(vectors, kind, ranges=one)
    np.testing.assert_allclose(similarity(small, small, embedding_type=kind), floats, atol=0.02)


def test_similarity_asks_what_small_numbers_hold() -> None:
    codes = np.zeros((2, 4), np.uint8)
    with pytest.raises(OptionError, match='"uint8" or embedding_type="ubinary"'):
        similarity(codes, codes)
    with pytest.raises(OptionError, match='"int8" or embedding_type="binary"'):
        similarity(codes.view(np.int8), codes)
    with pytest.raises(OptionError, match=r"b has dtype int8 .* takes ubinary"):
        similarity(codes, codes.view(np.int8), embedding_type="ubinary")
    with pytest.raises(OptionError, match="4 bytes, b has 3"):
        similarity(codes, codes[:, :3], embedding_type="ubinary")
    with pytest.raises(OptionError, match=r"ranges has shape \(2, 3\)"):
        similarity(codes, codes, embedding_type="uint8", ranges=np.zeros((2, 3)))
    with pytest.raises(OptionError, match="'hamming' is unknown"):
        similarity(codes, codes, embedding_type="hamming")


def test_binary_by_hand() -> None:
    bits = np.array([1, 0, 1, 0, 1, 0, 0, 1], np.float32) - 0.5  # 0b10101001 = 169
    assert quantize(bits, "ubinary").tolist() == [169]
    assert quantize(bits, "binary").tolist() == [169 - 128]
    assert quantize(np.zeros(8), "ubinary").tolist() == [0]  # 0 is not above 0
    assert quantize(np.ones((2, 9)), "ubinary").tolist() == [[255, 128], [255, 128]]


@given(matrices)
def test_binary_is_what_sentence_transformers_documents(vectors: Any) -> None:
    packed = np.packbits(vectors > 0).reshape(len(vectors), -1)
    assert (quantize(vectors, "ubinary") == packed).all()
    binary = quantize(vectors, "binary")
    assert binary.dtype == np.int8
    assert (binary == packed.astype(int) - 128).all()
    # How clients decode it.
    unpacked = np.unpackbits((binary.astype(int) + 128).astype(np.uint8), axis=1)
    assert (unpacked == (vectors > 0)).all()


def test_int8_by_hand_outside_values_saturate_and_a_dead_dimension_does_not_divide() -> None:
    vectors = np.array([[-255, 0, 0], [255, 10.9, 0], [900, 300, 1], [-900, -300, -1]], np.float32)
    assert quantize(vectors, "uint8", ranges=RANGES).tolist() == [
        [0, 0, 0],
        [255, 10, 0],
        [255, 255, 255],
        [0, 0, 0],
    ]
    # 10.9 - 128 = -117.1, cut to -117: one above uint8 - 128, as in Sentence Transformers.
    assert quantize(vectors, "int8", ranges=RANGES).tolist() == [
        [-128, -128, -128],
        [127, -117, -128],
        [127, 127, 127],
        [-128, -128, -128],
    ]


@given(matrices)
def test_int8_is_what_sentence_transformers_documents_within_the_ranges(vectors: Any) -> None:
    low, high = np.full(16, -100, np.float32), np.full(16, 100, np.float32)
    buckets = (vectors - low) / ((high - low) / 255)
    ranges = np.stack([low, high])
    assert (quantize(vectors, "uint8", ranges=ranges) == buckets.astype(np.uint8)).all()
    assert (quantize(vectors, "int8", ranges=ranges) == (buckets - 128).astype(np.int8)).all()


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_ranges_of_a_small_batch_come_with_a_warning(kind: Any) -> None:
    vectors = np.random.default_rng(0).normal(size=(99, 4)).astype(np.float32)
    with pytest.warns(RangesWarning, match="99 vectors"):
        small = quantize(vectors, kind)
    assert small.min() == np.iinfo(small.dtype).min
    assert small.max() == np.iinfo(small.dtype).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize(np.concatenate([vectors, vectors]), kind)
        quantize(vectors, kind, ranges=[[-9] * 4, [9] * 4])


def test_shapes_and_types() -> None:
    ranges = np.stack([np.full(16, -1.0), np.full(16, 1.0)])
    for kind, dtype, width in [
        ("float32", np.float32, 16),
        ("int8", np.int8, 16),
        ("uint8", np.uint8, 16),
        ("binary", np.int8, 2),
        ("ubinary", np.uint8, 2),
    ]:
        given_ranges = ranges if kind in ("int8", "uint8") else None
        for shape in ((16,), (1, 16), (0, 16), (3, 16)):
            result = quantize(np.zeros(shape), kind, ranges=given_ranges)
            assert result.shape == (*shape[:-1], width)
            assert result.dtype == dtype


@pytest.mark.parametrize(
    "ranges",
    [
        np.zeros((3, 4)),
        np.zeros((2, 3)),
        [[1] * 4, [0] * 4],
        [[np.nan] * 4, [1] * 4],
        "high",
        [[1], 2],
    ],
)
def test_ranges_that_make_no_sense_are_refused(ranges: Any) -> None:
    with pytest.raises(OptionError, match="ranges"):
        check_ranges(ranges, 4)


def test_unknown_types_and_needless_ranges_are_refused() -> None:
    with pytest.raises(OptionError, match="float32, int8, uint8, binary, ubinary"):
        check_embedding_type("float16", None)
    with pytest.raises(OptionError, match="ranges= serves int8 and uint8"):
        check_embedding_type("binary", RANGES)
