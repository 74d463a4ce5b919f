"""What training on several processes brings: measured here, and modelled for machines of their own.

    python -m benchmarks.mpi_scaling [--rounds 5] [--json FILE] [--plot FILE]

Needs mpi4py and mpiexec (`pip install mpi4py mpich`). Each measurement starts mpiexec anew, with 1 and with 2 processes
in turn, one thread each, on the same machine; a step's seconds are the median over the steps of all rounds. The model:
a step of P processes takes the time of its ceil(chunks / P) chunks, and one collective that brings S bytes from each of
P processes to all: (P - 1) * (latency + S / bandwidth), as a ring does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import _timing

CASES = {
    "the series' network, batch 64": ("mnist", 64),
    "the series' network, batch 256": ("mnist", 256),
    "`best`, batch 64": ("best", 64),
    "`best`, batch 256": ("best", 256),
}
NETWORKS = {"10 Gbit/s, 50 us": (50e-6, 1.25e9), "1 Gbit/s, 100 us": (100e-6, 0.125e9)}
STEPS, WARM = 25, 5
CHUNK = 16

WORKER = """
import json, sys, time
import numpy as np
from cnn_ext import DataParallel, NeuralNet, SGD, get_num_threads, set_num_threads
from cnn_ext.models import MODELS

set_num_threads(1)
model, batch, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
parallel = DataParallel(chunk_size=int(sys.argv[4]))
rng = np.random.default_rng(0)
X, y = rng.random((batch, 1, 28, 28), np.float32), rng.integers(0, 10, batch)
net = NeuralNet(MODELS[model]((1, 28, 28), 10, rng=0))
parallel.start_alike(net)
optimizer = SGD(0.01, 0.9, True)
seconds = []
for _ in range(steps):
    began = time.perf_counter()
    _, grads = parallel.train_step(net, X, y)
    optimizer.step(list(net.named_params().values()), [g for layer in reversed(grads) for g in layer])
    seconds.append(time.perf_counter() - began)
if parallel.rank == 0:
    print(json.dumps({"seconds": seconds, "parameters": sum(p.size for p in net.named_params().values())}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    results = {name: measured(model, batch, args.rounds) for name, (model, batch) in CASES.items()}
    for name, result in results.items():
        print(f"{name}: {1e3 * result['one']:.1f} ms on 1, {1e3 * result['two']:.1f} ms on 2: {result['speed_up']:.2f}")
        for network in NETWORKS:
            curve = [speed_up(result, network, n) for n in range(1, 33)]
            best = max(range(len(curve)), key=curve.__getitem__)
            print(f"    {network}: at most {curve[best]:.1f} times as fast, on {best + 1} machines")
    if args.json is not None:
        _timing.append_json(args.json, {"cases": results})
    if args.plot is not None:
        draw(results, args.plot)


def measured(model: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step on one and on two processes, taken in turn."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    parameters = 0
    for _ in range(rounds):
        for n in (1, 2):
            arguments = [model, str(batch), str(WARM + STEPS), str(CHUNK)]
            command = [mpiexec(), "-n", str(n), sys.executable, "-m", "mpi4py", "-c", WORKER, *arguments]
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout
            answer = json.loads(output)
            seconds[n] += answer["seconds"][WARM:]
            parameters = answer["parameters"]
    one, two = (statistics.median(seconds[n]) for n in (1, 2))
    chunks = max(1, batch // CHUNK)
    return {"one": one, "two": two, "speed_up": one / two, "chunks": chunks, "bytes_a_sum": 4 * parameters}


def mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("there is no mpiexec: pip install mpi4py mpich")
    return found


def speed_up(result: dict[str, Any], network: str, n: int) -> float:
    """Return how many times as fast the model has n machines of one thread."""
    latency, bandwidth = NETWORKS[network]
    computing = result["one"] * math.ceil(result["chunks"] / n) / result["chunks"]
    n_sums = math.ceil(math.log2(result["chunks"])) if result["chunks"] % n else 1  # nodes of the tree a process sends
    talking = (n - 1) * (latency + max(1, n_sums) * result["bytes_a_sum"] / bandwidth)
    return result["one"] / (computing + talking)


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    colours = ["#555555", "#E69F00", "#0072B2", "#009E73"]
    for network, plot in zip(NETWORKS, axes, strict=True):
        for (name, result), colour in zip(results.items(), colours, strict=True):
            numbers = range(1, 17)
            plot.plot(
                numbers, [speed_up(result, network, n) for n in numbers], color=colour, label=name.replace("`", "")
            )
            plot.plot(2, result["speed_up"], "o", color=colour, markerfacecolor="none")
        plot.axhline(1, color="#999999", lw=0.8)
        plot.set(title=network, xlabel="machines of one thread")
        plot.grid(alpha=0.25)
    axes[0].set_ylabel("times as fast as one")
    axes[0].legend(fontsize=8)
    figure.suptitle("modelled; circles: measured, two processes on one machine", fontsize=10)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
