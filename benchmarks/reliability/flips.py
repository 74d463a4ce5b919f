"""Flip every bit of small files, one at a time, and cut them at every byte: refused, or the same, and never another.

    python -m benchmarks.reliability.flips [--json FILE]

The same means the same bytes in every array, and the same layers, settings, loss and notes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cnn_ext
from benchmarks._timing import append_json
from benchmarks.reliability import _seeds as seeds
from cnn_ext.datasets.idx import read_idx


def network(path: Path) -> Any:
    net = cnn_ext.NeuralNet.load(path)
    arrays = [(name, array.tobytes()) for layer in net.layers for name, array in layer.state().items()]
    loss = net.loss_func.config() if isinstance(net.loss_func, cnn_ext.CrossEntropy) else net.loss_func
    return repr(net), arrays, repr(loss), net.notes


def sets(path: Path) -> Any:
    parts = cnn_ext.load_mnist(path, 0, 0, validation=True)
    return [(array.shape, array.dtype, array.tobytes()) for part in parts for array in part]


def array(path: Path) -> Any:
    found = read_idx(path)
    return found.shape, found.dtype, found.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="append the figures here, one line a file")
    args = parser.parse_args()
    rows, images, pooled, half = seeds.model_files()[:4]
    files = {
        "model of rows": ("m", rows, network),
        "model of images, all kinds of layers": ("m", images, network),
        "model in float64": ("m", pooled, network),
        "model in half precision": ("m", half, network),
        "gzipped IDX": ("x.gz", seeds.gzipped(seeds.IMAGES), array),
        "gzipped pickle": ("m.pkl.gz", seeds.gzipped(seeds.series_pickles()[8]), sets),
    }
    for kind, (name, content, load) in files.items():
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            flipped, cut = trial(Path(folder) / name, content, load)
        seconds = round(time.perf_counter() - began, 1)
        print(f"{kind}, {len(content)} bytes: flipped {dict(flipped)}, cut {dict(cut)}, {seconds} s")
        append_json(
            args.json, {"file": kind, "bytes": len(content), "flipped": flipped, "cut": cut, "seconds": seconds}
        )
        if flipped["other"] or cut["other"]:
            raise SystemExit(f"{kind}: taken for something else")


def trial(path: Path, content: bytes, load: Callable[[Path], Any]) -> tuple[Counter[str], Counter[str]]:
    """Return how often a file with one bit flipped, and one cut off, was refused, the same, or another."""
    path.write_bytes(content)
    original = load(path)

    def outcome(altered: bytes) -> str:
        path.write_bytes(altered)
        try:
            return "same" if load(path) == original else "other"
        except (cnn_ext.CheckpointError, cnn_ext.DataFormatError):
            return "refused"

    flips = ((position, bit) for position in range(len(content)) for bit in range(8))
    flipped = Counter(
        outcome(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
        for position, bit in flips
    )
    return flipped, Counter(outcome(content[:length]) for length in range(len(content)))


if __name__ == "__main__":
    main()
