"""Measure how long Ctrl-C takes to come back from each kernel that can run long.

    python -m benchmarks.reliability.interrupts [--rounds 3] [--json FILE]

The calls are those of tests/test_interrupts.py, made so large that they take half a second or more, in a child process
on 1 and on 2 threads; SIGINT comes at a random moment. Latency is from the signal to the `except KeyboardInterrupt`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import _timing

ROOT = Path(__file__).parents[2]
LONG = 0.5  # seconds
WANTED = 0.25
LARGEST = 1 << 13  # images: memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/logs/reliability/interrupts.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        print(json.dumps(latencies(args.child, args.rounds)))
        return
    largest: dict[str, dict[str, float]] = {}
    for name in table():
        command = [sys.executable, "-m", "benchmarks.reliability.interrupts", "--child", name]
        command += ["--rounds", str(args.rounds)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        largest[name] = found
        print(f"{name:26} a call {found['seconds']:.2f} s, Ctrl-C {1e3 * found['latency']:.0f} ms at most", flush=True)
    _timing.append_json(args.json, {"rounds": args.rounds, "largest": largest})
    slow = [name for name, found in largest.items() if found["latency"] > WANTED]
    if slow:
        raise SystemExit(f"beyond {1e3 * WANTED:.0f} ms: {', '.join(slow)}")


def table() -> dict[str, Any]:
    import importlib.util

    spec = importlib.util.spec_from_file_location("interrupts", ROOT / "tests/test_interrupts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.KERNELS


def latencies(name: str, rounds: int) -> dict[str, float]:
    """Return the seconds of a whole call, and the largest latency of the interrupted ones."""
    import cnn_ext

    worst = 0.0
    n, seconds = 64, 0.0
    for threads in (1, 2):
        cnn_ext.set_num_threads(threads)
        while True:
            function, *arguments = table()[name](n)
            began = time.monotonic()
            function(*arguments)
            seconds = time.monotonic() - began
            if seconds > LONG or n >= LARGEST:
                break
            n *= 2
        for round_ in range(rounds):
            delay = random.Random(round_).uniform(0, 0.6) * seconds
            worst = max(worst, latency(function, arguments, delay))
    return {"seconds": seconds, "latency": worst}


def latency(function: Any, arguments: Any, delay: float) -> float:
    sent = []

    def interrupt() -> None:
        time.sleep(delay)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    try:
        sender.start()
        function(*arguments)
        sender.join()
        time.sleep(1)
    except KeyboardInterrupt:
        came = time.monotonic()
        sender.join()
        return came - sent[0]
    raise SystemExit("no KeyboardInterrupt came")


if __name__ == "__main__":
    main()
