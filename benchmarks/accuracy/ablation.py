"""What each change to the series' set-up brings: its network with one more of them a row, on three seeds.

    python -m benchmarks.accuracy.ablation [--epochs 10] [--jobs 1] [--threads 2]

All rows train on the same 50,000 images for as many epochs, and are tested once, after the last. Only what has no log
is run; then the table is printed. (With --row and --seed: one run, in this process.)
"""

from __future__ import annotations

import argparse
import shlex
import statistics
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy._logs import LOGS, Log, Task, read_all, run_missing, train
from benchmarks.tables import table
from cnn_ext import RECIPES, BatchNorm, Conv, Dropout, Layer, Recipe, ReLU, make_mnist_cnn, set_num_threads
from cnn_ext.initializers import RngLike, as_generator
from cnn_ext.models import MODELS

FOLDER = LOGS / "ablation"
SEEDS = range(3)


def make_normalized_cnn(X_dim: tuple[int, int, int], num_class: int, *, rng: RngLike = None) -> list[Layer]:
    """Return the series' network with BatchNorm between each layer and its ReLU."""
    layers: list[Layer] = []
    for layer in make_mnist_cnn(X_dim, num_class, rng=rng):
        if isinstance(layer, ReLU):
            before = layers[-1]
            layers.append(BatchNorm(before.out_dim if isinstance(before, Conv) else before.W.shape[1]))
        layers.append(layer)
    return layers


def make_dropout_cnn(X_dim: tuple[int, int, int], num_class: int, *, rng: RngLike = None) -> list[Layer]:
    """Return the same with Dropout of half the hidden units: the layer before them holds most of the parameters."""
    rng = as_generator(rng)
    layers = make_normalized_cnn(X_dim, num_class, rng=rng)
    return [*layers[:-1], Dropout(0.5, rng=rng), layers[-1]]


BEST = RECIPES["best"]
CHANGES = {
    "series": ("the series' network, constant rate", {"schedule": "constant", "test_last_only": True}),
    "schedule": ("+ warm-up and cosine", {"schedule": "cosine"}),
    "batch-norm": ("+ BatchNorm", {"model": "mnist+batch-norm"}),
    "dropout": ("+ Dropout", {"model": "mnist+dropout"}),
    "augmentation": ("+ augmentation", {"augment": BEST.augment}),
    "average": ("+ moving average of the weights", {"average": BEST.average}),
    "network": ("+ the network of `best` (without Dropout)", {"model": "best"}),
}


def main() -> None:
    MODELS.update({"mnist+batch-norm": make_normalized_cnn, "mnist+dropout": make_dropout_cnn})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train-size", type=int, default=50_000)
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at once (1)")
    parser.add_argument("--threads", type=int, default=2, help="of each (2)")
    parser.add_argument("--row", choices=tuple(CHANGES))
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    recipes = recipes_of(args.epochs, args.train_size)
    if args.row is not None:
        set_num_threads(args.threads)
        train(recipes[args.row], args.seed, log_of(args.row, args.seed))
        return
    same = shlex.split(f"--epochs {args.epochs} --train-size {args.train_size} --threads {args.threads}")
    tasks = []
    for row, recipe in recipes.items():
        for seed in SEEDS:
            command = ("-m", "benchmarks.accuracy.ablation", "--row", row, "--seed", str(seed), *same)
            tasks.append(Task(command, log_of(row, seed), recipe))
    run_missing(tasks, args.jobs)
    print(ablation_table())


def recipes_of(epochs: int, train_size: int) -> dict[str, Recipe]:
    """Return the recipe of each row: that of the row before with one more change."""
    recipe = replace(RECIPES["series"], epochs=epochs, train_size=train_size)
    recipes = {}
    for row, (_, change) in CHANGES.items():
        recipes[row] = recipe = replace(recipe, **change)
    return recipes


def log_of(row: str, seed: int) -> Path:
    return FOLDER / f"{row}-seed{seed}.jsonl"


def logs_of_rows() -> dict[str, dict[int, Log]]:
    """Return the logs of each row that has any."""
    logs = {row: read_all(row, FOLDER) for row in CHANGES}
    return {row: by_seed for row, by_seed in logs.items() if by_seed}


def ablation_table() -> str:
    """Return the table of docs/recipes.md."""
    rows, before = [], None
    for row, logs in logs_of_rows().items():
        accuracies = [log.accuracy for log in logs.values()]
        mean = statistics.mean(accuracies)
        gain = "" if before is None else f"{mean - before:+.2f}"
        before = mean
        rows.append((CHANGES[row][0], f"{mean:.2f} %", f"{min(accuracies):.2f} to {max(accuracies):.2f}", gain))
    return table(("", "test accuracy, mean of 3 seeds", "range", "gain over the row before"), rows)


if __name__ == "__main__":
    main()
