"""Transforms: each against its closed form or a twin made of NumPy, its draws, its description, and bad input."""

import numpy as np
import pytest

from cnn_ext import reference
from cnn_ext.augmentation import RandomAffine


def test_affine_without_ranges_changes_no_bit(rng):
    X = rng.standard_normal((3, 2, 8, 9)).astype(np.float32)
    assert RandomAffine()(X, rng).tobytes() == X.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_equals_the_composed_maps(dtype, rng):
    X = rng.standard_normal((20, 2, 28, 20)).astype(dtype)
    angle, factor, lean, down, right = np.random.default_rng(5).uniform(-1, 1, (20, 5)).T
    matrices = []
    for i in range(20):
        a = np.radians(30 * angle[i])
        shear = np.array([[1, 0, 0], [np.tan(np.radians(10 * lean[i])), 1, 0], [0, 0, 1]])
        scale = np.diag([1 + 0.2 * factor[i], 1 + 0.2 * factor[i], 1])
        # Counter-clockwise to the eye: the pixel on the right (column > 0) rises (row < 0).
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        shift = np.array([[1, 0, 3 * down[i]], [0, 1, 3 * right[i]], [0, 0, 1]])
        matrices.append(np.linalg.inv(shift @ turn @ scale @ shear)[:2])
    expected = reference.warp_affine(X, np.array(matrices), 0.5)
    out = RandomAffine(30, 3, 0.2, 10, fill=0.5)(X, np.random.default_rng(5))
    # The matrices differ by rounding, places by a few ulp of 28, numbers by that times their differences (< 10).
    np.testing.assert_allclose(out, expected, rtol=0, atol=2000 * np.finfo(dtype).eps, strict=True)
