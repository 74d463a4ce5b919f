"""Train what the accuracies of the README and of the docs are measured on: each run a command, with its log kept.

    python -m benchmarks.accuracy.runs NAME [--seeds 0 1 2] [--jobs 1] [--threads 2]

Only what has no log is run, so that an interrupted list goes on where it stopped. Times are meant with one job.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.accuracy._logs import LOGS, ROOT, Task, relative, run_missing
from cnn_ext import Recipe
from cnn_ext._flags import chosen_recipe, make_parser
from cnn_ext.datasets import mnist_parts

MODELS = ROOT / "benchmarks" / "models"
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"  # where Debian's package dataset-fashion-mnist puts it


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command for each of some seeds, and what is expected of them; with a label, a row of the README's table.

    `mean`, `aim` and `worst` are test accuracies in per cent; `seconds` is the median of a process from start to end.
    """

    name: str
    label: str | None
    arguments: str
    seeds: Sequence[int]
    mean: float | None = None
    aim: float | None = None
    worst: float | None = None
    seconds: float | None = None
    keep_model: bool = False


CONSTANT = "--schedule constant"

# What the validation runs chose (--validation-size 10000: the last of the training images), one line a run.
SERIES = "--recipe series --train-size 60000 --test-last-only --label-smoothing 0.1 --average 0.998"
AUGMENTED = (
    "--standardize --lr 0.05 --l2 0.0005 --augment RandomAffine:rotation=10,translation=1.5,scale=0.12 "
    "ElasticDistortion:alpha=12,sigma=4"
)
SECONDS = "--recipe fast --train-size 30000"
TWO_EPOCHS = "--recipe fast --epochs 2"
MINUTE = "--recipe fast --epochs 8 --lr 0.1 --label-smoothing 0.1"
SMALL = "--recipe best --model small"
FASHION = "--recipe best --augment RandomCrop:padding=2 RandomFlip RandomErasing"

TEN, FIVE, THREE, ONE = range(10), range(5), range(3), range(1)
RUNS = {
    run.name: run
    for run in (
        Run(
            name="series", label="(the recipe `series`, 50,000 images)", arguments="", seeds=TEN, mean=99.30, worst=99.1
        ),
        Run(name="constant", label=None, arguments=CONSTANT, seeds=ONE),
        Run(name="sgd", label=None, arguments=f"{CONSTANT} --momentum 0", seeds=ONE),
        Run(name="one-epoch", label=None, arguments=f"{CONSTANT} --epochs 1", seeds=TEN),
        Run(
            name="series-plain",
            label="the same network, labels smoothed and weights averaged, 60,000 images",
            arguments=SERIES,
            seeds=TEN,
            mean=99.40,
        ),
        Run(
            name="series-augmented",
            label="the same, images turned, shifted, scaled and bent",
            arguments=f"{SERIES} {AUGMENTED}",
            seeds=TEN,
            mean=99.55,
        ),
        Run(name="seconds", label=f"`{SECONDS}`", arguments=SECONDS, seeds=FIVE, mean=98.5, seconds=4),
        Run(name="fast", label="`--recipe fast`", arguments="--recipe fast", seeds=TEN, mean=99.0, seconds=8),
        Run(name="fast-two-epochs", label=f"`{TWO_EPOCHS}`", arguments=TWO_EPOCHS, seeds=TEN),
        Run(name="minute", label=f"`{MINUTE}`", arguments=MINUTE, seeds=FIVE, mean=99.4, seconds=60),
        Run(
            name="best",
            label="`--recipe best`, 298,858 parameters",
            arguments="--recipe best",
            seeds=THREE,
            mean=99.70,
            aim=99.75,
            seconds=1800,
            keep_model=True,
        ),
        Run(name="small", label=f"`{SMALL}`, 29,546 parameters", arguments=SMALL, seeds=ONE, keep_model=True),
        Run(
            name="fashion",
            label="Fashion-MNIST, `--recipe best` with crops, flips and erasing",
            arguments=f"{FASHION} --data {FASHION_MNIST}",
            seeds=THREE,
            mean=94.5,
            aim=95.0,
            keep_model=True,
        ),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=tuple(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", help="those of the table")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once (1)")
    parser.add_argument("--threads", type=int, default=2, help="of each (2)")
    args = parser.parse_args()
    run = RUNS[args.name]
    MODELS.mkdir(exist_ok=True)
    run_missing([task_of(run, seed, args.threads) for seed in args.seeds or run.seeds], args.jobs)


def task_of(run: Run, seed: int, threads: int) -> Task:
    """Return the process that trains one seed."""
    log = LOGS / f"{run.name}-seed{seed}.jsonl"
    words = [*flags_of(run, seed, threads), "--log", relative(log)]
    if run.keep_model:
        words += ["--output", relative(model_file(run.name, seed))]
    return Task(("-m", "cnn_ext.train_mnist", *words), log, recipe_of(words))


def flags_of(run: Run, seed: int, threads: int) -> list[str]:
    return [*shlex.split(run.arguments), "--seed", str(seed), "--threads", str(threads)]


def model_file(name: str, seed: int) -> Path:
    return MODELS / f"{name}-seed{seed}.safetensors"


def recipe_of(words: Sequence[str]) -> Recipe:
    """Return the recipe that a log of these flags tells of: with as many training images as there are."""
    args = make_parser().parse_args(words)
    recipe = chosen_recipe(args)
    training = mnist_parts(args.data, recipe.train_size, 0, args.validation_size or 0)[0]
    return replace(recipe, train_size=len(training[1]))


if __name__ == "__main__":
    main()
