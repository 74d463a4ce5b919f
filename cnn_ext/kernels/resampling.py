"""Images seen through a map of places, and blurred."""

from __future__ import annotations

import numpy as np

from .._checks import as_contiguous
from .._compiled import _warp
from .._resampling import check_fill, check_flow, check_images, check_matrix, gaussian_weights
from .._types import Array


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
    scratch = np.empty(min(len(x), 1) * ((height + 2 * radius + 1) * width + 2 * radius), x.dtype)
    _warp.blur(x.reshape(-1), weights, scratch, out.reshape(-1), height, width)
    return out
