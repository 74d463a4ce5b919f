"""Initial weights, drawn from a NumPy Generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ._checks import check_countable
from ._types import Array
from .errors import DTypeError

if TYPE_CHECKING:
    from numpy.random import Generator

RngLike: TypeAlias = "Generator | int | None"


def as_generator(rng: RngLike) -> Generator:
    """Return a Generator: `rng` itself, one seeded by the int `rng`, or for None one seeded by the system.

    Raises
    ------
    DTypeError
        `rng` is neither a Generator, an int nor None.
    ValueError
        A negative seed.
    """
    from numpy.random import Generator, default_rng  # not at import: it costs more than the rest of the package

    if isinstance(rng, Generator):
        return rng
    if rng is not None and (isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (int, np.integer))):
        raise DTypeError(f"rng must be a numpy.random.Generator, an int or None, got {type(rng).__name__}")
    if rng is not None and rng < 0:
        raise ValueError(f"rng must be a seed >= 0, got {rng}")
    return default_rng(rng)


def he_normal(shape: tuple[int, ...], fan_in: int, dtype: Any, rng: RngLike) -> Array:
    """Draw weights from a normal distribution of variance 2 / `fan_in`, for layers followed by a ReLU.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weights.
    fan_in : int
        Number of inputs that one output sums over.
    dtype : numpy dtype
        float32 or float64. The draws are made in float64 and rounded, so that both start alike.
    rng : numpy.random.Generator, int or None
        Where the numbers come from.

    References
    ----------
    He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015.
    """
    check_countable("weights of shape", shape)
    return (as_generator(rng).standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(dtype)
