"""The loaders as fuzzing sees them: bytes in; out comes nothing, a refusal of the loader's family, or a find."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cnn_ext
from benchmarks.reliability import _seeds as seeds
from benchmarks.reliability._mutations import (
    Mutation,
    bytes_changed,
    gzip_changed,
    model_changed,
    pickle_changed,
    tar_changed,
)
from cnn_ext.datasets.idx import IMAGE_MAGIC, read_idx

STORED = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
MEMORY = Path("/dev/shm")


class Folder:
    """A folder in memory that the inputs are written to; while `watched`, Python's audit events are noted."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
        self.watched = False
        self.events: list[str] = []
        self._open: dict[str, int] = {}
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watched:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            if str(arguments[0]).startswith(str(self.path)):
                return
        elif event in ("os.listdir", "os.scandir") or event.startswith("object.__getattr__"):
            return
        self.events.append(f"{event} {arguments!r:.200}")

    def write(self, name: str, content: bytes) -> Path:
        watched, self.watched = self.watched, False
        path = self.path / name
        if name not in self._open:
            path.parent.mkdir(exist_ok=True)
            self._open[name] = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self._open[name], content, 0)
        os.ftruncate(self._open[name], len(content))
        self.watched = watched
        return path


@dataclass(frozen=True)
class Loader:
    """What to start from, how to change it, how to load it, the one family of refusals, and what must hold if taken."""

    seeds: list[bytes]
    mutate: Mutation
    load: Callable[[bytes], Any]
    family: type[Exception]
    check: Callable[[Any, bytes], None]


def loaders(folder: Folder) -> dict[str, Loader]:
    data, checkpoint = cnn_ext.DataFormatError, cnn_ext.CheckpointError
    gzipped = [seeds.gzipped(content) for content in seeds.idx_files()]
    for prefix in ("train", "t10k"):
        folder.write(f"mnist/{prefix}-images-idx3-ubyte", seeds.IMAGES)
        folder.write(f"mnist/{prefix}-labels-idx1-ubyte", seeds.LABELS)

    def model(content: bytes) -> Any:
        return cnn_ext.NeuralNet.load(folder.write("model", content))

    def idx(content: bytes) -> Any:
        return read_idx(folder.write("x", content))

    def idx_gz(content: bytes) -> Any:
        return read_idx(folder.write("x.gz", content), magic=IMAGE_MAGIC)

    def mnist(content: bytes) -> Any:
        name = "images-idx3-ubyte" if content[3:4] == b"\3" else "labels-idx1-ubyte"
        original = seeds.IMAGES if name[0] == "i" else seeds.LABELS
        folder.write(f"mnist/train-{name}", content)
        load = cnn_ext.load_mnist if len(content) % 2 else cnn_ext.load_fashion_mnist
        try:
            return load(folder.path / "mnist", 0, 1)
        finally:
            folder.write(f"mnist/train-{name}", original)

    def series(content: bytes) -> Any:
        return cnn_ext.load_mnist(folder.write("m.pkl", content), 0, 0, validation=True)

    def series_gz(content: bytes) -> Any:
        return cnn_ext.load_mnist(folder.write("m.pkl.gz", content), 0, 0, validation=True)

    for name in seeds.BATCHES:
        folder.write(f"cifar/{name}", seeds.cifar_batch(0))

    def batch(content: bytes) -> Any:
        folder.write("cifar/data_batch_1", content)
        return cnn_ext.load_cifar10(folder.path / "cifar", 0, 0, validation=True)

    def archive(content: bytes) -> Any:
        return cnn_ext.load_cifar10(folder.write("c.tar", content), 0, 0, validation=True)

    def archive_gz(content: bytes) -> Any:
        return cnn_ext.load_cifar10(folder.write("c.tar.gz", content), 0, 0, validation=True)

    idx_seeds, pickles, archives = seeds.idx_files(), seeds.series_pickles(), seeds.cifar_archives()
    packed = [[seeds.gzipped(content) for content in contents] for contents in (pickles, archives)]
    tar_mutation = tar_changed(pickle_changed)
    return {
        "model": Loader(seeds.model_files(), model_changed, model, checkpoint, model_is_the_file),
        "idx": Loader(idx_seeds, bytes_changed, idx, data, idx_is_the_file),
        "idx-gz": Loader(gzipped, gzip_changed(bytes_changed), idx_gz, data, fits),
        "mnist-folder": Loader(idx_seeds, bytes_changed, mnist, data, sets_are_sound),
        "series-pickle": Loader(pickles, pickle_changed, series, data, sets_are_sound),
        "series-pickle-gz": Loader(packed[0], gzip_changed(pickle_changed), series_gz, data, sets_are_sound),
        "cifar-batch": Loader(seeds.cifar_batches(), pickle_changed, batch, data, sets_are_sound),
        "cifar-tar": Loader(archives, tar_mutation, archive, data, sets_are_sound),
        "cifar-tar-gz": Loader(packed[1], gzip_changed(tar_mutation), archive_gz, data, sets_are_sound),
    }


def demand(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def model_is_the_file(net: Any, content: bytes) -> None:
    """The seal is right, every array is the file's, every setting is the architecture's, and the network can be run."""
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    demand(seeds.reseal(content) == content or b'"sha256": "' not in content, "the seal is wrong")
    architecture = json.loads(header.pop("__metadata__")["architecture"])
    for index, (layer, entry) in enumerate(zip(net.layers, architecture["layers"], strict=True)):
        config = json.loads(json.dumps({"type": type(layer).__name__, **layer.config()}))
        demand(all(config[key] == value for key, value in entry.items()), f"layer {index} is another")
        for name, array in layer.state().items():
            said = header.pop(f"layers.{index}.{name}")
            begin, end = said["data_offsets"]
            stored = np.frombuffer(content[8 + n + begin : 8 + n + end], STORED[said["dtype"]]).reshape(said["shape"])
            demand(array.shape == stored.shape, f"layers.{index}.{name} has another shape")
            demand(array.tobytes() == stored.astype(array.dtype).tobytes(), f"layers.{index}.{name} has other numbers")
            demand(np.isfinite(array).all(), f"layers.{index}.{name} is not finite")
    demand(not header, "tensors that nothing uses")
    shapes = [net.layers[0].input_shape, *net.shapes()]
    if None not in shapes and max(math.prod(shape) for shape in shapes) < 10_000:
        with np.errstate(all="ignore"):
            try:
                net.predict_proba(np.zeros((1, *shapes[0]), net.dtype))
            except (cnn_ext.CnnExtError, ValueError):
                pass  # a size that no kernel takes, a score that overflows: said, not crashed


def idx_is_the_file(array: np.ndarray, content: bytes) -> None:
    demand(seeds.idx(array) == content, "the array is not what the file holds")


def fits(array: np.ndarray, content: bytes) -> None:
    demand(
        array.dtype == np.uint8 and array.ndim == 3 and array.nbytes <= 1032 * len(content), "not what was asked for"
    )


def sets_are_sound(sets: Any, content: bytes) -> None:
    for images, labels in sets:
        demand(images.dtype == np.float32 and labels.dtype == np.int64 and len(images) == len(labels), "not a set")
        demand(np.isfinite(images).all(), "images that are not finite")
        demand(((labels >= 0) & (labels < 10)).all(), "labels out of range")
