"""The smallest network above 99 %: candidates, each trained and measured on the last 10,000 training images.

    python -m benchmarks.accuracy.smallest [NAME ...] [--epochs 40] [--seeds 0] [--jobs 1] [--threads 2]
    python -m benchmarks.accuracy.smallest NAME --final --seeds 0 1 2

Only what has no log is run; then the candidates are printed with their numbers of parameters. --final trains the chosen
one on all 60,000 training images and tests it once, after the last epoch.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.accuracy._logs import LOGS, NUM_CLASS, Task, read_all, relative, run_missing, train
from benchmarks.accuracy.runs import Run
from benchmarks.tables import table
from cnn_ext import (
    RECIPES,
    BatchNorm,
    Conv,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Layer,
    Maxpool,
    Recipe,
    ReLU,
    set_num_threads,
)
from cnn_ext.initializers import RngLike, as_generator
from cnn_ext.models import MODELS

FOLDER = LOGS / "smallest"
HELD_BACK, MOST = 10_000, 1500
POOL, AVERAGE = "pool", "average"

# Convolutions with BatchNorm and ReLU, as (filters, side); a max-pool of 2; at the end the average of each channel,
# or all its pixels, and a dense layer.
CANDIDATES: dict[str, Sequence[tuple[int, int] | str]] = {
    "8-8-8": [(8, 3), POOL, (8, 3), POOL, (8, 3), AVERAGE],
    "4-6-8-8": [(4, 3), (6, 3), POOL, (8, 3), POOL, (8, 3), AVERAGE],
    "4-4-6-6-8": [(4, 3), (4, 3), POOL, (6, 3), (6, 3), POOL, (8, 3), AVERAGE],
    "4-4-5-5-6-6": [(4, 3), (4, 3), POOL, (5, 3), (5, 3), POOL, (6, 3), (6, 3), AVERAGE],
    "4-4-5-5-6": [(4, 3), (4, 3), POOL, (5, 3), (5, 3), POOL, (6, 3), AVERAGE],
    "6x5-6-8": [(6, 5), POOL, (6, 3), POOL, (8, 3), AVERAGE],
    "4-6-8-dense": [(4, 3), POOL, (6, 3), POOL, (8, 3), POOL],
}

RUN = Run(name="smallest", label=f"at most {MOST:,} parameters", arguments="", seeds=range(3), mean=99.0)


def make_tiny_cnn(
    X_dim: tuple[int, int, int], num_class: int, *, spec: Sequence[tuple[int, int] | str], rng: RngLike = None
) -> list[Layer]:
    """Return the layers of a candidate."""
    rng = as_generator(rng)
    layers: list[Layer] = []
    dim = X_dim
    for part in spec:
        if part == POOL:
            layer = Maxpool(dim, size=2, stride=2)
        elif part == AVERAGE:
            layer = GlobalAvgPool(dim)
        else:
            n_filter, side = part
            layer = Conv(dim, n_filter, side, side, stride=1, padding=side // 2, rng=rng)
        dim = layer.out_dim
        layers.append(layer)
        if isinstance(layer, Conv):
            layers += [BatchNorm(dim), ReLU()]
    if spec[-1] != AVERAGE:
        layers.append(Flatten())
    return [*layers, FullyConnected(math.prod(dim), num_class, rng=rng)]


def main() -> None:
    MODELS.update({name: partial(make_tiny_cnn, spec=spec) for name, spec in CANDIDATES.items()})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CANDIDATES)}")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train-size", type=int, default=60_000, help="but those that are held back")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at once (1)")
    parser.add_argument("--threads", type=int, default=2, help="of each (2)")
    parser.add_argument("--final", action="store_true", help="train on all images, test on the test images")
    parser.add_argument("--log", type=Path, help="run the one name and seed in this process")
    args = parser.parse_args()
    names = args.names or list(CANDIDATES)
    if unknown := set(names) - set(CANDIDATES):
        parser.error(f"no candidate is called {', '.join(sorted(unknown))}")
    if args.final and len(names) != 1:
        parser.error("--final takes one NAME")
    held_back = 0 if args.final else HELD_BACK
    size = min(args.train_size, 60_000 - held_back)
    if args.log is not None:
        set_num_threads(args.threads)
        recipe = recipe_of(names[0], args.epochs, size)
        train(recipe, args.seeds[0], args.log, held_back=held_back, parameters=parameters(recipe.model))
        return
    same = shlex.split(f"--epochs {args.epochs} --train-size {args.train_size} --threads {args.threads}")
    tasks = []
    for name in names:
        for seed in args.seeds:
            log = LOGS / f"{RUN.name}-seed{seed}.jsonl" if args.final else FOLDER / f"{name}-seed{seed}.jsonl"
            command = ["-m", "benchmarks.accuracy.smallest", name, "--seeds", str(seed), "--log", relative(log), *same]
            tasks.append(Task((*command, *["--final"] * args.final), log, recipe_of(name, args.epochs, size)))
    run_missing(tasks, args.jobs)
    print_table()


def recipe_of(name: str, epochs: int, train_size: int) -> Recipe:
    """Return the recipe of `best` without what holds a network back that cannot fit its images anyway."""
    changes = {"augment": (), "label_smoothing": 0.0, "l2": 0.0, "epochs": epochs, "train_size": train_size}
    return replace(RECIPES["best"], model=name, **changes)


def parameters(name: str) -> int:
    """Return how many numbers a candidate trains."""
    return sum(param.size for layer in MODELS[name]((1, 28, 28), NUM_CLASS, rng=0) for param in layer.params)


def print_table() -> None:
    rows = []
    for name in sorted(CANDIDATES, key=parameters):
        accuracies = [log.accuracy for log in read_all(name, FOLDER).values()]
        mean = f"{statistics.mean(accuracies):.2f} %" if accuracies else ""
        rows.append((name, f"{parameters(name):,}", str(len(accuracies)), mean))
    print(table(("candidate", "parameters", "seeds", "validation accuracy, mean"), rows))


if __name__ == "__main__":
    main()
