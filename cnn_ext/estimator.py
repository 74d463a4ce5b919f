"""CNNClassifier: a network, its recipe and its training run as one scikit-learn estimator."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ._extras import missing_extra
from ._types import Array, Shape
from .callbacks import Callback
from .estimator_data import as_network_input, as_rows, check_same_images, shape_of_images
from .loss import CrossEntropy, check_have_best, softmax
from .network import NeuralNet
from .optimizers import Optimizer
from .progress import Progress
from .recipes import Recipe
from .training import History

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise missing_extra("CNNClassifier", "sklearn", error) from error

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # pyright: ignore[reportAssignmentType]
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """No callbacks of scikit-learn's."""

    def with_callbacks(method: Any) -> Any:
        return method


from .estimator_callbacks import SklearnCallbacks, ValidationAccuracy
from .estimator_settings import (
    CONSTRAINTS,
    make_network,
    make_optimizer,
    recipe_of,
    seeds_of,
    stopping_of,
    weights_of_classes,
)

Weights = Array | None

_one_pass_at_a_time = threading.Lock()
"""A network's buffers serve one pass at a time, but threads share fitted estimators."""


def _renew_lock() -> None:
    global _one_pass_at_a_time
    _one_pass_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # it may have been held by a thread that the child does not have


class CNNClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """A convolutional network as a scikit-learn classifier.

    X are images, (N, H, W), (N, C, H, W) or with `data_format='channels_last'` (N, H, W, C); or rows, which are images
    too if `image_shape` says so, and otherwise features. Bytes (uint8) are taken for pixels and divided by 255;
    float32 is trained in float32, everything else in float64.

    Parameters
    ----------
    model : str or callable, optional
        "dense", a name in `models.MODELS`, or a function `(X_dim, num_class, rng=)` that returns layers; it is also
        given `dtype=` if it takes it. None: the recipe's, else "mnist" for images, and "dense" for rows of features
        and for images of fewer than 4 pixels a side.
    image_shape : tuple, optional
        Shape of the image in each row: (H, W), or three numbers in the order of `data_format`.
    data_format : {'channels_first', 'channels_last'}
    recipe : str or Recipe, optional
        A name in `RECIPES` or a recipe of one's own, whose settings hold where the parameters below are None. Its
        schedule runs to the last epoch: only `early_stopping` ends it before.
    solver : {'adam', 'adamw', 'sgd'}, optional
        None: the recipe's, else 'adam'.
    alpha : float, optional
        Strength of the L2 penalty, with 'adamw' the weight decay: 0.5 * alpha * (sum of squared weights) is added to
        the mean loss. None: the recipe's, else 0.0001.
    batch_size : int or 'auto'
        'auto': the recipe's, else 200.
    learning_rate_init : float, optional
        None: the recipe's, or 0.001 where 'adam' or 'adamw' takes the place of its 'sgd'; without a recipe 0.001, and
        constant.
    max_iter : int, optional
        Epochs at most. None: the recipe's, else 200.
    momentum : float, optional
        Of 'sgd'. None: the recipe's, else 0.9.
    nesterovs_momentum : bool
        Whether that is Nesterov's.
    class_weight : dict, 'balanced' or None
        Weights of the classes in the loss.
    early_stopping : bool
        Whether `validation_fraction` of the rows is held back, the fit ends when their accuracy no longer gets
        better, and the best epoch's network is kept. Otherwise the loss in training decides, and the last is kept.
    validation_fraction : float
        In (0, 1).
    n_iter_no_change : int or inf
        Epochs without getting better by more than `tol` after which the fit ends.
    tol : float
    warm_start : bool
        Whether a second `fit` goes on with the network of the first, with a new optimizer.
    random_state : int, RandomState or None
        Draws the weights, the order of the rows and what is held back.
    verbose : bool
        Whether to print a line an epoch, on a terminal with a bar.

    Attributes
    ----------
    classes_ : ndarray
    net_ : NeuralNet
        The trained network, to be saved, for instance.
    image_shape_ : tuple or None
        Shape of the images as X held them.
    n_features_in_ : int
        Values in a row, pixels in an image.
    n_iter_ : int
        Epochs of the last `fit` or `partial_fit`.
    loss_, loss_curve_ : float, list of float
        Loss of the last epoch, of all since the network was new: means over the steps, L2 penalty included.
    validation_scores_, best_validation_score_ : list of float, float
        With `early_stopping`, else None.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS

    classes_: Array
    net_: NeuralNet
    image_shape_: Shape | None
    n_iter_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    def __init__(
        self,
        model: Any = None,
        *,
        image_shape: Any = None,
        data_format: str = "channels_first",
        recipe: Any = None,
        solver: str | None = None,
        alpha: float | None = None,
        batch_size: Any = "auto",
        learning_rate_init: float | None = None,
        max_iter: int | None = None,
        momentum: float | None = None,
        nesterovs_momentum: bool = True,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        tol: float = 0.0001,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.data_format = data_format
        self.recipe = recipe
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train a network, or with `warm_start` the one that is there.

        Rows of weight 0 count as if they were not there. A weight k does what k such rows would, up to rounding, where
        all rows are one batch and the model has no batch normalization.
        """
        again = self.warm_start and hasattr(self, "net_")
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        asked_for = {"X": X, "y": y, "metadata": metadata}
        rows, y, weights = self._training_rows(X, y, sample_weight, reset=not again)
        classes = np.unique(y)
        if again and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start needs the classes of the fit before, {self.classes_}, got {classes}")
        self.classes_ = _at_least_two(classes)
        recipe = recipe_of(self)
        stopping = stopping_of(self, recipe)
        weights_rng, self._rng, held_seed = seeds_of(self)
        callbacks: list[Callback] = [Progress("validation")] if self.verbose else []
        if stopping is not None:
            callbacks.append(stopping)
        if self.early_stopping:
            held, rows, y, weights = self._hold_back(rows, y, weights, held_seed)
            callbacks.insert(0, held)
        if (init := getattr(self, "_init_callback_context", None)) is not None:
            context = init(max_subtasks=recipe.epochs)
            callbacks.append(SklearnCallbacks(self, context, asked_for))
        net = self.net_ if again else make_network(self, recipe, self._images(rows), len(classes), weights_rng)
        optimizer = make_optimizer(self, recipe)
        history = self._train(net, rows, y, weights, recipe, optimizer, callbacks, self.loss_curve_ if again else [])
        self.validation_scores_ = history.validation_accuracy if self.early_stopping else None
        self.best_validation_score_ = stopping.best_value if self.early_stopping and stopping else None
        if callbacks and isinstance(callbacks[-1], SklearnCallbacks):
            callbacks[-1].finish()
        if stopping and len(history) == recipe.epochs < stopping.best_epoch + self.n_iter_no_change < np.inf:
            message = f"max_iter={recipe.epochs} epochs are over, and the training has not converged yet"
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> CNNClassifier:
        """Train for one epoch on these rows, with the network and the optimizer as they stand.

        A recipe's schedule does not apply: the rate is constant. The first call needs all `classes`.
        """
        if self.early_stopping or self.class_weight == "balanced":
            setting = "early_stopping=True" if self.early_stopping else "class_weight='balanced'"
            raise ValueError(f"partial_fit does not support {setting}: it never sees all rows")
        again = hasattr(self, "net_")
        if not again and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = self.classes_ if classes is None else np.unique(classes)
        if again and not np.array_equal(known, self.classes_):
            raise ValueError(f"classes must be those of the calls before, {self.classes_}, got {known}")
        rows, y, weights = self._training_rows(X, y, sample_weight, reset=not again)
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise ValueError(f"y holds classes that are not among classes: {unknown}")
        self.classes_ = _at_least_two(known)
        recipe = replace(recipe_of(self), epochs=1, schedule="constant")
        if again:
            net, optimizer = self.net_, self._optimizer
        else:
            weights_rng, self._rng, _ = seeds_of(self)
            net = make_network(self, recipe, self._images(rows), len(known), weights_rng)
            optimizer = make_optimizer(self, recipe)
        self._train(net, rows, y, weights, recipe, optimizer, [], self.loss_curve_ if again else [])
        return self

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        best = check_have_best(self._scores(X)).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (N, classes), in the order of `classes_`."""
        return softmax(check_have_best(self._scores(X)))

    def decision_function(self, X: Any) -> Array:
        """Return the network's scores, shape (N, classes); of two classes, by how much the second's is above, (N,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _scores(self, X: Any) -> Array:
        """Return the network's scores in float64: probabilities add up to 1 as closely as scikit-learn looks."""
        check_is_fitted(self, "net_")
        X, shape = as_rows(X)
        check_same_images(shape, self.image_shape_)
        images = self._images(np.asarray(validate_data(self, X, dtype="numeric", reset=False)))
        with _one_pass_at_a_time:
            return self.net_.scores_of(images).astype(np.float64, copy=False)

    def _training_rows(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Array, Array, Weights]:
        """Return X as rows, y and the weights, without the rows of weight 0."""
        X, seen = as_rows(X)
        X, y = validate_data(self, X, y, dtype="numeric", reset=reset)
        check_classification_targets(y)
        if reset:
            self.image_shape_ = shape_of_images(seen, self.image_shape, X.shape[1])
        else:
            check_same_images(seen, self.image_shape_)
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        counts = weights > 0
        if not counts.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return (X, y, weights) if counts.all() else (X[counts], y[counts], weights[counts])

    def _images(self, rows: Array) -> Any:
        return as_network_input(rows, self.image_shape_, self.data_format)

    def _hold_back(
        self, rows: Array, y: Array, weights: Weights, seed: int
    ) -> tuple[ValidationAccuracy, Array, Array, Weights]:
        """Return what scores a part of the rows, as many of each class as there are, and what is left to train on."""
        train, held = train_test_split(
            np.arange(len(y)), test_size=self.validation_fraction, stratify=y, random_state=seed
        )
        train_weights, held_weights = (None, None) if weights is None else (weights[train], weights[held])
        score = ValidationAccuracy(self._images(rows[held]), np.searchsorted(self.classes_, y[held]), held_weights)
        return score, rows[train], y[train], train_weights

    def _train(
        self,
        net: NeuralNet,
        rows: Array,
        y: Array,
        weights: Weights,
        recipe: Recipe,
        optimizer: Optimizer,
        callbacks: list[Callback],
        losses_before: list[float],
    ) -> History:
        """Run the training loop, and keep what comes of it."""
        labels = np.searchsorted(self.classes_, y)
        net.loss_func = CrossEntropy(recipe.label_smoothing, weights_of_classes(self, y, labels, weights))
        net.l2 = recipe.penalty
        history = recipe.train_network(
            net,
            self._images(rows),
            labels,
            rng=self._rng,
            optimizer=optimizer,
            callbacks=callbacks,
            sample_weight=weights,
        )
        self.net_, self._optimizer = net, optimizer
        self.n_iter_, self.loss_ = len(history), history.loss[-1]
        self.loss_curve_ = [*losses_before, *history.loss]
        return history


def _at_least_two(classes: Array) -> Array:
    if len(classes) < 2:
        raise ValueError(f"CNNClassifier needs samples of at least 2 classes, got 1 class: {classes[0]!r}")
    return classes


# The public name, under which it is pickled.
CNNClassifier.__module__ = "cnn_ext"
