"""What follows from the estimator's parameters: the recipe, the network, the optimizer, the seeds, when to stop."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_class_weight

from ._types import Array
from .callbacks import EarlyStopping
from .models import MODELS, make_dense_net
from .network import NeuralNet
from .optimizers import SGD, Optimizer
from .recipes import OPTIMIZERS, RECIPES, SERIES, Recipe

if TYPE_CHECKING:
    from numpy.random import Generator

NETWORKS: dict[str, Callable[..., Any]] = {"dense": make_dense_net, **MODELS}

DEFAULT = replace(SERIES, optimizer="adam", lr=0.001, l2=0.0001, schedule="constant", epochs=200, batch_size=200)
"""What holds without a recipe: the values of scikit-learn's MLPClassifier."""

SMALLEST_SIDE = 4
"""Of an image for the default convolutional network, which halves it twice."""

CONSTRAINTS: dict[str, Any] = {
    "model": [StrOptions(set(NETWORKS)), callable, None],
    "image_shape": [tuple, list, None],
    "data_format": [StrOptions({"channels_first", "channels_last"})],
    "recipe": [StrOptions(set(RECIPES)), Recipe, None],
    "solver": [StrOptions(set(OPTIMIZERS)), None],
    "alpha": [Interval(Real, 0, None, closed="left"), None],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither"), None],
    "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    "momentum": [Interval(Real, 0, 1, closed="left"), None],
    "nesterovs_momentum": ["boolean"],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "tol": [Interval(Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
"""What each parameter may be, in scikit-learn's own form, for its own messages."""


def recipe_of(estimator: Any) -> Recipe:
    """Return the recipe with the estimator's parameters where they are given."""
    recipe = RECIPES[estimator.recipe] if isinstance(estimator.recipe, str) else estimator.recipe or DEFAULT
    given = {
        "optimizer": estimator.solver,
        "lr": estimator.learning_rate_init,
        "l2": estimator.alpha,
        "momentum": estimator.momentum,
        "epochs": estimator.max_iter,
        "batch_size": None if estimator.batch_size == "auto" else estimator.batch_size,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return recipe.changed(**given)


def make_optimizer(estimator: Any, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer, without Nesterov's way if the estimator does not want it."""
    if recipe.optimizer == "sgd" and not estimator.nesterovs_momentum:
        return SGD(recipe.lr, recipe.momentum)
    return recipe.make_optimizer()


def make_network(estimator: Any, recipe: Recipe, X: Any, num_class: int, rng: Generator) -> NeuralNet:
    """Return the untrained network for inputs like X.

    Raises
    ------
    ValueError
        A network for images where X holds rows of features; one that does not give a score for each class.
    """
    model, dim = estimator.model, X.shape[1:]
    are_images = len(dim) == 3
    if model is None and estimator.recipe is not None:
        model = recipe.model
    if model is None:
        model = recipe.model if are_images and min(dim[1:]) >= SMALLEST_SIDE else "dense"
    if not are_images and (estimator.recipe is not None or (isinstance(model, str) and model in MODELS)):
        what = "recipe" if estimator.recipe is not None else f"model={model!r}"
        raise ValueError(
            f"{what} needs images: give X as (N, H, W) or with channels, or image_shape; got rows of {dim[0]} features"
        )
    make = NETWORKS[model] if isinstance(model, str) else model
    parameters = inspect.signature(make).parameters.values()
    if any(parameter.name == "dtype" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        make = partial(make, dtype=X.dtype)
    net = recipe.make_network(X, num_class, rng, make_layers=make)
    if net.shapes()[-1] not in (None, (num_class,)):
        raise ValueError(f"model must give one score for each of {num_class} classes, got shape {net.shapes()[-1]}")
    return net


def stopping_of(estimator: Any, recipe: Recipe) -> EarlyStopping | None:
    """Return what ends the fit: held back rows or, without a recipe, the loss in training."""
    endless = estimator.recipe is not None or estimator.n_iter_no_change == np.inf
    if endless and not estimator.early_stopping:
        return None
    return EarlyStopping(
        "validation_accuracy" if estimator.early_stopping else "loss",
        patience=int(min(estimator.n_iter_no_change, recipe.epochs)),
        minimum_change=estimator.tol,
        restore_best=estimator.early_stopping,
    )


def weights_of_classes(estimator: Any, y: Array, labels: Array, weights: Array | None) -> Array | None:
    """Return a weight for each class in the loss, None for all alike; `labels` are `y` as numbers of classes."""
    if not estimator.class_weight:
        return None
    if estimator.class_weight == "balanced":
        counts = np.bincount(labels, weights, len(estimator.classes_))
        return counts.sum() / (len(counts) * counts)
    return compute_class_weight(estimator.class_weight, classes=estimator.classes_, y=y)


def seeds_of(estimator: Any) -> tuple[Generator, Generator, int]:
    """Return what draws the weights and the rows' order, as in `Recipe.train`, and a seed for what is held back."""
    from numpy.random import SeedSequence, default_rng

    seed = estimator.random_state
    if not isinstance(seed, Integral):
        seed = check_random_state(seed).randint(2**31 - 1)
    weights, order, held = SeedSequence(int(seed)).spawn(3)
    return default_rng(weights), default_rng(order), int(held.generate_state(1)[0])
