"""Fuzz the loaders: files changed at random, by what new they bring about.

    python -m benchmarks.reliability.fuzz [LOADER ...] [--engine atheris|loop] [--executions N] [--seed N] [--json FILE]

A find is an exception outside the loader's family, a file taken for something other than what it holds, a warning, an
event that is not the reading of the named file (a process, an import, a file written), more than a second, or more than
SPACE bytes. The engine `atheris` (`pip install atheris`) is guided by the coverage of the Python code; `loop`, which
needs nothing, by messages not seen before. Both change files as `_mutations.py` does. Each loader is a process; ended
with SIGTERM, it counts as far as it came.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

NAMES = ("model", "idx", "idx-gz", "mnist-folder", "series-pickle", "series-pickle-gz", "cifar-batch", "cifar-tar",
         "cifar-tar-gz")  # fmt: skip
SPACE = 64 << 20
SECONDS = 1.0
LARGEST_INPUT = 1 << 16
LIMIT = 4 << 30  # of the process: what takes more is a find, not the end of the machine


class Trial:
    """One loader, run on one input after the other; the figures so far are in the file `out`."""

    def __init__(self, name: str, out: Path) -> None:
        # Here, not above: atheris must be able to instrument what is imported.
        loaders = importlib.import_module("benchmarks.reliability._loaders")
        self.folder = loaders.Folder()
        self.loader = loaders.loaders(self.folder)[name]
        self.executions = self.accepted = 0
        self.slowest = 0.0
        self.outcomes: dict[str, int] = {}
        self.finds: dict[str, dict[str, Any]] = {}
        self.out, self.began = out, time.perf_counter()
        for codec in ("unicode_escape", "raw_unicode_escape", "latin-1", "utf-8", "ascii"):
            "x".encode(codec).decode(codec)  # imports it: imports are finds from here on
        for seed in self.loader.seeds:  # the first use of a loader imports and fills caches
            self.run(seed, first=True)
        self.peak = peak()

    def run(self, content: bytes, first: bool = False) -> bool:
        """Load; return whether the outcome is one not seen before."""
        began, outcome, find = time.process_time(), "accepted", ""
        self.folder.watched = not first
        try:
            value = self.loader.load(content)
            self.folder.watched = False
            self.loader.check(value, content)
        except self.loader.family as error:
            outcome = f"{type(error).__name__}: {without_details(str(error))}"
        except BaseException as error:
            self.folder.watched = False
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            outcome = f"{type(error).__name__}: {without_details(str(error))}"
            find = traceback.format_exc(limit=-4)
        self.folder.watched = False
        if first:
            return True
        self.executions += 1
        if self.executions % 5000 == 0:
            self.write_figures()
        self.accepted += outcome == "accepted"
        seconds, now = time.process_time() - began, peak()
        self.slowest = max(self.slowest, seconds)
        if self.folder.events:
            outcome, find = "event " + self.folder.events[0].split()[0], self.folder.events[0]
            self.folder.events.clear()
        if seconds > SECONDS:
            outcome, find = "slow", f"{seconds:.2f} s: {outcome}"
        if now > self.peak + SPACE:
            outcome, find = "large", f"{(now - self.peak) >> 20} MB: {outcome}"
            self.peak = now
        if find and outcome not in self.finds:
            self.finds[outcome] = {"what": find, "input": content.hex()}
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        return self.outcomes[outcome] == 1

    def write_figures(self) -> None:
        figures = {
            "executions": self.executions,
            "seconds": round(time.perf_counter() - self.began, 1),
            "cpu_seconds": round(time.process_time(), 1),
            "accepted": self.accepted,
            "kinds of outcome": len(self.outcomes),
            "slowest_seconds": round(self.slowest, 3),
            "peak_mb": peak() >> 20,
            "finds": list(self.finds.values()),
        }
        self.out.with_suffix(".new").write_text(json.dumps(figures))
        self.out.with_suffix(".new").replace(self.out)

    def finish(self) -> None:
        self.write_figures()
        shutil.rmtree(self.folder.path)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def without_details(message: str) -> str:
    """Return the message without paths, numbers and quotations, which would make every input look new."""
    return re.sub(r"/dev/shm/\S+|'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|[0-9]+|\([^)]*\)", "#", message)[:120]


def run_loop(trial: Trial, executions: int, seed: int) -> None:
    random, corpus = Random(seed), [content for content in trial.loader.seeds if content]
    while trial.executions < executions:
        content = trial.loader.mutate(random, random.choice(corpus), corpus)
        if len(content) <= LARGEST_INPUT and trial.run(content) and len(corpus) < 2000:
            corpus.append(content)


def run_atheris(name: str, executions: int, seed: int, out: Path) -> None:
    import atheris

    sys.modules.pop("pickle", None)  # imported by now, without being instrumented
    with atheris.instrument_imports(include=["cnn_ext", "pickle"], enable_loader_override=False):
        trial = Trial(name, out)
    seeds = [content for content in trial.loader.seeds if content]

    def one(content: bytes) -> None:
        trial.run(content)
        if trial.executions >= executions:
            trial.finish()
            os._exit(0)  # libFuzzer has no other end that lets Python speak

    def mutate(content: bytes, largest: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.1:
            return atheris.Mutate(content, largest)
        return trial.loader.mutate(random, content, seeds)[:largest]

    corpus = trial.folder.path / "corpus"
    corpus.mkdir()
    for number, content in enumerate(trial.loader.seeds):
        (corpus / str(number)).write_bytes(content)
    options = [f"-seed={seed}", f"-max_len={LARGEST_INPUT}", "-rss_limit_mb=0", "-timeout=60", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def child(name: str, engine: str, executions: int, seed: int, out: Path) -> None:
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))

    if engine == "atheris":
        return run_atheris(name, executions, seed, out)
    trial = Trial(name, out)
    run_loop(trial, executions, seed)
    trial.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loaders", nargs="*", metavar="LOADER", help=f"of {', '.join(NAMES)}; all, if none is named")
    parser.add_argument("--engine", choices=("atheris", "loop"), default="loop")
    parser.add_argument("--executions", type=int, default=400_000, help="of each loader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append the figures here, one line a loader")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.loaders[0], args.engine, args.executions, args.seed, args.child)
    from benchmarks._timing import append_json

    for name in args.loaders or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "figures"
            command = [sys.executable, "-m", "benchmarks.reliability.fuzz", name, "--engine", args.engine]
            command += ["--executions", str(args.executions), "--seed", str(args.seed), "--child", str(out)]
            status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
            figures = json.loads(out.read_text()) if out.exists() else {"finds": []}
        if status not in (0, -signal.SIGTERM):
            figures["finds"].append({"what": f"the process ended with status {status}"})
        finds = figures["finds"]
        print(
            f"{name}: {figures.get('executions')} executions in {figures.get('seconds')} s, {len(finds)} finds",
            flush=True,
        )
        for find in finds:
            print(f"  {find['what'].strip()}")
        append_json(args.json, {"loader": name, "engine": args.engine, "seed": args.seed, **figures})


if __name__ == "__main__":
    main()
