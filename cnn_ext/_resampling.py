"""What resampling and blur are given: made and checked once here, for the kernels, their twins and who calls them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._checks import check_array, check_real
from ._compiled import _warp
from ._types import Array
from .errors import DTypeError, ShapeError


def check_images(name: str, x: Any) -> Array:
    """Return `x` if it is a float array (N, C, H, W) with sides that the kernels can count."""
    x = check_array(name, x, 4)
    if min(x.shape[1:]) < 1 or max(x.shape[2:]) > _warp.MAX_SIDE:
        wanted = f"(N, C, H, W) with C >= 1, H and W in [1, {_warp.MAX_SIDE}]"
        raise ShapeError(f"{name} must have shape {wanted}, got {x.shape}")
    return x


def check_matrix(matrix: Any, x: Array) -> Array:
    """Return the matrices (N, 2, 3) that `warp_affine` takes for images `x`, in the precision of x."""
    matrix = check_array("matrix", matrix)
    if matrix.shape != (len(x), 2, 3):
        raise ShapeError(f"matrix must have shape {(len(x), 2, 3)}, got {matrix.shape}")
    if matrix.dtype.itemsize < x.dtype.itemsize:
        raise DTypeError(f"matrix must have the dtype of x, {x.dtype}, or float64, got {matrix.dtype}")
    with np.errstate(over="ignore"):  # infinity lies outside the image too
        return matrix.astype(x.dtype.newbyteorder("="))


def check_flow(flow: Any, x: Array) -> Array:
    """Return the displacements (N, 2, H, W) that `warp_flow` takes for images `x`."""
    flow = check_array("flow", flow, 4)
    wanted = (len(x), 2, *x.shape[2:])
    if flow.shape != wanted:
        raise ShapeError(f"flow must have shape {wanted}, got {flow.shape}")
    if flow.dtype.newbyteorder("=") != x.dtype.newbyteorder("="):
        raise DTypeError(f"flow must have the dtype of x, {x.dtype}, got {flow.dtype}")
    return flow


def inverse_affine(angle: Array, factor: Array, slope: Array, down: Array, right: Array) -> Array:
    """Return the matrices (N, 2, 3) that lead from a place (row, column) of the results back into the images.

    The way there is column += slope * row, times `factor`, turned by `angle`, shifted by (down, right).
    """
    matrix = np.empty((len(angle), 2, 3))
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    matrix[:, 0, 0], matrix[:, 0, 1] = cos, sin
    matrix[:, 1, 0], matrix[:, 1, 1] = -sin - slope * cos, cos - slope * sin
    matrix[:, :, 2] = -(matrix[:, :, 0] * down[:, None] + matrix[:, :, 1] * right[:, None])
    return matrix


FILL = "(-3.4e38, 3.4e38)"
"""The values of what lies outside an image: those that float32 can hold."""


def check_fill(fill: Any) -> float:
    """Return the value of what lies outside an image, if float32 can hold it."""
    return check_real("fill", fill, FILL)


def gaussian_weights(sigma: Any, dtype: np.dtype[Any]) -> Array:
    """Return a Gaussian at 0, 1, ... pixels from its middle, up to 4 `sigma`; with both its sides the sum is 1."""
    sigma = check_real("sigma", sigma, "(0, 1000]")
    weights = np.array([1.0, *(math.exp(-0.5 * (i / sigma) ** 2) for i in range(1, round(4 * sigma) + 1))])
    return (weights / (2 * weights.sum() - 1)).astype(dtype.newbyteorder("="))
