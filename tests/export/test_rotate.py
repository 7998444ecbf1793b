import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge_export.numbers import rotation
from embedge_export.numbers.rotation import Rotation, hadamard, rotate_blocks


@pytest.mark.parametrize("width", [1, 2, 3, 48, 64, 96, 100, 576, 768, 1024, 1536])
def test_a_rotation_is_orthogonal(width):
    matrix = Rotation(width).matrix()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(width), atol=1e-5)


@pytest.mark.parametrize("width", [48, 96, 100, 1024])
def test_applying_is_multiplying_by_the_matrix(width):
    rotation = Rotation(width)
    x = np.random.default_rng(0).standard_normal((2, 3, width)).astype(np.float32)
    np.testing.assert_allclose(rotation.apply(x), x @ rotation.matrix(), atol=1e-5)


@pytest.mark.parametrize("width", [576, 768, 1024])
def test_one_huge_channel_is_spread_over_all(width):
    x = np.zeros((1, width), np.float32)
    x[0, 5] = 1000
    # Perfectly even would be 1000 / sqrt(width).
    assert np.abs(Rotation(width).apply(x)).max() < 3 * 1000 / np.sqrt(width)


def test_every_task_and_machine_gets_the_same_rotation():
    first, second = Rotation(96).matrix(), Rotation(96).matrix()
    np.testing.assert_array_equal(first, second)
    # A change here makes packs of one version disagree with the shared table of another.
    np.testing.assert_allclose(
        np.sign(Rotation(8).matrix()[:, 0]), np.sign(Rotation(8)._signs), atol=0
    )


@given(st.integers(0, 8))
def test_hadamard_is_its_own_inverse(power):
    matrix = hadamard(2**power)
    np.testing.assert_allclose(matrix @ matrix, np.eye(2**power), atol=1e-6)


def test_blocks_are_rotated_one_by_one():
    x = np.arange(12, dtype=np.float32).reshape(1, 12)
    expected = np.concatenate([x[:, i : i + 4] @ hadamard(4) for i in (0, 4, 8)], axis=1)
    np.testing.assert_allclose(rotate_blocks(x, 4), expected, rtol=1e-6)


@pytest.mark.parametrize("power", range(8))
def test_sums_and_differences_have_the_bits_of_the_plain_algorithm(power):
    """Long rows and short ones take other roads through memory, and the same additions."""
    block = 2**power
    x = np.random.default_rng(power).standard_normal((700, block)).astype(np.float32)
    want, half = x, block // 2
    while half:
        one, other = (want.reshape(-1, 2, half)[:, side] for side in (0, 1))
        want, half = np.stack([one + other, one - other], axis=1), half // 2
    want = want.reshape(x.shape) * np.float32(block**-0.5)
    np.testing.assert_array_equal(rotate_blocks(x, block), want)


@pytest.mark.parametrize("width", [64, 96])
def test_a_table_is_rotated_a_few_rows_at_a_time(monkeypatch, width):
    table = np.random.default_rng(1).standard_normal((50, width)).astype(np.float32)
    whole = Rotation(width).apply(table)
    monkeypatch.setattr(rotation, "_ROWS", 7 * width)
    np.testing.assert_array_equal(Rotation(width).apply(table), whole)
