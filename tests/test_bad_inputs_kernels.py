"""Bad input to the kernels and their twins: each argument of each replaced by what it must not be."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from cnn_ext import DTypeError, ShapeError, kernels, reference

MODULES = pytest.mark.parametrize("module", [kernels, reference], ids=lambda module: module.__name__.split(".")[-1])

X, W, B = np.ones((2, 2, 6, 6), np.float32), np.ones((3, 2, 3, 3), np.float32), np.zeros(3, np.float32)
DOUT, POOLED = np.ones((2, 3, 6, 6), np.float32), np.ones((2, 2, 3, 3), np.float32)
SIDES = {"h_filter": 3, "w_filter": 3, "padding": 1, "stride": 1}
POOL = {"size": 2, "stride": 2}

# A call of each kernel that is as it should be.
GOOD = {
    "im2col": {"x": X, **SIDES},
    "col2im": {"cols": np.ones((18, 72), np.float32), "x_shape": X.shape, **SIDES},
    "conv2d_forward": {"x": X, "w": W, "b": B, "padding": 1, "stride": 1},
    "conv2d_backward": {"dout": DOUT, "x": X, "w": W, "padding": 1, "stride": 1},
    "winograd_conv2d_forward": {"x": X, "w": W, "b": B, "padding": 1},
    "winograd_conv2d_backward": {"dout": DOUT, "x": X, "w": W, "padding": 1},
    "maxpool_forward": {"x": X, **POOL},
    "maxpool_backward": {"dout": POOLED, "argmax": np.zeros(POOLED.shape, np.intp), "x_shape": X.shape, **POOL},
    "avgpool_forward": {"x": X, **POOL},
    "avgpool_backward": {"dout": POOLED, "x_shape": X.shape, **POOL},
    "warp_affine": {"x": X, "matrix": np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1)), "fill": 0.0},
    "warp_flow": {"x": X, "flow": np.zeros((2, 2, 6, 6), np.float32), "fill": 0.0},
    "gaussian_blur": {"x": X, "sigma": 1.0},
}

# What an array is replaced by, the error, its message.
BAD_ARRAYS = [
    (lambda a: None, DTypeError, "{name} must be a numpy.ndarray.*, got NoneType"),
    (lambda a: a.tolist(), DTypeError, "{name} must be a numpy.ndarray.*, got list"),
    (lambda a: memoryview(a), DTypeError, "{name} must be a numpy.ndarray.*, got memoryview"),
    (lambda a: "images", DTypeError, "{name} must be a numpy.ndarray.*, got str"),
    (lambda a: 1.0, DTypeError, "{name} must be a numpy.ndarray.*, got float"),
    (lambda a: a.flat[0], DTypeError, "{name} must be a numpy.ndarray.*, got "),
    (lambda a: a.astype(bool), DTypeError, "{name} must be .*, got bool"),
    (lambda a: a.astype(np.float16), DTypeError, "{name} must be .*, got float16"),
    (lambda a: a.astype(np.longdouble), DTypeError, "{name} must be .*, got "),
    (lambda a: a.astype(complex), DTypeError, "{name} must be .*, got complex128"),
    (lambda a: a.astype(object), DTypeError, "{name} must be .*, got object"),
    (lambda a: a.astype("U4"), DTypeError, "{name} must be .*, got .?U4"),
    (lambda a: np.zeros(a.shape, "M8[s]"), DTypeError, "{name} must be .*, got datetime64"),
    (lambda a: np.zeros(a.shape, [("a", "f4")]), DTypeError, "{name} must be .*, got "),
    (lambda a: np.ma.masked_array(a), DTypeError, "{name} must be a plain numpy.ndarray, got a masked array"),
    (lambda a: np.array(a[0]), ShapeError, "{name} must .*, got "),
    (lambda a: a[None], ShapeError, "{name} must .*, got "),
]
# What a size is replaced by.
BAD_SIZES = [
    (None, DTypeError, "must be an int, got NoneType"),
    ([3], DTypeError, "must be an int, got list"),
    ("3", DTypeError, "must be an int, got str"),
    (True, DTypeError, "must be an int, got bool"),
    (np.True_, DTypeError, "must be an int, got bool"),
    (3.0, DTypeError, "must be an int, got float"),
    (float("nan"), DTypeError, "must be an int, got float"),
    (np.float64(3), DTypeError, "must be an int, got float64"),
    (np.array(3), DTypeError, "must be an int, got ndarray"),
    (1j, DTypeError, "must be an int, got complex"),
    (-1, ValueError, "must be >= [01], got -1"),
    (-(2**63), ValueError, "must be >= [01], got -9223372036854775808"),
    (2**63, ValueError, "must be <= 9223372036854775807, got 9223372036854775808"),
    (10**5000, ValueError, "must be <= 9223372036854775807, got an int of 16610 bits"),
]
# What a shape is replaced by.
BAD_SHAPES = [
    (None, ShapeError, "x_shape must be a tuple"),
    (4, ShapeError, "x_shape must be a tuple"),
    ("2266", ShapeError, "x_shape must be a tuple"),
    (np.array([2, 2, 6, 6]), ShapeError, "x_shape must be a tuple"),
    ((2, 6, 6), ShapeError, "x_shape must be a tuple"),
    ((2, 2, 6, 6, 1), ShapeError, "x_shape must be a tuple"),
    ((2, 2, 6, None), ShapeError, "got None on axis 3"),
    ((2, 2, 6.0, 6), ShapeError, "got 6.0 on axis 2"),
    ((2, True, 6, 6), ShapeError, "got True on axis 1"),
    ((-1, 2, 6, 6), ShapeError, "got -1 on axis 0"),
    ((2, 0, 6, 6), ShapeError, "got 0 on axis 1"),
    ((2**63, 2, 6, 6), ShapeError, "more numbers than can be counted"),
    ((2, 2, 2**31, 2**31), ShapeError, "more numbers than can be counted"),
]
BAD_REALS = [
    (None, DTypeError, "must be a number, got NoneType"),
    ("1", DTypeError, "must be a number, got str"),
    (True, DTypeError, "must be a number, got bool"),
    ([1.0], DTypeError, "must be a number, got list"),
    (1j, DTypeError, "must be a number, got complex"),
    (float("nan"), ValueError, r"must be in \(.*\W, got nan"),
    (float("inf"), ValueError, r"must be in \(.*\W, got inf"),
    (10**400, ValueError, r"must be in \(.*\W, got an int beyond the range of a float"),
]


def cases(rows_of):
    """Each kernel with each of its arguments that has bad values: what the tests below go through."""
    return [
        pytest.param(kernel, name, rows, id=f"{kernel}-{name}")
        for kernel, arguments in GOOD.items()
        for name, value in arguments.items()
        if (rows := rows_of(name, value)) is not None
    ]


def bad_values(name, value):
    if isinstance(value, np.ndarray):
        rows = [(make(value), error, message.format(name=name)) for make, error, message in BAD_ARRAYS]
        other = value.astype(np.int64 if value.dtype.kind == "f" else np.float64)
        return [*rows, (other, DTypeError, f"{name} must be .*, got {other.dtype}")]
    if name == "x_shape":
        return BAD_SHAPES
    rows = BAD_REALS if isinstance(value, float) else BAD_SIZES
    return [(bad, error, f"{name} {message}") for bad, error, message in rows]


def test_the_table_is_complete():
    assert set(GOOD) == {name for name in kernels.__all__ if callable(getattr(kernels, name))}


@MODULES
@pytest.mark.parametrize(("kernel", "name", "rows"), cases(bad_values))
def test_each_argument_replaced(module, kernel, name, rows, refuses):
    for value, error, message in rows:
        refuses(error, message, getattr(module, kernel), **{**GOOD[kernel], name: value})


# What is done, the exception, its message: what is wrong only beside the other arguments.
TOGETHER = [
    ("im2col", {"h_filter": 0}, ValueError, "h_filter must be >= 1, got 0"),
    ("im2col", {"stride": 0}, ValueError, "stride must be >= 1, got 0"),
    ("im2col", {"h_filter": 9}, ShapeError, r"kernel \(9 x 3\) larger than padded input \(8 x 8\)"),
    ("im2col", {"padding": 2**61}, ShapeError, "more numbers than can be counted"),
    ("im2col", {"x": X[:, :0]}, ShapeError, "got 0 on axis 1"),
    ("im2col", {"x": X[..., :0]}, ShapeError, "got 0 on axis 3"),
    ("col2im", {"cols": np.ones((17, 72), np.float32)}, ShapeError, "cols has 17 rows, expected .* = 18"),
    ("col2im", {"cols": np.ones((18, 71), np.float32)}, ShapeError, "cols has 71 columns, expected .* = 72"),
    ("col2im", {"x_shape": (1, 2, 6, 6)}, ShapeError, "cols has 72 columns, expected .* = 36"),
    ("conv2d_forward", {"w": W[:0]}, ShapeError, "w must hold at least one filter"),
    ("conv2d_forward", {"w": W[:, :1]}, ShapeError, "w must have the 2 channels of x"),
    ("conv2d_forward", {"w": W[:, :, :0]}, ValueError, "h_filter must be >= 1, got 0"),
    ("conv2d_forward", {"b": B[:2]}, ShapeError, r"b must have shape \(3,\), got \(2,\)"),
    ("conv2d_forward", {"b": B.astype(float)}, DTypeError, "b must have the dtype of w, float32, got float64"),
    ("conv2d_forward", {"x": X.astype(float)}, DTypeError, "x must have the dtype of w, float32, got float64"),
    ("conv2d_backward", {"dout": DOUT[:1]}, ShapeError, r"dout must have shape \(2, 3, 6, 6\), got \(1, 3, 6, 6\)"),
    ("conv2d_backward", {"dout": DOUT[..., :5]}, ShapeError, "dout must have shape"),
    ("conv2d_backward", {"dout": DOUT.astype(float)}, DTypeError, "dout must have the dtype of w"),
    ("winograd_conv2d_forward", {"w": W[..., :2]}, ShapeError, "w must hold filters of 3 x 3 or 5 x 5, got 3 x 2"),
    ("winograd_conv2d_forward", {"padding": 3}, ValueError, "padding must be < 3"),
    ("winograd_conv2d_backward", {"dout": DOUT[:, :2]}, ShapeError, "dout must have shape"),
    ("maxpool_forward", {"size": 536870912}, ShapeError, "larger than padded input"),
    ("maxpool_backward", {"dout": POOLED[:1]}, ShapeError, "dout must have shape"),
    ("maxpool_backward", {"argmax": np.full(POOLED.shape, -1)}, ValueError, r"max index -1 at output \(0, 0, 0, 0\)"),
    ("maxpool_backward", {"argmax": np.full(POOLED.shape, 4)}, ValueError, r"max index 4 at .* outside \[0, 4\)"),
    ("avgpool_forward", {"size": (2, 7)}, ShapeError, r"kernel \(2 x 7\) larger than padded input"),
    ("avgpool_forward", {"size": (2, 2, 2)}, DTypeError, "size must be an int, got tuple"),
    ("avgpool_backward", {"dout": POOLED[..., :2]}, ShapeError, "dout must have shape"),
    ("warp_affine", {"matrix": np.zeros((1, 2, 3), np.float32)}, ShapeError, r"matrix must have shape \(2, 2, 3\)"),
    ("warp_affine", {"x": X.astype(float)}, DTypeError, "matrix must have the dtype of x"),
    ("warp_affine", {"x": X[..., :0]}, ShapeError, "x must have shape"),
    ("warp_flow", {"flow": np.zeros((2, 2, 6, 5), np.float32)}, ShapeError, r"flow must have shape \(2, 2, 6, 6\)"),
    ("gaussian_blur", {"sigma": 0.0}, ValueError, r"sigma must be in \(0, 1000\], got 0.0"),
    ("gaussian_blur", {"sigma": 1001}, ValueError, r"sigma must be in \(0, 1000\], got 1001"),
]


@MODULES
@pytest.mark.parametrize(("kernel", "changes", "error", "message"), TOGETHER)
def test_arguments_that_do_not_fit_together(module, kernel, changes, error, message, refuses):
    refuses(error, message, getattr(module, kernel), **{**GOOD[kernel], **changes})


@pytest.mark.parametrize("kernel", GOOD)
def test_the_good_calls_are_good_with_numpy_ints(kernel):
    """Or the tables above would prove nothing."""
    arguments = {n: np.int64(v) if isinstance(v, int) else v for n, v in GOOD[kernel].items()}
    result = getattr(kernels, kernel)(**arguments)
    assert all(np.isfinite(array).all() for array in (result if isinstance(result, tuple) else [result]))


# Sizes whose products wrap around in a machine word, each of them legal by itself.
WRAPPING = {"padding": 2**31 - 1, "stride": 2**33}
SMALL = np.ones((1, 1, 2, 2), np.float32)


@MODULES
@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("im2col", {"x": SMALL, "h_filter": 1, "w_filter": 1, **WRAPPING}),
        ("col2im", {"cols": SMALL[0, 0, :1, :1], "x_shape": SMALL.shape, "h_filter": 1, "w_filter": 1, **WRAPPING}),
        ("conv2d_forward", {"x": SMALL, "w": SMALL[:, :, :1, :1], "b": B[:1], **WRAPPING}),
        ("conv2d_backward", {"dout": SMALL[..., :1, :1], "x": SMALL, "w": SMALL[:, :, :1, :1], **WRAPPING}),
    ],
)
def test_padded_sizes_that_wrap_around(module, kernel, arguments, refuses):
    refuses(ShapeError, "more numbers than can be counted", getattr(module, kernel), **arguments)


def test_an_array_that_a_call_reads_is_neither_resized_nor_trusted():
    """Another thread writes to it all the while: results may be torn, but places stay inside their windows."""
    x = np.random.default_rng(0).random((16, 4, 28, 28), np.float32)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            x[...] = -x

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            _, argmax = kernels.maxpool_forward(x, 2, 2)
            assert argmax.min() >= 0 and argmax.max() < 4
            kernels.maxpool_backward(np.ones(argmax.shape, np.float32), argmax, x.shape, 2, 2)
            kernels.im2col(x, 3, 3, 1, 1)
        with pytest.raises(ValueError, match="resize"):
            x.resize((1, 1, 1, 1))
    finally:
        stop.set()
        writer.join()


@pytest.mark.skipif(sys.platform != "linux", reason="address space limits work on Linux")
def test_more_than_there_is_memory_for_is_told_and_given_back():
    code = """
        import resource
        import numpy as np
        from cnn_ext import Conv, kernels

        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

        x, w, b = np.ones((400, 1, 100, 100), np.float32), np.ones((64, 1, 3, 3), np.float32), np.zeros(64, np.float32)
        pooled, argmax = kernels.maxpool_forward(x[:1], 2, 2)
        conv = Conv((1, 100, 100), 64, 3, 3, 1, 1, rng=0)
        for kernel in (conv.forward, kernels.im2col):  # their code and threads, once
            kernel(x[:2], *(() if kernel == conv.forward else (3, 3, 1, 1)))
        limit = 700 << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for call in (
            lambda: kernels.im2col(x, 20, 20, 0, 1),
            lambda: kernels.col2im(np.ones((1, 1), np.float32), (1, 1, 2**16, 2**16), 1, 1, 0, 2**17),
            lambda: kernels.conv2d_forward(x, w, b, 1, 1),
            lambda: kernels.avgpool_backward(np.ones((1, 1, 1, 1), np.float32), (1, 1, 2**16, 2**16), 1, 2**17),
            lambda: conv.forward(x),
        ):
            before = resident()
            try:
                call()
            except MemoryError as error:
                message = str(error)
            assert "Unable to allocate" in message and "shape" in message, message
            assert resident() - before < 64 << 20
            kernels.im2col(x[:1], 3, 3, 1, 1)
        print("done")
    """
    environment = {**os.environ, "CNN_EXT_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.stdout, result.stderr) == ("done\n", "")
