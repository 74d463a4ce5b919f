"""Time one training step of the series' network: the series' own way against cnn_ext, in one run, alternating.

    python -m benchmarks.series_step [--rounds 30] [--json FILE]

Both sides start from the same weights, take the same 20 batches and must show the same losses to 1e-4 first. A step
is all of it: forward, loss, L2, backward, Nesterov update; five in a row are timed, after
five to warm up. Both sides may use all CPUs (NumPy's own products do).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from cnn_ext import SGD, NeuralNet, load_mnist, make_mnist_cnn
from cnn_ext._machine import describe_machine

from .series_baseline import SeriesNetwork

BATCH = 50
STEPS = 5  # in a row, untimed and then timed
RATE = 0.01  # at 0.1, without a warm-up, the loss spikes, and after that roundings decide which ReLUs live


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()

    (X, y), _ = load_mnist(num_training=BATCH * 20, num_test=1)
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(X), BATCH)]
    net = NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=0))
    optimizer = SGD(RATE, 0.9, nesterov=True)
    baseline = SeriesNetwork(list(net.named_params().values()), lr=RATE)

    def step(X: np.ndarray, y: np.ndarray) -> float:
        loss, grads = net.train_step(X, y)
        flat = [grad for layer_grads in reversed(grads) for grad in layer_grads]
        optimizer.step(list(net.named_params().values()), flat)
        return loss

    difference = max(abs(step(*batch) - baseline.step(*batch)) for batch in batches)
    print(f"largest difference of the losses over {len(batches)} steps: {difference:.1e}")
    if difference > 1e-4:
        raise SystemExit("the two sides do not compute the same thing")

    ours, theirs = [], []
    for round_ in range(args.rounds):
        batch = batches[round_ % len(batches)]
        for timed, times in ((step, ours), (baseline.step, theirs)):
            for _ in range(STEPS):  # caches and threads warm for this side: training is many steps in a row
                timed(*batch)
            began = time.perf_counter()
            for _ in range(STEPS):
                timed(*batch)
            times.append((time.perf_counter() - began) / STEPS)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    figures = {
        "machine": describe_machine(),
        "rounds": args.rounds,
        "batch": BATCH,
        "series_ms": 1e3 * statistics.median(theirs),
        "cnn_ext_ms": 1e3 * statistics.median(ours),
        "ratio": ratio,
        "loss_difference": difference,
    }
    print(f"series {figures['series_ms']:.1f} ms, cnn_ext {figures['cnn_ext_ms']:.2f} ms a step: {ratio:.1f} times")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
