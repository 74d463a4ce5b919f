"""Look whether memory stays flat over 10,000 training steps, and over 1,000 failed calls of each kernel and layer.

    python -m benchmarks.reliability.memory [--steps 10000] [--failures 1000] [--json FILE]

The long form of tests/test_flat_memory.py: the resident set as well as what tracemalloc sees, each after a warm-up.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cnn_ext
from benchmarks import _timing
from benchmarks.reliability.soak import resident_mb

ROOT = Path(__file__).parents[2]
FLAT_MB, FLAT_BYTES = 2.0, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--failures", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/logs/reliability/memory.json")
    args = parser.parse_args()
    tables = tables_of_the_tests()
    growth = {"training steps": measured(training_step(), args.steps)}
    for name, (function, _, *rest) in tables.CALLS.items():
        growth[name] = measured(lambda: refused(function, tables.WRONG, *rest), args.failures)
    for name, make in tables.LAYERS.items():
        layer = make()
        layer.forward(tables.ROWS if name == "FullyConnected" else tables.X)
        wrong = tables.WRONG.astype(int) if name in tables.TAKE_ANY_SHAPE else tables.WRONG
        growth[name] = measured(lambda: refused(layer.forward, wrong), args.failures)
    for name, figures in growth.items():
        print(f"{name:26} {figures['rss_mb']:+8.2f} MB resident, {figures['traced_bytes']:+8d} bytes traced")
    _timing.append_json(args.json, {"steps": args.steps, "failures": args.failures, "growth": growth})
    if any(g["rss_mb"] > FLAT_MB or g["traced_bytes"] > FLAT_BYTES for g in growth.values()):
        raise SystemExit("memory grows")


def tables_of_the_tests() -> Any:
    spec = importlib.util.spec_from_file_location("flat_memory", ROOT / "tests/test_flat_memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except (ValueError, TypeError):
        return
    raise SystemExit(f"{function.__name__} took what it should refuse")


def training_step() -> Callable[[], None]:
    net, optimizer = cnn_ext.NeuralNet(cnn_ext.make_small_cnn((1, 12, 12), 10, rng=0)), cnn_ext.SGD(0.01, 0.9)
    params = list(net.named_params().values())
    rng = np.random.default_rng(0)
    X, y = rng.random((400, 1, 12, 12), np.float32), rng.integers(0, 10, 400)

    def step() -> None:
        rows = rng.permutation(400)[:20]
        _, grads = net.train_step(X[rows], y[rows])
        optimizer.step(params, [grad for layer_grads in reversed(grads) for grad in layer_grads])

    return step


def measured(call: Callable[[], None], times: int) -> dict[str, Any]:
    """Return what so many calls add, the resident set without tracemalloc, the traced bytes over a tenth of them."""
    for _ in range(max(times // 10, 50)):
        call()
    gc.collect()
    resident = resident_mb()
    for _ in range(times):
        call()
    gc.collect()
    resident = resident_mb() - resident
    tracemalloc.start()
    for _ in range(20):
        call()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(max(times // 10, 50)):
        call()
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"rss_mb": resident, "traced_bytes": traced}


if __name__ == "__main__":
    main()
