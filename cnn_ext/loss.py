"""The softmax loss, and the accuracy that people read beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .errors import DTypeError, NonFiniteError, ShapeError
from .layers.base import Array, as_float_array

LossFunction: TypeAlias = Callable[[Array, Array], tuple[float, Array]]
"""Takes scores (N, C) and labels (N,), returns the mean loss and the gradient of the scores."""


def softmax(x: Array) -> Array:
    """Turn each row of scores into probabilities.

    Parameters
    ----------
    x : array, shape (N, C), float32 or float64
        Scores (logits), of any size: the largest of a row is subtracted first, so nothing overflows.

    Returns
    -------
    ndarray, shape (N, C)
        exp(x) / sum(exp(x)), rows adding up to 1.

    References
    ----------
    Goodfellow, Bengio, Courville: Deep Learning, section 4.1. MIT Press, 2016.
    """
    x = _check_scores("x", x)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def SoftmaxLoss(out: Array, y: Array) -> tuple[float, Array]:
    """Mean cross-entropy between the softmax of `out` and the true classes.

    Parameters
    ----------
    out : array, shape (N, C), float32 or float64
        Scores (logits) of the network's last layer.
    y : array of int, shape (N,)
        True classes, in [0, C).

    Returns
    -------
    loss : float
        Mean over the rows of log(sum(exp(out))) - out[y], formed without overflow for any finite scores.
    dout : ndarray, shape (N, C), dtype of `out`
        Gradient of the loss with respect to `out`: (softmax(out) - one_hot(y)) / N.

    Raises
    ------
    ShapeError
        No rows, no classes, or as many labels as there are not rows.
    DTypeError
        Labels that are not integers.
    ValueError
        A label outside [0, C).
    NonFiniteError
        A NaN or infinity among the scores.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning, section 4.3.4. Springer, 2006.
    """
    out = _check_scores("out", out)
    if out.shape[0] == 0:
        raise ShapeError("out has no rows: the mean loss of no images is not defined")
    y = check_labels(y, *out.shape)
    finite = np.isfinite(out)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise NonFiniteError(f"out has a non-finite score at row {row}: {out[row, column]} in column {column}")
    rows = np.arange(len(out))
    shifted = out - out.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - shifted[rows, y], dtype=np.float64)
    dout = e / total
    dout[rows, y] -= 1
    dout /= len(out)
    return float(loss), dout


def accuracy(y_true: Array, y_pred: Array) -> float:
    """Return the share of equal entries of two arrays of classes, both of shape (N,).

    Raises
    ------
    ShapeError
        Different shapes, or no entries.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ShapeError(f"y_pred must have the shape of y_true {y_true.shape}, got {y_pred.shape}")
    if y_true.size == 0:
        raise ShapeError("y_true is empty: the accuracy of no images is not defined")
    return float(np.mean(y_true == y_pred))


def check_labels(y: Any, n_rows: int, n_classes: int) -> Array:
    """Return the labels `y` as an integer array of shape (n_rows,) with entries in [0, n_classes)."""
    labels = np.asarray(y)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"y must be integer labels, got dtype {labels.dtype}")
    if labels.shape != (n_rows,):
        hint = ": give class numbers, not one-hot rows" if labels.ndim == 2 else ""
        raise ShapeError(f"y must have shape ({n_rows},), got {labels.shape}{hint}")
    outside = (labels < 0) | (labels >= n_classes)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(f"label {labels[row]} at row {row} outside [0, {n_classes})")
    return labels


def _check_scores(name: str, scores: Any) -> Array:
    array = as_float_array(name, scores)
    if array.ndim != 2:
        raise ShapeError(f"{name} must be 2-D (N, C), got {array.ndim}-D {array.shape}")
    if array.shape[1] == 0:
        raise ShapeError(f"{name} has no columns: at least one class is needed")
    return array
