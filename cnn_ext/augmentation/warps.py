"""Transforms that resample the images: affine maps and elastic distortion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._resampling import FILL, inverse_affine
from .._types import Array
from ..kernels import gaussian_blur, warp_affine, warp_flow
from .base import Transform

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Shear, scale, turn and shift each image, about its centre and in this order, with one bilinear resampling.

    Parameters
    ----------
    rotation : float
        Degrees, in [0, 180]: the angle is uniform in +-rotation, counter-clockwise if positive.
    translation : float
        Pixels, >= 0: the shifts down and to the right are each uniform in +-translation.
    scale : float
        In [0, 1): the factor is uniform in [1 - scale, 1 + scale].
    shear : float
        Degrees, in [0, 90): vertical lines lean by an angle uniform in +-shear.
    fill : float
        Value of what comes from outside the image.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range, or not a number.

    References
    ----------
    Simard, Steinkraus, Platt: Best practices for convolutional neural networks applied to visual document analysis.
      ICDAR 2003.
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(rotation="[0, 180]", translation="[0, inf)", scale="[0, 1)", shear="[0, 90)")
        self._check_reals(fill=FILL)

    def _apply(self, X: Array, rng: Generator) -> Array:
        # Five draws an image whatever the ranges: a range set to 0 changes nothing else.
        angle, factor, lean, down, right = rng.uniform(-1, 1, (len(X), 5)).T
        angle, lean = np.radians(self.rotation) * angle, np.radians(self.shear) * lean
        down, right = self.translation * down, self.translation * right
        return warp_affine(X, inverse_affine(angle, 1 + self.scale * factor, np.tan(lean), down, right), self.fill)


@dataclass(frozen=True)
class ElasticDistortion(Transform):
    """Shift each pixel by a smooth random field: strokes bend as in handwriting.

    Parameters
    ----------
    alpha : float
        Pixels, >= 0: what the smoothed field, of numbers uniform in [-1, 1) before, is multiplied by. Away from the
        border, shifts down and to the right then each have a standard deviation of about 0.16 * alpha / sigma pixels
        (for sigma >= 1); towards the border they fade.
    sigma : float
        Standard deviation of the smoothing Gaussian in pixels, in (0, 1000].
    fill : float
        Value of what comes from outside the image.

    Notes
    -----
    The field is drawn in the dtype of the images: float32 and float64 get other numbers.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range, or not a number.

    References
    ----------
    Simard, Steinkraus, Platt: Best practices for convolutional neural networks applied to visual document analysis.
      ICDAR 2003.
    """

    alpha: float
    sigma: float
    fill: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(alpha="[0, inf)", sigma="(0, 1000]", fill=FILL)

    def _apply(self, X: Array, rng: Generator) -> Array:
        field = rng.random((len(X), 2, *X.shape[2:]), X.dtype.newbyteorder("="))
        field *= 2
        field -= 1
        flow = gaussian_blur(field, self.sigma)
        with np.errstate(over="ignore"):  # infinity is outside the image
            flow *= self.alpha
        return warp_flow(X, flow, self.fill)
