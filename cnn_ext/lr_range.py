"""The range test: which learning rates a network can be trained with, found in a few steps."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import check_instance, check_int, check_real
from ._extras import missing_extra
from ._types import Array
from .callbacks import Callback, Run
from .errors import NonFiniteError
from .initializers import RngLike
from .network import NeuralNet
from .optimizers import Optimizer
from .training import fit

SMOOTHING = 0.9
"""Weight of the older losses in the running mean: it sees about ten steps."""

DIVERGED = 4.0
"""The test ends where the running mean is so many times its lowest value."""


@dataclass(frozen=True, eq=False)
class LRRange:
    """What `lr_find` measured, one number for each step that was taken.

    Attributes
    ----------
    lrs : ndarray, shape (steps,), float64
        The rates.
    losses : ndarray, shape (steps,), float64
        Loss of the step's batch, L2 penalty included, before the parameters were changed by that step.
    smoothed : ndarray, shape (steps,), float64
        Running mean of the losses, corrected for its start as Adam's moments are.
    """

    lrs: Array
    losses: Array
    smoothed: Array

    @property
    def suggestion(self) -> float:
        """A tenth of the rate where the running mean is lowest.

        The mean is some steps behind, and at its lowest the loss is about to grow: the tenth is for both. A rate for
        a constant schedule; the peak of `one_cycle` may be up to ten times that. Where the loss never fell
        it is below `lowest`, and where it still falls at the last step it is highest / 10: test another range then.
        """
        return float(self.lrs[np.argmin(self.smoothed)] / 10)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write the losses over the rates as a PNG file to exactly `path`, replacing what is there.

        Raises
        ------
        ImportError
            Matplotlib is not installed: it comes with the extra `plot`.
        OSError
            The file cannot be written.
        """
        try:
            from matplotlib.figure import Figure  # not pyplot, which opens a display and keeps every figure
        except ImportError as error:
            raise missing_extra("plot", "plot", error) from error
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.lrs, self.losses, color="0.75", linewidth=1, label="loss of the batch")
        axes.plot(self.lrs, self.smoothed, color="C0", label="running mean")
        axes.axvline(self.suggestion, color="C3", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=self._visible())
        axes.legend()
        figure.savefig(os.fspath(path), format="png", dpi=150)

    def _visible(self) -> tuple[float, float]:
        """Return limits that the last, diverging steps do not blow up."""
        low, start = float(self.losses.min()), float(self.smoothed[0])
        return low - 0.05 * abs(start), max(1.5 * start, float(np.median(self.losses))) or 1.0


def lr_find(
    net: NeuralNet,
    X: Any,
    y: Array,
    *,
    optimizer: Optimizer,
    lowest: float = 1e-4,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    rng: RngLike = None,
) -> LRRange:
    """Train a copy of `net` while the rate rises geometrically, until the loss diverges.

    The test ends after `steps` steps, when the running mean of the losses (which must not be negative) is more than
    four times its lowest value, or before the first loss or gradient that is not finite. The network and the
    optimizer given, with their running statistics, state and generators, are not changed.

    Parameters
    ----------
    net : NeuralNet
    X : array, shape (N, C, H, W) or what the first layer takes
        As `fit` takes it; gone through as often as the steps need.
    y : array of int, shape (N,)
        Classes.
    optimizer : Optimizer
        Its settings and state are used, but not its `lr`.
    lowest, highest : float
        In (0, inf), the rates of the first and the last step: lowest < highest.
    steps : int
        From 2 to a million.
    batch_size : int
        At least 1.
    rng : numpy.random.Generator, int or None
        Draws the orders of the images.

    Returns
    -------
    LRRange

    Raises
    ------
    NonFiniteError
        The very first loss or gradient is not finite.
    ShapeError, DTypeError, ValueError
        Images, labels or numbers that do not fit.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks. WACV 2017, section 3.3.
    """
    check_instance("net", net, NeuralNet)
    check_instance("optimizer", optimizer, Optimizer)
    lowest = check_real("lowest", lowest, "(0, inf)")
    highest = check_real("highest", highest, "(0, inf)")
    if lowest >= highest:
        raise ValueError(f"lowest must be below highest, got {lowest} and {highest}")
    lrs = np.geomspace(lowest, highest, check_int("steps", steps, 2, 1_000_000))
    net, optimizer = copy.deepcopy((net, optimizer))  # at once: what both hold stays one
    optimizer.lr = 1.0  # which the schedule multiplies
    watch = _Watch(len(lrs))
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # of the step before the one that is refused
            fit(
                net,
                X,
                y,
                optimizer=optimizer,
                schedule=lambda step: float(lrs[step]),
                epochs=len(lrs),  # of a step at least: the watch stops the run before
                batch_size=batch_size,
                rng=rng,
                callbacks=[watch],
            )
    except NonFiniteError:
        if not watch.losses:
            raise
    return LRRange(lrs[: len(watch.losses)], np.array(watch.losses), np.array(watch.smoothed))


class _Watch(Callback):
    """Keep each step's loss and the running mean, and stop the run at the last step or when it diverges."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._mean, self._lowest = 0.0, math.inf

    def on_step(self, run: Run) -> None:
        self.losses.append(run.loss)
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * run.loss
        self.smoothed.append(self._mean / (1 - SMOOTHING**run.step))
        self._lowest = min(self._lowest, self.smoothed[-1])
        run.stop = run.step == self.steps or self.smoothed[-1] > DIVERGED * self._lowest
