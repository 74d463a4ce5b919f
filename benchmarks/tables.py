"""Print the tables of docs/performance.md, the first of them the README's, from the logs.

python -m benchmarks.tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOGS = Path(__file__).with_name("logs")


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (LOGS / f"{name}.json").read_text().splitlines()]


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for row in (header, ("---",) * len(header), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def fastest(ms: dict[str, float]) -> float:
    return min(value for name, value in ms.items() if name != "cnn_ext")


def steps() -> None:
    both: dict[tuple[int, int], dict[str, Any]] = {}
    for record in records("torch_step"):
        both.setdefault((record["batch"], record["threads"]), {})[record["state"]] = record
    rows = []
    for (batch, threads), states in sorted(both.items(), key=lambda item: (-item[0][1], item[0][0])):
        late, early = states["under way"], states["first steps"]
        ours, theirs = late["ms"]["cnn_ext"], fastest(late["ms"])
        label = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
        rows.append((label, f"{ours:.2f} ms", f"{theirs:.2f} ms", f"{late['ratio']:.2f}", f"{early['ratio']:.2f}"))
    table(("the series' network, a training step", "cnn_ext", "PyTorch", "ratio", "ratio in the first steps"), rows)


def others() -> None:
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
    table(("", "cnn_ext", "other", "ratio"), rows)


def _pair(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.2f} ms", f"{theirs:.1f} ms", f"{theirs / ours:.1f}"


def panel() -> None:
    (record,) = records("panel")
    rows = []
    for name, network in record["networks"].items():
        ms = network["ms"]
        rows.append((name, f"{ms['cnn_ext']:.2f} ms", f"{fastest(ms):.2f} ms", f"{network['ratio']:.2f}"))
    rows.append(("geometric mean", "", "", f"{record['geometric_mean']:.2f}"))
    table(("network", "cnn_ext", "PyTorch", "ratio"), rows)


def bounds() -> None:
    (record,) = records("roofline")
    print(f"one thread: {record['peak'] / 1e9:.0f} GFLOP/s, copy {record['bandwidth'] / 1e9:.0f} GB/s")
    for kernel in record["kernels"]:
        own = kernel.get("share_of_peak_by_own_products")
        print(f"{kernel['name']:36} {kernel['share_of_peak']:5.0%} of peak" + (f", own {own:.0%}" if own else ""))
    for record in records("threads"):
        print(f"2 threads over 1, batch {record['batch']}: {record['ratio']:.2f}")
    (hazards,), (footprint,) = records("hazards"), records("footprint")
    print(f"two processes {hazards['two_processes']:.2f}, denormals {hazards['denormals']:.2f}")
    print({name: round(footprint[name], 2) for name in ("memory_mb", "beyond_data_mb", "import_ms", "wheel_mb")})


if __name__ == "__main__":
    steps()
    others()
    panel()
    bounds()
