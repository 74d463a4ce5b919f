"""Gradient clipping against norms known in closed form."""

import math

import numpy as np
import pytest

import cnn_ext
from cnn_ext import SGD, DTypeError, NonFiniteError, clip_gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_is_taken_over_all_gradients(dtype):
    grads = [np.array([[2.0, 3.0]], dtype), np.array([6.0], dtype), np.zeros((0, 4), dtype)]  # 4 + 9 + 36 = 7 * 7
    assert clip_gradients(grads, 3.5) == 7
    assert [g.tolist() for g in grads] == [[[1, 1.5]], [3], []]
    assert [g.dtype for g in grads] == [dtype] * 3
    assert clip_gradients(grads, 3.5) == 3.5


@pytest.mark.parametrize("max_norm", [5.0, 5.5, 1e300])
def test_up_to_the_norm_nothing_is_scaled(max_norm):
    grads = [np.array([3.0]), np.array([-4.0])]
    assert clip_gradients(grads, max_norm) == 5
    assert [g.tolist() for g in grads] == [[3], [-4]]


def test_nothing_and_zeros_have_norm_0():
    assert clip_gradients([], 1.0) == 0
    zeros = [np.zeros(3, np.float32)]
    assert clip_gradients(zeros, 1.0) == 0 and zeros[0].tolist() == [0, 0, 0]


def test_precisions_may_be_mixed_and_layouts_are_kept():
    base = np.full((4, 6), 1.0, np.float32)
    grads = [base[:, ::2], np.full(4, 1.0)]  # norm sqrt(12 + 4) = 4
    assert clip_gradients(grads, 1.0) == 4
    assert (base[:, ::2] == 0.25).all() and (base[:, 1::2] == 1).all() and (grads[1] == 0.25).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_for_the_optimizer_to_name(bad):
    grads = [np.array([30.0, 40.0]), np.array([1.0, bad])]
    before = [g.tobytes() for g in grads]
    assert not math.isfinite(clip_gradients(grads, 1.0))
    assert [g.tobytes() for g in grads] == before
    with pytest.raises(NonFiniteError, match="1 non-finite"):
        SGD(0.1).step([np.zeros(2), np.zeros(2)], grads)


@pytest.mark.parametrize(("dtype", "huge"), [(np.float32, 2e30), (np.float64, 2e200)])
def test_squares_beyond_the_range_of_the_dtype(dtype, huge):
    """Gradients that explode are what clipping is for: 2e30 ** 2 is no float32."""
    grads = [np.array([huge, 0], dtype), np.full(3, huge, dtype), np.zeros((2, 0), dtype)]
    with np.errstate(all="raise"):
        norm = clip_gradients(grads, 1.0)
    eps = float(np.finfo(dtype).eps)  # `huge` itself is rounded, and so is each product
    assert norm == pytest.approx(2 * huge, rel=2 * eps)
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in grads]), [0.5, 0, 0.5, 0.5, 0.5], rtol=4 * eps)


def test_threads_change_no_bit(rng):
    start = [rng.standard_normal(size).astype(np.float32) for size in (7, 100_000, 300_001)]
    before, results = cnn_ext.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            cnn_ext.set_num_threads(threads)
            grads = [g.copy() for g in start]
            norm = clip_gradients(grads, 1.0)
            results.add((norm, b"".join(g.tobytes() for g in grads)))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(results) == 1
    # 400 000 squares of mean 1; their sum has a standard deviation of sqrt(2 * 400 000)
    assert norm**2 == pytest.approx(400_008, abs=5 * math.sqrt(800_016))


def read_only():
    array = np.full(2, 9.0)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("make", "max_norm", "error", "message"),
    [
        (lambda: np.full(2, 9.0), 0, ValueError, r"max_norm must be in \(0, inf\), got 0"),
        (lambda: np.full(2, 9.0), math.nan, ValueError, "max_norm must be in"),
        (lambda: np.full(2, 9.0), math.inf, ValueError, "max_norm must be in"),
        (lambda: np.full(2, 9.0), "1", DTypeError, "max_norm must be a number, got str"),
        (lambda: [9.0, 9.0], 1, DTypeError, r"grads\[1\] must be a numpy.ndarray, got list"),
        (lambda: np.full(2, 9), 1, DTypeError, r"grads\[1\] must be float32 or float64, got int64"),
        (read_only, 1, ValueError, r"grads\[1\] is read-only and cannot be scaled"),
    ],
)
def test_bad_arguments_change_nothing(make, max_norm, error, message):
    first = np.full(2, 9.0)
    with pytest.raises(error, match=message):
        clip_gradients([first, make()], max_norm)
    assert (first == 9).all()
