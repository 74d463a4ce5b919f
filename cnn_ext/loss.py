"""The softmax loss, plain and with settings, and the accuracy that people read beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ._checks import as_array, check_real, is_float, type_and_length
from ._types import Array
from .errors import DTypeError, NonFiniteError, ShapeError
from .layers.base import as_float_array
from .passes import all_finite

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
    return _cross_entropy("out", out, y)


class CrossEntropy:
    """Softmax cross-entropy with smoothed targets and weighted classes; `SoftmaxLoss` to the bit with neither.

    Call it as `loss(scores, y)`, as `NeuralNet` does, or as `loss(scores, y, sample_weight)`.

    Parameters
    ----------
    label_smoothing : float
        s in [0, 1): the target of a row is (1 - s) * one_hot(y) + s / C rather than one_hot(y).
    class_weight : sequence of float, optional
        One weight >= 0 a class: rows of that class count so much. All count 1 if None.

    Raises
    ------
    ValueError
        `label_smoothing` outside [0, 1); a weight that is negative, infinite or NaN.
    ShapeError
        `class_weight` is not a row of at least one number.
    DTypeError
        Something other than numbers.

    References
    ----------
    Szegedy et al.: Rethinking the Inception architecture for computer vision, section 7. CVPR 2016 (label smoothing).
    """

    def __init__(self, label_smoothing: float = 0.0, class_weight: Any = None) -> None:
        self.label_smoothing: float = check_real("label_smoothing", label_smoothing, "[0, 1)")
        self.class_weight: Array | None = None if class_weight is None else check_weights("class_weight", class_weight)

    def __call__(self, scores: Array, y: Array, sample_weight: Any = None) -> tuple[float, Array]:
        """Return the weighted mean loss and its gradient.

        Parameters
        ----------
        scores : array, shape (N, C), float32 or float64
            Scores (logits) of the network's last layer.
        y : array of int, shape (N,)
            True classes, in [0, C).
        sample_weight : array, shape (N,), optional
            How much each row counts, >= 0; an int k is the same as k such rows. All count 1 if None.

        Returns
        -------
        loss : float
            sum(w * l) / sum(w), l the rows' losses and w = sample_weight * class_weight[y]; 0 if no row counts.
            That is scikit-learn's weighted log loss, and PyTorch's mean but for smoothed targets with weighted
            classes: there PyTorch weights each class's term of a row by itself, here a row has one weight.
        dscores : ndarray, shape (N, C), dtype of `scores`
            w / sum(w) * (softmax(scores) - target).

        Raises
        ------
        ShapeError, DTypeError, ValueError, NonFiniteError
            As for `SoftmaxLoss`; weights that are not one a row or one a class, or that are negative, infinite or NaN.
        """
        return _cross_entropy("scores", scores, y, self.label_smoothing, self.class_weight, sample_weight)

    def total_weight(self, y: Array, sample_weight: Array | None = None) -> float:
        """Return what rows of these classes and weights count together: the mean over parts is weighted by it."""
        labels = as_array("y", y)
        n_classes = np.iinfo(np.int64).max if self.class_weight is None else len(self.class_weight)
        labels = check_labels(labels, labels.size, n_classes)
        rows = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(rows.sum() if self.class_weight is None else (rows * self.class_weight[labels]).sum())

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON can hold them."""
        weights = None if self.class_weight is None else self.class_weight.tolist()
        return {"label_smoothing": self.label_smoothing, "class_weight": weights}

    def __repr__(self) -> str:
        return f"CrossEntropy({', '.join(f'{name}={value!r}' for name, value in self.config().items())})"


def accuracy(y_true: Array, y_pred: Array) -> float:
    """Return the share of equal entries of two arrays of classes, both of shape (N,).

    Raises
    ------
    ShapeError
        Different shapes, no entries, or more than one axis.
    """
    y_true, y_pred = as_array("y_true", y_true), as_array("y_pred", y_pred)
    if y_true.ndim != 1:
        raise ShapeError(
            f"y_true must be 1-D (N,), got {y_true.ndim}-D {y_true.shape}: give class numbers, one an image"
        )
    if y_true.shape != y_pred.shape:
        raise ShapeError(f"y_pred must have the shape of y_true {y_true.shape}, got {y_pred.shape}")
    if y_true.size == 0:
        raise ShapeError("y_true is empty: the accuracy of no images is not defined")
    return float(np.mean(y_true == y_pred))


def check_have_best(scores: Array) -> Array:
    """Return the scores if there is a best class in each row, its score finite; else raise NonFiniteError."""
    highest = scores.max(axis=1)
    if not all_finite(highest):
        bad = np.flatnonzero(~np.isfinite(highest))
        more = "" if len(bad) == 1 else f", the first of {len(bad)} without"
        raise NonFiniteError(
            f"image {bad[0]} has no most probable class{more}: the highest of its scores is {highest[bad[0]]}"
        )
    return scores


def check_labels(y: Any, n_rows: int, n_classes: int) -> Array:
    """Return the labels `y` as an integer array of shape (n_rows,) with entries in [0, n_classes)."""
    labels = as_array("y", y)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"y must be integer labels, got dtype {labels.dtype}{_hint(labels)}")
    check_one_each(labels, n_rows)
    labels = labels.astype(np.int64, copy=False)
    # A negative label is a large one without its sign, and so is a uint64 beyond int64: one pass finds all.
    if np.maximum.reduce(labels.view(np.uint64), initial=0) >= n_classes:
        given = as_array("y", y)
        row = int(((labels < 0) | (labels >= n_classes)).argmax())
        raise ValueError(f"label {given[row]} at row {row} outside [0, {n_classes})")
    return labels


def check_one_each(labels: Array, n_rows: int) -> None:
    """Raise ShapeError unless there is one label a row."""
    if labels.shape != (n_rows,):
        raise ShapeError(f"y must have shape ({n_rows},), got {labels.shape}{_hint(labels)}")


def _hint(labels: Array) -> str:
    """Return what may be meant by labels in a table."""
    if labels.ndim != 2:
        return ""
    return ": give y.ravel()" if labels.shape[1] == 1 else ": give class numbers, not one-hot rows"


def loss_of(loss_func: LossFunction, scores: Array, *of_rows: Any) -> tuple[float, Any]:
    """Return what a loss gives for scores and labels, the mean as a float; raise where it is no number."""
    result: Any = loss_func(scores, *of_rows)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise DTypeError(f"loss_func must return (mean loss, gradient of the scores), got {type_and_length(result)}")
    loss = as_array("loss", result[0])
    if loss.dtype.kind not in "fiu":
        raise DTypeError(f"loss_func must return a real number as its mean loss, got {result[0]!r:.80}")
    if loss.shape != ():
        raise ShapeError(f"loss_func must return one number as its mean loss, got an array of shape {loss.shape}")
    return float(loss), result[1]


def check_gradient_of_scores(dscores: Any, scores: Array) -> Array:
    """Return the second thing that a loss gives as an array; raise where it is no gradient of these scores."""
    gradient = as_array("dscores", dscores)
    if not is_float(gradient.dtype):
        raise DTypeError(f"loss_func must return a gradient of float32 or float64, got {gradient.dtype}")
    if gradient.shape != scores.shape:
        raise ShapeError(f"loss_func must return a gradient of the scores' shape {scores.shape}, got {gradient.shape}")
    return gradient


def check_takes_weights(loss_func: Callable[..., Any]) -> None:
    """Raise if a loss does not take weights of the rows as its third argument."""
    try:
        inspect.signature(loss_func).bind("scores", "y", "sample_weight")
    except TypeError as error:
        name = getattr(loss_func, "__name__", type(loss_func).__name__)
        raise DTypeError(f"sample_weight needs a loss that takes it, such as CrossEntropy(), got {name}") from error


def _cross_entropy(
    name: str, scores: Any, y: Any, smoothing: float = 0.0, class_weight: Any = None, sample_weight: Any = None
) -> tuple[float, Array]:
    """Return mean loss and gradient; written for small batches, where each pass over the array costs a call."""
    scores = np.ascontiguousarray(_check_scores(name, scores))
    n_rows, n_classes = scores.shape
    if n_rows == 0:
        raise ShapeError(f"{name} has no rows: the mean loss of no images is not defined")
    y = check_labels(y, n_rows, n_classes)
    weights = _row_weights(y, n_rows, n_classes, class_weight, sample_weight)
    if not all_finite(scores):
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise NonFiniteError(f"{name} has a non-finite score at row {row}: {scores[row, column]} in column {column}")
    # The largest of each row by passes along the rows' axis: ten numbers a row fill no vector.
    shifted = scores - np.maximum.reduce(np.ascontiguousarray(scores.T), axis=0)[:, np.newaxis]
    e = np.exp(shifted)
    total = np.add.reduce(e, axis=1, keepdims=True)
    true_scores = y + np.arange(0, scores.size, n_classes)  # places in the flat array
    losses = np.log(total[:, 0])
    if smoothing == 0:
        losses -= shifted.reshape(-1)[true_scores]
    else:
        mean = np.add.reduce(shifted, axis=1, dtype=np.float64) / n_classes
        losses = losses - (1 - smoothing) * shifted.reshape(-1)[true_scores] - smoothing * mean
    dscores = np.divide(e, total, out=e)
    if smoothing != 0:
        dscores -= scores.dtype.type(smoothing / n_classes)
    dscores.reshape(-1)[true_scores] -= scores.dtype.type(1 - smoothing)
    if weights is None:
        dscores /= n_rows
        return float(np.add.reduce(losses, dtype=np.float64)) / n_rows, dscores
    dscores *= weights[:, np.newaxis].astype(scores.dtype)
    return float(np.add.reduce(weights * losses)), dscores


def _row_weights(y: Array, n_rows: int, n_classes: int, class_weight: Any, sample_weight: Any) -> Any:
    """Return the share of each row in the mean, in float64 and adding up to 1, or all 0; None if all count the same."""
    if class_weight is not None and len(class_weight) != n_classes:
        raise ShapeError(f"class_weight has {len(class_weight)} weights, but there are {n_classes} classes")
    if sample_weight is None and class_weight is None:
        return None
    weights = np.float64(1) if sample_weight is None else check_weights("sample_weight", sample_weight, n_rows)
    with np.errstate(over="ignore"):
        if class_weight is not None:
            weights = weights * class_weight[y]
        total = np.add.reduce(weights)
    if not np.isfinite(total):
        raise ValueError(f"the weights of all rows must add up to a finite number, got {total}")
    return weights / total if total > 0 else weights


def check_weights(name: str, weights: Any, count: int | None = None) -> Array:
    """Return a copy of weights as a row of float64, each finite and >= 0: `count` of them, or at least one."""
    array = as_array(name, weights)
    if array.dtype.kind not in "iuf":
        raise DTypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim != 1 or array.size == 0 or count not in (None, array.size):
        if count is not None:
            raise ShapeError(f"{name} must have shape ({count},), got {array.shape}")
        raise ShapeError(f"{name} must be a row of weights, one a class, got shape {array.shape}")
    array = array.astype(np.float64)
    if not (np.minimum.reduce(array) >= 0 and np.maximum.reduce(array) < np.inf):
        place = int((~((array >= 0) & (array < np.inf))).argmax())
        raise ValueError(f"{name} must be in [0, inf), got {array[place]} at {place}")
    return array


def _check_scores(name: str, scores: Any) -> Array:
    array = as_float_array(name, scores)
    if array.ndim != 2:
        raise ShapeError(f"{name} must be 2-D (N, C), got {array.ndim}-D {array.shape}")
    if array.shape[1] == 0:
        raise ShapeError(f"{name} has no columns: at least one class is needed")
    return array
