"""Passes over memory that are shared over the threads in stretches: nothing is left out between two of them."""

import numpy as np
import pytest

import cnn_ext
from cnn_ext import passes

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
        sums.add(passes.sum_of_squares(x))
    assert len(sums) == 1
    # At most 64 squares, each rounded once, are added up in the precision of x, all else in float64.
    assert abs(sums.pop() - exact) <= (65 * np.finfo(dtype).eps + size * np.finfo(np.float64).eps) * exact


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", SIZES[1:])
def test_all_finite_sees_every_number(size, value, rng):
    x = rng.standard_normal(size).astype(np.float32)
    assert passes.all_finite(x)
    for place in {0, size // 2, size - 1, *range(0, size, 32768)}:
        kept, x[place] = x[place], value
        assert not passes.all_finite(x)
        x[place] = kept


def test_arrays_that_are_not_plain(rng):
    x = rng.standard_normal((40, 30)).astype(np.float32)
    for other in (x[:, ::2], x.astype(">f4"), x.T):
        assert passes.sum_of_squares(other) == pytest.approx(float(np.square(other, dtype=np.float64).sum()), rel=1e-6)
        assert passes.all_finite(other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_adam_step_is_numpys_to_the_bit(size, dtype, rng):
    """Per number the same operations in the same order, for any number of threads and wherever a stretch ends."""
    param, grad, first = rng.standard_normal((3, size)).astype(dtype)
    second = rng.random(size).astype(dtype)
    lr, beta1, beta2, eps, decay, step = 0.01, 0.9, 0.999, 1e-8, 0.001, 3
    number = dtype
    m = number(beta1) * first + number(1 - beta1) * grad
    v = number(beta2) * second + number(1 - beta2) * grad * grad
    rate, root = number(lr / (1 - beta1**step)), number(1 / np.sqrt(1 - beta2**step))
    x = param - (number(decay) * param + rate * m / (root * np.sqrt(v) + number(eps)))
    for threads in (1, 2, 3):
        cnn_ext.set_num_threads(threads)
        got = [param.copy(), grad, first.copy(), second.copy()]
        passes.adam_step(*got, step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps, decay=decay)
        assert [a.tobytes() for a in got] == [a.tobytes() for a in (x, grad, m, v)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_lerp_is_numpys_to_the_bit(size, dtype, rng):
    start, source = rng.standard_normal((2, size)).astype(dtype)
    expected = start + dtype(0.3) * (source - start)
    for threads in (1, 2, 3):
        cnn_ext.set_num_threads(threads)
        target = start.copy()
        passes.lerp(target, source, 0.3)
        assert target.tobytes() == expected.tobytes()


def test_lerp_of_weight_0_and_1_and_of_equals():
    target, source = np.array([1.0, -2.0, 4.0]), np.array([3.0, 6.0, 4.0])
    passes.lerp(target, source, 0.0)
    assert target.tolist() == [1, -2, 4]
    passes.lerp(target, source, 0.25)
    assert target.tolist() == [1.5, 0, 4]
    passes.lerp(target, source, 1.0)
    assert target.tolist() == [3, 6, 4]


def test_steps_of_arrays_that_are_not_plain(rng):
    """The other way, for strides and column-major order, gives the same numbers."""
    plain = rng.standard_normal((4, 40, 30)).astype(np.float32)
    plain[3] = np.abs(plain[3])
    for change in (lambda a: np.repeat(a, 2, axis=1)[:, ::2], np.asfortranarray):
        expected, got = [a.copy() for a in plain], [change(a.copy()) for a in plain]
        for arrays in (expected, got):
            passes.adam_step(*arrays, step=1, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, decay=0.1)
            passes.lerp(arrays[0], arrays[1], 0.25)
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(one, other)
