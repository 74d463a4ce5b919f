"""Views of an image for test-time augmentation: each the same change to every image, without chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._checks import check_bool, check_real
from ._resampling import FILL, check_images, inverse_affine
from ._types import Array
from .kernels import warp_affine


@dataclass(frozen=True)
class View:
    """Images mirrored, then scaled, turned and shifted about their centre, with one bilinear resampling.

    Parameters
    ----------
    rotation : float
        Degrees, in [-180, 180], counter-clockwise if positive.
    down, right : float
        Shifts in pixels; whole ones are exact.
    scale : float
        Factor, > 0: above 1, what the image shows becomes larger.
    flip : bool
        Whether left and right are exchanged.
    fill : float
        Value of what comes from outside the image.

    Raises
    ------
    ValueError, DTypeError
        A value out of its range, or not of its type.
    """

    rotation: float = 0.0
    down: float = 0.0
    right: float = 0.0
    scale: float = 1.0
    flip: bool = False
    fill: float = 0.0

    def __post_init__(self) -> None:
        shift = "(-inf, inf)"
        intervals = {"rotation": "[-180, 180]", "down": shift, "right": shift, "scale": "(0, inf)", "fill": FILL}
        for name, interval in intervals.items():
            object.__setattr__(self, name, check_real(name, getattr(self, name), interval))  # frozen but for now
        object.__setattr__(self, "flip", check_bool("flip", self.flip))

    def __call__(self, X: Array) -> Array:
        """Return the view of each image of X, shape (N, C, H, W), float32 or float64: a new array."""
        X = check_images("X", X)
        settings = (np.radians(self.rotation), self.scale, 0.0, self.down, self.right)
        matrix = inverse_affine(*(np.array([setting]) for setting in settings))
        images = X[..., ::-1] if self.flip else X
        return warp_affine(images, np.broadcast_to(matrix, (len(X), 2, 3)), self.fill)


def shifted_views(pixels: float) -> tuple[View, ...]:
    """Return nine views: the images as they are, and shifted by so many pixels along the axes and diagonals."""
    pixels = check_real("pixels", pixels, "(-inf, inf)")
    steps = (0.0, -pixels, pixels)
    return tuple(View(down=down, right=right) for down in steps for right in steps)
