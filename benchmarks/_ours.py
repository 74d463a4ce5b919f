"""The series' network and our training step on it, for the benchmarks; imports no other framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cnn_ext
from cnn_ext.recipes import SERIES

L2 = 0.001
RATE = 0.01  # at 0.1, without a warm-up, the loss spikes, and after that roundings decide which ReLUs live
BATCHES = 20  # so many, over and over


def images(batch: int) -> tuple[Any, Any]:
    """Return the MNIST images and labels of the batches."""
    return cnn_ext.load_mnist(num_training=BATCHES * batch, num_test=1)[0]


def series_layers(weights: Sequence[Any] | None = None) -> list[Any]:
    """Return the series' network as it starts, or with these weights."""
    layers = cnn_ext.make_mnist_cnn((1, 28, 28), 10, rng=0)
    if weights is not None:
        for param, value in zip((p for layer in layers for p in layer.params), weights, strict=True):
            param[...] = value
    return layers


def weights_after_an_epoch() -> list[Any]:
    """Return the weights after the first of the default run's 20 epochs."""
    (X, y), _ = cnn_ext.load_mnist(num_training=50_000, num_test=1)
    net = cnn_ext.NeuralNet(series_layers())
    optimizer = cnn_ext.SGD(0.1, 0.9, nesterov=True)
    schedule = SERIES.make_schedule(20 * 1000)
    cnn_ext.fit(net, X, y, optimizer=optimizer, schedule=schedule, epochs=1, batch_size=50, rng=0)
    return list(net.named_params().values())


def rows_of_batches(n: int, batch: int) -> Iterator[slice]:
    """Give the rows of each whole batch of n images, over and over."""
    while True:
        for start in range(0, n - batch + 1, batch):
            yield slice(start, start + batch)


def step_of(layers: Sequence[Any], X: Any, y: Any, batch: int, rate: float = RATE) -> Callable[[], float]:
    """Return a function that takes one training step on the next batch and returns its loss."""
    net = cnn_ext.NeuralNet(layers, l2=L2)
    optimizer = cnn_ext.SGD(rate, 0.9, nesterov=True)
    rows = rows_of_batches(len(X), batch)

    def step() -> float:
        part = next(rows)
        loss, grads = net.train_step(X[part], y[part])
        flat = [grad for layer_grads in reversed(grads) for grad in layer_grads]
        optimizer.step(list(net.named_params().values()), flat)
        return loss

    return step
