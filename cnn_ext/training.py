"""The one training loop: under the solvers, the command line and everything else that trains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ._checks import check_int, check_real
from .augmentation import Transform
from .averaging import WeightAverage
from .batches import Minibatches, as_indexable, get_minibatches
from .callbacks import Callback, Run
from .clipping import clip_gradients
from .errors import NonFiniteError, ShapeError
from .initializers import RngLike, as_generator
from .layers import BatchNorm
from .layers.base import Array
from .network import NeuralNet
from .optimizers import Optimizer
from .prefetch import prefetched
from .schedules import Schedule, constant

AUGMENTING_THREADS = 1
"""Enough for a network that takes longer over an image than its augmentation does; two cores have no more to give."""


class History(list[dict[str, Any]]):
    """What `fit` returns: one record an epoch, and each quantity as a list.

    A record holds `epoch` (from 1), `loss` (mean over the epoch's steps, L2 penalty included), `running_accuracy`
    (share of the images that were seen rightly by the step that learned from them), `seconds` and
    `images_per_second` (of the steps, not the evaluation), where a validation set was evaluated `validation_loss`
    (without the penalty) and `validation_accuracy`, and what callbacks add.
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
    validate_last_only: bool = False,
    callbacks: Sequence[Callback] = (),
    augment: Transform | None = None,
    sample_weight: Array | None = None,
    max_norm: float | None = None,
    average: float | None = None,
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
        Draws the orders, and a seed a batch for the augmentation.
    validation : tuple (X, y), optional
        Evaluated after each epoch.
    validate_last_only : bool
        Whether only after the last epoch.
    callbacks : sequence of Callback
        Called in this order.
    augment : Transform, optional
        Changes each batch of images (see `augmentation`), in a thread of its own, ahead of the step.
    sample_weight : array of float, shape (N,), optional
        A weight for each image, for a loss that takes it, such as `CrossEntropy`.
    max_norm : float, optional
        Longer gradients, all parameters together, are shortened to this length (see `clip_gradients`).
    average : float, optional
        Decay of a `WeightAverage`, which is what is evaluated, what callbacks see after each epoch, and what
        `net` holds in the end.

    Returns
    -------
    History

    Raises
    ------
    NonFiniteError
        A loss or gradient that is NaN or infinite; the parameters are those of the step before.
    ShapeError, DTypeError, ValueError
        Images, labels or numbers that do not fit; a last batch of one image, which a `BatchNorm` cannot normalize;
        `sample_weight` for a loss that takes none.
    """
    epochs = check_int("epochs", epochs, 1)
    batch_size = check_int("batch_size", batch_size, 1)
    if max_norm is not None:
        max_norm = check_real("max_norm", max_norm, "(0, inf)")
    if average is not None:
        average = check_real("average", average, "[0, 1)")
    schedule = schedule or constant()
    generator = as_generator(rng)
    X = as_indexable(X)
    if len(X) == 0:
        raise ShapeError("X holds no images to train on")
    _check_last_batch(net, len(X), batch_size)
    averaged = None if average is None else WeightAverage(net, average)
    run = Run(net, optimizer, epochs, len(X), -(-len(X) // batch_size), batch_size)
    history = History()
    with ExitStack() as at_end:
        for callback in callbacks:
            at_end.callback(callback.on_end, run)
            callback.on_start(run)
        while run.epoch < epochs and not run.stop:
            run.epoch += 1
            batches = get_minibatches(X, y, batch_size, rng=generator, sample_weight=sample_weight)
            with _augmented(batches, augment, generator) as prepared:
                run.record = _epoch(run, prepared, schedule, max_norm, averaged, callbacks)
            if averaged is not None:
                averaged.swap()
            if validation is not None and (run.is_last_epoch() or not validate_last_only):
                run.record["validation_loss"], run.record["validation_accuracy"] = net.evaluate(*validation)
            for callback in callbacks:
                callback.on_epoch(run)
            history.append(run.record)
            if averaged is not None and not run.is_last_epoch():
                averaged.swap()
    return history


def _check_last_batch(net: NeuralNet, n_images: int, batch_size: int) -> None:
    """Raise if the last batch is one image, and a batch normalization has only one number of it for each mean."""
    if n_images - (n_images - 1) // batch_size * batch_size > 1:
        return
    for index, layer in enumerate(net.layers):
        if isinstance(layer, BatchNorm) and math.prod((layer.input_shape or ())[1:]) == 1:
            raise ShapeError(
                f"the last batch would be 1 image (X holds {n_images}, batch_size is {batch_size}), too few for "
                f"layer {index} (BatchNorm): choose another batch_size"
            )


def _epoch(
    run: Run,
    batches: Iterable[tuple[Array, ...]],
    schedule: Schedule,
    max_norm: float | None,
    averaged: WeightAverage | None,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    """Take a step a batch, until there are no more or a callback stops the run; return what is known of the epoch."""
    began = time.perf_counter()
    losses, n_right, n_seen = [], 0, 0
    for X, y, *weights in batches:
        _step(run, X, y, weights, schedule(run.step), max_norm)
        losses.append(run.loss)
        n_right += int(np.count_nonzero(run.net.scores.argmax(axis=1) == y))
        n_seen += len(y)
        if averaged is not None:
            averaged.update()
        for callback in callbacks:
            callback.on_step(run)
        if run.stop:
            break
    seconds = time.perf_counter() - began
    return {
        "epoch": run.epoch,
        "loss": float(np.mean(losses)),
        "running_accuracy": n_right / n_seen,
        "seconds": seconds,
        "images_per_second": n_seen / seconds,
    }


@contextmanager
def _augmented(batches: Minibatches, augment: Transform | None, generator: np.random.Generator) -> Iterator[Any]:
    """Give the batches as they are, or augmented ahead of their use, each from a seed of its own."""
    if augment is None:
        yield batches
        return
    seeds = generator.integers(2**63, size=len(batches)).tolist()
    with prefetched(batches, augment, seeds, threads=AUGMENTING_THREADS) as prepared:
        yield prepared


def _step(run: Run, X: Array, y: Array, weights: Sequence[Array], factor: float, max_norm: float | None) -> None:
    """Take one step, or raise and leave the parameters as they are."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is found and named below
            loss, grads = run.net.train_step(X, y, *weights)
    except NonFiniteError as error:
        raise NonFiniteError(f"step {run.step + 1}: {error}") from error
    if not np.isfinite(loss):
        raise NonFiniteError(f"step {run.step + 1}: the loss is {loss}")
    named = run.net.named_params()
    in_layer_order = [grad for layer_grads in reversed(grads) for grad in layer_grads]
    if max_norm is not None:
        clip_gradients(in_layer_order, max_norm)
    run.optimizer.step(list(named.values()), in_layer_order, factor=factor, names=list(named))
    run.step += 1
    run.loss = float(loss)
