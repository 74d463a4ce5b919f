"""The compiled kernels as plain functions on NumPy arrays.

They take float32 and float64 arrays of any strides and byte order, read-only ones too, never write to what they
are given, and return new C-contiguous arrays of the same precision. They convert nothing: any other dtype is a
DTypeError. The GIL is released while they work; results do not depend on the number of threads. `cnn_ext.reference`
holds the same functions in NumPy: what they compute is best read there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import as_contiguous, check_array
from ._compiled import INSTRUCTION_SET, _im2col, _pooling, _warp
from ._resampling import check_fill, check_flow, check_images, check_matrix, gaussian_weights
from ._windows import (
    Windows,
    check_argmax,
    check_biases,
    check_columns,
    check_convolution,
    check_convolved_gradient,
    check_gradient,
    check_windows,
    check_winograd,
    window_sides,
    winograd_tile,
)
from .engine import ConvEngine

Array = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "INSTRUCTION_SET",
    "avgpool_backward",
    "avgpool_forward",
    "col2im",
    "conv2d_backward",
    "conv2d_forward",
    "gaussian_blur",
    "im2col",
    "maxpool_backward",
    "maxpool_forward",
    "warp_affine",
    "warp_flow",
    "winograd_conv2d_backward",
    "winograd_conv2d_forward",
]


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
    x = as_contiguous(x)
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
    cols = as_contiguous(cols)
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
        Summed over images in chunks of a fixed size, the chunks in a binary tree: the same bits for any number of
        threads.

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
    x = as_contiguous(x)
    out, argmax = np.empty(windows.out_shape, x.dtype), np.empty(windows.out_shape, np.intp)
    _pooling.maxpool_forward(x.reshape(-1), out.reshape(-1), argmax.reshape(-1), windows)
    return out, argmax


def maxpool_backward(dout: Array, argmax: Array, x_shape: tuple[int, int, int, int], size: int, stride: int) -> Array:
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
    dout = as_contiguous(dout)
    dx = np.empty(windows.x_shape, dout.dtype)
    _pooling.maxpool_backward(dout.reshape(-1), as_contiguous(places).reshape(-1), dx.reshape(-1), windows)
    return dx


def avgpool_forward(x: Array, size: int | tuple[int, int], stride: int) -> Array:
    """Take the average of each window.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
    size : int or tuple of int
        Height and width of a window, in pixels; one number for a square.
    stride : int
        Step between neighbouring windows, in pixels.

    Returns
    -------
    ndarray, shape (N, C, H_out, W_out)
        Averages, summed row by row in the precision of `x`; H_out = (H - height) // stride + 1.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`.

    References
    ----------
    LeCun et al.: Gradient-based learning applied to document recognition. Proc. IEEE 86(11), 1998.
    """
    x = check_array("x", x, 4)
    windows = check_windows(x.shape, window_sides(size), 0, stride)
    x = as_contiguous(x)
    out = np.empty(windows.out_shape, x.dtype)
    _pooling.avgpool_forward(x.reshape(-1), out.reshape(-1), windows)
    return out


def avgpool_backward(
    dout: Array, x_shape: tuple[int, int, int, int], size: int | tuple[int, int], stride: int
) -> Array:
    """Share each window's gradient among its pixels.

    Parameters
    ----------
    dout : ndarray, shape (N, C, H_out, W_out), float32 or float64
        Gradients of the averages.
    x_shape : tuple of int
        Shape (N, C, H, W) of the images.
    size, stride
        As in `avgpool_forward`.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Where windows overlap, their shares add up.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; ShapeError also where `dout` does not fit `x_shape`.
    """
    dout = check_array("dout", dout, 4)
    windows = check_windows(x_shape, window_sides(size), 0, stride)
    check_gradient(dout.shape, windows)
    dout = as_contiguous(dout)
    dx = np.empty(windows.x_shape, dout.dtype)
    _pooling.avgpool_backward(dout.reshape(-1), dx.reshape(-1), windows)
    return dx


def warp_affine(x: Array, matrix: Array, fill: float = 0.0) -> Array:
    """Resample each image under an affine map of its own.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images, sides at most 2**22.
    matrix : ndarray, shape (N, 2, 3), dtype of `x` or float64
        The result's pixel at (row, column) is the image at `matrix @ (row, column, 1)`, both in pixels from the centre
        ((H - 1) / 2, (W - 1) / 2). Rounded to the dtype of `x`, in which the places are computed.
    fill : float
        Value of all pixels outside the image; finite.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Bilinear between the four pixels around each place: exact at a pixel's own place, so the identity and whole
        steps change no bit. A pixel that has no weight (it may be NaN) does not count; an infinite one that has some
        may give NaN. Places that are NaN or infinite lie outside.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; also where `matrix` does not fit `x`, or `fill` is not a finite number.

    Notes
    -----
    Runs in the calling thread alone, as `warp_flow` and `gaussian_blur` do: augmentation is shared out batch by batch.
    """
    x = check_images("x", x)
    return _warp_images(x, check_matrix(matrix, x), check_fill(fill), is_flow=False)


def warp_flow(x: Array, flow: Array, fill: float = 0.0) -> Array:
    """Resample images at places displaced from each pixel's own.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images, sides at most 2**22.
    flow : ndarray, shape (N, 2, H, W), dtype of `x`
        Displacements in pixels, down (0) and to the right (1): the result's pixel at (row, column) is the image at
        (row + flow[n, 0, row, column], column + flow[n, 1, row, column]).
    fill : float
        As in `warp_affine`.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        As from `warp_affine`.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `warp_affine`.
    """
    x = check_images("x", x)
    return _warp_images(x, check_flow(flow, x), check_fill(fill), is_flow=True)


def _warp_images(x: Array, places: Array, fill: float, is_flow: bool) -> Array:
    x = as_contiguous(x)
    out, border = np.empty_like(x), _warp.BORDER
    padded = np.empty(min(len(x), 1) * x.shape[1] * (x.shape[2] + border) * (x.shape[3] + border), x.dtype)
    _warp.warp(x.reshape(-1), as_contiguous(places).reshape(-1), fill, padded, out.reshape(-1), x.shape, is_flow)
    return out


def gaussian_blur(x: Array, sigma: float) -> Array:
    """Blur each channel of each image with a Gaussian.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images, sides at most 2**22; 0 outside.
    sigma : float
        Standard deviation in pixels, in (0, 1000]. The Gaussian is cut off at 4 sigma, its weights sum to 1.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Down, then across; each sum from the middle outwards, what is equally far on both sides added up first.

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; ValueError also for `sigma` out of range.
    """
    x = check_images("x", x)
    weights = gaussian_weights(sigma, x.dtype)
    x = as_contiguous(x)
    out, (height, width), radius = np.empty_like(x), x.shape[2:], len(weights) - 1
    scratch = np.empty((height + 2 * radius + 1) * width + 2 * radius, x.dtype)
    _warp.blur(x.reshape(-1), weights, scratch, out.reshape(-1), height, width)
    return out
