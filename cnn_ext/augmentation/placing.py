"""Transforms by whole pixels: every number of the result stood somewhere in the image, or is the fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._checks import check_int
from .._resampling import FILL
from .._types import Array
from ..kernels import warp_affine
from .base import Transform, plain_copy

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Pad each image all around, then cut out one of its own size: a shift by whole pixels.

    Parameters
    ----------
    padding : int
        Pixels, in [0, 2**22]: the shifts down and to the right are each uniform among the whole numbers in +-padding.
    fill : float
        Value of the padding.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range or of the wrong type.

    References
    ----------
    He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016 (for CIFAR-10, with 4 pixels).
    """

    padding: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        self._set("padding", check_int("padding", self.padding, 0, 2**22))
        self._check_reals(fill=FILL)

    def _apply(self, X: Array, rng: Generator) -> Array:
        matrix = np.zeros((len(X), 2, 3))
        matrix[:, [0, 1], [0, 1]] = 1
        matrix[:, :, 2] = rng.integers(-self.padding, self.padding + 1, (len(X), 2))
        return warp_affine(X, matrix, self.fill)  # whole steps are exact


@dataclass(frozen=True)
class RandomFlip(Transform):
    """Mirror some of the images, left to right.

    Parameters
    ----------
    probability : float
        That an image is mirrored, in [0, 1].

    Raises
    ------
    ValueError, DTypeError
        `probability` out of its range, or not a number.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        self._check_reals(probability="[0, 1]")

    def _apply(self, X: Array, rng: Generator) -> Array:
        flipped = rng.random(len(X)) < self.probability
        out = plain_copy(X)
        out[flipped] = out[flipped, :, :, ::-1]
        return out
