"""What checkpoints at the default interval cost a run of 20 epochs, in per cent of it.

    python -m benchmarks.reliability.checkpoint_cost [--json FILE]
    python -m benchmarks.reliability.checkpoint_cost --direct [--rounds 5] [--epochs 3] [--json FILE]

The first measures the parts: what follows a step when it is time for a checkpoint (the state gathered and tried for
non-finite numbers, the file written and flushed, the older one removed), the state gathered before an evaluation, the
SHA-256 sums of the images at the start; each times how often it happens in the run whose log is in `logs/`, by that
log's seconds. The second runs the command line with and without `--checkpoint`, alternately: on a quiet machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import _timing
from cnn_ext import Checkpoint
from cnn_ext.datasets.mnist import mnist_parts
from cnn_ext.keeper import Keeper
from cnn_ext.recipes import RECIPES
from cnn_ext.run_settings import sha256_of
from cnn_ext.run_state import RunState

LOGS = Path(__file__).parent.parent / "logs" / "accuracy"
RUNS = {"series": LOGS / "series-seed0.jsonl", "best": LOGS / "best-seed0.jsonl"}
STEPS = 30
TEST_IMAGES = 100


def timed(times: list[float], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - began)
        return result

    return call


def seconds_of_parts(name: str, folder: str) -> dict[str, float]:
    """Return the mean seconds of a checkpoint, of gathering the state, and of the sums of all images."""
    recipe = replace(RECIPES[name], epochs=1, warmup_steps=0)
    training, (X_test, y_test), _ = mnist_parts(None, recipe.train_size, TEST_IMAGES, 0)
    images, labels = training
    began = time.perf_counter()
    sha256_of(images)
    sha256_of(labels)
    sums = time.perf_counter() - began
    n = STEPS * recipe.batch_size
    few, _, _ = mnist_parts(None, n, TEST_IMAGES, 0)
    written: list[float] = []
    gathered: list[float] = []
    after_step, capture = Keeper.after_step, RunState.capture
    Keeper.after_step, RunState.capture = timed(written, after_step), timed(gathered, capture)  # type: ignore
    try:
        replace(recipe, train_size=n).train(
            *few,
            num_class=10,
            seed=0,
            validation=(X_test, y_test),
            checkpoint=Checkpoint(folder, every_steps=1),
        )
    finally:
        Keeper.after_step, RunState.capture = after_step, capture  # type: ignore
    size = max(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "checkpoint_ms": 1e3 * statistics.mean(written),
        "longest_checkpoint_ms": 1e3 * max(written),
        "gathering_ms": 1e3 * statistics.mean(gathered),
        "sums_ms": 1e3 * sums,
        "checkpoint_bytes": size,
    }


def share(parts: dict[str, float], log: Path) -> dict[str, float]:
    """Return how often a checkpoint is written in the run of the log, and what all costs in per cent."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    epochs = [line["seconds"] for line in lines if "epoch" in line]
    minutes = sum(int(seconds // 60) for seconds in epochs)
    n = len(epochs) + minutes
    cost = 1e-3 * (n * parts["checkpoint_ms"] + len(epochs) * parts["gathering_ms"] + parts["sums_ms"])
    return {"epochs": len(epochs), "checkpoints": n, "run_seconds": sum(epochs), "per_cent": 100 * cost / sum(epochs)}


def direct(rounds: int, epochs: int) -> dict[str, Any]:
    """Return the medians of whole processes with and without checkpoints, and of their ratio."""
    command = [sys.executable, "-m", "cnn_ext.train_mnist", "--quiet", "--epochs", str(epochs)]
    times: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(rounds):
        for side, measured in times.items():
            with tempfile.TemporaryDirectory() as folder:
                flags = [] if side == "without" else ["--checkpoint", folder]
                began = time.perf_counter()
                subprocess.run([*command, *flags], check=True)
                measured.append(time.perf_counter() - began)
    ratio = statistics.median(b / a for a, b in zip(times["without"], times["with"], strict=True))
    medians = {f"seconds_{side}": statistics.median(measured) for side, measured in times.items()}
    return {"epochs": epochs, "rounds": rounds, **medians, "per_cent": 100 * (ratio - 1)}


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=5)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--epochs", type=int, default=3, help="of a direct run")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    if args.direct:
        figures["direct"] = direct(args.rounds, args.epochs)
    else:
        for name, log in RUNS.items():
            with tempfile.TemporaryDirectory() as folder:
                parts = seconds_of_parts(name, folder)
                figures[name] = {**parts, **share(parts, log)}
    print(json.dumps(figures, indent=2))
    _timing.append_json(args.json, figures)


if __name__ == "__main__":
    main()
