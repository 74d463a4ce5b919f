"""Print from the logs the tables of docs/performance.md, the first of them the README's, and what both say in words.

    python -m benchmarks.tables

tests/test_figures.py holds the pages to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOGS = Path(__file__).with_name("logs")
LATE = (50, 2, "under way")
"""Batch, threads and state of the step that sentences tell of."""


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


def in_words() -> dict[str, list[str]]:
    """Return what README.md and docs/performance.md say of the logs in sentences."""
    ratios = {name: network["ratio"] for name, network in records("panel")[0]["networks"].items()}
    frameworks = records("frameworks")[0]["ms"]
    jax, keras = (frameworks[name] / frameworks["cnn_ext"] for name in ("JAX", "Keras/TensorFlow"))
    avx2 = [f"{states['under way']['ratio']:.2f}" for states in states_of("avx2/torch_step").values()]
    readme = [
        f"On two CPUs with AVX2 alone the ratios are {avx2[0]}, {avx2[1]} and {avx2[2]}.",
        f"Against JAX a step is {jax:.1f} times as fast, against Keras/TensorFlow {keras:.1f} times, against the "
        f"series' own code {records('series_step')[0]['ratio']:.1f} times; on twelve other networks "
        f"{records('panel')[0]['geometric_mean']:.2f} times as fast as PyTorch's, as a geometric mean, at the least "
        f"{min(ratios.values()):.1f} times.",
    ]
    (roofline,) = records("roofline")
    of_peak = {kernel["name"]: f"{kernel['share_of_peak']:.0%}".replace("%", " %") for kernel in roofline["kernels"]}
    threads = {record["batch"]: record["ratio"] for record in records("threads")}
    (hazards,), (footprint,) = records("hazards"), records("footprint")
    late = next(r["ms"] for r in records("torch_step") if (r["batch"], r["threads"], r["state"]) == LATE)
    performance = [
        f"PyTorch's step compiled takes {min(ms for name, ms in late.items() if 'compiled' in name):.1f} ms where its "
        f"eager one takes {fastest(late):.1f} ms (batch 50, 2 threads).",
        f"One thread reaches {roofline['peak'] / 1e9:.0f} GFLOP/s of multiply-adds.",
        f"layer 2 runs at {of_peak['layer 2 forward, fused']} of that forward (computed directly at "
        f"{of_peak['layer 2 forward, fused, directly']}), its way back at "
        f"{of_peak['layer 2 backward without pooling']} without pooling.",
        f"runs at {of_peak['layer 2 backward, 71% alive']} in the first steps (71 % alive) and "
        f"{of_peak['layer 2 backward, 23% alive']} under way (23 % alive)",
        f"the whole step at {of_peak['whole step, under way']}.",
        f"Two threads over one: {threads[50]:.2f} at batch 50, {threads[256]:.2f} at batch 256.",
        f"take {hazards['two_processes']:.2f} times as long a step; a convolution of denormal numbers takes "
        f"{hazards['denormals']:.2f} times as long as one of ordinary numbers.",
        f"needs {footprint['memory_mb']:.0f} MB, {footprint['beyond_data_mb']:.0f} MB beyond a process that holds the "
        f"data set; `import cnn_ext` takes {footprint['import_ms']:.0f} ms beyond NumPy's; the wheel is "
        f"{footprint['wheel_mb']:.2f} MB without MNIST",
    ]
    return {"README.md": readme, "docs/performance.md": performance}


if __name__ == "__main__":
    print(steps(), steps_with_avx2(), others(), panel(), sep="\n")
    for page, sentences in in_words().items():
        print(f"{page}:", *sentences, sep="\n  ")
