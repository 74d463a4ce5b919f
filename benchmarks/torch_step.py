"""Time one training step of the series' network: PyTorch against cnn_ext, in one run, alternating.

    python -m benchmarks.torch_step [--batch 50] [--threads 2] [--rounds 30] [--json FILE]

Both sides start from the same weights, take the same 20 batches and must show the same losses to 1e-4 first. A step is
all of it: forward, loss, L2, backward, Nesterov update; data in memory. In each round a side takes five steps to warm
up and five that are timed. PyTorch runs in its contiguous and its
channels-last layout, eagerly (and compiled with --compile); the faster one counts. Between the sides is a pause, since
both thread pools spin for a while. NumPy's own threads are given the same number as the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 0.02  # seconds
STEPS = 5  # in a row, untimed and then timed
RATE = 0.01  # at 0.1, without a warm-up, the loss spikes, and after that roundings decide which ReLUs live


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well")
    parser.add_argument("--json", type=Path, help="append the figures here, one line a run")
    args = parser.parse_args()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # before NumPy and PyTorch start their pools

    sides, difference, torch_version = make_sides(args.batch, args.threads, args.compile)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(args.rounds + 5):
        for name, step in sides.items():
            time.sleep(PAUSE)
            for i in range(STEPS):  # wakes this side's threads and caches: training is many steps in a row
                step(i)
            began = time.perf_counter()
            for i in range(STEPS):
                step(i)
            if round_ >= 5:
                times[name].append((time.perf_counter() - began) / STEPS)
    medians = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    best = min((name for name in sides if name != "cnn_ext"), key=medians.__getitem__)
    ratio = statistics.median(a / b for a, b in zip(times[best], times["cnn_ext"], strict=True))
    for name, ms in medians.items():
        print(f"{name:28} {ms:8.2f} ms")
    print(
        f"batch {args.batch}, {args.threads} threads: {best} / cnn_ext = {ratio:.2f}; losses differ by {difference:.1e}"
    )
    if args.json:
        from cnn_ext._machine import describe_machine

        figures = {
            "machine": describe_machine(),
            "torch": torch_version,
            "batch": args.batch,
            "threads": args.threads,
            "rounds": args.rounds,
            "ms": medians,
            "ratio": ratio,
            "loss_difference": difference,
        }
        with args.json.open("a") as file:
            file.write(json.dumps(figures) + "\n")


def make_sides(batch: int, threads: int, compiled: bool) -> tuple[dict[str, Callable[[int], float]], float, str]:
    """Return a step function for each side, after checking over 20 steps that all compute the same losses."""
    import numpy as np
    import torch
    from torch import nn

    import cnn_ext

    torch.set_num_threads(threads)
    cnn_ext.set_num_threads(threads)
    (X, y), _ = cnn_ext.load_mnist(num_training=20 * batch, num_test=1)
    net = cnn_ext.NeuralNet(cnn_ext.make_mnist_cnn((1, 28, 28), 10, rng=0))
    start = {name: param.copy() for name, param in net.named_params().items()}
    optimizer = cnn_ext.SGD(RATE, 0.9, nesterov=True)

    def our_step(i: int) -> float:
        rows = slice(i * batch, (i + 1) * batch)
        loss, grads = net.train_step(X[rows], y[rows])
        flat = [grad for layer_grads in reversed(grads) for grad in layer_grads]
        optimizer.step(list(net.named_params().values()), flat)
        return loss

    def torch_side(layout: torch.memory_format, compile_: bool) -> Callable[[int], float]:
        model = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1568, 120), nn.ReLU(), nn.Linear(120, 10),
        )  # fmt: skip
        with torch.no_grad():
            for param, value in zip(model.parameters(), start.values(), strict=True):
                param.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))
        model = model.to(memory_format=layout)
        images = torch.from_numpy(X).to(memory_format=layout)
        labels = torch.from_numpy(y)
        weights = [p for p in model.parameters() if p.ndim > 1]
        biases = [p for p in model.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.001}, {"params": biases}]  # the gradient of the L2 penalty
        sgd = torch.optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True)
        forward = torch.compile(model) if compile_ else model
        loss_function = nn.CrossEntropyLoss()

        def step(i: int) -> float:
            rows = slice(i * batch, (i + 1) * batch)
            sgd.zero_grad(set_to_none=True)
            loss = loss_function(forward(images[rows]), labels[rows])
            loss.backward()
            with torch.no_grad():
                penalty = sum(0.0005 * (p * p).sum() for p in weights)
            sgd.step()
            return float(loss.detach() + penalty)

        return step

    sides: dict[str, Callable[[int], float]] = {"cnn_ext": our_step}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        sides[f"PyTorch {name}"] = torch_side(layout, False)
        if compiled:
            sides[f"PyTorch compiled {name}"] = torch_side(layout, True)
    losses = {name: [step(i) for i in range(20)] for name, step in sides.items()}
    difference = max(np.abs(np.subtract(losses["cnn_ext"], other)).max() for other in losses.values())
    if difference > 1e-4:
        raise SystemExit(f"the sides do not compute the same thing: their losses differ by {difference:.1e}")
    return sides, float(difference), torch.__version__


if __name__ == "__main__":
    main()
