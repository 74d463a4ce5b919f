"""Convolution: summed directly, or by Winograd's method."""

from __future__ import annotations

from .._checks import as_contiguous
from .._types import Array
from .._windows import (
    Windows,
    check_biases,
    check_convolution,
    check_convolved_gradient,
    check_winograd,
    winograd_tile,
)
from ..engine import ConvEngine


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
    windows = check_convolution(x, w, padding, stride)
    check_biases(b, w)
    engine = ConvEngine(windows, len(w), w.dtype.newbyteorder("="))
    return engine.forward(as_contiguous(x), as_contiguous(w), as_contiguous(b), training=False)


def conv2d_backward(dout: Array, x: Array, w: Array, padding: int, stride: int) -> tuple[Array, Array, Array]:
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
        Summed over images in chunks by a rule on their number alone, the chunks in a binary tree: the same bits for any
        number of threads.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `conv2d_forward`; also where `dout` does not fit.
    """
    windows = check_convolution(x, w, padding, stride)
    return _convolve_back(dout, x, w, windows, tile=0)


def winograd_conv2d_forward(x: Array, w: Array, b: Array, padding: int) -> Array:
    """Do what `conv2d_forward` does, for stride 1 and filters of 3 x 3 or 5 x 5, by Winograd's method.

    It takes a quarter of the products for 3 x 3 filters, a sixth for 5 x 5, and with many channels and filters about
    half of the time. Rounding errors are larger: in float32, for normally distributed numbers in 32 channels, 6e-7
    of the results' standard deviation for 3 x 3 filters and 2.4e-6 for 5 x 5, where the direct sums have 1e-7 to 5e-7.
    They are relative to the largest numbers nearby (tiles of 6 x 6 or 8 x 8 pixels), not to those of a window, and sums
    of small integers are not exact. An image with a number beyond 2**50 (NaN and infinity among them) is computed
    directly, all of them if the filters have one.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images.
    w : ndarray, shape (K, C, side, side), dtype of `x`
        Filters, `side` 3 or 5.
    b : ndarray, shape (K,), dtype of `x`
        Biases.
    padding : int
        Rows and columns of zeros around each image, less than `side`.

    Returns
    -------
    ndarray, shape (N, K, H + 2 * padding - side + 1, W + 2 * padding - side + 1)
        The same bits for an image alone and in a batch.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `conv2d_forward`; ShapeError also for other filters, ValueError for more padding.

    References
    ----------
    Winograd: Arithmetic complexity of computations. SIAM 1980.
    Lavin, Gray: Fast algorithms for convolutional neural networks. CVPR 2016.
    Barabasz, Anderson, Soodhalter, Gregg: Error analysis and improving the accuracy of Winograd convolution for deep
      neural networks. ACM TOMS 46(4), 2020.
    """
    windows = check_winograd(x, w, padding)
    check_biases(b, w)
    engine = ConvEngine(windows, len(w), w.dtype.newbyteorder("="), tile=winograd_tile(windows))
    return engine.forward(as_contiguous(x), as_contiguous(w), as_contiguous(b), training=False)


def winograd_conv2d_backward(dout: Array, x: Array, w: Array, padding: int) -> tuple[Array, Array, Array]:
    """Return the gradients of `winograd_conv2d_forward`, by the same method.

    Parameters
    ----------
    dout : ndarray, shape (N, K, H_out, W_out), float32 or float64
        Gradient of the result.
    x, w, padding
        As given to `winograd_conv2d_forward`.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W)
    dw : ndarray, shape (K, C, side, side)
    db : ndarray, shape (K,)
        As from `conv2d_backward`.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `winograd_conv2d_forward`; also where `dout` does not fit.
    """
    windows = check_winograd(x, w, padding)
    return _convolve_back(dout, x, w, windows, tile=winograd_tile(windows))


def _convolve_back(dout: Array, x: Array, w: Array, windows: Windows, tile: int) -> tuple[Array, Array, Array]:
    check_convolved_gradient(dout, w, windows)
    engine = ConvEngine(windows, len(w), w.dtype.newbyteorder("="), tile=tile)
    w = as_contiguous(w)
    engine.pad(as_contiguous(x))
    return engine.backward(as_contiguous(dout), w)
