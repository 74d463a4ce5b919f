"""Print from the logs the tables of docs/performance.md, the first of them the README's.

    python -m benchmarks.tables

tests/test_figures.py holds the pages to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOGS = Path(__file__).with_name("logs")


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (LOGS / f"{name}.json").read_text().splitlines()]


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    return "".join("| " + " | ".join(row) + " |\n" for row in (header, ("---",) * len(header), *rows))


def fastest(ms: dict[str, float]) -> float:
    return min(value for name, value in ms.items() if name != "cnn_ext")


def steps_with_avx2() -> str:
    """Return the table of steps on a processor without AVX-512."""
    return steps("avx2/torch_step")


def states_of(log: str) -> dict[tuple[int, int], dict[str, Any]]:
    """Return both states of each batch and number of threads, in the order of the table."""
    both: dict[tuple[int, int], dict[str, Any]] = {}
    for record in sorted(records(log), key=lambda record: (-record["threads"], record["batch"])):
        both.setdefault((record["batch"], record["threads"]), {})[record["state"]] = record
    return both


def steps(log: str = "torch_step") -> str:
    rows = []
    for (batch, threads), states in states_of(log).items():
        late, early = states["under way"], states["first steps"]
        ours, theirs = late["ms"]["cnn_ext"], fastest(late["ms"])
        label = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
        rows.append((label, f"{ours:.2f} ms", f"{theirs:.2f} ms", f"{late['ratio']:.2f}", f"{early['ratio']:.2f}"))
    return table(
        ("the series' network, a training step", "cnn_ext", "PyTorch", "ratio", "ratio in the first steps"), rows
    )


def others() -> str:
    rows = []
    (series,) = records("series_step")
    times = f"{series['ms']['cnn_ext']:.2f} ms", f"{series['ms']['series']:.0f} ms"
    rows.append(("against the series' own code, a step", *times, f"{series['ratio']:.1f}"))
    (frameworks,) = records("frameworks")
    for name in ("JAX", "Keras/TensorFlow"):
        rows.append((f"against {name}, a step", *_pair(frameworks["ms"]["cnn_ext"], frameworks["ms"][name])))
    (epoch,) = records("epoch")
    ours, theirs = (sorted(t[0] for t in epoch["seconds"][side])[2] for side in ("cnn_ext", "PyTorch"))
    label = "an epoch with the accuracies behind it, command line against a plain PyTorch script"
    rows.append((label, f"{ours:.1f} s", f"{theirs:.1f} s", f"{epoch['epoch_ratio']:.2f}"))
    for record in records("inference"):
        ms, batch = record["ms"], record["batch"]
        digits = 3 if batch == 1 else 2
        times = f"{ms['cnn_ext']:.{digits}f} ms", f"{fastest(ms):.{digits}f} ms"
        rows.append((f"inference, {batch} image{'s' * (batch > 1)}", *times, f"{record['ratio']:.2f}"))
    return table(("", "cnn_ext", "other", "ratio"), rows)


def _pair(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.2f} ms", f"{theirs:.1f} ms", f"{theirs / ours:.1f}"


def panel() -> str:
    (record,) = records("panel")
    rows = []
    for name, network in record["networks"].items():
        ms = network["ms"]
        rows.append((name, f"{ms['cnn_ext']:.2f} ms", f"{fastest(ms):.2f} ms", f"{network['ratio']:.2f}"))
    rows.append(("geometric mean", "", "", f"{record['geometric_mean']:.2f}"))
    return table(("network", "cnn_ext", "PyTorch", "ratio"), rows)


if __name__ == "__main__":
    print(steps(), steps_with_avx2(), others(), panel(), sep="\n")
