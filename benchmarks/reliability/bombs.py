"""Measure what loading the worst files we can think of takes: small ones that become large, and large ones of holes.

    python -m benchmarks.reliability.bombs [NAME ...] [--json FILE]

Each is loaded in a process of its own; memory is its largest resident set beyond that after the imports, seconds are
those of the processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks._timing import append_json
from benchmarks.reliability._seeds import gzipped

MB, GB = 1 << 20, 1 << 30
LOAD = """
import resource, sys, time
import cnn_ext, safetensors
from cnn_ext.datasets.idx import read_idx
load = {"idx": read_idx, "mnist": lambda path: cnn_ext.load_mnist(path, 0, 0), "model": cnn_ext.NeuralNet.load,
        "cifar": lambda path: cnn_ext.load_cifar10(path, 0, 0)}[sys.argv[1]]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, began = peak(), time.process_time()
try:
    load(sys.argv[2])
    outcome = "taken"
except (cnn_ext.DataFormatError, cnn_ext.CheckpointError) as error:
    outcome = type(error).__name__ + ": " + str(error).rsplit("/", 1)[1]
print(round(time.process_time() - began, 2), (peak() - before) >> 10, outcome)
"""


def zeros(size: int) -> Iterator[bytes]:
    """Give gzip members that become `size` zeros."""
    yield from [gzipped(bytes(64 * MB))] * (size // (64 * MB))
    yield gzipped(bytes(size % (64 * MB)))


def packed(start: bytes, size: int, end: bytes = b"") -> Iterator[bytes]:
    yield gzipped(start)
    yield from zeros(size)
    yield gzipped(end)


def images(shape: tuple[int, int, int], size: int) -> Iterator[bytes]:
    return packed(struct.pack(">4I", 0x803, *shape), size)


def pickle_of_bytes(size: int, end: bytes = b"") -> Iterator[bytes]:
    return packed(b"\x80\x04\x8e" + struct.pack("<Q", size), size, end)


def shared_array(n: int) -> Iterator[bytes]:
    """A sound pickle whose three parts are the same n images of float16, zeros."""
    images = b"\x80\x04(cnumpy.core.numeric\n_frombuffer\n(\x8e" + struct.pack("<Q", n * 1568)
    shape = b"J" + struct.pack("<i", n) + b"J" + struct.pack("<i", 784) + b"\x86"
    rest = b"cnumpy\ndtype\n\x8c\x02f2\x85R" + shape + b"\x8c\x01CtRq\x00"
    labels = b"cnumpy.core.numeric\n_frombuffer\n(\x8e" + struct.pack("<Q", n) + bytes(n)
    labels += b"cnumpy\ndtype\n\x8c\x02u1\x85RJ" + struct.pack("<i", n) + b"\x85\x8c\x01CtRq\x01"
    return packed(images, n * 1568, rest + labels + b"\x86" + b"h\x00h\x01\x86" * 2 + b"t.")


def one_text_often(n: int) -> Iterator[bytes]:
    text = b"X" + struct.pack("<I", MB) + b"a" * MB + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    yield b"\x80\x02(" + text + b"c_codecs\nencode\nh\x00h\x01\x86R" * n + b"l."


def equal_hashes(n: int) -> Iterator[bytes]:
    items = (b"\x8a\x0b" + (i * ((1 << 61) - 1)).to_bytes(11, "little") + b"N" for i in range(1, n))
    yield b"\x80\x02}(" + b"".join(items) + b"u."


def archive(name: str, kind: bytes, size: int, content: Iterator[bytes]) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    yield gzipped(info.tobuf(tarfile.GNU_FORMAT))
    yield from content
    yield gzipped(bytes(-size % 512 + 1024))


def model(architecture: str) -> Iterator[bytes]:
    metadata = {"sha256": "0" * 64, "architecture": architecture, "cnn_ext_version": "1", "format_version": "1"}
    header = json.dumps({"__metadata__": metadata}).encode()
    content = struct.pack("<Q", len(header)) + header
    yield content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1)


def many_layers(n: int) -> Iterator[bytes]:
    layers = ",".join(['{"type":"ReLU"}'] * n)
    return model(f'{{"layers":[{layers}],"l2":0,"loss_func":"SoftmaxLoss"}}')


def declared(size: int) -> Iterator[bytes]:
    header = json.dumps({"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    yield struct.pack("<Q", len(header)) + header


BATCH = "cifar-10-batches-py/data_batch_1"
Bomb = tuple[str, str, Callable[[], Iterator[bytes]], int]
BOMBS: dict[str, Bomb] = {  # loader, name of the file, what is in it, its size with the hole behind
    "IDX of one image, 10 GB behind it": ("idx", "x.gz", partial(images, (1, 28, 28), 10 * GB), 0),
    "IDX that says it has 10 GB, and has": ("idx", "x.gz", partial(images, (10, 1 << 15, 1 << 15), 10 * GB), 0),
    "IDX that says it has 2 GB, and has 10": ("idx", "x.gz", partial(images, (2, 1 << 15, 1 << 15), 10 * GB), 0),
    "IDX that says it has 2 GB, and has nothing": ("idx", "x.gz", partial(images, (2, 1 << 15, 1 << 15), 0), 0),
    "pickle of 10 GB of zeros": ("mnist", "m.pkl.gz", partial(zeros, 10 * GB), 0),
    "pickle of 10 GB in one string": ("mnist", "m.pkl.gz", partial(pickle_of_bytes, 10 * GB, b"."), 0),
    "pickle of 500 MB in one string": ("mnist", "m.pkl.gz", partial(pickle_of_bytes, 500 * MB, b"."), 0),
    "pickle of 330,000 images in three places": ("mnist", "m.pkl.gz", partial(shared_array, 330_000), 0),
    "pickle of 43,000 images in three places": ("mnist", "m.pkl.gz", partial(shared_array, 43_000), 0),
    "pickle that names 1 MB of text 20,000 times": ("mnist", "m.pkl", partial(one_text_often, 20_000), 0),
    "pickle of 120,000 keys of equal hash": ("mnist", "m.pkl", partial(equal_hashes, 120_000), 0),
    "archive of 10 GB of zeros": ("cifar", "c.tar.gz", partial(zeros, 10 * GB), 0),
    "archive, a batch of 8 GB": ("cifar", "c.tar.gz", partial(archive, BATCH, b"0", 8 * GB - 1, zeros(8 * GB)), 0),
    "archive, something else of 8 GB": ("cifar", "c.tar.gz", partial(archive, "x", b"0", 8 * GB - 1, zeros(8 * GB)), 0),
    "archive, a long name of 500 MB": ("cifar", "c.tar.gz", partial(archive, "x", b"L", 500 * MB, zeros(500 * MB)), 0),
    "archive, PAX records of 500 MB": ("cifar", "c.tar.gz", partial(archive, "x", b"x", 500 * MB, zeros(500 * MB)), 0),
    "model of 100 GB of holes": ("model", "m", lambda: iter([bytes(8)]), 100 * GB),
    "model that says it has 100 GB of holes": ("model", "m", partial(declared, 100 * GB), 100 * GB),
    "model that says it has 100 GB, and has nothing": ("model", "m", partial(declared, 100 * GB), 0),
    "model of 190,000 layers": ("model", "m", partial(many_layers, 190_000), 0),
    "model of 100,000 empty lists": ("model", "m", lambda: model('{"layers":[' + "[]," * 1_300_000 + "[]]}"), 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, if none is given")
    parser.add_argument("--json", type=Path, help="append the figures here, one line a file")
    args = parser.parse_args()
    for name in args.names or BOMBS:
        loader, file, content, size = BOMBS[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            with path.open("wb") as out:
                out.writelines(content())
                out.truncate(max(out.tell(), size + (out.tell() if "says" in name else 0)))
            on_disk = path.stat().st_blocks * 512
            run = subprocess.run([sys.executable, "-c", LOAD, loader, str(path)], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{name}: {run.stderr}")
        seconds, memory, outcome = run.stdout.split(maxsplit=2)
        print(f"{name} ({on_disk / MB:.1f} MB on disk): {seconds} s, {memory} MB, {outcome.strip()}", flush=True)
        append_json(args.json, {"file": name, "disk_mb": round(on_disk / MB, 2), "seconds": float(seconds),
                                "memory_mb": int(memory), "outcome": outcome.strip()})  # fmt: skip


if __name__ == "__main__":
    main()
