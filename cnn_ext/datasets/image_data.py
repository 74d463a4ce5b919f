"""What every source of images comes to: three parts, the names of the classes, the form of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..errors import DataFormatError, shown
from ..image_form import ImageForm
from .mnist import Part
from .scaled_images import ScaledImages


class ImageData(NamedTuple):
    """Images and labels to train, test and validate on.

    Attributes
    ----------
    training, test, validation : tuple of (images, labels)
        Images that are float32 in [0, 1] when indexed, (N, C, H, W), and labels int64; validation may be empty.
    classes : list of str
        The name of each label.
    form : ImageForm
        What the images were brought to, and how a picture becomes such an image.
    """

    training: Part
    test: Part
    validation: Part
    classes: list[str]
    form: ImageForm


def chosen_classes(found: Sequence[str], wanted: Sequence[str] | None, where: str) -> list[str]:
    """Return the names of the classes in the order of their labels: those found, or those that a model knows.

    Raises
    ------
    DataFormatError
        Fewer than two classes; a class that the model does not know.
    """
    if wanted is not None:
        if unknown := [name for name in found if name not in wanted]:
            raise DataFormatError(f"{where}: class {unknown[0]!r} is none of the model's: {shown(_listed(wanted))}")
        return list(wanted)
    if len(found) < 2:
        raise DataFormatError(f"{where}: {f'one class only ({found[0]!r})' if found else 'no classes'}, two are needed")
    return list(found)


def part_of(images: Array, labels: Array, rows: Sequence[int]) -> Part:
    """Return the images and labels of these rows, the images as bytes that are scaled when they are asked for."""
    index = np.array(rows, np.int64)
    return ScaledImages(images[index]), labels[index]


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:10], *(["..."] if len(names) > 10 else [])])
