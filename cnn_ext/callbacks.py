"""Callbacks: what wants to watch a training run, or to stop it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .layers.base import Array

if TYPE_CHECKING:
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
    record : dict
        What is known of the epoch just ended (`epoch`, `loss`, ...); a callback may add to it.
    stop : bool
        A callback sets it to end the run after the current step.
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
    record: dict[str, Any] = field(default_factory=dict)
    stop: bool = False


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


class TrainingAccuracy(Callback):
    """Measure the accuracy on all training images after each epoch, as `train_accuracy` in the record.

    It costs an inference pass over the images, about a third of an epoch.
    """

    def __init__(self, X: Any, y: Array) -> None:
        self.X, self.y = X, y

    def on_epoch(self, run: Run) -> None:
        run.record["train_accuracy"] = run.net.evaluate(self.X, self.y)[1]


class PrintEpochs(Callback):
    """Print two lines an epoch, as the series does."""

    def on_epoch(self, run: Run) -> None:
        parts = [("Loss", "loss"), ("Training Accuracy", "train_accuracy"), ("Test Accuracy", "validation_accuracy")]
        print(f"Epoch {run.epoch}")
        print(" | ".join(f"{label} = {run.record[key]}" for label, key in parts if key in run.record))
