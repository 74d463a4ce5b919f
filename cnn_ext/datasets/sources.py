"""All that a data set may be given as, behind one function: which kind of source a path is, and its images."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from .._checks import check_int
from ..errors import DataFormatError, shown
from ..image_form import ImageForm
from ._reader import open_data, path_name
from .cifar10 import CLASSES, is_cifar10, read_cifar10
from .image_csv import holds_pictures, load_image_csv
from .image_data import ImageData
from .image_folder import load_image_folder
from .mnist import N_CLASSES, Part, PathLike, first_images, read_mnist
from .pictures import is_picture, is_visible
from .scaled_images import ScaledImages

PICKLE_START = b"\x80"
READABLE = (
    "a folder of pictures for each class, a CSV file, a folder of IDX files, CIFAR-10, or the series' mnist.pkl.gz"
)
PICTURES = ("folder", "table")
"""The kinds of sources whose images are pictures, of any size and mode; the others hold pixels."""


def kind_of(path: PathLike | None) -> str:
    """Return what a path is: "mnist" (IDX files or the series' pickle), "cifar10", "pixels" (CSV), "table" (CSV that
    names pictures) or "folder" (of pictures).

    Raises
    ------
    OSError
        It cannot be looked at, or is a folder with nothing of these in it.
    DataFormatError
        A folder of pictures without classes; a CSV file that is none; a file of none of these kinds.
    """
    if path is None:
        return "mnist"
    name = path_name(path)
    if os.path.isdir(name):
        return _kind_of_folder(name)
    if name.lower().endswith((".csv", ".csv.gz")):
        return "table" if holds_pictures(name) else "pixels"
    if is_cifar10(name):
        return "cifar10"
    if not name.endswith((".gz", ".pkl", ".pickle")):
        with open_data(name) as reader:
            if reader.read(1) != PICKLE_START:
                raise reader.error(f"none of the data that can be read: {READABLE}")
    return "mnist"


def load_data(
    path: PathLike | None = None,
    num_training: int | None = None,
    num_test: int | None = None,
    num_validation: int = 0,
    *,
    size: Any = None,
    channels: Any = None,
    preparation: str = "middle",
    broken: str = "raise",
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Read images from whatever `path` is.

    Parameters
    ----------
    path : path, optional
        None for the MNIST inside the package; a folder of IDX files, or the series' `mnist.pkl.gz` (see `load_mnist`);
        CIFAR-10 (`load_cifar10`); a folder with a folder of pictures a class (`datasets.load_image_folder`); a CSV file
        (`datasets.load_image_csv`).
    num_training, num_test : int, optional
        The first so many of each part, or all if there are fewer; None: all.
    num_validation : int
        The last so many of the training images are the validation part, and in no other; for data that has none.
    size, channels, preparation, broken
        Of pictures only: see `datasets.load_image_folder`.
    classes : sequence of str, optional
        The classes that the labels shall count, those of a model; None: those of the data.

    Returns
    -------
    ImageData

    Raises
    ------
    OSError
        A file or folder cannot be read.
    DataFormatError
        Anything is wrong with what it holds.
    ValueError, DTypeError
        More validation images asked for than there are; a setting for pictures where there are none.
    ImportError
        Pictures, and Pillow is missing.
    """
    kind = kind_of(path)
    settings = {"size": size, "channels": channels, "preparation": preparation, "broken": broken}
    if path is not None and kind in (*PICTURES, "pixels"):
        read = load_image_folder if kind == "folder" else load_image_csv
        data = read(path, **settings, classes=classes)
    else:
        if list(settings.values()) != [None, None, "middle", "raise"]:
            raise ValueError(f"{_named(path)} holds no pictures: size, channels, preparation and broken are for those")
        data = _known(path, kind, classes)
    if num_validation and len(data.validation[1]):
        raise ValueError(f"{path} has validation images of its own")
    training, test, validation = first_images(
        (_bytes_of(data.training), _bytes_of(data.test)),
        len(data.training[1]) if num_training is None else num_training,
        len(data.test[1]) if num_test is None else num_test,
        check_int("num_validation", num_validation, 0),
    )
    return data._replace(training=training, test=test, validation=validation if num_validation else data.validation)


def _known(path: PathLike | None, kind: str, classes: Sequence[str] | None) -> ImageData:
    """Return MNIST or CIFAR-10, whose classes are known."""
    names = CLASSES if kind == "cifar10" else [str(digit) for digit in range(N_CLASSES)]
    if classes is not None and list(classes) != names:
        theirs = ", ".join(shown(name) for name in classes[:10])
        raise DataFormatError(f"{_named(path)}: its classes are {', '.join(names)}, not the model's: {theirs}")
    training, test = read_mnist(path) if path is None or kind == "mnist" else read_cifar10(path)
    nothing = training[0][:0], training[1][:0]
    try:
        form = ImageForm.of(training[0].shape[1:])
    except ValueError as error:
        raise DataFormatError(f"{_named(path)}: {error}") from error
    return ImageData(training, test, nothing, list(names), form)


def _named(path: PathLike | None) -> str:
    return "the package's MNIST" if path is None else str(path)


def _bytes_of(part: Part) -> Part:
    images, labels = part
    return (images.images if isinstance(images, ScaledImages) else images), labels


def _kind_of_folder(folder: str) -> str:
    names = list(filter(is_visible, os.listdir(folder)))
    if any(name.startswith(("train-images", "train-labels", "t10k-")) for name in names):
        return "mnist"
    if is_cifar10(folder):
        return "cifar10"
    if any(os.path.isdir(os.path.join(folder, name)) for name in names):
        return "folder"
    if any(map(is_picture, names)):
        raise DataFormatError(f"{folder}: pictures, but no folders of them: each class has a folder, called like it")
    nothing = "neither a folder of pictures for each class nor train-images-idx3-ubyte.gz is in it"
    raise FileNotFoundError(errno.ENOENT, nothing, folder)
