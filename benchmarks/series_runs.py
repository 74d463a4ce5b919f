"""Read the logs of the series' runs; print their table and draw their curves.

python -m benchmarks.series_runs
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

LOGS = Path(__file__).parent / "logs" / "series"
PICTURE = Path(__file__).parents[1] / "docs" / "series-curves.png"

# name of the logs, label, colour (told apart without colour vision too)
RUNS = [
    ("default", "warm-up and cosine, Nesterov 0.9 (the default)", "#0072B2"),
    ("constant", "constant rate 0.1, Nesterov 0.9", "#E69F00"),
    ("sgd", "constant rate 0.1, plain SGD", "#555555"),
]


def read(name: str) -> list[list[dict]]:
    """Return the epochs of each log whose name starts with `name`."""
    logs = sorted(LOGS.glob(f"{name}-seed*.jsonl"))
    return [[json.loads(line) for line in log.read_text().splitlines()[1:]] for log in logs]


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, label, colour in RUNS:
        finals = []
        for epochs in read(name):
            accuracy = [100 * epoch["test_accuracy"] for epoch in epochs]
            finals.append(accuracy[-1])
            axes.plot(range(1, len(accuracy) + 1), accuracy, color=colour, lw=1.4, label=label)
            label = None
        spread = f"{min(finals):.2f} to {max(finals):.2f}" if len(finals) > 1 else f"{finals[0]:.2f}"
        print(f"{name:10} {len(finals)} seeds  mean {statistics.mean(finals):.2f} %  ({spread})")
    axes.axhline(98.5, color="#999999", ls=":", lw=1)
    axes.text(20.2, 98.54, "the series", color="#666666")
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(95.5, 99.6), xlim=(0.5, 22.5), xticks=range(2, 21, 2))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.25)
    figure.savefig(PICTURE, dpi=150)
    short = [100 * epochs[-1]["test_accuracy"] for epochs in read("one-epoch")]
    print(f"one epoch at the constant rate: {len(short)} seeds, {min(short):.2f} to {max(short):.2f} %")


if __name__ == "__main__":
    main()
