"""What all transforms share: the checks around a call, and a description that JSON can hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_real
from .._resampling import check_images
from ..initializers import RngLike, as_generator

if TYPE_CHECKING:
    from numpy.random import Generator

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Transform(ABC):
    """A random change to images that leaves their classes as they are; immutable, so that threads may share it.

    A transform of one's own inherits from this as a frozen dataclass and has `_apply`; or it is any function
    `(X, rng) -> new array`.
    """

    def __call__(self, X: Array, rng: RngLike) -> Array:
        """Return the images, each changed in a way of its own.

        Parameters
        ----------
        X : ndarray, shape (N, C, H, W), float32 or float64
            Images; not written to. NaN and infinity pass through.
        rng : numpy.random.Generator, int or None
            Draws what is done, the same numbers for float32 and float64 but where a transform says otherwise.

        Returns
        -------
        ndarray, shape and dtype of `X`
            A new array, C-contiguous and of native byte order.

        Raises
        ------
        DTypeError, ShapeError
            Not such images.
        """
        X = check_images("X", X)
        return self._apply(X, as_generator(rng))

    @abstractmethod
    def _apply(self, X: Array, rng: Generator) -> Array:
        """Return the changed images, a new array; all draws are for the whole batch, in a fixed order."""

    def config(self) -> dict[str, Any]:
        """Return {"type": name of the class, and each field}, as JSON can hold it."""
        return {"type": type(self).__name__, **{field.name: getattr(self, field.name) for field in fields(self)}}

    def _check_reals(self, **intervals: str) -> None:
        """Make each named field a float, or raise if it is not in its interval."""
        for name, interval in intervals.items():
            object.__setattr__(self, name, check_real(name, getattr(self, name), interval))
