"""The one training loop: under the solvers, the command line and everything else that trains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ._checks import check_int
from .batches import as_indexable, get_minibatches
from .callbacks import Callback, Run
from .errors import NonFiniteError, ShapeError
from .initializers import RngLike, as_generator
from .layers.base import Array
from .network import NeuralNet
from .optimizers import Optimizer
from .schedules import Schedule, constant


class History(list[dict[str, Any]]):
    """What `fit` returns: one record an epoch, and each quantity as a list.

    A record holds `epoch` (from 1), `loss` (mean over the epoch's steps, L2 penalty included), `seconds` and
    `images_per_second` (of the steps, not the evaluation), with a validation set `validation_loss` (without the
    penalty) and `validation_accuracy`, and what callbacks add.
    """

    def __getattr__(self, name: str) -> list[Any]:
        if name.startswith("_") or not any(name in record for record in self):
            raise AttributeError(f"no epoch has recorded {name!r}")
        return [record.get(name) for record in self]


def fit(
    net: NeuralNet,
    X: Any,
    y: Array,
    *,
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    epochs: int,
    batch_size: int,
    rng: RngLike = None,
    validation: tuple[Any, Array] | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Train `net` in place.

    Each epoch draws a new order of the images from `rng` and takes one step a batch, the last, shorter one included.

    Parameters
    ----------
    net : NeuralNet
    X : array, shape (N, C, H, W) or what the first layer takes
        Floats; or an object that gives them when indexed by row numbers, such as `ScaledImages`.
    y : array of int, shape (N,)
        Classes.
    optimizer : Optimizer
        Its state goes on from where it stands.
    schedule : callable, optional
        From the number of the run's step (0 for the first) to a factor of the optimizer's rate; constant if None.
    epochs, batch_size : int
        At least 1.
    rng : numpy.random.Generator, int or None
        Draws the orders.
    validation : tuple (X, y), optional
        Evaluated after each epoch.
    callbacks : sequence of Callback
        Called in this order.

    Returns
    -------
    History

    Raises
    ------
    NonFiniteError
        A loss or gradient that is NaN or infinite; the parameters are those of the step before.
    ShapeError, DTypeError, ValueError
        Images, labels or numbers that do not fit.
    """
    epochs = check_int("epochs", epochs, 1)
    batch_size = check_int("batch_size", batch_size, 1)
    schedule = schedule or constant()
    generator = as_generator(rng)
    X = as_indexable(X)
    if len(X) == 0:
        raise ShapeError("X holds no images to train on")
    run = Run(net, optimizer, epochs, len(X), -(-len(X) // batch_size), batch_size)
    history = History()
    with ExitStack() as at_end:
        for callback in callbacks:
            at_end.callback(callback.on_end, run)
            callback.on_start(run)
        while run.epoch < epochs and not run.stop:
            run.epoch += 1
            began = time.perf_counter()
            losses = []
            for X_batch, y_batch in get_minibatches(X, y, batch_size, rng=generator):
                _step(run, X_batch, y_batch, schedule(run.step))
                losses.append(run.loss)
                for callback in callbacks:
                    callback.on_step(run)
                if run.stop:
                    break
            seconds = time.perf_counter() - began
            images = min(len(losses) * batch_size, len(X))
            run.record = {
                "epoch": run.epoch,
                "loss": float(np.mean(losses)),
                "seconds": seconds,
                "images_per_second": images / seconds,
            }
            if validation is not None:
                run.record["validation_loss"], run.record["validation_accuracy"] = net.evaluate(*validation)
            for callback in callbacks:
                callback.on_epoch(run)
            history.append(run.record)
    return history


def _step(run: Run, X: Array, y: Array, factor: float) -> None:
    """Take one step, or raise and leave the parameters as they are."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is found and named below
            loss, grads = run.net.train_step(X, y)
    except NonFiniteError as error:
        raise NonFiniteError(f"step {run.step + 1}: {error}") from error
    if not np.isfinite(loss):
        raise NonFiniteError(f"step {run.step + 1}: the loss is {loss}")
    named = run.net.named_params()
    in_layer_order = [grad for layer_grads in reversed(grads) for grad in layer_grads]
    run.optimizer.step(list(named.values()), in_layer_order, factor=factor, names=list(named))
    run.step += 1
    run.loss = float(loss)
