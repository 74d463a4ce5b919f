"""The one training loop: under the solvers, the command line and everything else that trains."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import check_bool, check_int, check_real
from ._run_checks import check_data, check_run
from ._types import Array
from .augmentation import Transform
from .averaging import WeightAverage
from .batches import Minibatches, as_indexable, as_labels, get_minibatches
from .callbacks import Callback, Run
from .checkpoint import Checkpoint, as_checkpoint
from .clipping import clip_gradients
from .errors import NonFiniteError, ShapeError
from .initializers import RngLike, as_generator
from .keeper import Keeper
from .layers import BatchNorm, Dropout
from .layers.base import buffers_kept
from .network import NeuralNet
from .optimizers import Optimizer
from .passes import all_finite
from .prefetch import prefetched
from .run_settings import describe_run, sum_of_state
from .run_state import RunState, Tally
from .schedules import Schedule, constant

if TYPE_CHECKING:
    from .distributed import DataParallel

LOGGER = logging.getLogger("cnn_ext")
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
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    parallel: DataParallel | None = None,
) -> History:
    """Train `net` in place.

    Each epoch draws a new order of the images from `rng` and takes one step a batch, the last, shorter one included.

    Parameters
    ----------
    net : NeuralNet
    X : array, shape (N, C, H, W) or what the first layer takes
        Floats; or an object that is read like an array as it is needed, such as `ScaledImages`: with `dtype`,
        `shape`, a length, and rows by slices and by arrays of row numbers.
    y : array of int, shape (N,)
        Classes.
    optimizer : Optimizer
        Its state goes on from where it stands.
    schedule : callable, optional
        From the number of the run's step (0 for the first) to a factor of the optimizer's rate; constant if None.
    epochs, batch_size : int
        At least 1.
    rng : numpy.random.Generator, int or None
        Draws the orders, a seed a batch for the augmentation, and one for each `Dropout` that was made without.
    validation : tuple (X, y), optional
        Evaluated after each epoch.
    validate_last_only : bool
        Whether only after the last epoch; a callback that stops the run after an epoch comes too late for that.
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
    checkpoint : Checkpoint or path, optional
        Where the run is kept, and goes on from if it was kept there before: `net`, `optimizer`, `rng` and the callbacks
        are then set to where they stood.
    parallel : DataParallel, optional
        Processes that share each batch and the validation set, all of which call `fit`; only process 0 keeps a
        `checkpoint`.

    Returns
    -------
    History
        Of the whole run, also where it went on from a checkpoint.

    Raises
    ------
    NonFiniteError
        A loss or gradient that is NaN or infinite; the parameters are those of the step before.
    ShapeError, DTypeError, ValueError
        Images, labels or numbers that do not fit; a last batch of one image, which a `BatchNorm` cannot normalize;
        `sample_weight` for a loss that takes none.
    CheckpointError
        A checkpoint that cannot be used: damaged, or of another run. Nothing was changed.
    OSError
        The checkpoint's folder cannot be written.

    Warns
    -----
    RuntimeWarning
        A callback with a method `on_...` that nothing calls.
    """
    epochs = check_int("epochs", epochs, 1)
    batch_size = check_int("batch_size", batch_size, 1)
    if max_norm is not None:
        max_norm = check_real("max_norm", max_norm, "(0, inf)")
    if average is not None:
        average = check_real("average", average, "[0, 1)")
    validate_last_only = check_bool("validate_last_only", validate_last_only)
    check_run(net, optimizer, schedule, validation, callbacks, augment, parallel)
    schedule = schedule or constant()
    generator = as_generator(rng)
    X, y = as_indexable("X", X), as_labels(y)
    if len(X) == 0:
        raise ShapeError("X holds no images to train on")
    check_data(net, X, y, sample_weight, augmented=augment is not None)
    _check_last_batch(net, len(X), batch_size)
    rng_at_start = sum_of_state(rng)
    for layer in net.layers:
        if isinstance(layer, Dropout):
            layer.seed_from(generator)
    train_step: Any = net.train_step
    if parallel is not None:
        parallel.start_alike(net)
        generator = parallel.broadcast(generator) if rng is None else generator
        train_step = partial(parallel.train_step, net)
    averaged = None if average is None else WeightAverage(net, average)
    history = History()
    steps_per_epoch = -(-len(X) // batch_size)
    run = Run(net, optimizer, epochs, len(X), steps_per_epoch, batch_size, history=history, parallel=parallel)
    state = RunState(run, generator, averaged, callbacks)
    with (
        Keeper(checkpoint if checkpoint is None else as_checkpoint(checkpoint), state, parallel) as keeper,
        ExitStack() as at_end,
    ):
        if checkpoint is not None or parallel is not None:
            chunk_size = None if parallel is None else parallel.chunk_size
            described = describe_run(
                run, X, y, sample_weight, validation, schedule, augment, max_norm, average, rng_at_start
            )
            keeper.find({**described, "chunk_size": chunk_size})
        for callback in callbacks:
            at_end.callback(callback.on_end, run)
            callback.on_start(run)
        keeper.give_back_to_callbacks()
        while not state.is_complete():
            with state.drawing():
                batches = get_minibatches(X, y, batch_size, rng=generator, sample_weight=sample_weight)
                seeds = None if augment is None else generator.integers(2**63, size=len(batches)).tolist()
            n_done = len(batches) if run.stop else len(state.tally.losses)
            with _augmented(batches.after(n_done), augment, seeds and seeds[n_done:]) as prepared:
                _epoch(state, keeper, prepared, train_step, schedule, max_norm)
            run.record = state.tally.record(run.epoch)
            with keeper.evaluating() as may_be_broken_off, _average_in_place(averaged), may_be_broken_off:
                if validation is not None and (run.is_last_epoch() or not validate_last_only):
                    loss, accuracy = net.evaluate(*validation, parallel)
                    run.record["validation_loss"], run.record["validation_accuracy"] = loss, accuracy
                for callback in callbacks:
                    callback.on_epoch(run)
            history.append(run.record)
            LOGGER.info("epoch %d of %d: %s", run.epoch, epochs, run.record)
            state.tally = Tally()
            keeper.after_epoch()
        if averaged is not None:
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
    state: RunState,
    keeper: Keeper,
    batches: Iterable[tuple[Array, ...]],
    train_step: Any,
    schedule: Schedule,
    max_norm: float | None,
) -> None:
    """Take a step a batch, until there are no more or a callback stops the run."""
    run, tally = state.run, state.tally
    began = time.perf_counter() - tally.seconds
    for batch in batches:
        with buffers_kept(run.net.layers):
            _step(run, train_step, batch, schedule(run.step), max_norm)
        y = batch[1]
        tally.losses.append(run.loss)
        tally.n_right += int(np.count_nonzero(run.net.scores.argmax(axis=1) == y))
        tally.n_seen += len(y)
        if state.averaged is not None:
            state.averaged.update()
        for callback in state.callbacks:
            callback.on_step(run)
        tally.seconds = time.perf_counter() - began
        keeper.after_step()
        if run.stop:
            break


@contextmanager
def _augmented(batches: Minibatches, augment: Transform | None, seeds: Sequence[int] | None) -> Iterator[Any]:
    """Give the batches as they are, or augmented ahead of their use, each from a seed of its own."""
    if augment is None or seeds is None:
        yield batches
        return
    with prefetched(batches, augment, seeds, threads=AUGMENTING_THREADS) as prepared:
        yield prepared


@contextmanager
def _average_in_place(averaged: WeightAverage | None) -> Iterator[None]:
    """Put the average in the place of the network's weights for a while."""
    if averaged is None:
        yield
        return
    averaged.swap()
    try:
        yield
    finally:
        averaged.swap()


def _step(run: Run, train_step: Any, batch: tuple[Array, ...], factor: float, max_norm: float | None) -> None:
    """Take one step, or raise and leave the parameters as they are."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is found and named below
            loss, grads = train_step(*batch)
    except NonFiniteError as error:
        raise NonFiniteError(f"step {run.step + 1}: {error}{_told_of_images(batch[0])}") from error
    if not np.isfinite(loss):
        raise NonFiniteError(f"step {run.step + 1}: the loss is {loss}{_told_of_images(batch[0])}")
    named = run.net.named_params()
    in_layer_order = [grad for layer_grads in reversed(grads) for grad in layer_grads]
    if max_norm is not None:
        clip_gradients(in_layer_order, max_norm)
    run.optimizer.step(list(named.values()), in_layer_order, factor=factor, names=list(named))
    run.step += 1
    run.loss = float(loss)


def _told_of_images(X: Array) -> str:
    """Return a hint where it is the images that no finite loss can come of: NaN, or pixels left as they were."""
    if not all_finite(X):
        bad = np.unique(np.nonzero(~np.isfinite(X))[0])
        return f"; NaN or infinity in {len(bad)} of the batch's {len(X)} images"
    largest = float(np.abs(X).max())
    return f"; the images hold numbers up to {largest:g}: scale them to [0, 1]" if largest >= 100 else ""
