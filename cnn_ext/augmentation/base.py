"""What all transforms share: the checks around a call, and a description that JSON can hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import check_real
from .._resampling import check_images
from .._types import Array
from ..errors import DTypeError
from ..initializers import RngLike, as_generator

if TYPE_CHECKING:
    from numpy.random import Generator


def plain_copy(X: Array) -> Array:
    """Return a copy of `X` that is C-contiguous and of native byte order."""
    return np.array(X, X.dtype.newbyteorder("="), order="C")


@dataclass(frozen=True)
class Transform(ABC):
    """A random change to images that leaves their classes as they are; immutable, so that threads may share it.

    A transform of one's own is a frozen dataclass that inherits from this and has `_apply`.
    """

    def __call__(self, X: Array, rng: RngLike) -> Array:
        """Return the images, each changed in a way of its own.

        Parameters
        ----------
        X : ndarray, shape (N, C, H, W), float32 or float64
            Images; not written to. NaN passes through; infinity too, or becomes NaN where it is blended.
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
        """Return {"type": name of the class, and each field}, as JSON gives it back: with lists for tuples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {"type": type(self).__name__, **values, **lists}

    def _check_reals(self, **intervals: str) -> None:
        """Make each named field a float, or raise if it is not in its interval."""
        for name, interval in intervals.items():
            self._set(name, check_real(name, getattr(self, name), interval))

    def _check_ranges(self, **intervals: str) -> None:
        """Make each named field a tuple (lowest, highest) of floats in its interval, or raise."""
        for name, interval in intervals.items():
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise DTypeError(f"{name} must be a tuple (lowest, highest), got {value!r}")
            low, high = (check_real(f"{name}[{i}]", value[i], interval) for i in (0, 1))
            if low > high:
                raise ValueError(f"{name} must be (lowest, highest), got ({low}, {high})")
            self._set(name, (low, high))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # what is frozen is set here, while it is made
