"""The corpus that fuzzing starts from: small good files of every kind, and some bad ones, made by functions."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
import tempfile
from pathlib import Path

import numpy as np

import cnn_ext

CIFAR_FOLDER = "cifar-10-batches-py"
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = idx((np.arange(5 * 4 * 4) % 251).astype(np.uint8).reshape(5, 4, 4))
LABELS = idx(np.array([3, 1, 4, 1, 5], np.uint8))


def idx_files() -> list[bytes]:
    others = [idx(np.arange(-6, 6).reshape(2, 3, 2).astype(code)) for code in ("i1", "i2", "i4", "f4", "f8")]
    return [IMAGES, LABELS, *others, idx(np.zeros((0, 28, 28), np.uint8)), IMAGES[:9], b"", b"<!DOCTYPE html>"]


def rows() -> cnn_ext.NeuralNet:
    layers = [cnn_ext.FullyConnected(3, 4, rng=0), cnn_ext.BatchNorm(4), cnn_ext.ReLU()]
    return cnn_ext.NeuralNet([*layers, cnn_ext.FullyConnected(4, 2, rng=1)], l2=0)


def images() -> cnn_ext.NeuralNet:
    conv = cnn_ext.Conv((2, 6, 6), 3, 3, 3, 1, 1, rng=0)
    layers = [cnn_ext.Standardize((2, 6, 6), [0.1, 0.3], 0.3), conv, cnn_ext.BatchNorm(conv.out_dim), cnn_ext.ReLU()]
    layers += [cnn_ext.Maxpool((3, 6, 6), 2, 2), cnn_ext.AvgPool((3, 3, 3), 2, 1), cnn_ext.Tanh(), cnn_ext.Sigmoid()]
    layers += [cnn_ext.Dropout(0.8, per_channel=True), cnn_ext.Flatten(), cnn_ext.FullyConnected(12, 2, rng=1)]
    return cnn_ext.NeuralNet(layers, cnn_ext.CrossEntropy(0.1, [1 / 3, 2]))


def pooled() -> cnn_ext.NeuralNet:
    conv = cnn_ext.Conv((1, 4, 4), 2, 3, 3, 1, 0, dtype=np.float64, rng=0)
    return cnn_ext.NeuralNet([conv, cnn_ext.GlobalAvgPool(conv.out_dim)])


def model_files() -> list[bytes]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        for net, half, notes in ((rows(), None, {}), (images(), None, {"epochs": [1, 2.5, None]}), (pooled(), None, {}),
                                 (images(), np.float16, {})):  # fmt: skip
            net.save(path, storage_dtype=half, notes=notes)
            found.append(path.read_bytes())
    foreign = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return [*found, struct.pack("<Q", len(foreign)) + foreign + bytes(8), b"", bytes(64)]


def reseal(content: bytes) -> bytes:
    """Return a model file with the right SHA-256 for what it holds; anything else as it is."""
    start = content.find(b'"sha256": "', 0, 4096) + 11
    if start == 10 or len(content) < start + 64:
        return content
    opened = content[:start] + b"0" * 64 + content[start + 64 :]
    return opened[:start] + hashlib.sha256(opened).hexdigest().encode() + opened[start + 64 :]


def part(n: int, dtype: str = "<f4", order: str = "C") -> tuple[np.ndarray, np.ndarray]:
    pixels = (np.arange(n * 784) % 251 / 256).reshape(n, 784).astype(dtype)
    return np.asarray(pixels, order=order), np.arange(n) % 10


def series_pickles() -> list[bytes]:
    nothing = (part(0), part(0), part(0))
    found = [pickle.dumps(nothing, protocol) for protocol in range(6)]
    found += [pickle.dumps((part(1), part(0), part(1)), protocol) for protocol in (0, 2, 5)]
    found.append(pickle.dumps((part(1, ">f8", "F"), part(0, "<f2"), (part(0)[0], [])), 4))
    found.append(found[2].replace(b"numpy._core", b"numpy.core"))
    return [*found, b"cposix\nsystem\n(S'true'\ntR.", b"\x80\x04\x8c\x05posix\x8c\x06system\x93)R.", b""]


def cifar_batch(n: int, protocol: int = 2) -> bytes:
    data = (np.arange(n * 3072) % 256).astype(np.uint8).reshape(n, 3072)
    batch = {"batch_label": "x", "labels": list(range(n)), "data": data, "filenames": ["a.png"] * n}
    return pickle.dumps(batch, protocol)


def cifar_batches() -> list[bytes]:
    data = {b"data": np.zeros((2, 3072), np.uint8), b"labels": np.array([1, 2], np.uint8)}
    return [
        *(cifar_batch(n, protocol) for n in (0, 1) for protocol in range(6)),
        pickle.dumps(data, 2),
        pickle.dumps(data),
    ]


def tar(files: dict[str, bytes], format: int = tarfile.USTAR_FORMAT, **headers: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format, pax_headers=headers) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue().rstrip(b"\0") + bytes(1024 + -len(content.getvalue().rstrip(b"\0")) % 512)


def cifar_archives() -> list[bytes]:
    files = {f"{CIFAR_FOLDER}/{name}": cifar_batch(0) for name in BATCHES}
    long = {"a" * 200: b"x", **files}
    return [
        tar(files),
        tar({**files, f"{CIFAR_FOLDER}/{BATCHES[0]}": cifar_batch(1)}),
        tar(long, tarfile.GNU_FORMAT),
        tar(long, tarfile.PAX_FORMAT, comment="x"),
        tar({"../escape": b"x", "/absolute": b"x"}),
        bytes(1024),
    ]


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)
