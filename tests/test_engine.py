"""Passes over memory that are shared over the threads in stretches: nothing is left out between two of them."""

import numpy as np
import pytest

import cnn_ext
from cnn_ext import engine

SIZES = [0, 1, 15, 17, 1023, 1025, 32768, 32769, 100_000, 64 * 32768 + 5]


@pytest.fixture(autouse=True)
def restore_threads():
    before = cnn_ext.get_num_threads()
    yield
    cnn_ext.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_sum_of_squares(size, dtype, rng):
    x = rng.standard_normal(size).astype(dtype)
    exact = np.square(x.astype(np.longdouble)).sum()
    sums = set()
    for threads in (1, 2, 5):
        cnn_ext.set_num_threads(threads)
        sums.add(engine.sum_of_squares(x))
    assert len(sums) == 1
    # At most 64 squares, each rounded once, are added up in the precision of x, all else in float64.
    assert abs(sums.pop() - exact) <= (65 * np.finfo(dtype).eps + size * np.finfo(np.float64).eps) * exact


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", SIZES[1:])
def test_all_finite_sees_every_number(size, value, rng):
    x = rng.standard_normal(size).astype(np.float32)
    assert engine.all_finite(x)
    for place in {0, size // 2, size - 1, *range(0, size, 32768)}:
        kept, x[place] = x[place], value
        assert not engine.all_finite(x)
        x[place] = kept


def test_arrays_that_are_not_plain(rng):
    x = rng.standard_normal((40, 30)).astype(np.float32)
    for other in (x[:, ::2], x.astype(">f4"), x.T):
        assert engine.sum_of_squares(other) == pytest.approx(float(np.square(other, dtype=np.float64).sum()), rel=1e-6)
        assert engine.all_finite(other)
