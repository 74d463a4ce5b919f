"""Max-pooling: against its NumPy twin, worked examples, and the rules for ties, NaN and infinities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn_ext
from cnn_ext import DTypeError, ShapeError, kernels, reference
from cnn_ext._compiled import _pooling
from cnn_ext._windows import check_windows

MODULES = pytest.mark.parametrize("module", [kernels, reference])
INF, NAN = np.inf, np.nan

# (N, C, H, W), size, stride: even and uneven, overlapping, with gaps.
GEOMETRIES = [
    ((2, 3, 6, 4), 2, 2),
    ((1, 2, 7, 5), 3, 2),
    ((3, 1, 5, 9), 2, 3),
    ((2, 2, 4, 5), 3, 1),
    ((1, 1, 3, 3), 3, 1),
    ((2, 1, 4, 3), 1, 1),
    ((50, 16, 28, 28), 2, 2),
    ((0, 2, 4, 4), 2, 2),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_both_ways_equal_their_twins(geometry, dtype, rng):
    shape, size, stride = geometry
    x = rng.integers(-3, 4, shape).astype(dtype)  # few values: many ties
    out, argmax = kernels.maxpool_forward(x, size, stride)
    expected_out, expected_argmax = reference.maxpool_forward(x, size, stride)
    np.testing.assert_array_equal(out, expected_out, strict=True)
    np.testing.assert_array_equal(argmax, expected_argmax, strict=True)
    assert argmax.dtype == np.intp
    dout = rng.standard_normal(out.shape).astype(dtype)
    expected = reference.maxpool_backward(dout, argmax, shape, size, stride)
    np.testing.assert_array_equal(kernels.maxpool_backward(dout, argmax, shape, size, stride), expected, strict=True)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_both_ways_equal_their_twins_for_any_values(data):
    side = st.integers(1, 5)
    shape = (data.draw(st.integers(0, 2)), data.draw(st.integers(1, 2)), data.draw(side), data.draw(side))
    size, stride = data.draw(st.integers(1, min(shape[2:]))), data.draw(st.integers(1, 3))
    values = st.sampled_from([0.0, -0.0, 1.0, -1.0, INF, -INF, NAN])
    n = int(np.prod(shape))
    x = np.array(data.draw(st.lists(values, min_size=n, max_size=n)), np.float32).reshape(shape)
    out, argmax = kernels.maxpool_forward(x, size, stride)
    expected_out, expected_argmax = reference.maxpool_forward(x, size, stride)
    np.testing.assert_array_equal(argmax, expected_argmax)
    assert out.tobytes() == expected_out.tobytes()  # the sign of zeros too


@MODULES
@pytest.mark.parametrize(
    ("window", "maximum", "place"),
    [
        ([1, 2, 3, 4], 4, 3),
        ([4, 4, 4, 4], 4, 0),
        ([1, 4, 4, 1], 4, 1),
        ([-0.0, 0.0, 0.0, -0.0], -0.0, 0),
        ([-INF] * 4, -INF, 0),
        ([1, INF, 2, INF], INF, 1),
        ([1, NAN, INF, NAN], NAN, 1),
        ([NAN, 5, 6, 7], NAN, 0),
        ([INF, 1, 1, NAN], NAN, 3),
    ],
)
def test_who_wins(module, window, maximum, place):
    out, argmax = module.maxpool_forward(np.array(window, np.float32).reshape(1, 1, 2, 2), 2, 2)
    assert out.tobytes() == np.float32(maximum).tobytes() or (np.isnan(maximum) and np.isnan(out.item()))
    assert argmax.item() == place


@MODULES
def test_worked_example_with_overlap(module):
    x = np.array([[1, 2, 3], [4, 9, 6], [7, 8, 5]], np.float64).reshape(1, 1, 3, 3)
    out, argmax = module.maxpool_forward(x, 2, 1)
    assert out.tolist() == [[[[9, 9], [9, 9]]]]
    assert argmax.tolist() == [[[[3, 2], [1, 0]]]]
    dx = module.maxpool_backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), argmax, x.shape, 2, 1)
    assert dx.tolist() == [[[[0, 0, 0], [0, 10, 0], [0, 0, 0]]]]


def test_no_gradient_is_lost(rng):
    x = np.zeros((2, 3, 6, 6))  # nothing but ties
    out, argmax = kernels.maxpool_forward(x, 3, 3)
    dout = rng.integers(-9, 9, out.shape).astype(float)  # small integers: sums are exact
    assert kernels.maxpool_backward(dout, argmax, x.shape, 3, 3).sum() == dout.sum()


def test_memory_layout_does_not_matter(layout, rng):
    x = rng.standard_normal((2, 3, 6, 5)).astype(np.float32)
    out, argmax = kernels.maxpool_forward(x, 2, 2)
    other_out, other_argmax = kernels.maxpool_forward(layout(x), 2, 2)
    np.testing.assert_array_equal(other_out, out, strict=True)
    np.testing.assert_array_equal(other_argmax, argmax, strict=True)
    dx = kernels.maxpool_backward(out, argmax, x.shape, 2, 2)
    np.testing.assert_array_equal(kernels.maxpool_backward(layout(out), layout(argmax), x.shape, 2, 2), dx, strict=True)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8", "u8", ">i4"])
def test_places_of_any_integer_dtype(dtype, rng):
    x = rng.standard_normal((2, 1, 4, 4))
    out, argmax = kernels.maxpool_forward(x, 2, 2)
    expected = kernels.maxpool_backward(out, argmax, x.shape, 2, 2)
    np.testing.assert_array_equal(kernels.maxpool_backward(out, argmax.astype(dtype), x.shape, 2, 2), expected)


def test_thread_count_does_not_matter(rng):
    x = rng.standard_normal((40, 6, 28, 28)).astype(np.float32)
    before = cnn_ext.get_num_threads()
    results = set()
    try:
        for n in (1, 2, 3, 5):
            cnn_ext.set_num_threads(n)
            out, argmax = kernels.maxpool_forward(x, 3, 2)
            dx = kernels.maxpool_backward(out, argmax, x.shape, 3, 2)
            results.add((out.tobytes(), argmax.tobytes(), dx.tobytes()))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(results) == 1


X = np.zeros((1, 1, 4, 4), np.float32)
BAD_FORWARD = [
    ((X[0], 2, 2), ShapeError, "x must be 4-D"),
    ((X.astype(np.float16), 2, 2), DTypeError, "got float16"),
    ((X, 0, 2), ValueError, "size must be >= 1, got 0"),
    ((X, 2, 0), ValueError, "stride must be >= 1, got 0"),
    ((X, 2.0, 2), DTypeError, "size must be an int, got float"),
    ((X, (2, 2), 2), DTypeError, "size must be an int, got tuple"),
    ((X, 5, 1), ShapeError, r"kernel \(5 x 5\) larger than padded input \(4 x 4\)"),
    ((X, 536870912, 1), ShapeError, "larger than padded input"),
]


@MODULES
@pytest.mark.parametrize(("arguments", "error", "message"), BAD_FORWARD)
def test_bad_images_and_sizes(module, arguments, error, message):
    with pytest.raises(error, match=message):
        module.maxpool_forward(*arguments)


DOUT = np.ones((1, 1, 2, 2), np.float32)
PLACES = np.zeros((1, 1, 2, 2), np.intp)


def with_place(value, dtype=np.int64):
    places = PLACES.astype(dtype)
    places[0, 0, 0, 1] = value
    return places


BAD_BACKWARD = [
    ((DOUT, with_place(-1), X.shape, 2, 2), ValueError, r"max index -1 at output \(0, 0, 0, 1\) outside \[0, 4\)"),
    ((DOUT, with_place(4), X.shape, 2, 2), ValueError, r"max index 4 at output \(0, 0, 0, 1\) outside \[0, 4\)"),
    ((DOUT, with_place(2**63, np.uint64), X.shape, 2, 2), ValueError, "max index 9223372036854775808"),
    (
        (DOUT, PLACES.astype(float), X.shape, 2, 2),
        DTypeError,
        "argmax must be a numpy.ndarray of integers, got float64",
    ),
    ((DOUT, PLACES.tolist(), X.shape, 2, 2), DTypeError, "argmax must be a numpy.ndarray of integers, got list"),
    ((DOUT, PLACES[:, :, :1], X.shape, 2, 2), ShapeError, r"argmax must have shape \(1, 1, 2, 2\), got \(1, 1, 1, 2\)"),
    ((DOUT[:, :, :1], PLACES, X.shape, 2, 2), ShapeError, r"dout must have shape \(1, 1, 2, 2\), got \(1, 1, 1, 2\)"),
    ((DOUT, PLACES, (1, 4, 4), 2, 2), ShapeError, "x_shape must be a tuple"),
    ((DOUT, PLACES, (2**62, 1, 4, 4), 2, 2), ShapeError, "more numbers than can be counted"),
]


@MODULES
@pytest.mark.parametrize(("arguments", "error", "message"), BAD_BACKWARD)
def test_bad_gradients_and_places(module, arguments, error, message):
    with pytest.raises(error, match=message):
        module.maxpool_backward(*arguments)


def test_places_that_another_thread_spoils_write_nothing_outside():
    """The public kernel refuses such places; the compiled one passes over what comes after that."""
    windows = check_windows((1, 1, 2, 2), {"size": 2}, 0, 2)
    for place in (-1, 4, 2**62):
        dx = np.full(4, np.nan, np.float32)
        _pooling.maxpool_backward(np.ones(1, np.float32), np.array([place], np.intp), dx, windows)
        assert not dx.any()
