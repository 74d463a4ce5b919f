"""Minibatches: the images of an epoch in a given order, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._checks import as_array, check_bool, check_int
from ._types import Array
from .errors import ShapeError
from .initializers import RngLike, as_generator


class Minibatches(Sequence[tuple[Array, ...]]):
    """A sequence of batches (X, y), or (X, y, weights), each gathered when it is asked for.

    Parameters
    ----------
    X, y : array-likes of the same length
        `X` may be anything that can be indexed by an array of row numbers, such as `ScaledImages`.
    minibatch_size : int
        Rows of each batch; the last one may be shorter.
    order : array of int
        The row numbers, in the order in which they come.
    weights : array-like of the same length, optional
        A third part of each batch.
    """

    def __init__(self, X: Any, y: Array, minibatch_size: int, order: Array, weights: Array | None = None) -> None:
        self._parts = (X, y) if weights is None else (X, y, weights)
        self._size, self._order = minibatch_size, order

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        rows = self._order[index * self._size : (index + 1) * self._size]
        return tuple(part[rows] for part in self._parts)

    def after(self, n: int) -> Minibatches:
        """Return the batches behind the first `n`."""
        X, y, *weights = self._parts
        return Minibatches(X, y, self._size, self._order[n * self._size :], *weights)


def as_indexable(name: str, X: Any) -> Any:
    """Return what NumPy views without a copy as an array, and what else reads like one (`ScaledImages`) as it is."""
    is_viewed = isinstance(X, np.ndarray) or hasattr(X, "__dlpack__") or not hasattr(X, "dtype")
    X = as_array(name, X) if is_viewed else X
    if getattr(X, "ndim", 1) == 0:
        raise ShapeError(f"{name} must hold an entry an image, got a single {X.dtype}")
    return X


def as_labels(y: Any) -> Array:
    """Return labels as an array with an entry an image."""
    labels: Array = as_indexable("y", as_array("y", y))
    return labels


def check_lengths(X: Any, y: Any) -> int:
    """Return the number of images if there are as many labels, else raise."""
    if len(X) != len(y):
        raise ShapeError(f"X and y must have the same length, got {len(X)} and {len(y)}")
    return len(X)


def get_minibatches(
    X: Any,
    y: Array,
    minibatch_size: int,
    shuffle: bool = True,
    rng: RngLike = None,
    sample_weight: Array | None = None,
) -> Minibatches:
    """Cut images and labels into batches, the last one possibly shorter.

    Parameters
    ----------
    X : array, shape (N, ...)
    y : array, shape (N,)
    minibatch_size : int
        Images in a batch, >= 1.
    shuffle : bool
        Whether the images come in random order, rather than as they are.
    rng : numpy.random.Generator, int or None
        Draws the order.
    sample_weight : array of float, shape (N,), optional
        A weight for each image.

    Returns
    -------
    Minibatches
        A sequence of tuples (X, y), or (X, y, weights) with `sample_weight`, gathered when they are asked for.

    Raises
    ------
    ShapeError
        X and y, or X and sample_weight, of different lengths.
    ValueError, DTypeError
        `minibatch_size` that is not an int >= 1.
    """
    minibatch_size = check_int("minibatch_size", minibatch_size, 1)
    shuffle = check_bool("shuffle", shuffle)
    X, y = as_indexable("X", X), as_labels(y)
    check_lengths(X, y)
    if sample_weight is not None:
        sample_weight = as_array("sample_weight", sample_weight)
        if sample_weight.shape != (len(X),):
            raise ShapeError(f"sample_weight must have shape ({len(X)},), got {sample_weight.shape}")
    order = as_generator(rng).permutation(len(X)) if shuffle else np.arange(len(X))
    return Minibatches(X, y, minibatch_size, order, sample_weight)
