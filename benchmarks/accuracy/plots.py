"""Draw the pictures of the docs from the logs, and write the data of each beside them.

    python -m benchmarks.accuracy.plots [NAME ...] [--model mnist-best]

NAME is series, seconds, range, digits, mistakes or ablation; without one, all are drawn. --model is whose mistakes are
shown: a network of the package or a file.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.accuracy import ablation
from benchmarks.accuracy._logs import LOGS, ROOT, Log, read, read_all
from cnn_ext import RECIPES, NeuralNet, load_mnist, load_pretrained, lr_find
from cnn_ext.augmentation import Compose
from cnn_ext.pretrained import PRETRAINED

DOCS = ROOT / "docs"
COLOURS = {"series": "#555555", "fast": "#E69F00", "best": "#0072B2"}  # told apart without colour vision too
SERIES = {
    "series": ("warm-up and cosine, Nesterov 0.9 (the default)", "#0072B2"),
    "constant": ("constant rate 0.1, Nesterov 0.9", "#E69F00"),
    "sgd": ("constant rate 0.1, plain SGD", "#555555"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PLOTS))
    parser.add_argument("--model", default="mnist-best")
    args = parser.parse_args()
    if unknown := set(args.names) - set(PLOTS):
        parser.error(f"no plot is called {', '.join(sorted(unknown))}")
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in args.names or PLOTS:
        PLOTS[name](*[args.model] * (name == "mistakes"))


def write(name: str, data: Any) -> None:
    (LOGS / f"{name}.json").write_text(json.dumps(data) + "\n")


def save(figure: Any, name: str) -> None:
    figure.savefig(DOCS / f"{name}.png", dpi=150)
    plt.close(figure)
    print(DOCS / f"{name}.png")


def series_curves() -> None:
    """Draw the test accuracy of the series' network after each epoch, by how its rate runs."""
    curves = {
        name: [[100 * epoch["test_accuracy"] for epoch in log.epochs] for log in read_all(name).values()]
        for name in SERIES
    }
    write("series-curves", curves)
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, (label, colour) in SERIES.items():
        for seed, accuracies in enumerate(curves[name]):
            epochs = range(1, len(accuracies) + 1)
            axes.plot(epochs, accuracies, color=colour, lw=1.4, label=None if seed else label)
    axes.axhline(98.5, color="#999999", ls=":", lw=1)
    axes.text(20.2, 98.54, "the series", color="#666666")
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(95.5, 99.6), xlim=(0.5, 22.5), xticks=range(2, 21, 2))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.25)
    save(figure, "series-curves")


def accuracy_vs_seconds() -> None:
    """Draw how accurate each recipe is after how many seconds, here and in PyTorch, from runs that took turns."""
    curves = []
    for recipe in COLOURS:
        for side, log_name in (("cnn_ext", f"{recipe}-seed0"), ("PyTorch", f"compare/{recipe}-torch-seed0")):
            ours_in_turn = read(LOGS / "compare" / f"{recipe}-cnn_ext-seed0.jsonl") if side == "cnn_ext" else None
            if log := ours_in_turn or read(LOGS / f"{log_name}.jsonl"):
                curves.append({"recipe": recipe, "side": side, **curve_of(log)})
    write("accuracy-vs-seconds", curves)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for curve in curves:
        ours = curve["side"] == "cnn_ext"
        style = {"color": COLOURS[curve["recipe"]], "ls": "-" if ours else "--", "lw": 1.6}
        errors = [100 - accuracy for accuracy in curve["accuracy"]]
        label = f"{curve['recipe']}, {curve['side']}: {curve['accuracy'][-1]:.2f} % after {curve['seconds'][-1]:.1f} s"
        marker = {"marker": "o" if ours else "s", "markersize": 4, "markevery": range(len(errors) - 1)}
        axes.plot(curve["seconds"], errors, **style, **marker, markerfacecolor="none", label=label)
        axes.plot(curve["seconds"][-1], errors[-1], color=style["color"], marker=marker["marker"], markersize=9)
    axes.set(xscale="log", xlabel="seconds since the start of the process", ylabel="accuracy (%)")
    ticks_at(axes.xaxis, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000], lambda seconds: seconds)
    axes.set(yscale="log", ylim=(12, 0.04))
    ticks_at(axes.yaxis, [10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05], lambda error: 100 - error)
    axes.set_title(
        "small marks: an epoch, on the test images (series) or on the training images as they come,\n"
        "augmented (fast, best); large marks: the end, on the test images",
        fontsize=10,
    )
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    save(figure, "accuracy-vs-seconds")


def ticks_at(axis: Any, places: list[float], shown: Callable[[float], float]) -> None:
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{shown(place):g}"))


def curve_of(log: Log) -> dict[str, list[float]]:
    """Return the accuracy after each epoch, and the last test at the end of the process.

    What the epochs' seconds leave of the process's is the start, but where each epoch was tested these tests.
    """
    epochs = log.epochs
    each_tested = all("test_accuracy" in epoch for epoch in epochs) and len(epochs) > 1
    ends = np.cumsum([epoch["seconds"] for epoch in epochs])
    rest = log.process_seconds - ends[-1]
    ends = ends * log.process_seconds / ends[-1] if each_tested else ends + rest
    name = "test_accuracy" if each_tested else "running_accuracy"
    accuracies = [100 * epoch[name] for epoch in epochs]
    if not each_tested:
        ends, accuracies = [*ends, log.process_seconds], [*accuracies, log.accuracy]
    return {"seconds": [float(end) for end in ends], "accuracy": accuracies}


def lr_range() -> None:
    """Run the range test on the network of `fast`."""
    recipe = RECIPES["fast"]
    (X, y), _ = load_mnist(num_training=60_000, num_test=1)
    net = recipe.make_network(X, 10, 0)
    found = lr_find(net, X, y, optimizer=recipe.make_optimizer(), batch_size=recipe.batch_size, steps=200, rng=0)
    values = {name: getattr(found, name).tolist() for name in ("lrs", "losses", "smoothed")}
    write("lr-range", {"model": recipe.model, "suggestion": found.suggestion, **values})
    found.plot(DOCS / "lr-range.png")
    print(DOCS / "lr-range.png")


def augmented_digits() -> None:
    """Draw one image of each digit, and beside it what the recipe `best` makes of it."""
    columns, seed = 12, 0
    transform = Compose(RECIPES["best"].augment)
    (X, y), _ = load_mnist(num_training=1000, num_test=1)
    rows = [int(np.flatnonzero(y == digit)[0]) for digit in range(10)]
    drawn = transform(np.repeat(X[rows], columns - 1, axis=0), seed).reshape(10, columns - 1, 28, 28)
    write("augmented-digits", {"training_images": rows, "seed": seed, "transform": transform.config()})
    figure, grid = plt.subplots(10, columns, figsize=(columns * 0.6, 6.3), layout="constrained")
    for digit in range(10):
        for column, image in enumerate([X[rows[digit], 0], *drawn[digit]]):
            axes = grid[digit, column]
            show(axes, image)
            if column == 0:
                axes.set_ylabel(str(digit), rotation=0, labelpad=8, va="center")
                for spine in axes.spines.values():
                    spine.set(color=COLOURS["fast"], linewidth=2)
    grid[0, 0].set_title("original", fontsize=9)
    grid[0, columns // 2].set_title("as a step of training sees them", fontsize=9)
    save(figure, "augmented-digits")


def mistakes(model: str) -> None:
    """Draw every test image that the network gets wrong, with its label, the guess and its probability."""
    net = load_pretrained(model) if model in PRETRAINED else NeuralNet.load(model)
    _, (X, y) = load_mnist(num_training=1)
    probabilities = net.predict_proba(X)
    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != y)
    wrong = wrong[np.argsort(-probabilities[wrong, guesses[wrong]])]
    records = [
        {
            "test_image": int(i),
            "label": int(y[i]),
            "guess": int(guesses[i]),
            "probability": float(probabilities[i, guesses[i]]),
            "probability_of_label": float(probabilities[i, y[i]]),
        }
        for i in wrong
    ]
    name = model if model in PRETRAINED else Path(model).stem
    write("mistakes", {"model": name, "mistakes": records})
    columns = 10
    n_rows = max(1, math.ceil(len(records) / columns))
    size = (columns, n_rows * 1.4 + 0.4)
    figure, grid = plt.subplots(n_rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, record in zip(grid.flat, records, strict=False):
        axes.axis("on")
        show(axes, X[record["test_image"], 0])
        axes.set_title(f"label {record['label']}", fontsize=9, pad=3)
        axes.set_xlabel(f"{record['guess']} by {100 * record['probability']:.0f} %", fontsize=9, labelpad=2)
    figure.suptitle(
        f"{name}: {len(records)} of {len(y):,} test images wrong; below each, the guess and how sure it was",
        fontsize=10,
    )
    save(figure, "mistakes")


def show(axes: Any, image: Any) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def ablation_rows() -> None:
    """Draw the test accuracy of each row of the ablation, and of each of its seeds."""
    rows = [
        {"row": row, "label": ablation.CHANGES[row][0], "test_accuracies": [log.accuracy for log in logs.values()]}
        for row, logs in ablation.logs_of_rows().items()
    ]
    write("ablation", rows)
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
    means = [statistics.mean(row["test_accuracies"]) for row in rows]
    places = range(len(rows))
    axes.plot([100 - mean for mean in means], places, color="#999999", lw=1, zorder=1)
    for place, row in zip(places, rows, strict=True):
        errors = [100 - accuracy for accuracy in row["test_accuracies"]]
        labels = ("a seed", "mean") if place == 0 else (None, None)
        axes.scatter(errors, [place] * len(errors), marker="|", s=160, color=COLOURS["fast"], label=labels[0], zorder=2)
        axes.scatter(100 - means[place], place, marker="D", s=25, color=COLOURS["best"], label=labels[1], zorder=3)
        axes.annotate(f"{means[place]:.2f}", (min(errors), place), (10, 0), textcoords="offset points", va="center")
    axes.set(yticks=places, yticklabels=[row["label"].replace("`", "") for row in rows], xscale="log")
    axes.margins(x=0.18, y=0.08)
    axes.invert_xaxis()
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy (%)")
    ticks_at(axes.xaxis, [5, 3, 2, 1.5, 1, 0.7, 0.5, 0.4, 0.3, 0.2], lambda error: 100 - error)
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="lower left")
    save(figure, "ablation")


PLOTS = {
    "series": series_curves,
    "seconds": accuracy_vs_seconds,
    "range": lr_range,
    "digits": augmented_digits,
    "mistakes": mistakes,
    "ablation": ablation_rows,
}

if __name__ == "__main__":
    main()
