"""The kernels in NumPy: what `cnn_ext.kernels` computes, written to be read.

Same names, same arguments, same results and errors. They are the specification, and the oracle of the tests; they
are not used in training.
"""

from __future__ import annotations

import numpy as np

from ._checks import check_array
from ._resampling import check_fill, check_flow, check_images, check_matrix, gaussian_weights
from ._types import Array
from ._windows import (
    TILE_RESULTS,
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
)


def im2col(x: Array, h_filter: int, w_filter: int, padding: int, stride: int) -> Array:
    """Unfold every window of a batch into one column of a matrix; see `cnn_ext.kernels.im2col`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    padded = np.pad(_native(x), ((0, 0), (0, 0), (w.padding, w.padding), (w.padding, w.padding)))
    columns = np.empty((w.n_channels, w.h_window, w.w_window, w.h_out, w.w_out, w.n_images), padded.dtype)
    for i in range(w.h_window):
        for j in range(w.w_window):
            # The pixel at (i, j) of every window at once: (N, C, H_out, W_out).
            pixels = padded[:, :, i : i + w.stride * w.h_out : w.stride, j : j + w.stride * w.w_out : w.stride]
            columns[:, i, j] = pixels.transpose(1, 2, 3, 0)
    return columns.reshape(w.columns_shape)


def col2im(
    cols: Array, x_shape: tuple[int, int, int, int], h_filter: int, w_filter: int, padding: int, stride: int
) -> Array:
    """Add columns back into images where they came from; see `cnn_ext.kernels.col2im`."""
    cols = check_array("cols", cols, 2)
    w = check_windows(x_shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    check_columns(cols.shape, w)
    columns = _native(cols).reshape(w.n_channels, w.h_window, w.w_window, w.h_out, w.w_out, w.n_images)
    padded = np.zeros((w.n_images, w.n_channels, w.height + 2 * w.padding, w.width + 2 * w.padding), columns.dtype)
    for i in range(w.h_window):
        for j in range(w.w_window):
            pixels = padded[:, :, i : i + w.stride * w.h_out : w.stride, j : j + w.stride * w.w_out : w.stride]
            pixels += columns[:, i, j].transpose(3, 0, 1, 2)
    return np.ascontiguousarray(padded[:, :, w.padding : w.padding + w.height, w.padding : w.padding + w.width])


def conv2d_forward(x: Array, w: Array, b: Array, padding: int, stride: int) -> Array:
    """Convolve images with filters, as a product of matrices; see `cnn_ext.kernels.conv2d_forward`."""
    windows = check_convolution(x, w, padding, stride)
    check_biases(b, w)
    columns = im2col(x, w.shape[2], w.shape[3], padding, stride)
    out = _native(w).reshape(len(w), -1) @ columns + _native(b)[:, None]
    # One row a filter; the columns are positions and images, the image index running fastest.
    return np.ascontiguousarray(out.reshape(len(w), windows.h_out, windows.w_out, len(x)).transpose(3, 0, 1, 2))


def conv2d_backward(dout: Array, x: Array, w: Array, padding: int, stride: int) -> tuple[Array, Array, Array]:
    """Return the gradients (dx, dw, db) of `conv2d_forward`; see `cnn_ext.kernels.conv2d_backward`."""
    check_convolved_gradient(dout, w, check_convolution(x, w, padding, stride))
    columns = im2col(x, w.shape[2], w.shape[3], padding, stride)
    rows = _native(dout).transpose(1, 2, 3, 0).reshape(len(w), -1)
    dw = (rows @ columns.T).reshape(w.shape)
    dcolumns = _native(w).reshape(len(w), -1).T @ rows
    return col2im(dcolumns, x.shape, w.shape[2], w.shape[3], padding, stride), dw, rows.sum(axis=1)


def winograd_matrices(n_results: int, n_taps: int) -> tuple[Array, Array, Array]:
    """Return A, B and G: for n_taps taps g and as many pixels d as are needed, A.T @ ((G @ g) * (B.T @ d)) is the
    correlation of d with g at n_results places. Pixels must be 6 or 8.

    Read the other way round, taps and results are the coefficients of two polynomials, whose product is known by its
    values at as many points as it has coefficients. G takes the values of the taps, A those of the results, and B.T is
    what interpolates.
    """
    n = n_results + n_taps - 1
    points = np.array({6: [0, 5 / 8, -5 / 8, 3 / 2, -3 / 2], 8: [0, 1 / 2, -1 / 2, 1, -1, 2, -2]}[n])  # and infinity
    A, G, B = np.zeros((n, n_results)), np.zeros((n, n_taps)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        A[i] = point ** np.arange(n_results)
        G[i] = point ** np.arange(n_taps) / np.prod(point - others)
        B[: n - 1, i] = np.poly(others)[::-1]  # coefficients of the product of (x - other), the lowest first
    A[-1, -1] = G[-1, -1] = 1  # the point at infinity: the highest coefficient
    B[:, -1] = np.poly(points)[::-1]
    return A, B, G


def winograd_conv2d_forward(x: Array, w: Array, b: Array, padding: int) -> Array:
    """Convolve by Winograd's method, tile by tile; see `cnn_ext.kernels.winograd_conv2d_forward`."""
    windows = check_winograd(x, w, padding)
    check_biases(b, w)
    x, w = _native(x), _native(w)
    A, B, G = (m.astype(w.dtype) for m in winograd_matrices(TILE_RESULTS, windows.h_window))
    values = B.T @ _tiles(x, windows.padding, len(B), windows) @ B  # (N, C, tiles down, tiles across, side, side)
    results = A.T @ np.einsum("nctuij,kcij->nktuij", values, G @ w @ G.T) @ A
    n, k, down, across = results.shape[:4]
    out = results.transpose(0, 1, 2, 4, 3, 5).reshape(n, k, down * TILE_RESULTS, across * TILE_RESULTS)
    return np.ascontiguousarray(out[:, :, : windows.h_out, : windows.w_out]) + _native(b)[:, None, None]


def winograd_conv2d_backward(dout: Array, x: Array, w: Array, padding: int) -> tuple[Array, Array, Array]:
    """Return the gradients of the same; see `cnn_ext.kernels.winograd_conv2d_backward`."""
    windows = check_winograd(x, w, padding)
    check_convolved_gradient(dout, w, windows)
    dout, x, side = _native(dout), _native(x), windows.h_window
    turned = np.ascontiguousarray(_native(w).transpose(1, 0, 2, 3)[..., ::-1, ::-1])
    dx = winograd_conv2d_forward(dout, turned, np.zeros(w.shape[1], dout.dtype), side - 1 - windows.padding)
    # Each tile of pixels is correlated with its gradients, which gives side x side sums: a share of dw.
    A, B, G = (m.astype(dout.dtype) for m in winograd_matrices(side, TILE_RESULTS))
    values = B.T @ _tiles(x, windows.padding, len(B), windows) @ B
    gradients = G @ _tiles(dout, 0, TILE_RESULTS, windows) @ G.T
    dw = A.T @ np.einsum("nctuij,nktuij->kcij", values, gradients) @ A
    return dx, dw, dout.sum(axis=(0, 2, 3))


def _tiles(x: Array, padding: int, side: int, windows: Windows) -> Array:
    """Cut padded images into tiles of side x side pixels, one for each TILE_RESULTS x TILE_RESULTS results."""
    down, across = -(-windows.h_out // TILE_RESULTS), -(-windows.w_out // TILE_RESULTS)
    needed = ((n - 1) * TILE_RESULTS + side for n in (down, across))
    rest = [max(0, need - size - padding) for need, size in zip(needed, x.shape[2:], strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, rest[0]), (padding, rest[1])))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
    return tiles[:, :, ::TILE_RESULTS, ::TILE_RESULTS][:, :, :down, :across]


def maxpool_forward(x: Array, size: int, stride: int) -> tuple[Array, Array]:
    """Take the maximum of each square window, and note where it stood; see `cnn_ext.kernels.maxpool_forward`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, {"size": size}, 0, stride)
    x = _native(x)
    out = np.ascontiguousarray(x[:, :, : w.stride * w.h_out : w.stride, : w.stride * w.w_out : w.stride])
    argmax = np.zeros(out.shape, np.intp)
    for i in range(w.h_window):
        for j in range(w.w_window):
            pixels = x[:, :, i : i + w.stride * w.h_out : w.stride, j : j + w.stride * w.w_out : w.stride]
            wins = ~(pixels <= out) & ~np.isnan(out)  # larger, or the first NaN
            out[wins] = pixels[wins]
            argmax[wins] = i * w.w_window + j
    return out, argmax


def maxpool_backward(dout: Array, argmax: Array, x_shape: tuple[int, int, int, int], size: int, stride: int) -> Array:
    """Send each gradient back to the place of its window's maximum; see `cnn_ext.kernels.maxpool_backward`."""
    dout = check_array("dout", dout, 4)
    w = check_windows(x_shape, {"size": size}, 0, stride)
    argmax = check_argmax(argmax, dout.shape, w)
    dx = np.zeros(w.x_shape, dout.dtype.newbyteorder("="))
    n, c, oy, ox = np.indices(w.out_shape)
    # add.at, since overlapping windows may name one pixel twice.
    np.add.at(dx, (n, c, oy * w.stride + argmax // w.w_window, ox * w.stride + argmax % w.w_window), dout)
    return dx


def avgpool_forward(x: Array, size: int | tuple[int, int], stride: int) -> Array:
    """Take the average of each window; see `cnn_ext.kernels.avgpool_forward`."""
    x = check_array("x", x, 4)
    w = check_windows(x.shape, window_sides(size), 0, stride)
    out = np.zeros(w.out_shape, x.dtype.newbyteorder("="))
    for i in range(w.h_window):
        for j in range(w.w_window):
            out += x[:, :, i : i + w.stride * w.h_out : w.stride, j : j + w.stride * w.w_out : w.stride]
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
            dx[:, :, i : i + w.stride * w.h_out : w.stride, j : j + w.stride * w.w_out : w.stride] += share
    return dx


def warp_affine(x: Array, matrix: Array, fill: float = 0.0) -> Array:
    """Resample each image under an affine map of its own; see `cnn_ext.kernels.warp_affine`."""
    x = check_images("x", x)
    m = check_matrix(matrix, x)[:, :, :, None, None]
    # The fractions of a pixel lie in the centre: added first, whole steps stay exact.
    centre = [x.dtype.type(size - 1) / 2 for size in x.shape[2:]]
    rows, columns = (np.arange(size, dtype=m.dtype) - c for size, c in zip(x.shape[2:], centre))
    with np.errstate(invalid="ignore", over="ignore"):
        places = [(m[:, i, 0] * rows[:, None] + (m[:, i, 2] + (centre[i] + 1))) + m[:, i, 1] * columns for i in (0, 1)]
        return _sample(_native(x), places[0], places[1], check_fill(fill))


def warp_flow(x: Array, flow: Array, fill: float = 0.0) -> Array:
    """Resample images at places displaced from each pixel's own; see `cnn_ext.kernels.warp_flow`."""
    x = check_images("x", x)
    flow = _native(check_flow(flow, x))
    rows, columns = (np.arange(1, size + 1, dtype=flow.dtype) for size in x.shape[2:])
    with np.errstate(invalid="ignore", over="ignore"):
        return _sample(_native(x), rows[:, None] + flow[:, 0], columns + flow[:, 1], check_fill(fill))


def _sample(x: Array, rows: Array, columns: Array, fill: float) -> Array:
    """Return x at places (N, H, W), counted from (-1, -1): those of the image inside a border of `fill`."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2)), constant_values=fill)

    def split(places: Array, size: int) -> tuple[Array, Array]:
        held = np.clip(np.nan_to_num(places, nan=0.0), 0, size + 1)  # farther out there is only border
        return held.astype(np.intp), held % 1

    (i, down), (j, right) = split(rows, x.shape[2]), split(columns, x.shape[3])
    image = np.arange(len(x))[:, None, None]

    def between(a: Array, b: Array, part: Array) -> Array:
        return np.where(part[:, None] > 0, a + part[:, None] * (b - a), a)

    def tap(i: Array, j: Array) -> Array:
        return np.moveaxis(padded[image, :, i, j], -1, 1)

    return between(between(tap(i, j), tap(i, j + 1), right), between(tap(i + 1, j), tap(i + 1, j + 1), right), down)


def gaussian_blur(x: Array, sigma: float) -> Array:
    """Blur each channel of each image with a Gaussian; see `cnn_ext.kernels.gaussian_blur`."""
    x = _native(check_images("x", x))
    weights = gaussian_weights(sigma, x.dtype)
    radius = len(weights) - 1
    for axis in (2, 3):
        padded = np.pad(x, [(radius * (a == axis),) * 2 for a in range(4)])
        inside = np.arange(radius, radius + x.shape[axis])
        x = weights[0] * x
        for k in range(1, radius + 1):
            x += weights[k] * (padded.take(inside - k, axis) + padded.take(inside + k, axis))
    return x


def _native(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder("="), copy=False)
