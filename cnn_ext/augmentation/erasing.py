"""Transforms that hide a part of each image, so that a network looks at the rest too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._checks import check_int
from .._resampling import FILL
from .._types import Array
from .base import Transform, plain_copy

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class RandomErasing(Transform):
    """Fill a rectangle, of random size and wholly inside, in some of the images.

    Parameters
    ----------
    probability : float
        That an image has one, in [0, 1].
    area : tuple (lowest, highest)
        Share of the image that the rectangle covers, in (0, 1]: uniform.
    aspect : tuple (lowest, highest)
        Its height over its width, > 0: uniform in the logarithm, so that lying and standing ones are equally likely.
        (The paper draws it uniformly, and draws again what does not fit; here the longer side is cut to the image's.)
    fill : float
        Value of the rectangle.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range, or not a number.

    References
    ----------
    Zhong, Zheng, Kang, Li, Yang: Random erasing data augmentation. AAAI 2020.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.25)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(probability="[0, 1]", fill=FILL)
        self._check_ranges(area="(0, 1]", aspect="(0, inf)")

    def _apply(self, X: Array, rng: Generator) -> Array:
        chance, area, aspect, down, right = rng.random((len(X), 5)).T
        pixels = (self.area[0] + (self.area[1] - self.area[0]) * area) * X.shape[2] * X.shape[3]
        low, high = np.log(self.aspect)
        root = np.exp((low + (high - low) * aspect) / 2)  # of height / width
        height = np.clip(np.rint(np.sqrt(pixels) * root), 1, X.shape[2])
        width = np.clip(np.rint(np.sqrt(pixels) / root), 1, X.shape[3])
        height[chance >= self.probability] = 0
        top, left = (
            np.floor(u * (size - side + 1)) for u, size, side in zip((down, right), X.shape[2:], (height, width))
        )
        return _fill_rectangles(X, top, left, height, width, self.fill)


@dataclass(frozen=True)
class Cutout(Transform):
    """Fill a square around a random pixel of the image; what of it lies outside is lost.

    Parameters
    ----------
    size : int
        Side in pixels, in [1, 2**22].
    probability : float
        That an image has one, in [0, 1].
    fill : float
        Value of the square.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range or of the wrong type.

    References
    ----------
    DeVries, Taylor: Improved regularization of convolutional neural networks with cutout. 2017.
    """

    size: int
    probability: float = 1.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        self._set("size", check_int("size", self.size, 1, 2**22))
        self._check_reals(probability="[0, 1]", fill=FILL)

    def _apply(self, X: Array, rng: Generator) -> Array:
        chance, down, right = rng.random((len(X), 3)).T
        top, left = (np.floor(u * side) - self.size // 2 for u, side in zip((down, right), X.shape[2:]))
        height = np.where(chance < self.probability, self.size, 0)
        return _fill_rectangles(X, top, left, height, np.full(len(X), self.size), self.fill)


def _fill_rectangles(X: Array, top: Array, left: Array, height: Array, width: Array, fill: float) -> Array:
    """Return X with one rectangle an image filled, as far as it lies inside."""
    below, beside = (np.arange(side) - begin[:, None] for side, begin in zip(X.shape[2:], (top, left)))
    in_rows = (below >= 0) & (below < height[:, None])
    in_columns = (beside >= 0) & (beside < width[:, None])
    out = plain_copy(X)
    np.copyto(out, fill, where=in_rows[:, None, :, None] & in_columns[:, None, None, :])
    return out
