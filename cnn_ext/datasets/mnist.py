"""MNIST: the files inside the package, a folder of IDX files, or the series' pickle.

The data set is by Y. LeCun, C. Cortes and C. J. C. Burges; see LICENSE-MNIST.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import check_bool, check_int
from .._types import Array
from ..errors import DataFormatError
from ._reader import open_data, path_name
from .idx import IMAGE_MAGIC, LABEL_MAGIC, read_idx
from .labels import check_label_count, checked_labels, one_hot_encode
from .safe_pickle import as_array, load_arrays
from .scaled_images import ScaledImages

Part = tuple[Any, Array]  # images and labels; images are uint8 or float32 arrays, or ScaledImages
PathLike = str | os.PathLike[str]

EMBEDDED = Path(__file__).parent / "mnist_files"
N_CLASSES = 10
# What a stranger's file may hold: labels become eight times as large, a pickle's images up to twice.
MAX_LABELS = 1 << 24
MAX_PICKLE_BYTES = 1 << 29
MAX_PICKLED_IMAGES = 1 << 17


def load_mnist(
    path: PathLike | None = None,
    num_training: int = 50000,
    num_test: int = 10000,
    cnn: bool = True,
    one_hot: bool = False,
    validation: bool = False,
) -> tuple[tuple[Array, Array], ...]:
    """Load MNIST as arrays.

    Parameters
    ----------
    path : path, optional
        None for the files inside the package (60,000 training and 10,000 test images); a folder with the four IDX
        files under their usual names, gzipped or not, of any count; or the series' `mnist.pkl.gz` (50,000 training,
        10,000 validation and 10,000 test images).
    num_training, num_test : int
        How many images of each part, from its start.
    cnn : bool
        Images of shape (N, 1, 28, 28), rather than rows of shape (N, 784).
    one_hot : bool
        Labels as rows of zeros with a single one (`one_hot_encode`), rather than as class numbers.
    validation : bool
        Give a third set: the training images that `num_training` leaves over. The pickle's validation images are
        taken to follow its training images, so that both sources give the same 60,000 in the same order.

    Returns
    -------
    (X_train, y_train), (X_test, y_test) : tuples of ndarray
        Images float32 in [0, 1], labels int64. With `validation`, a third pair.

    Raises
    ------
    OSError
        A file cannot be opened.
    DataFormatError
        A file is not what it should be.
    UnsafePickleError
        The pickle asks for anything but arrays.
    ValueError, DTypeError
        More images asked for than there are, or a number that is not an int >= 0.
    """
    return select(read_mnist(path), num_training, num_test, cnn, one_hot, validation)


def mnist_parts(
    path: PathLike | None = None, num_training: int = 50000, num_test: int = 10000, num_validation: int = 0
) -> tuple[Part, Part, Part]:
    """Return (images, labels) for training, test and validation, from the sources of `load_mnist`, at a quarter of
    the memory.

    The training part has the first `num_training` images, the test part the first `num_test`, or all if there are
    fewer; the validation part the last `num_validation` of the training images, which are then in no other part. Images
    from IDX files stay bytes, as `ScaledImages`: indexed, they are float32 in [0, 1].
    """
    return first_images(read_mnist(path), num_training, num_test, num_validation)


def first_images(
    parts: tuple[Part, Part], num_training: int, num_test: int, num_validation: int
) -> tuple[Part, Part, Part]:
    """Return training, test and validation parts from a training and a test part; see `mnist_parts`."""
    (images, labels), test = parts
    num_validation = _check_count("num_validation", num_validation, len(images))
    first = len(images) - num_validation
    n = min(check_int("num_training", num_training, 0), first)
    training, validation = (images[:n], labels[:n]), (images[first:], labels[first:])
    n_test = check_int("num_test", num_test, 0)
    return _lazy(*training), _lazy(test[0][:n_test], test[1][:n_test]), _lazy(*validation)


def _lazy(images: Array, labels: Array) -> Part:
    return (ScaledImages(images) if images.dtype == np.uint8 else images), labels


def read_mnist(path: PathLike | None) -> tuple[Part, Part]:
    """Return the training and test parts, as bytes where the source has bytes, from the sources of `load_mnist`."""
    if path is None:
        return idx_folder(EMBEDDED)
    name = path_name(path)  # first: to the operating system, an int is an open file
    return idx_folder(Path(name)) if os.path.isdir(name) else _series_pickle(path)


def idx_folder(folder: Path) -> tuple[Part, Part]:
    """Return the training and test parts of a folder of four IDX files in the manner of MNIST."""
    return _idx_part(folder, "train"), _idx_part(folder, "t10k")


def _idx_part(folder: Path, prefix: str) -> Part:
    images_path, labels_path = _find(folder, f"{prefix}-images", "idx3"), _find(folder, f"{prefix}-labels", "idx1")
    images = read_idx(images_path, magic=IMAGE_MAGIC)
    labels = read_idx(labels_path, magic=LABEL_MAGIC, max_bytes=MAX_LABELS)
    if len(images) != len(labels):
        raise DataFormatError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    return images[:, np.newaxis], checked_labels(labels, N_CLASSES, str(labels_path))


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{mark}{kind}-ubyte{ending}" for ending in (".gz", "") for mark in ("-", ".")]
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def _series_pickle(path: PathLike) -> tuple[Part, Part]:
    with open_data(path) as reader:
        name, parts = reader.name, load_arrays(reader.rest(MAX_PICKLE_BYTES, "MNIST"), reader.name)
    if not isinstance(parts, (tuple, list)) or len(parts) != 3:
        raise DataFormatError(f"{name}: three parts (training, validation, test) expected, got {type(parts).__name__}")
    training, validation, test = (_pickled_part(part, name) for part in parts)
    total = len(training[0]) + len(validation[0]) + len(test[0])
    if total > MAX_PICKLED_IMAGES:
        raise DataFormatError(f"{name}: {total} images, more than {MAX_PICKLED_IMAGES}, too many for MNIST")
    return _joined([training, validation], name), _joined([test], name)


def _pickled_part(part: Any, name: str) -> Part:
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        raise DataFormatError(f"{name}: a pair (images, labels) expected, got {type(part).__name__}")
    images, labels = as_array(part[0], name, "images"), as_array(part[1], name, "labels")
    if images.ndim != 2 or images.shape[1] != 784 or images.dtype.kind != "f":
        raise DataFormatError(f"{name}: images must be floats (N, 784), got {images.dtype} {images.shape}")
    check_label_count(labels, len(images), name)
    return images, checked_labels(labels, N_CLASSES, name)


def _joined(parts: list[Part], name: str) -> Part:
    """Return the parts as one, images as float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of numbers beyond float32 is refused below
        images = np.concatenate([images for images, _ in parts], dtype=np.float32)
    if not np.isfinite(images).all():
        raise DataFormatError(f"{name}: images hold NaN, infinities, or numbers beyond float32")
    return images.reshape(-1, 1, 28, 28), np.concatenate([labels for _, labels in parts])


def select(
    parts: tuple[Part, Part], num_training: int, num_test: int, cnn: bool, one_hot: bool, validation: bool
) -> tuple[tuple[Array, Array], ...]:
    """Return the first images of each part in the form that was asked for; see `load_mnist`."""
    (X, y), (X_test, y_test) = parts
    cnn, one_hot = check_bool("cnn", cnn), check_bool("one_hot", one_hot)
    validation = check_bool("validation", validation)
    num_training = _check_count("num_training", num_training, len(X))
    num_test = _check_count("num_test", num_test, len(X_test))
    chosen = [(X, y, slice(num_training)), (X_test, y_test, slice(num_test))]
    if validation:
        chosen.append((X, y, slice(num_training, None)))
    sets = []
    for images, labels, which in chosen:
        chosen_images = images[which]
        scaled = ScaledImages(chosen_images)[:] if chosen_images.dtype == np.uint8 else chosen_images.copy()
        y_set = one_hot_encode(labels[which], N_CLASSES) if one_hot else np.array(labels[which], np.int64)
        sets.append((scaled if cnn else scaled.reshape(len(scaled), math.prod(scaled.shape[1:])), y_set))
    return tuple(sets)


def _check_count(name: str, asked: Any, available: int) -> int:
    asked = check_int(name, asked, 0)
    if asked > available:
        raise ValueError(f"{name} asks for {asked} images, only {available} are there")
    return asked
