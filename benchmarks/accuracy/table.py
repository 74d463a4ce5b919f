"""Print the README's table of accuracies from the logs, and what was to be reached beside what was.

python -m benchmarks.accuracy.table
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping

from benchmarks.accuracy import compare, smallest
from benchmarks.accuracy._logs import LOGS, Log, read_all
from benchmarks.accuracy.runs import RUNS, Run
from benchmarks.tables import table

HEADER = ("`python -m cnn_ext.train_mnist`", "epochs", "seeds", "mean", "range", "seconds")
ENSEMBLE_MEAN, ENSEMBLE_AIM = 99.75, 99.80
RATIOS = {"--recipe fast": 2.0, "--recipe best": 1.2}


def main() -> None:
    runs = [*RUNS.values(), smallest.RUN]
    logs = {run.name: read_all(run.name) for run in runs}
    print(accuracy_table())
    for page, sentences in in_words().items():
        print(f"{page}:", *sentences, sep="\n  ")
    for run in runs:
        for line in verdicts(run, logs[run.name]):
            print(line)
    for path in sorted(LOGS.glob("ensemble*.json")):
        figures = json.loads(path.read_text())
        name = f"ensemble of {', '.join(figures['models'])}, shifts of {figures['shift']:g}"
        print(verdict(name, 100 * figures["test_accuracy"], ENSEMBLE_MEAN, "%"))
        print(verdict(f"{name}, aim", 100 * figures["test_accuracy"], ENSEMBLE_AIM, "%"))
    if compare.FIGURES.exists():
        for record in map(json.loads, compare.FIGURES.read_text().splitlines()):
            rounds = len(record["seconds"]["cnn_ext"])
            name = f"PyTorch / cnn_ext, {record['flags']}, {rounds} rounds, epochs / whole process"
            wanted = max((ratio for flags, ratio in RATIOS.items() if record["flags"].startswith(flags)), default=1.0)
            print(verdict(name, record["epochs_ratio"], wanted), "/", f"{record['process_ratio']:.2f}")


def accuracy_table() -> str:
    """Return the README's table."""
    return table(HEADER, [row_of(run, logs) for run in RUNS.values() if run.label and (logs := read_all(run.name))])


def in_words() -> dict[str, list[str]]:
    """Return what each page says of the logs in sentences."""
    short = [log.accuracy for log in read_all("one-epoch").values()]
    constant, plain = (f"{read_all(name)[0].accuracy:.2f} %" for name in ("constant", "sgd"))
    compared = {record["flags"]: record for record in map(json.loads, compare.FIGURES.read_text().splitlines())}
    fast, best = compared["--recipe fast"], compared["--recipe best --epochs 1"]
    rounds = [len(record["seconds"]["cnn_ext"]) for record in (fast, best)]
    readme = [
        f"At the series' constant rate the recipe `series` ends at {constant}, and without momentum too at {plain} "
        "(seed 0)",
        f"In PyTorch, the same network, images and steps, `fast` takes {fast['epochs_ratio']:.1f} times as long an "
        f"epoch and {fast['process_ratio']:.1f} times as long a process (medians of {rounds[0]}), and ends at "
        f"{statistics.mean(fast['accuracies']['torch']):.2f} %; an epoch of `best` {best['epochs_ratio']:.1f} times as "
        f"long, the process {best['process_ratio']:.1f} (medians of {rounds[1]}).",
    ]
    runs = [log.accuracy for log in read_all("series").values()]
    swings = [100 * epoch["test_accuracy"] for epoch in read_all("constant")[0].epochs[1:]]
    series = [
        f"After 20 epochs the default ends at {statistics.mean(runs):.2f} % on average over the seeds "
        f"{span(read_all('series'))} ({min(runs):.2f} to {max(runs):.2f}).",
        f"seed 0 swings between {min(swings):.2f} and {max(swings):.2f} % from the second epoch on, and ends at "
        f"{constant}.",
        f"what the series' own code did, ends at {plain}.",
        "With it, one epoch at the constant rate ended between "
        f"{min(short):.2f} and {max(short):.2f} % for each of the seeds {span(read_all('one-epoch'))}: none collapsed.",
    ]
    return {"README.md": readme, "docs/from-the-series.md": series}


def row_of(run: Run, logs: Mapping[int, Log]) -> tuple[str, ...]:
    """Return a row of the table: of the seeds that are there."""
    accuracies = [log.accuracy for log in logs.values()]
    epochs = {len(log.epochs) for log in logs.values()}
    spread = f"{min(accuracies):.2f} to {max(accuracies):.2f}" if len(accuracies) > 1 else ""
    seconds = ""
    if run.seconds is not None:
        median = statistics.median(log.process_seconds for log in logs.values())
        seconds = f"{median:.{1 if median < 100 else 0}f}"
    mean = f"{statistics.mean(accuracies):.2f} %"
    return (run.label, "/".join(map(str, sorted(epochs))), span(logs), mean, spread, seconds)


def span(seeds: Iterable[int]) -> str:
    seeds = sorted(seeds)
    whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def verdicts(run: Run, logs: Mapping[int, Log]) -> Iterable[str]:
    """Give a line for each target of a run."""
    if missing := sorted(set(run.seeds) - set(logs)):
        yield f"{run.name}: no log of seeds {span(missing)}"
    if not logs:
        return
    accuracies = [log.accuracy for log in logs.values()]
    if run.mean is not None:
        yield verdict(f"{run.name}, mean", statistics.mean(accuracies), run.mean, "%")
    if run.aim is not None:
        yield verdict(f"{run.name}, aim of the mean", statistics.mean(accuracies), run.aim, "%")
    if run.worst is not None:
        yield verdict(f"{run.name}, worst", min(accuracies), run.worst, "%")
    if run.seconds is not None:
        median = statistics.median(log.process_seconds for log in logs.values())
        yield verdict(f"{run.name}, seconds", median, run.seconds, "s", at_most=True)


def verdict(name: str, value: float, target: float, unit: str = "", at_most: bool = False) -> str:
    """Say whether a value is what it should be; by how much not."""
    lacking = value - target if at_most else target - value
    result = "met" if lacking < 1e-9 else f"MISSED by {lacking:.3f} {unit}".rstrip()
    value_text = f"{value:.3f} {unit}".rstrip()
    return f"{name}: {value_text} ({'<=' if at_most else '>='} {target:g}): {result}"


if __name__ == "__main__":
    main()
