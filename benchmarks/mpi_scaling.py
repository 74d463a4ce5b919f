"""What training on several processes brings: measured on this machine, and modelled past it.

    python -m benchmarks.mpi_scaling [--rounds 5] [--json FILE] [--plot docs/mpi-scaling.png]

Needs mpi4py and mpiexec (`pip install mpi4py mpich`), and a machine that does nothing else. It prints the table of
docs/distributed.md. A step is the whole of it: forward, loss, backward, the collective, and the update by SGD. Each
side is a mpiexec of its own, all sides in turn; a side's seconds are the median over the steps of all rounds. Runs that
must give the same bits are held to it.

The model: with P machines of one thread a step takes

    a + c * ceil(chunks / P) + (P - 1) * (latency + bytes / bandwidth + adding)

where a and c are those of one process here (its steps of 4 and of 16 chunks), bytes what a process sends in a step, and
adding the time to add one sum to another. The collective is taken to be a ring, in which everything passes every link.
The same with this machine's own latency and bandwidth, measured, is what two processes here should take: the table has
it beside what they do take, which is longer as far as processes on one machine slow each other down.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import _timing, tables
from cnn_ext.distributed import chunk_bounds, nodes_inside
from cnn_ext.threads import usable_cpus

MODELS = {"mnist": "the series' network", "best": "`best`"}
BATCHES = (64, 256)
NETWORKS = {"10 Gbit/s, 50 us": (50e-6, 1.25e9), "1 Gbit/s, 100 us": (100e-6, 0.125e9)}
"""Latency in seconds, bandwidth in bytes a second: a fast and a common Ethernet."""
MACHINES = range(1, 65)
STEPS, WARM = 20, 5
CHUNK, CLASSES, NUMBER = 16, 10, 4  # images of a chunk; of MNIST; bytes of a float32

STEP_WORKER = """
import hashlib, json, sys, time
import numpy as np
from cnn_ext import DataParallel, NeuralNet, SGD, set_num_threads
from cnn_ext.models import MODELS

model, batch, threads, way, steps, chunk = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4], *map(int, sys.argv[5:])
set_num_threads(threads)
rng = np.random.default_rng(0)
X, y = rng.random((batch, 1, 28, 28), np.float32), rng.integers(0, 10, batch)
net = NeuralNet(MODELS[model]((1, 28, 28), 10, rng=0))
optimizer = SGD(0.01, 0.9, True)
train_step, rank = net.train_step, 0
if way == "parallel":
    parallel = DataParallel(chunk_size=chunk)
    parallel.start_alike(net)
    train_step, rank = lambda X, y: parallel.train_step(net, X, y), parallel.rank
params = list(net.named_params().values())
seconds = []
for _ in range(steps):
    began = time.perf_counter()
    _, grads = train_step(X, y)
    optimizer.step(params, [g for layer in reversed(grads) for g in layer])
    seconds.append(time.perf_counter() - began)
if rank == 0:
    n_numbers = sum(p.size for layer in net.layers for p in (*layer.params, *getattr(layer, "buffers", []))) + 1
    bits = hashlib.sha256(b"".join(p.tobytes() for p in params)).hexdigest()
    print(json.dumps({"seconds": seconds, "length": n_numbers, "bits": bits}))
"""

LINK_WORKER = """
import json, sys, time
import numpy as np
from mpi4py import MPI

comm, sizes, result = MPI.COMM_WORLD, map(int, sys.argv[1:]), []
for size in sizes:
    sent = np.zeros(size // 4, np.float32)
    received = np.empty((comm.size, sent.size), np.float32)
    seconds = []
    for _ in range(200):
        comm.Barrier()
        began = time.perf_counter()
        comm.Allgather(sent, received)
        seconds.append(time.perf_counter() - began)
    a, b = sent.copy(), sent.copy()
    began = time.perf_counter()
    for _ in range(50):
        a = a + b
    result.append((sorted(seconds)[100], (time.perf_counter() - began) / 50))
if comm.rank == 0:
    print(json.dumps(result))
"""


@dataclass
class Link:
    """How long it takes to bring bytes from one process to the next."""

    latency: float
    bandwidth: float


@dataclass
class Network:
    """What the model knows of a network: seconds of what is fixed, of a chunk, of adding two sums; numbers of a sum."""

    fixed: float
    chunk: float
    adding: float
    length: int

    def bytes_sent(self, n_chunks: int, n: int) -> int:
        """Return what a process of n sends in a step: sums, and the scores of its images."""
        parts = [(rank * n_chunks // n, (rank + 1) * n_chunks // n) for rank in range(n)]
        n_sums = max(len(nodes_inside((0, n_chunks), part)) for part in parts)
        return NUMBER * (n_sums * self.length + max(b - a for a, b in parts) * CHUNK * CLASSES)

    def seconds(self, n_chunks: int, n: int, link: Link) -> float:
        """Return the modelled seconds of a step on n machines."""
        talking = link.latency + self.bytes_sent(n_chunks, n) / link.bandwidth + self.adding
        return self.fixed + self.chunk * math.ceil(n_chunks / n) + (n - 1) * talking


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=5)
    parser.add_argument("--plot", type=Path, help="draw the modelled speed-ups here")
    args = parser.parse_args()
    cpus = usable_cpus()
    if cpus < 2:
        raise SystemExit("two processes on one CPU say nothing: this needs two")
    sides = {  # processes, threads of each, how
        "plain": (1, cpus, "plain"),
        "threads": (1, cpus, "parallel"),
        "one": (1, 1, "parallel"),
        "processes": (cpus, 1, "parallel"),
    }
    cases = [(model, batch) for model in MODELS for batch in BATCHES]
    steps, lengths = measured_steps(cases, sides, args.rounds)
    networks, here = {}, {}
    for model in MODELS:
        times = [steps[model, batch]["one"] for batch in BATCHES]
        counts = [n_chunks_of(batch) for batch in BATCHES]
        chunk = (times[1] - times[0]) / (counts[1] - counts[0])
        sums = NUMBER * lengths[model]
        (latency, _), (whole, adding) = json.loads(run(cpus, LINK_WORKER, 64, sums))
        here[model] = Link(latency / (cpus - 1), sums * (cpus - 1) / max(whole - latency, 1e-9))
        networks[model] = Network(max(0.0, times[0] - chunk * counts[0]), chunk, adding, lengths[model])
    rows = []
    for model, batch in cases:
        network, n_chunks = networks[model], n_chunks_of(batch)
        rows.append(
            {
                "model": model,
                "batch": batch,
                "seconds": steps[model, batch],
                "bytes_sent": network.bytes_sent(n_chunks, cpus),
                "modelled_here": network.seconds(n_chunks, cpus, here[model]),
                "speed_ups": {
                    name: [
                        network.seconds(n_chunks, 1, Link(*link)) / network.seconds(n_chunks, n, Link(*link))
                        for n in MACHINES
                    ]
                    for name, link in NETWORKS.items()
                },
            }
        )
    print(table_of(rows, cpus))
    if args.plot is not None:
        draw(rows, args.plot)
        print(f"\n![Modelled speed-up by machines]({args.plot.name})")
    _timing.append_json(
        args.json,
        {
            "rounds": args.rounds,
            "cpus": cpus,
            "rows": rows,
            "networks": {model: vars(network) for model, network in networks.items()},
            "links_here": {model: vars(link) for model, link in here.items()},
        },
    )


def measured_steps(
    cases: list[tuple[str, int]], sides: dict[str, tuple[int, int, str]], rounds: int
) -> tuple[dict[tuple[str, int], dict[str, float]], dict[str, int]]:
    """Return the median seconds of a step, by case and side, and the length of each model's sums."""
    seconds: dict[tuple[str, int], dict[str, list[float]]] = {case: {name: [] for name in sides} for case in cases}
    lengths, bits = {}, {}
    for _ in range(rounds):
        for model, batch in cases:
            for name, (n, threads, way) in sides.items():
                answer = json.loads(run(n, STEP_WORKER, model, batch, threads, way, WARM + STEPS, CHUNK))
                seconds[model, batch][name] += answer["seconds"][WARM:]
                lengths[model] = answer["length"]
                if way == "parallel" and bits.setdefault((model, batch), answer["bits"]) != answer["bits"]:
                    raise SystemExit(f"{model}, batch {batch}: {n} processes of {threads} threads give other bits")
    medians = {case: {name: statistics.median(s) for name, s in of.items()} for case, of in seconds.items()}
    return medians, lengths


def run(n: int, worker: str, *arguments: Any) -> str:
    """Return what n processes print."""
    command = [mpiexec(), "-n", str(n), sys.executable, "-m", "mpi4py", "-c", worker, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("there is no mpiexec: pip install mpi4py mpich")
    return found


def n_chunks_of(batch: int) -> int:
    return len(chunk_bounds(batch, CHUNK)) - 1


def scaling_table() -> str:
    """Return the table of docs/distributed.md from the log."""
    record = tables.records("mpi_scaling")[-1]
    return table_of(record["rows"], record["cpus"])


def table_of(rows: list[dict[str, Any]], cpus: int) -> str:
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "a step of": lambda row: f"{MODELS[row['model']]}, batch {row['batch']}",
        f"plain, {cpus} threads": lambda row: ms(row["seconds"]["plain"]),
        f"1 process, {cpus} threads": lambda row: ms(row["seconds"]["threads"]),
        "1 process, 1 thread": lambda row: ms(row["seconds"]["one"]),
        f"{cpus} processes, 1 thread each": lambda row: ms(row["seconds"]["processes"]),
        "modelled": lambda row: ms(row["modelled_here"]),
        "a process sends": lambda row: f"{row['bytes_sent'] / 1e3:,.0f} KB",
    }
    for name in NETWORKS:
        columns[name] = lambda row, name=name: paying(row["speed_ups"][name])  # type: ignore[misc]
    return tables.table(tuple(columns), [tuple(cell(row) for cell in columns.values()) for row in rows])


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def paying(speed_ups: list[float]) -> str:
    """Return where more machines stop paying, and up to where they do at least half of what they cost."""
    best = max(range(len(speed_ups)), key=speed_ups.__getitem__)
    if best == 0:
        return "never pays"
    half = max(n for n, speed_up in zip(MACHINES, speed_ups, strict=True) if speed_up / n >= 0.5)
    return f"{speed_ups[best]:.1f} on {best + 1}; half used up to {half}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, plots = plt.subplots(1, len(NETWORKS), figsize=(9, 4), sharey=True, layout="constrained")
    colours = ["#999999", "#E69F00", "#0072B2", "#009E73"]
    for name, axes in zip(NETWORKS, plots, strict=True):
        for row, colour in zip(rows, colours, strict=True):
            label = f"{MODELS[row['model']]}, batch {row['batch']}".replace("`", "")
            shown = row["speed_ups"][name][:32]
            axes.plot(MACHINES[: len(shown)], shown, color=colour, label=label)
        axes.axhline(1, color="#999999", lw=0.8)
        axes.set(title=name, xlabel="machines of one thread")
        axes.grid(alpha=0.25)
    plots[0].set_ylabel("times as fast as one, modelled")
    plots[-1].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
