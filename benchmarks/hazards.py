"""Two things that have made others slow: more threads than CPUs, and denormal numbers.

    python -m benchmarks.hazards [--threads 2] [--rounds 5] [--json FILE]

Two processes of so many threads each, training at once on the same CPUs, against one by itself: a step should take
about twice as long. And a convolution of denormal numbers (below 1.2e-38), both ways, against one of ordinary numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from benchmarks import _timing


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    if args.child:
        print(json.dumps(step_times(400)))
        return
    command = [sys.executable, "-m", "benchmarks.hazards", "--child", "--threads", str(args.threads)]
    alone, together = [], []
    for _ in range(args.rounds):
        alone.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        together.append(statistics.mean(json.loads(child.communicate()[0]) for child in children))
    ratio = statistics.median(b / a for a, b in zip(alone, together, strict=True))
    print(f"two processes at once: {1e3 * statistics.median(alone):.2f} ms a step alone, ", end="")
    print(f"{1e3 * statistics.median(together):.2f} ms together: {ratio:.2f} times")

    denormal, ordinary = convolution_times()
    print(f"convolution of denormals, forward and backward: {denormal / ordinary:.2f} times that of ordinary numbers")
    _timing.append_json(args.json, {"threads": args.threads, "two_processes": ratio, "denormals": denormal / ordinary})


def step_times(steps: int) -> float:
    """Return the mean seconds of a step of the series' network over so many steps."""
    from benchmarks import _ours

    step = _ours.step_of(_ours.series_layers(), *_ours.images(50), 50)
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.mean(seconds[20:])


def convolution_times() -> tuple[float, float]:
    """Return the medians of layer 2's convolution, forward and backward, for denormal and for ordinary images."""
    import numpy as np

    from cnn_ext import kernels

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((50, 16, 14, 14), np.float32), rng.standard_normal((32, 16, 5, 5), np.float32)
    dout, b = rng.standard_normal((50, 32, 14, 14), np.float32), np.zeros(32, np.float32)
    sides = {}
    for name, factor in (("denormal", 1e-40), ("ordinary", 1.0)):
        small_x, small_dout = (x * np.float32(factor), dout * np.float32(factor))

        def side(x=small_x, dout=small_dout):
            kernels.conv2d_forward(x, w, b, 2, 1)
            kernels.conv2d_backward(dout, x, w, 2, 1)

        sides[name] = side
    times = _timing.alternate(sides, 10, repeat=3)
    return statistics.median(times["denormal"]), statistics.median(times["ordinary"])


if __name__ == "__main__":
    main()
