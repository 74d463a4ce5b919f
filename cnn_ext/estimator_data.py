"""What the estimator does to X: rows of numbers for scikit-learn's checks, images for the network."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ._checks import check_int
from ._types import Array, Shape
from .datasets.scaled_images import ScaledImages

UNSCALED = 100
"""Pixels from here on are meant to be divided by 255."""


def as_rows(X: Any) -> tuple[Any, Shape | None]:
    """Return images with each as one row, and the shape of an image; anything else as it is, and None."""
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    if len(shape) not in (3, 4):
        return X, None
    return np.asarray(X).reshape(shape[0], math.prod(shape[1:])), tuple(shape[1:])


def shape_of_images(seen: Shape | None, image_shape: Any, n_features: int) -> Shape | None:
    """Return the shape of an image from what X had and what `image_shape` says; None for rows of features.

    Raises
    ------
    ValueError
        An `image_shape` that is none, or that does not fit X.
    """
    if image_shape is None:
        return seen
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) not in (2, 3):
        raise ValueError(f"image_shape must be (H, W) or of three numbers with the channels, got {image_shape!r}")
    shape = tuple(check_int(f"image_shape[{axis}]", size, 1) for axis, size in enumerate(image_shape))
    if seen not in (None, shape):
        raise ValueError(f"image_shape is {shape}, but X holds images of shape {seen}")
    if math.prod(shape) != n_features:
        raise ValueError(f"image_shape {shape} has {math.prod(shape)} values, but X has {n_features} features")
    return shape


def check_same_images(seen: Shape | None, shape: Shape | None) -> None:
    """Raise if X held other images than those of the fit; rows are taken in any case."""
    if seen in (None, shape):
        return
    fitted = "rows of features" if shape is None else f"images of shape {shape}"
    raise ValueError(f"X holds images of shape {seen}, but the fit has seen {fitted}")


def as_network_input(rows: Array, shape: Shape | None, data_format: str) -> Any:
    """Return rows as the network takes them: floats, images as (N, C, H, W), bytes scaled to [0, 1].

    Bytes are scaled as they are asked for; float32 stays float32, everything else is float64. Other pixels that look
    like bytes are taken as they are, with a warning.
    """
    if rows.dtype != np.uint8 and rows.dtype != np.float32:
        rows = rows.astype(np.float64, copy=False)
    X = rows
    if shape is not None and len(shape) == 2:
        X = rows.reshape(len(rows), 1, *shape)
    elif shape is not None:
        X = rows.reshape(len(rows), *shape)
        X = X.transpose(0, 3, 1, 2) if data_format == "channels_last" else X
    if X.dtype == np.uint8:
        return ScaledImages(X)
    if shape is not None and X.size and X.max() >= UNSCALED:
        message = f"X holds pixels up to {X.max():g}, but only bytes (uint8) are scaled to [0, 1]: divide them by 255"
        warnings.warn(message, UserWarning, stacklevel=2)
    return X
