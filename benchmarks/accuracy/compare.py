"""Run a recipe here and in PyTorch, alternately, each a process of its own, and note the ratios of their seconds.

    python -m benchmarks.accuracy.compare [--threads 2] [--rounds 3] FLAGS

FLAGS are those of train_mnist, for both: `--recipe fast` for the whole recipe, `--recipe best --epochs 1` for the cost
of its steps. Round N has the seed N. Each log goes to logs/accuracy/compare/, the ratios to
logs/accuracy/compare.json.
"""

from __future__ import annotations

import argparse
import shlex
import statistics

from benchmarks import _timing
from benchmarks.accuracy._logs import LOGS, Task, read, relative, run
from benchmarks.accuracy.runs import recipe_of

SIDES = {"cnn_ext": "cnn_ext.train_mnist", "torch": "benchmarks.accuracy.torch_recipes"}
FIGURES = LOGS / "compare.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args, flags = parser.parse_known_args()
    name = "-".join(word.lstrip("-") for word in flags if word != "--recipe") or "series"
    seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    accuracies: dict[str, list[float]] = {side: [] for side in SIDES}
    for seed in range(args.rounds):
        for side, module in SIDES.items():
            log = LOGS / "compare" / f"{name}-{side}-seed{seed}.jsonl"
            words = [*flags, "--seed", str(seed), "--threads", str(args.threads), "--log", relative(log)]
            run(Task(("-m", module, *words), log, recipe_of(words)))
            done = read(log)
            seconds[side].append((sum(epoch["seconds"] for epoch in done.epochs), done.process_seconds))
            accuracies[side].append(done.accuracy)
    ratios = [
        statistics.median(b[i] / a[i] for a, b in zip(seconds["cnn_ext"], seconds["torch"], strict=True))
        for i in (0, 1)
    ]
    print(f"{shlex.join(flags)}: PyTorch / cnn_ext = {ratios[0]:.2f} (epochs), {ratios[1]:.2f} (process)")
    figures = {"flags": shlex.join(flags), "threads": args.threads, "seconds": seconds, "accuracies": accuracies}
    _timing.append_json(FIGURES, {**figures, "epochs_ratio": ratios[0], "process_ratio": ratios[1]})


if __name__ == "__main__":
    main()
