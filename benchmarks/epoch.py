"""Time one epoch with its evaluation: `python -m cnn_ext.train_mnist` against a plain PyTorch script, alternating.

    python -m benchmarks.epoch [--threads 2] [--rounds 5] [--json FILE]

Each run is a process of its own: 50,000 images in batches of 50, shuffled, then the accuracy on the training images and
on the 10,000 test images. Compared are the seconds that each prints (cnn_ext counts loading the data as well), and
those of the whole process with its imports.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time

from benchmarks import _timing


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    runs = {"cnn_ext": ours, "PyTorch": torchs}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            epoch = run(args.threads)
            seconds[name].append((epoch, time.perf_counter() - began))
            print(f"{name:8} epoch {epoch:6.2f} s, process {seconds[name][-1][1]:6.2f} s", flush=True)
    ratios = [
        statistics.median(b[i] / a[i] for a, b in zip(seconds["cnn_ext"], seconds["PyTorch"], strict=True))
        for i in (0, 1)
    ]
    print(f"{args.threads} threads: PyTorch / cnn_ext = {ratios[0]:.2f} (epoch), {ratios[1]:.2f} (process)")
    figures = {"threads": args.threads, "seconds": seconds, "epoch_ratio": ratios[0], "process_ratio": ratios[1]}
    _timing.append_json(args.json, figures)


def ours(threads: int) -> float:
    command = [sys.executable, "-m", "cnn_ext.train_mnist", "--epochs", "1", "--threads", str(threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    return float(re.search(r"after ([0-9.]+) s", out)[1])


def torchs(threads: int) -> float:
    command = [sys.executable, "-m", "benchmarks.torch_mnist", "--threads", str(threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    return float(re.match(r"([0-9.]+) s", out)[1])


if __name__ == "__main__":
    main()
