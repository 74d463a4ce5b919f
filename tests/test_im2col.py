"""im2col and col2im: against their NumPy twins, worked examples, and each other."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn_ext
from cnn_ext import DTypeError, ShapeError, kernels, reference

# (N, C, H, W), h_filter, w_filter, padding, stride: nothing square, windows that come out even and uneven.
GEOMETRIES = [
    ((2, 3, 7, 5), 3, 2, 1, 2),
    ((3, 2, 6, 9), 2, 4, 2, 3),
    ((1, 1, 5, 5), 5, 5, 0, 1),
    ((4, 1, 1, 8), 1, 3, 0, 1),
    ((2, 2, 4, 3), 1, 1, 0, 1),
    ((2, 1, 3, 3), 3, 3, 3, 4),
    ((17, 2, 5, 4), 3, 3, 1, 1),
    ((50, 16, 14, 14), 5, 5, 2, 1),
    ((0, 2, 4, 4), 2, 3, 0, 1),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_both_equal_their_twins(geometry, dtype, rng):
    shape, *window = geometry
    x = rng.standard_normal(shape).astype(dtype)
    columns = kernels.im2col(x, *window)
    np.testing.assert_array_equal(columns, reference.im2col(x, *window), strict=True)
    gradient = rng.standard_normal(columns.shape).astype(dtype)
    # Equal to the bit: both add the entries of a pixel in the order of the window's places.
    expected = reference.col2im(gradient, shape, *window)
    np.testing.assert_array_equal(kernels.col2im(gradient, shape, *window), expected, strict=True)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_both_equal_their_twins_for_any_geometry(data):
    size = st.integers(1, 6)
    shape = (data.draw(st.integers(0, 4)), data.draw(size), data.draw(size), data.draw(size))
    padding = data.draw(st.integers(0, 3))
    h_filter = data.draw(st.integers(1, shape[2] + 2 * padding))
    w_filter = data.draw(st.integers(1, shape[3] + 2 * padding))
    window = (h_filter, w_filter, padding, data.draw(st.integers(1, 4)))
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    columns = kernels.im2col(x, *window)
    np.testing.assert_array_equal(columns, reference.im2col(x, *window), strict=True)
    np.testing.assert_array_equal(kernels.col2im(columns, shape, *window), reference.col2im(columns, shape, *window))


@pytest.mark.parametrize("module", [kernels, reference])
def test_worked_example(module):
    x = np.arange(1.0, 13.0).reshape(2, 1, 2, 3)  # image 0: 1 2 3 / 4 5 6; image 1: 7 8 9 / 10 11 12
    columns = module.im2col(x, 2, 2, 0, 1)
    # Two windows a image; the image index runs fastest.
    assert columns.tolist() == [[1, 7, 2, 8], [2, 8, 3, 9], [4, 10, 5, 11], [5, 11, 6, 12]]
    # The middle column of each image lies in both windows.
    assert module.col2im(columns, x.shape, 2, 2, 0, 1).tolist() == [
        [[[1, 4, 3], [4, 10, 6]]],
        [[[7, 16, 9], [10, 22, 12]]],
    ]


@pytest.mark.parametrize("module", [kernels, reference])
def test_what_fills_no_window_is_left_out_and_gets_no_gradient(module):
    x = np.ones((1, 1, 5, 4), np.float32)
    columns = module.im2col(x, 2, 2, 0, 2)
    assert columns.shape == (4, 4)
    gradient = module.col2im(np.ones_like(columns), x.shape, 2, 2, 0, 2)
    assert gradient[0, 0].tolist() == [[1, 1, 1, 1]] * 4 + [[0, 0, 0, 0]]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_each_is_the_others_adjoint(geometry, rng):
    shape, *window = geometry
    x = rng.standard_normal(shape)
    columns = kernels.im2col(x, *window)
    c = rng.standard_normal(columns.shape)
    left, right = np.vdot(columns, c), np.vdot(x, kernels.col2im(c, shape, *window))
    # Two orders of the same sum of K products: each is off by at most K units in the last place.
    bound = 4 * columns.size * 2.0**-53 * np.vdot(np.abs(columns), np.abs(c))
    assert abs(left - right) <= bound


def test_memory_layout_does_not_matter(layout, rng):
    x = rng.standard_normal((3, 2, 5, 4)).astype(np.float32)
    columns = kernels.im2col(x, 3, 2, 1, 1)
    other = layout(x)
    before = other.tobytes()
    result = kernels.im2col(other, 3, 2, 1, 1)
    np.testing.assert_array_equal(result, columns, strict=True)
    assert result.flags.c_contiguous and other.tobytes() == before
    image = kernels.col2im(columns, x.shape, 3, 2, 1, 1)
    np.testing.assert_array_equal(kernels.col2im(layout(columns), x.shape, 3, 2, 1, 1), image, strict=True)


def test_broadcast_arrays_and_memory_maps(tmp_path, rng):
    one = rng.standard_normal((1, 2, 5, 4)).astype(np.float32)
    many = np.broadcast_to(one, (3, 2, 5, 4))
    np.testing.assert_array_equal(kernels.im2col(many, 2, 2, 0, 1), kernels.im2col(many.copy(), 2, 2, 0, 1))
    np.save(tmp_path / "x.npy", one)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(kernels.im2col(mapped, 2, 2, 0, 1), kernels.im2col(one, 2, 2, 0, 1))


def test_thread_count_does_not_matter(rng):
    x = rng.standard_normal((40, 6, 14, 14)).astype(np.float32)
    before = cnn_ext.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 5):
            cnn_ext.set_num_threads(n)
            columns = kernels.im2col(x, 5, 5, 2, 1)
            results.append((columns.tobytes(), kernels.col2im(columns, x.shape, 5, 5, 2, 1).tobytes()))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(set(results)) == 1


X = np.zeros((2, 1, 4, 4), np.float32)


def bad(**changes):
    return {"x": X, "h_filter": 3, "w_filter": 3, "padding": 0, "stride": 1, **changes}


BAD_IMAGES = [
    (bad(x=[[1.0]]), DTypeError, "x must be a numpy.ndarray, got list"),
    (bad(x=None), DTypeError, "x must be a numpy.ndarray, got NoneType"),
    (bad(x=memoryview(b"abc")), DTypeError, "got memoryview"),
    (bad(x=X[0]), ShapeError, r"x must be 4-D \(N, C, H, W\), got 3-D \(1, 4, 4\)"),
    (bad(x=X[None]), ShapeError, "got 5-D"),
    (bad(x=X.astype(np.int64)), DTypeError, "x must be float32 or float64, got int64"),
    (bad(x=X.astype(np.float16)), DTypeError, "got float16"),
    (bad(x=X.astype(bool)), DTypeError, "got bool"),
    (bad(x=X.astype(complex)), DTypeError, "got complex128"),
    (bad(x=X.astype(object)), DTypeError, "got object"),
    (bad(x=np.zeros((1, 1, 2, 2), [("a", "f4")])), DTypeError, "x must be float32 or float64"),
    (bad(x=np.ma.masked_array(X)), DTypeError, "masked"),
    (bad(x=X[:, :0]), ShapeError, "got 0 on axis 1"),
    (bad(x=X[:, :, :0]), ShapeError, "got 0 on axis 2"),
    (bad(x=X[..., :0]), ShapeError, "got 0 on axis 3"),
    (bad(h_filter=0), ValueError, "h_filter must be >= 1, got 0"),
    (bad(w_filter=-1), ValueError, "w_filter must be >= 1, got -1"),
    (bad(h_filter=True), DTypeError, "h_filter must be an int, got bool"),
    (bad(w_filter=3.0), DTypeError, "w_filter must be an int, got float"),
    (bad(h_filter="3"), DTypeError, "h_filter must be an int, got str"),
    (bad(stride=0), ValueError, "stride must be >= 1, got 0"),
    (bad(stride=-1), ValueError, "stride must be >= 1, got -1"),
    (bad(padding=-1), ValueError, "padding must be >= 0, got -1"),
    (bad(padding=[]), DTypeError, "padding must be an int, got list"),
    (bad(padding=(1, 1)), DTypeError, "padding must be an int, got tuple"),
    (bad(h_filter=10, w_filter=10), ShapeError, r"kernel \(10 x 10\) larger than padded input \(4 x 4\)"),
    (bad(padding=2**62), ShapeError, "more numbers than can be counted"),
]


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize(("arguments", "error", "message"), BAD_IMAGES)
def test_bad_images_and_sizes(module, arguments, error, message):
    with pytest.raises(error, match=message):
        module.im2col(**arguments)


def test_numpy_integers_are_integers():
    np.testing.assert_array_equal(
        kernels.im2col(X, np.int64(3), np.uint8(3), np.int32(0), np.int16(1)), kernels.im2col(X, 3, 3, 0, 1)
    )


COLUMNS = np.zeros((9, 8), np.float32)  # of two 4 x 4 images and 3 x 3 windows
BAD_COLUMNS = [
    (COLUMNS[:8], (2, 1, 4, 4), ShapeError, r"cols has 8 rows, expected C\*kh\*kw = 9"),
    (COLUMNS[:, :7], (2, 1, 4, 4), ShapeError, r"cols has 7 columns, expected N\*oh\*ow = 8"),
    (COLUMNS, (1, 4, 4), ShapeError, r"x_shape must be a tuple \(N, C, H, W\)"),
    (COLUMNS, (-1, 1, 4, 4), ShapeError, "got -1 on axis 0"),
    (COLUMNS, (2, 0, 4, 4), ShapeError, "got 0 on axis 1"),
    (COLUMNS, (2, 1, 4.0, 4), ShapeError, "got 4.0 on axis 2"),
    (COLUMNS, (2**63, 1, 4, 4), ShapeError, "more numbers than can be counted"),
    (COLUMNS, (2**31, 2**31, 4, 4), ShapeError, "more numbers than can be counted"),
    (COLUMNS.astype(int), (2, 1, 4, 4), DTypeError, "cols must be float32 or float64"),
    (COLUMNS[0], (2, 1, 4, 4), ShapeError, "cols must be 2-D"),
]


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize(("cols", "x_shape", "error", "message"), BAD_COLUMNS)
def test_bad_columns(module, cols, x_shape, error, message):
    with pytest.raises(error, match=message):
        module.col2im(cols, x_shape, 3, 3, 0, 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space limits work on Linux")
def test_more_than_there_is_memory_for():
    code = """
        import resource
        import numpy as np
        from cnn_ext import kernels
        x = np.broadcast_to(np.float32(1), (1000, 1, 1000, 1000))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            kernels.im2col(x[:500], 31, 31, 0, 1)
        except MemoryError as error:
            print(error)
        print(kernels.im2col(x[:1], 2, 2, 0, 1).shape)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "Unable to allocate" in result.stdout and "shape" in result.stdout
    assert "(4, 998001)" in result.stdout
