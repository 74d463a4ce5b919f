"""The compiled kernels as plain functions on NumPy arrays.

They take float32 and float64 arrays of any strides and byte order, read-only ones too, never write to what they
are given, and return new C-contiguous arrays of the same precision. They convert nothing: any other dtype is a
DTypeError. The GIL is released while they work; results do not depend on the number of threads. `cnn_ext.reference`
holds the same functions in NumPy: what they compute is best read there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import check_array
from ._windows import Windows, check_argmax, check_columns, check_convolution, check_windows
from .errors import DTypeError, ShapeError

try:
    from . import _conv, _im2col, _matmul, _maxpool, _update
    from . import _threads as pool
except ImportError as error:
    if "CNN_EXT_SIMD" in str(error):
        raise
    raise ImportError(
        f"the compiled modules of cnn_ext are missing or were built for another Python ({error}): "
        "run `python -m pip install -e .` in the source folder, or install the wheel"
    ) from error

Array = np.ndarray[Any, np.dtype[Any]]

INSTRUCTION_SET: str = pool.INSTRUCTION_SET
"""What the convolution was compiled for: "avx2" or "baseline"; CNN_EXT_SIMD forces one before the import."""

__all__ = ["col2im", "conv2d_backward", "conv2d_forward", "im2col", "maxpool_backward", "maxpool_forward"]


def im2col(x: Array, h_filter: int, w_filter: int, padding: int, stride: int) -> Array:
    """Unfold every window of a batch of images into one column of a matrix.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images.
    h_filter, w_filter : int
        Height and width of a window, in pixels.
    padding : int
        Rows and columns of zeros around each image.
    stride : int
        Step between neighbouring windows, in pixels.

    Returns
    -------
    ndarray, shape (C * h_filter * w_filter, H_out * W_out * N)
        Row (c, i, j), column (y, x, n): the pixel of image n, channel c, at place (i, j) of the window at (y, x). The
        image index runs fastest. H_out = (H + 2 * padding - h_filter) // stride + 1: trailing rows and columns that
        fill no window are left out, as in PyTorch and ONNX.

    Raises
    ------
    DTypeError
        x not a float32 or float64 ndarray; a size not an int.
    ShapeError
        x not 4-D, an axis but the first of length 0, or a window larger than the padded image.
    ValueError
        A size out of range.
    MemoryError
        More columns than there is memory for.

    References
    ----------
    Chellapilla, Puri, Simard: High performance convolutional neural networks for document processing. 2006.
    """
    x = check_array("x", x, 4)
    windows = check_windows(x.shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    x = _plain(x)
    columns = np.empty(windows.columns_shape, x.dtype)
    _im2col.im2col(x.reshape(-1), np.empty(x.size, x.dtype), columns.reshape(-1), windows)
    return columns


def col2im(
    cols: Array, x_shape: tuple[int, int, int, int], h_filter: int, w_filter: int, padding: int, stride: int
) -> Array:
    """Add columns back into images where they came from: the adjoint of `im2col`.

    Parameters
    ----------
    cols : ndarray, shape (C * h_filter * w_filter, H_out * W_out * N), float32 or float64
        Columns in the order of `im2col`.
    x_shape : tuple of int
        Shape (N, C, H, W) of the images.
    h_filter, w_filter, padding, stride : int
        As in `im2col`.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Each pixel is the sum of its entries in `cols`, formed in the order of (i, j).

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; ShapeError also for columns that do not fit `x_shape`.
    """
    cols = check_array("cols", cols, 2)
    windows = check_windows(x_shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    check_columns(cols.shape, windows)
    cols = _plain(cols)
    dx = np.empty(windows.x_shape, cols.dtype)
    _im2col.col2im(cols.reshape(-1), np.empty(dx.size, cols.dtype), dx.reshape(-1), windows)
    return dx


def conv2d_forward(x: Array, w: Array, b: Array, padding: int, stride: int) -> Array:
    """Convolve images with filters and add a bias to each filter's result.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images.
    w : ndarray, shape (K, C, h_filter, w_filter), dtype of `x`
        Filters; not flipped, as everywhere in deep learning.
    b : ndarray, shape (K,), dtype of `x`
        Biases.
    padding : int
        Rows and columns of zeros around each image.
    stride : int
        Step between neighbouring windows, in pixels.

    Returns
    -------
    ndarray, shape (N, K, H_out, W_out)
        H_out = (H + 2 * padding - h_filter) // stride + 1. Each number is summed over (row, column, channel) of its
        window in that order: the same bits for an image alone and in a batch.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; also where the dtypes differ or the shapes do not fit.

    References
    ----------
    Zhang, Franchetti, Low: High performance zero-memory overhead direct convolutions. ICML 2018.
    """
    windows = check_convolution(x, w, b, padding, stride)
    engine = ConvEngine(windows, len(w), 1, w.dtype.newbyteorder("="))
    return engine.forward(_plain(x), _plain(w), _plain(b), training=False)


def conv2d_backward(
    dout: Array, x: Array, w: Array, padding: int, stride: int
) -> tuple[Array, Array, Array]:
    """Return the gradients of `conv2d_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, K, H_out, W_out), float32 or float64
        Gradient of the result.
    x, w, padding, stride
        As given to `conv2d_forward`.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W)
    dw : ndarray, shape (K, C, h_filter, w_filter)
    db : ndarray, shape (K,)
        Summed over images in chunks of a fixed size, the chunks in a binary tree: the same bits for any number of
        threads.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `conv2d_forward`; also where `dout` does not fit.
    """
    windows = check_convolution(x, w, None, padding, stride)
    dout = check_array("dout", dout, 4)
    wanted = (len(x), len(w), windows.h_out, windows.w_out)
    if dout.shape != wanted:
        raise ShapeError(f"dout must have shape {wanted}, got {dout.shape}")
    if dout.dtype.newbyteorder("=") != w.dtype.newbyteorder("="):
        raise DTypeError(f"dout must have the dtype of w, {w.dtype}, got {dout.dtype}")
    engine = ConvEngine(windows, len(w), 1, w.dtype.newbyteorder("="))
    w = _plain(w)
    engine.pad(_plain(x), w)
    return engine.backward(_plain(dout), w)


class ConvEngine:
    """The compiled convolution with its buffers, for one geometry; optionally with ReLU and max-pooling in one pass.

    It checks nothing: layers and the public kernels do. Buffers are made when they are first needed and kept for the
    next call. Images may come and go channels last, (N, H, W, C), which saves turning them between two convolutions.

    Parameters
    ----------
    windows : Windows
        Geometry of the convolution; its number of images is ignored.
    n_filter : int
    pool : int
        Side of the pooling windows, their stride as well; 1 for the convolution alone, without ReLU.
    dtype : numpy dtype
        float32 or float64.
    """

    def __init__(self, windows: Windows, n_filter: int, pool: int, dtype: np.dtype[Any]) -> None:
        self.windows, self.n_filter, self.pool, self.dtype = windows, n_filter, pool, dtype
        self.trained_on = 0
        """Images of the last forward pass in training; 0 if there is none to go back from."""
        self._buffers: dict[str, Array] = {}
        self._out: Any = None
        self._out_last = self._last = False

    def forward(
        self, x: Array, w: Array, b: Array, *, training: bool, last: bool = False, out_last: bool = False
    ) -> Array:
        """Return the result for images `x`; `last` and `out_last` say whether channels are last in `x`, the result.

        A result with channels last is the engine's own buffer, overwritten by the next call.
        """
        n = len(x)
        windows, padded, packed = self._forward_buffers(n)
        h_out, w_out = windows.h_out // self.pool, windows.w_out // self.pool
        size = n * h_out * w_out * self.n_filter
        if out_last:
            out = self._buffer("out", size).reshape(n, h_out, w_out, self.n_filter)
        else:
            out = np.empty((n, self.n_filter, h_out, w_out), self.dtype)
        places = self._buffer("places", size if self.pool > 1 else 0, np.uint8)
        _conv.forward(
            windows, self.pool, x.reshape(-1), last, w.reshape(-1), b, padded, packed, out.reshape(-1), out_last, places
        )
        self.trained_on = n if training else 0
        self._out, self._out_last, self._last = out if training else None, out_last, last
        return out

    def pad(self, x: Array, w: Array) -> None:
        """Do of `forward` what `backward` needs of it, for a convolution without pooling."""
        _, padded, _ = self._forward_buffers(len(x))
        _conv.pad_images(self._windows_of(len(x)), self.n_filter, x.reshape(-1), padded)
        self.trained_on, self._out, self._out_last, self._last = len(x), None, False, False

    def backward(self, dout: Array, w: Array, *, need_dx: bool = True) -> tuple[Array, Array, Array]:
        """Return (dx, dw, db), axes in the order of the last forward pass; without `need_dx`, dx is empty.

        A dx with channels last is the engine's own buffer, overwritten by the next call.
        """
        n = self.trained_on
        windows = self._windows_of(n)
        padded_size, _, packed_size, scratch_size, partial_size = self._sizes(windows)
        n_, c, h, w_ = windows.x_shape
        if not need_dx:
            dx = np.empty(0, self.dtype)
        elif self._last:
            dx = self._buffer("dx", n * c * h * w_).reshape(n_, h, w_, c)
        else:
            dx = np.empty(windows.x_shape, self.dtype)
        dw, db = np.empty(w.shape, self.dtype), np.empty(self.n_filter, self.dtype)
        pooled = self.pool > 1
        _conv.backward(
            windows,
            self.pool,
            dout.reshape(-1),
            self._out.reshape(-1) if pooled else np.empty(0, self.dtype),
            self._out_last,
            self._buffer("places", dout.size if pooled else 0, np.uint8),
            self._buffer("padded", padded_size),
            w.reshape(-1),
            self._buffer("back", packed_size),
            self._buffer("scratch", scratch_size, np.uint8),
            self._buffer("partial", partial_size),
            dw.reshape(-1),
            db,
            dx.reshape(-1),
            self._last,
        )
        return dx, dw, db

    def _windows_of(self, n_images: int) -> Windows:
        return self.windows._replace(n_images=n_images)

    def _sizes(self, windows: Windows) -> tuple[int, int, int, int, int]:
        sizes: tuple[int, int, int, int, int] = _conv.buffer_sizes(self.dtype.itemsize, windows, self.n_filter, self.pool)
        return sizes

    def _forward_buffers(self, n_images: int) -> tuple[Windows, Array, Array]:
        windows = self._windows_of(n_images)
        padded_size, packed_size, *_ = self._sizes(windows)
        return windows, self._buffer("padded", padded_size), self._buffer("forward", packed_size)

    def _buffer(self, name: str, size: int, dtype: Any = None) -> Array:
        """Return a flat buffer of `size`, new and zero only where the kept one is too small."""
        kept = self._buffers.get(name)
        if kept is None or kept.size < size:
            kept = self._buffers[name] = np.zeros(size, dtype or self.dtype)
        return kept[:size]


def maxpool_forward(x: Array, size: int, stride: int) -> tuple[Array, Array]:
    """Take the maximum of each square window, and note where it stood.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
    size : int
        Height and width of a window, in pixels.
    stride : int
        Step between neighbouring windows, in pixels.

    Returns
    -------
    out : ndarray, shape (N, C, H_out, W_out)
        Maxima; H_out = (H - size) // stride + 1.
    argmax : ndarray of intp, shape (N, C, H_out, W_out)
        Place of the maximum within its window, row by row, in [0, size * size). Of equal values the first wins (0.0
        and -0.0 are equal); a NaN wins over every number, the first NaN over all.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`.
    """
    x = check_array("x", x, 4)
    windows = check_windows(x.shape, {"size": size}, 0, stride)
    x = _plain(x)
    out, argmax = np.empty(windows.out_shape, x.dtype), np.empty(windows.out_shape, np.intp)
    _maxpool.maxpool_forward(x.reshape(-1), out.reshape(-1), argmax.reshape(-1), windows)
    return out, argmax


def maxpool_backward(
    dout: Array, argmax: Array, x_shape: tuple[int, int, int, int], size: int, stride: int
) -> Array:
    """Send each gradient back to the place of its window's maximum.

    Parameters
    ----------
    dout : ndarray, shape (N, C, H_out, W_out), float32 or float64
        Gradients of the maxima.
    argmax : ndarray of any integer dtype, shape (N, C, H_out, W_out)
        Places of the maxima, from `maxpool_forward`.
    x_shape : tuple of int
        Shape (N, C, H, W) of the images.
    size, stride : int
        As in `maxpool_forward`.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Zero but at the maxima; where windows overlap, gradients add up in the order of the windows.

    Raises
    ------
    ValueError
        An index outside [0, size * size), found before anything is computed.
    DTypeError, ShapeError, MemoryError
        As `im2col`; ShapeError also where `dout` or `argmax` do not fit `x_shape`.
    """
    dout = check_array("dout", dout, 4)
    windows = check_windows(x_shape, {"size": size}, 0, stride)
    places = check_argmax(argmax, dout.shape, windows)
    dout = _plain(dout)
    dx = np.empty(windows.x_shape, dout.dtype)
    _maxpool.maxpool_backward(dout.reshape(-1), _plain(places).reshape(-1), dx.reshape(-1), windows)
    return dx


def dense_forward(x: Array, w: Array, b: Array) -> Array:
    """Return x @ w + b for x (N, inputs), w (inputs, outputs), b (outputs,), all C-contiguous and of one dtype.

    It checks nothing: the layer does. Each number is summed in the order of the inputs: the same bits for a row alone and
    in a batch, and for any number of threads.
    """
    out = np.empty((len(x), w.shape[1]), w.dtype)
    _multiply(x, False, w, b, out, False)
    return out


def dense_backward(dout: Array, x: Array, w: Array, *, need_dx: bool = True) -> tuple[Array, Array, Array]:
    """Return the gradients (dx, dw, db) of `dense_forward`; without `need_dx`, dx is empty."""
    dw = np.empty(w.shape, w.dtype)
    if len(x) == 0:
        dw[...] = 0
        return np.empty(x.shape if need_dx else 0, w.dtype), dw, np.zeros(w.shape[1], w.dtype)
    _multiply(x, True, dout, _NONE, dw, False)
    dx = np.empty(x.shape if need_dx else 0, w.dtype)
    if need_dx:
        _multiply(w, False, dout.T, _NONE, dx, True)  # w @ dout.T, stored the other way round
    return dx, dw, dout.sum(axis=0)


_NONE = np.empty(0)


def _multiply(a: Array, a_transposed: bool, b: Array, bias: Array, c: Array, c_transposed: bool) -> None:
    """c = a @ b + bias (see `_matmul.multiply`), with the rows of b brought to whole vectors if they are not."""
    n_terms, n_columns = b.shape
    padded = _matmul.columns_padded(b.itemsize, n_columns)
    if padded != n_columns or not b.flags.c_contiguous:
        filled = np.zeros((n_terms, padded), b.dtype)
        filled[:, :n_columns] = b
        b = filled
    n_rows = a.shape[1] if a_transposed else a.shape[0]
    bias = bias.astype(c.dtype, copy=False)
    _matmul.multiply(
        n_rows, n_columns, n_terms, a.reshape(-1), a_transposed, b.reshape(-1), bias, c.reshape(-1), c_transposed
    )


def all_finite(x: Array) -> bool:
    """Return whether `x` holds neither NaN nor infinity."""
    if _is_plain(x):
        return bool(_update.all_finite(x.reshape(-1)))
    return bool(np.isfinite(x).all())


def add_scaled(target: Array, source: Array, factor: float) -> None:
    """Do target += factor * source in place, in the precision of `target`."""
    if _is_plain(target) and _is_plain(source) and target.dtype == source.dtype:
        _update.add_scaled(target.reshape(-1), source.reshape(-1), factor)
    else:
        target += target.dtype.type(factor) * source


def momentum_step(param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool) -> None:
    """Do one step of SGD with momentum in place, as `optimizers.SGD` describes it; all three of one shape."""
    if all(_is_plain(array) and array.dtype == param.dtype for array in (param, grad, velocity)):
        _update.momentum_step(param.reshape(-1), grad.reshape(-1), velocity.reshape(-1), lr, momentum, nesterov)
        return
    number = param.dtype.type
    velocity *= number(momentum)
    velocity += grad
    param -= number(lr) * (grad + number(momentum) * velocity if nesterov else velocity)


def _is_plain(x: Array) -> bool:
    """Whether the compiled passes over memory can take `x` as it is."""
    return x.dtype.char in "fd" and x.dtype.isnative and x.flags.c_contiguous and x.flags.aligned


def _plain(x: Array) -> Array:
    """Return `x` itself if it is C-contiguous, aligned and of native byte order, else such a copy."""
    return np.require(x, x.dtype.newbyteorder("="), ["C", "A"])
