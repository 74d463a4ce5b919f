"""Run again what has a log, and show that each epoch comes out as it did, to the last digit.

    python -m benchmarks.accuracy.again [NAME ...] [--epochs 1] [--threads 2]

A run is a function of its settings and its seed, so its first epochs tell whether today's code still makes the accuracy
that a log tells of; more of them, or all, tell the same at more length. NAME is one of the runs; without one, all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _timing
from benchmarks.accuracy._logs import LOGS, ROOT, Log, read_all
from benchmarks.accuracy.runs import RUNS, Run, flags_of

FIGURES = LOGS / "again.json"
TIMES = {"seconds", "images_per_second"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--epochs", type=int, default=1, help="after which each run is stopped (1)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if unknown := set(args.names) - set(RUNS):
        parser.error(f"no run is called {', '.join(sorted(unknown))}")
    for name in args.names or RUNS:
        logs = read_all(name)
        differ = [seed for seed, log in logs.items() if not comes_out_again(RUNS[name], seed, log, args)]
        print(f"{name}: {len(logs)} runs, of which {len(differ)} differ {differ or ''}", flush=True)
        figures = {"run": name, "epochs": args.epochs, "seeds": list(logs), "differ": differ}
        _timing.append_json(FIGURES, figures)


def comes_out_again(run: Run, seed: int, log: Log, args: argparse.Namespace) -> bool:
    wanted = without_times(log.epochs[: args.epochs])
    found = epochs_of(flags_of(run, seed, args.threads), len(wanted))
    # A later version may tell more of an epoch, but not less.
    return [{name: epoch.get(name) for name in then} for epoch, then in zip(found, wanted)] == wanted


def epochs_of(flags: list[str], n: int) -> list[dict[str, Any]]:
    """Return what a run's log tells of its first epochs; then the run is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.jsonl")
        command = [sys.executable, "-m", "cnn_ext.train_mnist", *flags, "--quiet", "--log", str(path)]
        with subprocess.Popen(command, cwd=ROOT) as process:
            while process.poll() is None and len(lines_of(path)) <= n:
                time.sleep(0.1)
            process.terminate()
        return [json.loads(line) for line in lines_of(path)[1 : n + 1]]


def lines_of(path: Path) -> list[str]:
    """Return the finished lines of a log, of which the first tells the settings."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def without_times(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in epochs]


if __name__ == "__main__":
    main()
