"""exact.py: the right numbers, whatever the order of sums."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from embedge_export.numbers import exact

GENERATOR = np.random.default_rng(7)


def relative(got, want):
    """The largest error of a row, as a share of the row's length."""
    return (np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)).max()


@pytest.mark.parametrize("width", [1, 3, 255, 256, 257, 1000])
def test_a_product_is_as_good_as_one_in_float32(width):
    a, b = (GENERATOR.standard_normal((rows, width)).astype(np.float32) for rows in (20, 30))
    want = a.astype(np.float64) @ b.T.astype(np.float64)
    # Rows of a few products may be near zero: their length is no measure of the terms.
    bound = 1e-6 if width > 3 else 1e-5
    assert relative(exact.product(a, b), want) < bound
    assert np.abs(exact.fine_product(a, b) - want).max() <= np.spacing(
        np.float32(np.abs(want).max())
    )


def test_rows_that_tower_keep_what_stands_beside():
    a = GENERATOR.standard_normal((9, 512)).astype(np.float32)
    a[3, 5] = 1e5
    b = GENERATOR.standard_normal((7, 512)).astype(np.float32)
    b[:, 5] = 0  # nobody reads the large entry
    want = a.astype(np.float64) @ b.T.astype(np.float64)
    assert relative(exact.product(a, b), want) < 1e-5


def test_a_product_has_the_same_bits_in_any_order_of_its_terms():
    a, b = (GENERATOR.standard_normal((rows, 256)).astype(np.float32) for rows in (8, 8))
    first = exact.product(a, b)
    for _ in range(20):
        order = GENERATOR.permutation(256)
        np.testing.assert_array_equal(exact.product(a[:, order], b[:, order]), first)
        # A BLAS does not give this, or the module would not be needed.
    many = [a[:, order] @ b[:, order].T for order in map(GENERATOR.permutation, [256] * 20)]
    assert any((x != y).any() for x, y in itertools.pairwise(many))


def test_products_of_stacks_are_those_of_their_parts():
    a, b = (GENERATOR.standard_normal((3, rows, 40)).astype(np.float32) for rows in (5, 6))
    stacked = exact.product(a, b)
    for index in range(3):
        np.testing.assert_allclose(stacked[index], exact.product(a[index], b[index]), rtol=1e-5)
    one = exact.product(a, b[0])
    assert one.shape == (3, 5, 6)
    np.testing.assert_array_equal(one[2], exact.product(a[2], b[0]))


def test_exponentials_are_right_to_the_last_bit():
    x = np.concatenate([np.linspace(-103, 88, 50_001), np.linspace(-1, 1, 50_001)])
    x = x.astype(np.float32)
    np.testing.assert_array_equal(exact.exp(x), np.exp(x.astype(np.float64)).astype(np.float32))
    odd = exact.exp(np.array([[-np.inf, -200, 0], [200, np.inf, np.nan]], np.float32))
    np.testing.assert_array_equal(odd, [[0, 0, 1], [np.inf, np.inf, np.nan]])


def test_angles_and_powers_are_right_to_the_last_bit():
    angles = np.linspace(-140_000, 140_000, 100_001).astype(np.float32).reshape(-1, 1)
    cosine, sine = exact.cosine_sine(angles)
    double = angles.astype(np.float64)
    np.testing.assert_array_equal(cosine, np.cos(double).astype(np.float32))
    np.testing.assert_array_equal(sine, np.sin(double).astype(np.float32))
    exponents = np.arange(0, 128, 2, dtype=np.float32) / np.float32(128)
    want = [np.float32(math.pow(3_500_000, float(x))) for x in exponents]
    np.testing.assert_array_equal(exact.power(3_500_000, exponents), want)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
def test_cholesky_is_a_factor(size):
    rows = GENERATOR.standard_normal((size + 5, size))
    rows[:, 0] *= 1000  # a channel that towers
    matrix = rows.T @ rows + 0.01 * np.eye(size)
    factor = np.triu(exact.cholesky(matrix.copy()))
    scale = np.sqrt(np.diag(matrix))
    np.testing.assert_allclose(factor.T @ factor / np.outer(scale, scale), matrix / np.outer(
        scale, scale), atol=1e-5)  # fmt: skip


def test_cholesky_refuses_what_has_no_factor():
    with pytest.raises(ValueError, match="not positive definite"):
        exact.cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (7, 300), (600, 40), (1030, 513)])
def test_a_gram_matrix_is_the_upper_half_of_the_product(rows, width):
    x = GENERATOR.standard_normal((rows, width)).astype(np.float32)
    x[::5, ::31] *= 1000  # rows that tower
    np.testing.assert_array_equal(np.triu(exact.gram(x)), np.triu(exact.product(x, x)))


def test_the_factor_does_not_hang_on_how_many_columns_are_updated_at_a_time(monkeypatch):
    rows = GENERATOR.standard_normal((210, 200))
    matrix = rows.T @ rows
    factor = np.triu(exact.cholesky(matrix.copy()))
    for columns in (16, 48, 4096):
        monkeypatch.setattr(exact, "_PANELS", columns)
        np.testing.assert_array_equal(np.triu(exact.cholesky(matrix.copy())), factor)
    matrix[np.triu_indices(200, k=1)] = np.nan  # not read
    np.testing.assert_array_equal(np.triu(exact.cholesky(matrix)), factor)


def test_a_tall_product_takes_the_memory_of_its_result(monkeypatch):
    """That of a table's adapter has 250,000 rows; sums of a few rows at a time stay in a cache."""
    a, b = (GENERATOR.standard_normal((rows, 3)).astype(np.float32) for rows in (20_000, 256))
    tracemalloc.start()
    got = exact.fine_product(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < got.nbytes + 5e6
    monkeypatch.setattr(exact, "_STRIP", 20_000)
    np.testing.assert_array_equal(exact.fine_product(a, b), got)
