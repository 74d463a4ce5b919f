"""CIFAR-10 in its "python version": six pickled batches, in a folder or in the archive they come in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .._types import Array
from ..errors import DataFormatError
from ._reader import open_data, path_name
from ._tar import tar_members
from .labels import check_label_count, checked_labels
from .mnist import N_CLASSES, Part, PathLike, select
from .safe_pickle import as_array, load_arrays

FOLDER = "cifar-10-batches-py"
TRAINING_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
TEST_BATCH = "test_batch"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [*TRAINING_BATCHES, TEST_BATCH]
MAX_BATCH_BYTES = 1 << 26
MAX_ARCHIVE_BYTES = 1 << 29


def load_cifar10(
    path: PathLike,
    num_training: int = 50000,
    num_test: int = 10000,
    cnn: bool = True,
    one_hot: bool = False,
    validation: bool = False,
) -> tuple[tuple[Array, Array], ...]:
    """Load CIFAR-10. All other parameters and the errors are those of `load_mnist`.

    Parameters
    ----------
    path : path
        The folder `cifar-10-batches-py`, the folder it lies in, or the archive `cifar-10-python.tar.gz`.

    Returns
    -------
    (X_train, y_train), (X_test, y_test) : tuples of ndarray
        Images float32 in [0, 1], shape (N, 3, 32, 32), or (N, 3072) without `cnn`; labels int64. With `validation`,
        a third pair.

    References
    ----------
    Krizhevsky: Learning multiple layers of features from tiny images. 2009.
    """
    return select(read_cifar10(path), num_training, num_test, cnn, one_hot, validation)


def read_cifar10(path: PathLike) -> tuple[Part, Part]:
    """Return the training and test parts as bytes, from the sources of `load_cifar10`."""
    place = path_name(path)  # first: to the operating system, an int is an open file
    raw = _from_folder(Path(place)) if os.path.isdir(place) else _from_archive(path)
    batches = {name: _decode(raw.pop(name), f"{place}: {name}") for name in BATCHES}
    training = [batches[name] for name in TRAINING_BATCHES]
    images = np.concatenate([images for images, _ in training])
    labels = np.concatenate([labels for _, labels in training])
    return (images, labels), batches[TEST_BATCH]


def is_cifar10(path: PathLike) -> bool:
    """Return whether a path is called like the archive, or is a folder with a batch where `load_cifar10` looks."""
    name = path_name(path)
    if not os.path.isdir(name):
        return name.endswith((".tar.gz", ".tgz", ".tar"))
    return any(os.path.isfile(os.path.join(name, *folder, TRAINING_BATCHES[0])) for folder in ([FOLDER], []))


def _from_folder(folder: Path) -> dict[str, bytes]:
    folder = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    raw = {}
    for name in BATCHES:
        with open_data(folder / name) as reader:
            raw[name] = reader.rest(MAX_BATCH_BYTES, "a batch of CIFAR-10")
    return raw


def _from_archive(path: PathLike) -> dict[str, bytes]:
    """Return the six batches of the archive; nothing is written to the disk, other members are passed over."""
    wanted = {f"{FOLDER}/{name}": name for name in BATCHES}
    raw = {}
    with open_data(path) as reader:
        for member in tar_members(reader, MAX_ARCHIVE_BYTES):
            if member.name not in wanted or not member.is_file:
                continue
            if member.size > MAX_BATCH_BYTES:
                raise reader.error(f"{member.name} declares {member.size} bytes, more than {MAX_BATCH_BYTES}")
            raw[wanted[member.name]] = reader.take(member.size)
        missing = [name for name in BATCHES if name not in raw]
        if missing:
            raise reader.error(f"no {FOLDER}/{missing[0]} in the archive")
    return raw


def _decode(data: bytes, name: str) -> Part:
    batch: Any = load_arrays(data, name)
    if not isinstance(batch, dict):
        raise DataFormatError(f"{name}: a dict expected, got {type(batch).__name__}")
    # Python 3 reads the published keys as text; a batch written anew may hold them as bytes.
    images = as_array(batch.get("data", batch.get(b"data")), name, "data")
    labels = as_array(batch.get("labels", batch.get(b"labels")), name, "labels")
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        raise DataFormatError(f"{name}: data must be uint8 (N, 3072), got {images.dtype} {images.shape}")
    check_label_count(labels, len(images), name)
    return images.reshape(-1, 3, 32, 32), checked_labels(labels, N_CLASSES, name)
