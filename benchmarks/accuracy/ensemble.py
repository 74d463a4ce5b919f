"""Test networks as one: the mean of their probabilities.

    python -m benchmarks.accuracy.ensemble [FILE ...] [--data FOLDER] [--shift 0]

Without files, those that the run `best` has saved, and the figures are written down. With --shift P each image is seen
nine times, as it is and shifted by P pixels; whether that helps is tried with --validation, on networks that never saw
the last 10,000 training images (trained with --validation-size 10000).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.accuracy._logs import LOGS
from benchmarks.accuracy.runs import RUNS, model_file
from cnn_ext import Ensemble, NeuralNet, shifted_views
from cnn_ext.datasets import mnist_parts

HELD_BACK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path)
    parser.add_argument("--data", metavar="FOLDER", help="other images than MNIST")
    parser.add_argument("--shift", type=float, default=0.0, help="pixels (0: each image is seen once)")
    parser.add_argument("--validation", action="store_true", help="the last 10,000 training images, not the test's")
    args = parser.parse_args()
    files = args.files or [model_file("best", seed) for seed in RUNS["best"].seeds]
    nets = [NeuralNet.load(file) for file in files]
    _, test, validation = mnist_parts(args.data, 0, 10_000, HELD_BACK)
    views = shifted_views(args.shift) if args.shift else ()
    began = time.perf_counter()
    _, accuracy = Ensemble(nets, views).evaluate(*(validation if args.validation else test))
    seconds = time.perf_counter() - began
    tested = "validation" if args.validation else "test"
    print(f"{tested} accuracy {accuracy:.2%} of {len(nets)} networks, {max(len(views), 1)} views, in {seconds:.1f} s")
    if not (args.files or args.validation):
        figures = {"models": [file.stem for file in files], "shift": args.shift, "test_accuracy": accuracy}
        LOGS.mkdir(parents=True, exist_ok=True)
        name = f"ensemble-shift-{args.shift:g}.json" if args.shift else "ensemble.json"
        (LOGS / name).write_text(json.dumps({**figures, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
