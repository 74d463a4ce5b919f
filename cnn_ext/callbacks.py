"""Callbacks: what wants to watch a training run, or to stop it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._checks import check_bool, check_int, check_real
from ._types import Array
from .errors import DTypeError
from .layers.base import arrays_of

if TYPE_CHECKING:
    from .distributed import DataParallel
    from .network import NeuralNet
    from .optimizers import Optimizer


@dataclass
class Run:
    """Where a training run stands; handed to each callback.

    Attributes
    ----------
    net : NeuralNet
    optimizer : Optimizer
    epochs : int
        How many epochs the run shall have.
    n_images, steps_per_epoch, batch_size : int
    epoch : int
        The epoch at work or just ended, 1 for the first.
    step : int
        Steps taken since the run's start.
    loss : float
        Loss of the last step, with the L2 penalty.
    history : list of dict
        The records of the epochs before; at the start only where a run goes on from a checkpoint.
    record : dict
        What is known of the epoch just ended (`epoch`, `loss`, ...); a callback may add to it.
    stop : bool
        A callback sets it to end the run after the current step.
    parallel : DataParallel or None
        The processes that share the run: each has callbacks of its own, and those that write should do so in process 0.
    """

    net: NeuralNet
    optimizer: Optimizer
    epochs: int
    n_images: int
    steps_per_epoch: int
    batch_size: int
    epoch: int = 0
    step: int = 0
    loss: float = float("nan")
    history: list[dict[str, Any]] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    stop: bool = False
    parallel: DataParallel | None = None

    def is_last_epoch(self) -> bool:
        """Whether no epoch follows the one at work."""
        return self.stop or self.epoch == self.epochs


class Callback:
    """Override what is of interest; each method does nothing by itself."""

    def on_start(self, run: Run) -> None:
        """Before the first step."""

    def on_step(self, run: Run) -> None:
        """After each step."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch, before its record goes into the history."""

    def on_end(self, run: Run) -> None:
        """After the last epoch; also when the run ends by an exception."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must keep for the callback to go on: by name, what JSON can hold or lists of arrays.

        Asked for after `on_start`, when a checkpoint is written. The arrays, of float32 or float64, must not be written
        to afterwards.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` has returned; called after `on_start`."""


class TrainingAccuracy(Callback):
    """Measure the accuracy on all training images after each epoch, as `train_accuracy` in the record.

    It costs an inference pass over the images, about a third of an epoch.
    """

    def __init__(self, X: Any, y: Array) -> None:
        self.X: Any = X
        self.y: Array = y

    def on_epoch(self, run: Run) -> None:
        run.record["train_accuracy"] = run.net.evaluate(self.X, self.y, run.parallel)[1]


class EarlyStopping(Callback):
    """Stop a run that no longer gets better, and put the best epoch's network back at its end.

    At the end, however the run ends, parameters and buffers (running statistics) are those after the best epoch, to
    the bit; the optimizer's state is not set back. Callbacks end in the reverse of their order: those that shall find
    the best network in `on_end` come before this one. With `restore_best=False` the last epoch's network stays.

    Parameters
    ----------
    monitor : str
        What to watch in the record: an accuracy (a name that ends so), which shall rise, or a loss, which shall fall.
    patience : int
        Epochs in a row without a new best value after which the run stops, at least 1.
    minimum_change : float
        In [0, inf): by more than this a value must be better than the best to be a new one.
    restore_best : bool
        Whether the best epoch's network is put back.

    Attributes
    ----------
    best_epoch : int
        The epoch of the best value, 0 before there is any.
    best_value : float
        That value; NaN before there is any.

    Raises
    ------
    ValueError
        A monitor that is neither; a number out of range; at an epoch's end, a record without the quantity.
    DTypeError
        A parameter of another type.

    References
    ----------
    Prechelt: Early stopping - but when? Neural Networks: Tricks of the Trade, 1998.
    """

    def __init__(
        self,
        monitor: str = "validation_accuracy",
        patience: int = 5,
        minimum_change: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise DTypeError(f"monitor must be a str, got {type(monitor).__name__}")
        if not monitor.endswith(("accuracy", "loss")):
            raise ValueError(f"monitor must be a name that ends in 'accuracy' or 'loss', got {monitor!r}")
        self.monitor = monitor
        self.patience: int = check_int("patience", patience, 1)
        self.minimum_change: float = check_real("minimum_change", minimum_change, "[0, inf)")
        self.restore_best: bool = check_bool("restore_best", restore_best)
        self.best_epoch: int = 0
        self.best_value: float = math.nan
        self._kept: list[Array] = []

    def on_start(self, run: Run) -> None:
        self.best_epoch, self.best_value, self._kept = 0, math.nan, []

    def on_epoch(self, run: Run) -> None:
        if self.monitor not in run.record:
            raise ValueError(
                f"EarlyStopping watches {self.monitor!r}, but the epoch's record has only {', '.join(run.record)}: "
                "give `fit` a validation set, or put the callback that records it first"
            )
        value = float(run.record[self.monitor])
        gain = value - self.best_value if self.monitor.endswith("accuracy") else self.best_value - value
        if gain > self.minimum_change or (self.best_epoch == 0 and not math.isnan(value)):
            self.best_epoch, self.best_value = run.epoch, value
            if self.restore_best:
                self._kept = [array.copy() for array in arrays_of(run.net.layers)]
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop = True

    def on_end(self, run: Run) -> None:
        if self._kept:
            for array, kept in zip(arrays_of(run.net.layers), self._kept, strict=True):
                array[...] = kept
        self._kept = []

    def state(self) -> dict[str, Any]:
        value = None if math.isnan(self.best_value) else self.best_value
        return {"best_epoch": self.best_epoch, "best_value": value, "kept": self._kept}

    def restore(self, state: dict[str, Any]) -> None:
        self.best_epoch, self._kept = state["best_epoch"], state["kept"]
        self.best_value = math.nan if state["best_value"] is None else state["best_value"]


class PrintEpochs(Callback):
    """Print two lines an epoch, as the series does."""

    def on_epoch(self, run: Run) -> None:
        parts = [("Loss", "loss"), ("Training Accuracy", "train_accuracy"), ("Test Accuracy", "validation_accuracy")]
        print(f"Epoch {run.epoch}")
        print(" | ".join(f"{label} = {run.record[key]}" for label, key in parts if key in run.record))
