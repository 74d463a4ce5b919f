"""A tiny run that has all there is to be kept, for the trials of checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_ext import (
    SGD,
    BatchNorm,
    Callback,
    Checkpoint,
    Conv,
    CrossEntropy,
    Dropout,
    EarlyStopping,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    ReLU,
    fit,
    set_num_threads,
)
from cnn_ext.augmentation import RandomAffine
from cnn_ext.layers.base import arrays_of
from cnn_ext.logs import JsonLog
from cnn_ext.schedules import cosine

N_IMAGES, N_VALIDATION, BATCH, EPOCHS = 55, 1000, 10, 4
STEPS_PER_EPOCH = -(-N_IMAGES // BATCH)  # the last batch is of five images
STEPS = EPOCHS * STEPS_PER_EPOCH


def make_net(rng: Any) -> NeuralNet:
    return NeuralNet(
        [
            Conv((1, 20, 20), 4, 3, 3, stride=1, padding=1, rng=rng),
            BatchNorm((4, 20, 20)),
            ReLU(),
            Maxpool((4, 20, 20), 5, 5),
            Flatten(),
            Dropout(0.7, rng=rng),
            FullyConnected(64, 3, rng=rng),
        ],
        CrossEntropy(0.1),
        l2=1e-3,
    )


def train(
    checkpoint: Checkpoint | None = None,
    log: Path | None = None,
    callbacks: Sequence[Callback] = (),
    threads: int = 1,
) -> str:
    """Train to the end, or go on to it; return the sum of all that the run leaves in memory."""
    set_num_threads(threads)
    data = np.random.default_rng(1)
    n = N_IMAGES + N_VALIDATION
    images, classes = data.random((n, 1, 20, 20), np.float32), data.integers(0, 3, n)
    rng = np.random.default_rng(7)
    net, optimizer = make_net(rng), SGD(0.1, 0.9, nesterov=True)
    logs = [] if log is None else [JsonLog(log, {"trial": "kept"})]
    fit(
        net,
        images[:N_IMAGES],
        classes[:N_IMAGES],
        optimizer=optimizer,
        epochs=EPOCHS,
        batch_size=BATCH,
        rng=rng,
        schedule=cosine(STEPS, 2),
        augment=RandomAffine(10, 1, 0.1),
        average=0.8,
        max_norm=1.0,
        validation=(images[N_IMAGES:], classes[N_IMAGES:]),
        callbacks=[*logs, EarlyStopping("validation_loss", patience=3), *callbacks],
        checkpoint=checkpoint,
    )
    return digest(net, optimizer, rng)


def digest(net: NeuralNet, optimizer: SGD, rng: np.random.Generator) -> str:
    """Return the SHA-256 sum of weights, statistics, optimizer state and the states of all generators."""
    total = hashlib.sha256()
    for array in [*arrays_of(net.layers), *(array for state in optimizer.state.values() for array in state)]:
        total.update(array.tobytes())
    generators = [rng, *(layer.rng for layer in net.layers if hasattr(layer, "rng"))]
    total.update(repr([optimizer.steps, *(g.bit_generator.state for g in generators)]).encode())
    return total.hexdigest()


def logged(log: Path) -> list[dict[str, Any]]:
    """Return the epochs of a log, but for their times."""
    _, *epochs = map(json.loads, log.read_text().splitlines())
    return [{name: value for name, value in epoch.items() if "second" not in name} for epoch in epochs]


class Notes(Callback):
    """Note in a file, by one system call each, what the run is at."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(self, what: str) -> None:
        os.write(self._file, f"{what}\n".encode())

    def on_start(self, run: Any) -> None:
        self.note("start")

    def on_step(self, run: Any) -> None:
        self.note(f"step {run.step}")

    def on_epoch(self, run: Any) -> None:
        self.note(f"epoch {run.epoch}")


class NotedCheckpoint(Checkpoint):
    """A checkpoint that notes when it is being written."""

    def __init__(self, folder: Path, every_steps: int, notes: Notes) -> None:
        super().__init__(folder, every_steps=every_steps)
        self._notes = notes

    def write(self, step: int, *content: Any) -> None:
        self._notes.note(f"write {step}")
        super().write(step, *content)
        self._notes.note(f"written {step}")


def require(condition: object, message: str) -> None:
    """Raise AssertionError, also under python -O."""
    if not condition:
        raise AssertionError(message)
