"""The series' solvers: each a few lines over the training loop, with the series' arguments.

All take the same call: `solver(nnet, X_train, y_train, minibatch_size, epoch, learning_rate, ...)`, train `nnet`
in place and return it. With `verbose`, two lines an epoch are printed: loss, accuracy on the training images and, with
`X_test`, on the test images.
"""

from __future__ import annotations

from typing import Any

from ._checks import check_bool
from ._types import Array
from .callbacks import Callback, PrintEpochs, TrainingAccuracy
from .initializers import RngLike
from .network import NeuralNet
from .optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp
from .training import fit


def sgd(
    nnet: NeuralNet,
    X_train: Any,
    y_train: Array,
    minibatch_size: int,
    epoch: int,
    learning_rate: float,
    verbose: bool = True,
    X_test: Any = None,
    y_test: Array | None = None,
    *,
    rng: RngLike = None,
) -> NeuralNet:
    """Train by plain stochastic gradient descent (see `SGD`).

    Parameters
    ----------
    nnet : NeuralNet
        Trained in place.
    X_train, X_test : array, shape (N, C, H, W)
    y_train, y_test : array of int, shape (N,)
    minibatch_size : int
        Images a step; the last batch of an epoch may be shorter.
    epoch : int
        Number of epochs; the images are shuffled anew in each.
    learning_rate : float
        Constant over the run.
    verbose : bool
        Whether to measure and print loss and accuracies after each epoch.
    rng : numpy.random.Generator, int or None
        Draws the order of the images.

    Returns
    -------
    NeuralNet
        `nnet` itself.

    Raises
    ------
    ValueError, ShapeError, DTypeError, NonFiniteError
        As `fit`.
    """
    return _solve(SGD(learning_rate), nnet, X_train, y_train, minibatch_size, epoch, verbose, X_test, y_test, rng)


def sgd_momentum(
    nnet: NeuralNet,
    X_train: Any,
    y_train: Array,
    minibatch_size: int,
    epoch: int,
    learning_rate: float,
    mu: float = 0.9,
    verbose: bool = True,
    X_test: Any = None,
    y_test: Array | None = None,
    nesterov: bool = True,
    *,
    rng: RngLike = None,
) -> NeuralNet:
    """Train by SGD with momentum `mu`, Nesterov's by default (see `SGD`); for the rest see `sgd`."""
    optimizer = SGD(learning_rate, mu, nesterov)
    return _solve(optimizer, nnet, X_train, y_train, minibatch_size, epoch, verbose, X_test, y_test, rng)


def adagrad(
    nnet: NeuralNet,
    X_train: Any,
    y_train: Array,
    minibatch_size: int,
    epoch: int,
    learning_rate: float,
    verbose: bool = True,
    X_test: Any = None,
    y_test: Array | None = None,
    *,
    rng: RngLike = None,
) -> NeuralNet:
    """Train by `AdaGrad`; for the parameters see `sgd`."""
    return _solve(AdaGrad(learning_rate), nnet, X_train, y_train, minibatch_size, epoch, verbose, X_test, y_test, rng)


def rmsprop(
    nnet: NeuralNet,
    X_train: Any,
    y_train: Array,
    minibatch_size: int,
    epoch: int,
    learning_rate: float,
    verbose: bool = True,
    X_test: Any = None,
    y_test: Array | None = None,
    *,
    rng: RngLike = None,
) -> NeuralNet:
    """Train by `RMSProp`; for the parameters see `sgd`."""
    return _solve(RMSProp(learning_rate), nnet, X_train, y_train, minibatch_size, epoch, verbose, X_test, y_test, rng)


def adam(
    nnet: NeuralNet,
    X_train: Any,
    y_train: Array,
    minibatch_size: int,
    epoch: int,
    learning_rate: float,
    verbose: bool = True,
    X_test: Any = None,
    y_test: Array | None = None,
    *,
    rng: RngLike = None,
) -> NeuralNet:
    """Train by `Adam`; for the parameters see `sgd`."""
    return _solve(Adam(learning_rate), nnet, X_train, y_train, minibatch_size, epoch, verbose, X_test, y_test, rng)


def _solve(
    optimizer: Optimizer,
    nnet: NeuralNet,
    X: Any,
    y: Array,
    minibatch_size: int,
    epoch: int,
    verbose: bool,
    X_test: Any,
    y_test: Array | None,
    rng: RngLike,
) -> NeuralNet:
    verbose = check_bool("verbose", verbose)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test must be given together")
    watchers: list[Callback] = [TrainingAccuracy(X, y), PrintEpochs()] if verbose else []
    validation = (X_test, y_test) if verbose and X_test is not None and y_test is not None else None
    fit(
        nnet,
        X,
        y,
        optimizer=optimizer,
        epochs=epoch,
        batch_size=minibatch_size,
        rng=rng,
        validation=validation,
        callbacks=watchers,
    )
    return nnet
