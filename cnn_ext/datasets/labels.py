"""Class labels: checking them, and writing them as rows of zeros with a single one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import as_array, check_countable, check_int
from .._types import Array
from ..errors import DataFormatError, DTypeError, ShapeError


def one_hot_encode(y: Any, num_class: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return a matrix whose row i is zero except for a one in column y[i].

    Parameters
    ----------
    y : array_like of int
        (N,), each in [0, num_class).
    num_class : int
        The number of classes, at least 1.

    Returns
    -------
    numpy.ndarray
        (N, num_class), int32.

    Raises
    ------
    DTypeError
        `y` does not hold integers.
    ShapeError
        `y` is not one-dimensional.
    ValueError
        A label is outside [0, num_class); the message names its row.
    """
    num_class = check_int("num_class", num_class, 1)
    labels = as_array("y", y)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"y must hold integers, got {labels.dtype}")
    if labels.ndim != 1:
        raise ShapeError(f"y must be 1-D (N,), got {labels.ndim}-D {labels.shape}")
    row = first_outside(labels, num_class)
    if row is not None:
        raise ValueError(f"label {labels[row]} at row {row} outside [0, {num_class})")
    check_countable("a matrix of shape", (len(labels), num_class))
    encoded = np.zeros((len(labels), num_class), np.int32)
    encoded[np.arange(len(labels)), labels] = 1
    return encoded


def checked_labels(labels: Array, num_class: int, name: str) -> Array:
    """Return the labels read from the file `name` as a new int64 array, or raise DataFormatError."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataFormatError(f"{name}: labels must be integers in one dimension, got {labels.dtype} {labels.shape}")
    index = first_outside(labels, num_class)
    if index is not None:
        raise DataFormatError(f"{name}: label {labels[index]} at index {index}, expected 0 to {num_class - 1}")
    return labels.astype(np.int64)


def check_label_count(labels: Array, n_images: int, name: str) -> None:
    """Raise DataFormatError unless the file `name` has one label an image."""
    if labels.ndim != 1 or len(labels) != n_images:
        raise DataFormatError(f"{name}: {n_images} images, but {labels.size} labels of shape {labels.shape}")


def first_outside(labels: Array, num_class: int) -> int | None:
    """Return the index of the first label outside [0, num_class), or None."""
    outside = (labels < 0) | (labels >= num_class)
    return int(np.argmax(outside)) if outside.any() else None
