"""Pictures of one's own: a folder with a folder a class, divided or not.

    photos/cat/1.jpg, photos/dog/2.png, ...           a fifth of each class is held out
    photos/train/cat/..., photos/val/cat/..., ...     divided already: train/ with val/, test/ or both

The names of the classes are those of their folders, sorted. Pictures may lie in folders of a class's folder; files that
are no pictures by their names are passed over with a warning, hidden ones without.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataFormatError
from ._reader import path_name
from .held_out import hold_out, mixed
from .image_data import ImageData, chosen_classes, part_of
from .mnist import PathLike
from .pictures import is_picture, is_visible, read_pictures, walk_pictures

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "training_set", "train_set"),
    "val": ("val", "valid", "validation", "validation_set", "val_set"),
    "test": ("test", "testing", "test_set"),
}
"""The parts of a divided folder, and what their folders may be called."""


class _Found(NamedTuple):
    """A picture of a folder: where it lies, the name that decides its place, its class, its part."""

    path: str
    name: str
    label: str
    split: str


def load_image_folder(
    path: PathLike,
    *,
    size: Any = None,
    channels: Any = None,
    preparation: str = "middle",
    broken: str = "raise",
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Read a folder that holds a folder of pictures for each class.

    Parameters
    ----------
    path : path
        Of that folder, or of one that holds train/ and val/ or test/, each with a folder a class. Undivided, a fifth
        of each class is the test part, chosen by the names of the files alone. With val/ or test/, that is the test
        part; with both, val/ is the validation part.
    size : int or tuple of int, optional
        Height and width of the images; None: the median of the shorter sides, at most 64.
    channels : {1, 3}, optional
        Grey or colour; None: grey if all pictures are.
    preparation : {'middle', 'digit'}
        The middle of a picture, its shorter side brought to the size; or the digit on it in MNIST's form, 28 x 28.
    broken : {'raise', 'skip'}
        What comes of pictures that cannot be read: an error, or a RuntimeWarning; both name them.
    classes : sequence of str, optional
        The classes that the labels shall count, those of a model; None: those found.

    Returns
    -------
    ImageData
        The images of each part are in an order that mixes the classes.

    Raises
    ------
    OSError
        A folder cannot be read.
    DataFormatError
        Broken pictures; a class without pictures, with one alone where some are to be held out, or that is not
        trained on; fewer than two classes; links that lead in circles.
    ImportError
        Pillow is missing.

    Warns
    -----
    RuntimeWarning
        Files that are passed over.
    """
    root = path_name(path)
    splits = _splits_of(root)
    ignored: list[str] = []
    found: list[_Found] = []
    for split, folder in splits.items():
        found += _pictures_of(folder, split, ignored)
    if ignored:
        others = f"files that are no pictures by their names: {len(ignored)}, such as {ignored[0]}"
        warnings.warn(f"{root}: passed over {others}", RuntimeWarning, stacklevel=2)
    trained_on = sorted({picture.label for picture in found if picture.split == "train"})
    names = chosen_classes(trained_on, classes, root)
    for picture in found:
        if picture.label not in names:
            raise DataFormatError(f"{splits[picture.split]}: class {picture.label!r} is not in {splits['train']}")
    images, kept, form = read_pictures([picture.path for picture in found], size, channels, broken, preparation)
    found = [found[index] for index in kept]
    labels = np.array([names.index(picture.label) for picture in found], np.int64)
    if classes is None:
        left = {picture.label for picture in found if picture.split == "train"}
        if gone := [name for name in names if name not in left]:
            raise DataFormatError(f"{splits['train']}: class {gone[0]!r}: none of its pictures can be read")
    if len(splits) == 1:
        training, test = hold_out([picture.name for picture in found], labels, names, root)
        validation: list[int] = []
    else:
        order = mixed([picture.name for picture in found])
        training, val, test = ([index for index in order if found[index].split == split] for split in SPLITS)
        validation, test = (val, test) if "test" in splits else ([], val)
    parts = [part_of(images, labels, rows) for rows in (training, test, validation)]
    return ImageData(parts[0], parts[1], parts[2], names, form)


def _splits_of(root: str) -> dict[str, str]:
    """Return the folder of each part, or that of all as "train"."""
    folders = _folders_in(root)
    splits: dict[str, str] = {}
    for split, spellings in SPLITS.items():
        # A class may be called train, too: then pictures lie in it, not folders.
        named = [name for name in folders if name.lower() in spellings and _folders_in(os.path.join(root, name))]
        if len(named) > 1:
            raise DataFormatError(f"{root}: {named[0]} and {named[1]} are both there: which one?")
        if named:
            splits[split] = os.path.join(root, named[0])
    if not splits:
        return {"train": root}
    if "train" not in splits:
        raise DataFormatError(f"{root}: {os.path.basename(next(iter(splits.values())))}/ is there, but no train/")
    return splits


def _folders_in(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_visible(entry.name) and entry.is_dir())


def _pictures_of(folder: str, split: str, ignored: list[str]) -> list[_Found]:
    """Return the pictures of all classes in `folder`; add to `ignored` what is none."""
    here = os.path.realpath(folder)
    ignored += (os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _is_loose(folder, name))
    found: list[_Found] = []
    for label in _folders_in(folder):
        place = os.path.join(folder, label)
        if not label.isprintable():
            raise DataFormatError(f"{place!r}: not a name for a class")
        if Path(here).is_relative_to(os.path.realpath(place)):
            raise DataFormatError(f"{place}: a link to a folder that it lies in")
        n_before = len(found)
        for name, is_one in walk_pictures(place):
            path = os.path.join(place, name)
            if is_one:
                found.append(_Found(path, f"{label}/{name}".replace(os.sep, "/"), label, split))
            else:
                ignored.append(path)
        if len(found) == n_before:
            raise DataFormatError(f"{place}: class {label!r} has no pictures")
    return found


def _is_loose(folder: str, name: str) -> bool:
    return is_visible(name) and is_picture(name) and not os.path.isdir(os.path.join(folder, name))
