"""Call everything at random, legally and not, in one process: nothing may crash, memory must stay flat.

    python -m benchmarks.reliability.soak [--minutes 30] [--seed 0] [--json FILE]

A child process makes the calls, seeded, from `_calls`, and uses the layers and networks it makes; at times several
threads do. Every exception must be of a documented family. The child's exit code tells of crashes, faulthandler
where. Every 5 seconds memory is looked at: what is in use by glibc's account (elsewhere the resident set), and Python's
blocks. Their means in the last fifth of the time may not exceed those in the second fifth, after the warm-up, by more
than 4 MB and 5,000 blocks. The resident set beside them also has what glibc keeps for later: after a million calls of
all sizes, some of them for more than the address space that is allowed, tens of megabytes.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import faulthandler
import functools
import gc
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import _timing

FLAT = {"in_use_mb": 4, "python_blocks": 5000}
ADDRESS_SPACE = 6 << 30
MAX_FINDS = 40
HANGS = 300  # seconds for a round of some hundred calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path(__file__).parents[1] / "logs/reliability/soak.json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        Soak(args.seed, 60 * args.minutes).run()
        return
    command = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.reliability.soak", "--child"]
    command += ["--minutes", str(args.minutes), "--seed", str(args.seed)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if child.returncode != 0:
        raise SystemExit(f"the child ended with {child.returncode}: {child.stdout[-2000:]}")
    figures = json.loads(child.stdout.splitlines()[-1])
    figures["flat"] = all(figures[name]["last_fifth"] - figures[name]["second_fifth"] <= FLAT[name] for name in FLAT)
    _timing.append_json(args.json, {"minutes": args.minutes, "seed": args.seed, **figures})
    print(json.dumps(figures, indent=1))
    if figures["undocumented"] or figures["broken"] or not figures["flat"]:
        raise SystemExit("the soak found something")


class Soak:
    """One run of random calls."""

    def __init__(self, seed: int, seconds: float) -> None:
        import numpy as np

        import cnn_ext
        from benchmarks.reliability import _calls

        self.np, self.cnn_ext, self.calls = np, cnn_ext, _calls
        self.seed, self.seconds = seed, seconds
        self.folder = Path(tempfile.mkdtemp(prefix="soak"))
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()
        self.undocumented: list[str] = []
        self.broken: list[str] = []
        self.rss: list[float] = []
        self.in_use: list[float] = []
        self.blocks: list[float] = []
        self.shared = self.small_net(0)
        path = self.folder / "net"
        self.small_net(1).save(path)
        self.saved = path.read_bytes()

    def run(self) -> None:
        os.chdir(self.folder)  # where spoiled names of files may lead
        warnings.simplefilter("ignore")  # NumPy's, of NaN and overflow in what was spoiled
        # What asks for too much must be refused, not killed.
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        began, next_look = time.monotonic(), 0.0
        for round_ in itertools.count():
            elapsed = time.monotonic() - began
            if elapsed >= self.seconds:
                break
            if elapsed >= next_look:
                gc.collect()
                self.rss.append(resident_mb())
                self.in_use.append(in_use_mb())
                self.blocks.append(sys.getallocatedblocks())
                next_look += min(5.0, self.seconds / 50)
            rng = self.np.random.default_rng([self.seed, round_])
            faulthandler.dump_traceback_later(HANGS, exit=True)
            self.cnn_ext.set_num_threads(int(rng.integers(1, 5)))
            if rng.random() < 0.1:
                self.together(round_)
            else:
                self.some(rng, 100, "alone")
        faulthandler.cancel_dump_traceback_later()
        self.errors = collections.Counter(dict(self.errors.most_common()))
        print(json.dumps({"calls": sum(self.counts.values()), "by_kind": self.counts, "exceptions": self.errors,
                          "undocumented": self.undocumented, "broken": self.broken,
                          "in_use_mb": summary(self.in_use), "python_blocks": summary(self.blocks),
                          "rss_mb": summary(self.rss)}))  # fmt: skip

    def together(self, round_: int) -> None:
        """Three threads at once, each with its own layers and networks but for one network that all of them use."""
        threads = [
            threading.Thread(target=self.some, args=(self.np.random.default_rng([self.seed, round_, i]), 60, "threads"))
            for i in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def some(self, rng: Any, n: int, kind: str) -> None:
        for _ in range(n):
            operation = self.calls.pick(
                rng, self.kernel, self.kernel, self.layer, self.layer, self.network, self.loss, self.optimizer,
                self.augmentation, self.settings, self.file, self.share,
            )  # fmt: skip
            self.counts[kind] += 1
            self.counts[operation.__name__] += 1
            try:
                operation(rng)
            except Exception as error:
                self.note(operation.__name__, error)

    def note(self, what: str, error: Exception) -> None:
        self.errors[type(error).__name__] += 1
        documented = (self.cnn_ext.CnnExtError, ValueError, OSError, MemoryError)
        used_wrongly = type(error) is RuntimeError and ("called before" in str(error) or "in use by" in str(error))
        if not (isinstance(error, documented) or used_wrongly) and len(self.undocumented) < MAX_FINDS:
            at = error.__traceback__
            while at is not None and at.tb_next is not None:
                at = at.tb_next
            place = f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}" if at else "?"
            find = f"{what}: {type(error).__name__} at {place}: {str(error)[:150]}"
            if find not in self.undocumented:
                self.undocumented.append(find)

    def call(self, rng: Any, call: Any, share_spoiled: float = 0.4) -> Any:
        function, arguments = call
        if arguments and rng.random() < share_spoiled:
            arguments = self.calls.spoiled(rng, arguments)
        return function(**arguments)

    def kernel(self, rng: Any) -> None:
        self.call(rng, self.calls.kernel_call(rng))

    def loss(self, rng: Any) -> None:
        self.call(rng, self.calls.loss_call(rng))

    def augmentation(self, rng: Any) -> None:
        self.call(rng, self.calls.augmentation_call(rng))

    def settings(self, rng: Any) -> None:
        self.call(rng, self.calls.setting_call(rng))

    def file(self, rng: Any) -> None:
        folder = self.folder / str(threading.get_ident())
        folder.mkdir(exist_ok=True)
        self.call(rng, self.calls.file_call(rng, folder, self.saved), 0.1)

    def layer(self, rng: Any) -> None:
        layer = self.call(rng, self.calls.layer_making(rng), 0.3)
        shape = getattr(layer, "input_shape", None) or (3, 6, 6)
        if self.np.prod([float(n) for n in shape]) > 1e5:
            return
        dtype = getattr(layer, "dtype", self.np.float32)
        X = self.calls.array(rng, self.calls.size(rng, 0, 5), *shape, dtype=dtype)
        out = self.call(rng, (layer.forward, {"X": X}), 0.3)
        self.call(rng, (layer.backward, {"dout": self.np.ones_like(out)}), 0.3)

    def small_net(self, seed: int) -> Any:
        c = self.cnn_ext
        conv = c.Conv((1, 8, 8), 4, 3, 3, 1, 1, rng=seed)
        pool = c.Maxpool(conv.out_dim, 2, 2)
        conv2 = c.Conv(pool.out_dim, 6, 3, 3, 1, 1, rng=seed)
        layers = [conv, c.ReLU(), pool, conv2, c.BatchNorm(conv2.out_dim), c.ReLU(), c.GlobalAvgPool(conv2.out_dim)]
        return c.NeuralNet([*layers, c.Dropout(0.9, rng=seed), c.FullyConnected(6, 3, rng=seed)])

    def batch(self, rng: Any) -> dict[str, Any]:
        n = self.calls.size(rng, 2, 12)
        return {"X": rng.random((n, 1, 8, 8), self.np.float32), "y": rng.integers(0, 3, n)}

    def network(self, rng: Any) -> None:
        net = self.small_net(self.calls.size(rng, 0, 9))
        for _ in range(3):
            batch = self.batch(rng)
            way = rng.integers(5)
            if way == 0:
                self.call(rng, (net.train_step, batch))
            elif way == 1:
                self.call(rng, (net.predict, {"X": batch["X"]}))
            elif way == 2:
                self.call(rng, (net.evaluate, batch))
            elif way == 3:
                fit = functools.partial(self.cnn_ext.fit, epochs=2, rng=0)  # 2**31 epochs would be legal
                settings = {"optimizer": self.cnn_ext.SGD(0.01, 0.9), "batch_size": 4, "max_norm": 1.0}
                self.call(rng, (fit, {"net": net, **batch, **settings}))
            else:
                path = self.folder / f"net{threading.get_ident()}"
                self.call(rng, (net.save, {"path": path}), 0.1)
                net.save(path)
                loaded = self.cnn_ext.NeuralNet.load(path)
                if loaded.predict_proba(batch["X"]).tobytes() != net.predict_proba(batch["X"]).tobytes():
                    self.broken.append("a network that was loaded predicts something else")

    def optimizer(self, rng: Any) -> None:
        """A step that fails must leave the parameters as they were."""
        c = self.cnn_ext
        optimizer = self.calls.pick(rng, c.SGD(0.1, 0.9), c.SGD(0.1), c.Adam(), c.AdamW(), c.RMSProp(), c.AdaGrad())
        params = [rng.random((4, 5)), rng.random(7, self.np.float32)]
        for _ in range(3):
            before = [param.tobytes() for param in params]
            grads = [self.calls.array(rng, *param.shape, dtype=param.dtype) for param in params]
            if rng.random() < 0.2:
                grads[1] = self.calls.bad_array(rng, grads[1])
            try:
                optimizer.step(params, grads, factor=self.calls.pick(rng, 1.0, 0.5, -1.0, None, float("nan")))
            except Exception:
                if before != [param.tobytes() for param in params]:
                    self.broken.append("an optimizer's step failed and changed the parameters")
                raise

    def share(self, rng: Any) -> None:
        """The one network that several threads use: whatever comes out, nothing may crash."""
        batch = self.batch(rng)
        if rng.random() < 0.5:
            self.shared.train_step(**batch)
        else:
            self.shared.predict(batch["X"])


def summary(looks: list[float]) -> dict[str, Any]:
    """Return means, the largest, and a curve of what was looked at."""
    fifth = max(len(looks) // 5, 1)
    return {
        "second_fifth": sum(looks[fifth : 2 * fifth]) / fifth,
        "last_fifth": sum(looks[-fifth:]) / fifth,
        "largest": max(looks),
        "looks": len(looks),
        "curve": [round(value, 1) for value in looks[:: max(len(looks) // 30, 1)]],
    }


class Mallinfo(ctypes.Structure):
    """What glibc's mallinfo2 tells, in bytes but for the counts of blocks."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def in_use_mb() -> float:
    """Return the memory that is allocated and not freed, where the C library tells it."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return resident_mb()
    mallinfo.restype = Mallinfo
    found = mallinfo()
    return (found.uordblks + found.hblkhd) / 2**20


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
