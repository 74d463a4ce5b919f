"""What the accuracy runs share: each is a process of its own that writes a log; how it is started, timed and read.

A log is what `python -m cnn_ext.train_mnist --log` writes, the settings and one line an epoch, and a last line
{"process_seconds": from the start of the process to its end, "at_once": how many ran side by side}, which tells as
well that the run came to its end.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_ext import Recipe
from cnn_ext._machine import describe_machine
from cnn_ext.datasets import mnist_parts
from cnn_ext.logs import JsonLog
from cnn_ext.progress import Progress

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "benchmarks" / "logs" / "accuracy"
NUM_CLASS, TEST_SIZE = 10, 10_000


@dataclass(frozen=True)
class Log:
    """A run that came to its end."""

    settings: dict[str, Any]
    epochs: list[dict[str, Any]]
    process_seconds: float
    at_once: int

    @property
    def accuracy(self) -> float:
        """What the last epoch was tested with, in per cent, on the test or on the validation images."""
        last = self.epochs[-1]
        return 100 * last["test_accuracy" if "test_accuracy" in last else "validation_accuracy"]


@dataclass(frozen=True)
class Task:
    """A process to be run: arguments of `python`, where its log goes, and the recipe that the log must tell of."""

    command: tuple[str, ...]
    log: Path
    recipe: Recipe


def read(path: Path) -> Log | None:
    """Return the log, or None if there is none or if its run did not come to its end."""
    if not path.exists():
        return None
    lines = path.read_text().splitlines()
    if not lines or "process_seconds" not in lines[-1]:
        return None
    first, *epochs, last = map(json.loads, lines)
    return Log(first["run"], epochs, **last)


def read_all(name: str, folder: Path = LOGS) -> dict[int, Log]:
    """Return the logs <name>-seed<N>.jsonl by their seeds."""
    logs = {int(path.stem.rpartition("-seed")[2]): read(path) for path in folder.glob(f"{name}-seed*.jsonl")}
    return {seed: log for seed, log in sorted(logs.items()) if log is not None}


def run_missing(tasks: Sequence[Task], jobs: int = 1) -> None:
    """Run the tasks that have no log, so many at once; a log of other settings is not replaced, but an error."""
    missing = []
    for task in tasks:
        log = read(task.log)
        if log is None:
            missing.append(task)
        elif log.settings["recipe"] != json.loads(json.dumps(task.recipe.config())):
            raise SystemExit(f"{task.log} is of a run with other settings: delete it to run anew")
    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(lambda task: run(task, jobs), missing):
            pass


def run(task: Task, at_once: int = 1) -> None:
    """Run a task from the root of the clone, and write its seconds behind its log."""
    print("python " + shlex.join(task.command), flush=True)
    task.log.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, *task.command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    seconds = time.perf_counter() - began
    with task.log.open("a") as file:
        file.write(json.dumps({"process_seconds": seconds, "at_once": at_once}) + "\n")
    log = read(task.log)
    print(f"{task.log.stem}: {log.accuracy:.2f} % after {seconds:.1f} s", flush=True)


def train(recipe: Recipe, seed: int, log: Path, *, held_back: int = 0, **settings: Any) -> None:
    """Train on MNIST in this process and write the log: for networks that the command line has no name for.

    Tested are the last `held_back` training images, if there are to be any, or else the test images; `settings` go into
    the log.
    """
    training, test, validation = mnist_parts(None, recipe.train_size, TEST_SIZE, held_back)
    tested, images = ("validation", validation) if held_back else ("test", test)
    settings = {"recipe": recipe.config(), **settings, "seed": seed, "machine": describe_machine()}
    callbacks = [JsonLog(log, settings, tested), Progress(tested)]
    recipe.train(*training, num_class=NUM_CLASS, seed=seed, validation=images, callbacks=callbacks)


def relative(path: Path) -> str:
    """Return a path as it is written in a command: from the root of the clone."""
    return path.relative_to(ROOT).as_posix()
