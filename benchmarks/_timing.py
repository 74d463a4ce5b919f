"""What the benchmarks share: threads set before others start theirs, sides timed alternately, figures written down."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PAUSE = 0.02  # seconds between two sides: both thread pools spin for a while after their last call


def set_threads(n: int) -> None:
    """Give NumPy and PyTorch so many threads; to be called before either is imported."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CNN_EXT_NUM_THREADS"):
        os.environ[name] = str(n)


def parser_of(doc: str, rounds: int = 30) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, help="append the figures here, one line a run")
    return parser


def alternate(
    sides: Mapping[str, Callable[[], Any]], rounds: int, repeat: int = 5, warm_up: int = 3
) -> dict[str, list[float]]:
    """Return the seconds a call of each side takes, one figure a round.

    In a round each side takes `repeat` calls that wake its threads and caches (training is many steps in a row), then
    `repeat` that are timed. The first `warm_up` rounds are dropped.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(warm_up + rounds):
        for name, side in sides.items():
            time.sleep(PAUSE)
            for _ in range(repeat):
                side()
            began = time.perf_counter()
            for _ in range(repeat):
                side()
            if round_ >= warm_up:
                times[name].append((time.perf_counter() - began) / repeat)
    return times


def medians_ms(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def ratio_to_best(times: Mapping[str, list[float]], ours: str = "cnn_ext") -> tuple[str, float]:
    """Return the fastest of the other sides, and the median over the rounds of its time divided by ours."""
    medians = medians_ms(times)
    best = min((name for name in times if name != ours), key=medians.__getitem__)
    return best, statistics.median(a / b for a, b in zip(times[best], times[ours], strict=True))


def append_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures with the machine and the versions as one line; nothing without a path."""
    if path is None:
        return
    from cnn_ext._machine import describe_machine

    versions = {}
    for name in ("torch", "jax", "tensorflow-cpu", "tensorflow", "keras"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"machine": describe_machine(), "versions": versions, **figures}) + "\n")
