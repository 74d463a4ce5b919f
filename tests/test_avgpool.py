"""Average pooling: against its NumPy twin to the bit, worked examples, and arguments that do not fit."""

import numpy as np
import pytest

import cnn_ext
from cnn_ext import DTypeError, ShapeError, kernels, reference

MODULES = pytest.mark.parametrize("module", [kernels, reference])

# (N, C, H, W), size, stride: even and uneven, overlapping, with gaps, not square, the whole image.
GEOMETRIES = [
    ((2, 3, 6, 4), 2, 2),
    ((1, 2, 7, 5), 3, 2),
    ((3, 1, 5, 9), 2, 3),
    ((2, 2, 4, 5), 3, 1),
    ((2, 1, 4, 3), 1, 1),
    ((2, 3, 6, 5), (3, 2), 1),
    ((4, 5, 7, 6), (7, 6), 1),
    ((50, 16, 28, 28), 2, 2),
    ((0, 2, 4, 4), 2, 2),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_both_ways_equal_their_twins_to_the_bit(geometry, dtype, rng):
    shape, size, stride = geometry
    x = rng.standard_normal(shape).astype(dtype)
    out = kernels.avgpool_forward(x, size, stride)
    np.testing.assert_array_equal(out, reference.avgpool_forward(x, size, stride), strict=True)
    dout = rng.standard_normal(out.shape).astype(dtype)
    expected = reference.avgpool_backward(dout, shape, size, stride)
    np.testing.assert_array_equal(kernels.avgpool_backward(dout, shape, size, stride), expected, strict=True)


@MODULES
def test_worked_example_with_overlap(module):
    x = np.array([[1, 2, 3], [4, 9, 6], [7, 8, 5]], np.float64).reshape(1, 1, 3, 3)
    assert module.avgpool_forward(x, 2, 1).tolist() == [[[[4, 5], [7, 7]]]]
    dx = module.avgpool_backward(np.array([[[[4.0, 8.0], [12.0, 16.0]]]]), x.shape, 2, 1)
    assert dx.tolist() == [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_windows(value):
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 1, 1] = value
    np.testing.assert_array_equal(kernels.avgpool_forward(x, 2, 2), [[[[value, 0], [0, 0]]]])


def test_memory_layout_does_not_matter(layout, rng):
    x = rng.standard_normal((2, 3, 6, 5)).astype(np.float32)
    out = kernels.avgpool_forward(x, 2, 2)
    np.testing.assert_array_equal(kernels.avgpool_forward(layout(x), 2, 2), out, strict=True)
    dx = kernels.avgpool_backward(out, x.shape, 2, 2)
    np.testing.assert_array_equal(kernels.avgpool_backward(layout(out), x.shape, 2, 2), dx, strict=True)


def test_thread_count_does_not_matter(rng):
    x = rng.standard_normal((40, 6, 28, 28)).astype(np.float32)
    before = cnn_ext.get_num_threads()
    results = set()
    try:
        for n in (1, 2, 3, 5):
            cnn_ext.set_num_threads(n)
            out = kernels.avgpool_forward(x, 3, 2)
            results.add((out.tobytes(), kernels.avgpool_backward(out, x.shape, 3, 2).tobytes()))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(results) == 1


X, DOUT = np.zeros((1, 1, 4, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)
BAD = [
    ("avgpool_forward", (X[0], 2, 2), ShapeError, "x must be 4-D"),
    ("avgpool_forward", (X.astype(np.float16), 2, 2), DTypeError, "got float16"),
    ("avgpool_forward", (X, 0, 2), ValueError, "size must be >= 1, got 0"),
    ("avgpool_forward", (X, (2, 0), 2), ValueError, r"size\[1\] must be >= 1, got 0"),
    ("avgpool_forward", (X, (2, 2, 2), 2), DTypeError, "size must be an int, got tuple"),
    ("avgpool_forward", (X, 2, 0), ValueError, "stride must be >= 1, got 0"),
    ("avgpool_forward", (X, (2, 5), 1), ShapeError, r"kernel \(2 x 5\) larger than padded input \(4 x 4\)"),
    ("avgpool_backward", (DOUT[:, :, :1], X.shape, 2, 2), ShapeError, r"dout must have shape \(1, 1, 2, 2\), got"),
    ("avgpool_backward", (DOUT, (1, 4, 4), 2, 2), ShapeError, "x_shape must be a tuple"),
    ("avgpool_backward", (DOUT.astype(int), X.shape, 2, 2), DTypeError, "dout must be float32 or float64"),
]


@MODULES
@pytest.mark.parametrize(("name", "arguments", "error", "message"), BAD)
def test_bad_arguments(module, name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(module, name)(*arguments)
