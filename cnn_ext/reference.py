"""The kernels in NumPy: what `cnn_ext.kernels` computes, written to be read.

Same names, same arguments, same results and errors. They are the specification, and the oracle of the tests; they
are not used in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import check_array
from ._windows import check_argmax, check_columns, check_convolution, check_gradient, check_windows, window_sides

Array = np.ndarray[Any, np.dtype[Any]]


def im2col(x: Array, h_filter: int, w_filter: int, padding: int, stride: int) -> Array:
    """Unfold every window of a batch into one column of a matrix; see `cnn_ext.kernels.im2col`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    padded = np.pad(_native(x), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    columns = np.empty((w.n_channels, h_filter, w_filter, w.h_out, w.w_out, w.n_images), padded.dtype)
    for i in range(h_filter):
        for j in range(w_filter):
            # The pixel at (i, j) of every window at once: (N, C, H_out, W_out).
            pixels = padded[:, :, i : i + stride * w.h_out : stride, j : j + stride * w.w_out : stride]
            columns[:, i, j] = pixels.transpose(1, 2, 3, 0)
    return columns.reshape(w.columns_shape)


def col2im(
    cols: Array, x_shape: tuple[int, int, int, int], h_filter: int, w_filter: int, padding: int, stride: int
) -> Array:
    """Add columns back into images where they came from; see `cnn_ext.kernels.col2im`."""
    cols = check_array("cols", cols, 2)
    w = check_windows(x_shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    check_columns(cols.shape, w)
    columns = _native(cols).reshape(w.n_channels, h_filter, w_filter, w.h_out, w.w_out, w.n_images)
    padded = np.zeros((w.n_images, w.n_channels, w.height + 2 * padding, w.width + 2 * padding), columns.dtype)
    for i in range(h_filter):
        for j in range(w_filter):
            pixels = padded[:, :, i : i + stride * w.h_out : stride, j : j + stride * w.w_out : stride]
            pixels += columns[:, i, j].transpose(3, 0, 1, 2)
    return np.ascontiguousarray(padded[:, :, padding : padding + w.height, padding : padding + w.width])


def conv2d_forward(x: Array, w: Array, b: Array, padding: int, stride: int) -> Array:
    """Convolve images with filters, as a product of matrices; see `cnn_ext.kernels.conv2d_forward`."""
    windows = check_convolution(x, w, b, padding, stride)
    columns = im2col(x, w.shape[2], w.shape[3], padding, stride)
    out = _native(w).reshape(len(w), -1) @ columns + _native(b)[:, None]
    # One row a filter; the columns are positions and images, the image index running fastest.
    return np.ascontiguousarray(out.reshape(len(w), windows.h_out, windows.w_out, len(x)).transpose(3, 0, 1, 2))


def conv2d_backward(dout: Array, x: Array, w: Array, padding: int, stride: int) -> tuple[Array, Array, Array]:
    """Return the gradients (dx, dw, db) of `conv2d_forward`; see `cnn_ext.kernels.conv2d_backward`."""
    check_convolution(x, w, None, padding, stride)
    columns = im2col(x, w.shape[2], w.shape[3], padding, stride)
    rows = _native(dout).transpose(1, 2, 3, 0).reshape(len(w), -1)
    dw = (rows @ columns.T).reshape(w.shape)
    dcolumns = _native(w).reshape(len(w), -1).T @ rows
    return col2im(dcolumns, x.shape, w.shape[2], w.shape[3], padding, stride), dw, rows.sum(axis=1)


def maxpool_forward(x: Array, size: int, stride: int) -> tuple[Array, Array]:
    """Take the maximum of each square window, and note where it stood; see `cnn_ext.kernels.maxpool_forward`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, {"size": size}, 0, stride)
    x = _native(x)
    out = np.ascontiguousarray(x[:, :, : stride * w.h_out : stride, : stride * w.w_out : stride])
    argmax = np.zeros(out.shape, np.intp)
    for i in range(size):
        for j in range(size):
            pixels = x[:, :, i : i + stride * w.h_out : stride, j : j + stride * w.w_out : stride]
            wins = ~(pixels <= out) & ~np.isnan(out)  # larger, or the first NaN
            out[wins] = pixels[wins]
            argmax[wins] = i * size + j
    return out, argmax


def maxpool_backward(dout: Array, argmax: Array, x_shape: tuple[int, int, int, int], size: int, stride: int) -> Array:
    """Send each gradient back to the place of its window's maximum; see `cnn_ext.kernels.maxpool_backward`."""
    dout = check_array("dout", dout, 4)
    w = check_windows(x_shape, {"size": size}, 0, stride)
    argmax = check_argmax(argmax, dout.shape, w)
    dx = np.zeros(w.x_shape, dout.dtype.newbyteorder("="))
    n, c, oy, ox = np.indices(w.out_shape)
    # add.at, since overlapping windows may name one pixel twice.
    np.add.at(dx, (n, c, oy * stride + argmax // size, ox * stride + argmax % size), dout)
    return dx


def avgpool_forward(x: Array, size: int | tuple[int, int], stride: int) -> Array:
    """Take the average of each window; see `cnn_ext.kernels.avgpool_forward`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, window_sides(size), 0, stride)
    out = np.zeros(w.out_shape, x.dtype.newbyteorder("="))
    for i in range(w.h_window):
        for j in range(w.w_window):
            out += x[:, :, i : i + stride * w.h_out : stride, j : j + stride * w.w_out : stride]
    return out / out.dtype.type(w.h_window * w.w_window)


def avgpool_backward(
    dout: Array, x_shape: tuple[int, int, int, int], size: int | tuple[int, int], stride: int
) -> Array:
    """Share each window's gradient among its pixels; see `cnn_ext.kernels.avgpool_backward`."""
    dout = check_array("dout", dout, 4)
    w = check_windows(x_shape, window_sides(size), 0, stride)
    check_gradient(dout.shape, w)
    dx = np.zeros(w.x_shape, dout.dtype.newbyteorder("="))
    share = dout / dx.dtype.type(w.h_window * w.w_window)
    for i in range(w.h_window):
        for j in range(w.w_window):
            dx[:, :, i : i + stride * w.h_out : stride, j : j + stride * w.w_out : stride] += share
    return dx


def _native(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder("="), copy=False)
