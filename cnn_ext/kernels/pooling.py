"""The largest or the average number of each window, and the way back."""

from __future__ import annotations

import numpy as np

from .._checks import as_contiguous, check_array
from .._compiled import _pooling
from .._types import Array
from .._windows import (
    check_argmax,
    check_gradient,
    check_windows,
    window_sides,
)


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
