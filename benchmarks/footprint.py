"""Measure what cnn_ext costs besides time: memory of a training run, seconds of its import, bytes of its wheel.

    python -m benchmarks.footprint [--epochs 20] [--wheel FILE] [--json FILE]

Memory is the largest resident set of a process that runs `cnn_ext.train_mnist`; beyond the data set means beyond that
of a process that imports the package, loads the same data and stops. Import: medians of 15 processes each, alternating.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks import _timing

PEAK = "import resource, sys; print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
LOAD = f"from cnn_ext.datasets.mnist import mnist_parts; data = mnist_parts(); {PEAK}"
TRAIN = "import sys; from cnn_ext.train_mnist import main; main(sys.argv[1:]); " + PEAK
IMPORT = "import time; began = time.perf_counter(); import {}; print('PEAK', time.perf_counter() - began)"


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=15)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--wheel", type=Path, help="built with `pip wheel . --no-deps` if not given")
    args = parser.parse_args()
    loaded = run(LOAD) / 1024
    trained = run(TRAIN, "--quiet", "--epochs", str(args.epochs)) / 1024
    print(f"memory: {trained:.0f} MB in all, {trained - loaded:.0f} MB beyond a process that holds the data set")
    seconds = {name: [] for name in ("numpy", "numpy, cnn_ext")}
    for _ in range(args.rounds):
        for name, values in seconds.items():
            values.append(run(IMPORT.format(name)))
    beyond = 1e3 * (statistics.median(seconds["numpy, cnn_ext"]) - statistics.median(seconds["numpy"]))
    print(f"import cnn_ext beyond import numpy: {beyond:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        if args.wheel is None:
            command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "-w", folder]
            subprocess.run(command, check=True)
        wheel = args.wheel or next(Path(folder).glob("*.whl"))
        own = [info for info in zipfile.ZipFile(wheel).infolist() if "mnist_files" not in info.filename]
        compressed, size = sum(i.compress_size for i in own) / 1e6, sum(i.file_size for i in own) / 1e6
    print(f"wheel without MNIST: {compressed:.2f} MB, {size:.2f} MB unpacked")
    _timing.append_json(
        args.json,
        {"memory_mb": trained, "beyond_data_mb": trained - loaded, "epochs": args.epochs, "import_ms": beyond,
         "wheel_mb": compressed, "unpacked_mb": size},
    )  # fmt: skip


def run(code: str, *arguments: str) -> float:
    out = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True).stdout
    return float(out.rsplit("PEAK", 1)[1])


if __name__ == "__main__":
    main()
