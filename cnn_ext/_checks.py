"""Argument checks shared by the public functions: each names the argument, what came and what was wanted."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

from ._types import Array
from .errors import DTypeError, ShapeError


def check_int(name: str, value: Any, minimum: int, maximum: int | None = sys.maxsize) -> int:
    """Return `value` as an int; bools, floats and strings are a DTypeError, out of range a ValueError."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise DTypeError(f"{name} must be an int, got {type(value).__name__}")
    value = int(value)
    if value < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {_shown(value)}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be <= {maximum}, got {_shown(value)}")
    return value


def _shown(value: int) -> str:
    """Return an int as a message shows it; Python itself refuses to write out the longest."""
    return str(value) if value.bit_length() <= 128 else f"an int of {value.bit_length()} bits"


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool; anything else is a DTypeError, so that "no" does not mean yes."""
    if not isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"{name} must be a bool, got {type(value).__name__}")
    return bool(value)


def check_instance(name: str, value: Any, kind: type) -> None:
    """Raise DTypeError if `value` is not a `kind`."""
    if isinstance(value, type) and issubclass(value, kind):
        raise DTypeError(f"{name} must be of type {kind.__name__}, got the class {value.__name__}: call it")
    if not isinstance(value, kind):
        raise DTypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")


def as_list(name: str, value: Any) -> list[Any]:
    """Return what `value` holds as a list; a DTypeError if it is text or holds nothing one by one."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") or getattr(value, "ndim", 1) == 0:
        raise DTypeError(f"{name} must be a list or tuple, got {type(value).__name__}")
    return list(value)


def check_real(name: str, value: Any, interval: str) -> float:
    """Return `value` as a float inside `interval`, written as in mathematics: "(0, inf)", "[0, 1)"."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise DTypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        value = float(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be in {interval}, got an int beyond the range of a float") from error
    if not is_inside(value, interval):
        raise ValueError(f"{name} must be in {interval}, got {value}")
    return value


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return `value` if it is one of the names in `choices`; the error lists them."""
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")
    return value


def is_inside(value: float, interval: str) -> bool:
    """Return whether `value` is inside `interval`, written as in mathematics; NaN is inside of none."""
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value > low or (interval[0] == "[" and value == low)
    below = value < high or (interval[-1] == "]" and value == high)
    return above and below


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether this is float32 or float64, in either byte order.

    By its letter: where a long double is as short as a double, their dtypes are equal.
    """
    return dtype.char in "fd"


def check_float_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as float32 or float64 in native byte order, or raise DTypeError."""
    try:
        found = np.dtype("O" if dtype is None else dtype)  # to NumPy, None means float64
    except (TypeError, ValueError, SyntaxError) as error:  # NumPy parses text: "(2,3" is a SyntaxError
        raise DTypeError(f"{name} must be float32 or float64, got {dtype!r}") from error
    if not (is_float(found) and found.isnative):
        raise DTypeError(f"{name} must be float32 or float64, got {dtype if dtype is None else found}")
    return found


def type_and_length(value: Any) -> str:
    """Return what a message says of a value that should be a pair: "tuple of length 3", "float"."""
    return type(value).__name__ + (f" of length {len(value)}" if isinstance(value, (tuple, list)) else "")


def check_image_shape(name: str, shape: Any) -> tuple[int, int, int]:
    """Return `shape` as a tuple (C, H, W) of ints >= 1."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ShapeError(f"{name} must be a tuple (C, H, W), got {shape!r}")
    channels, height, width = (check_int(f"{name}[{axis}]", size, 1) for axis, size in enumerate(shape))
    check_countable(name, (channels, height, width))
    return channels, height, width


def check_countable(name: str, shape: tuple[int, ...]) -> None:
    """Raise ShapeError if an array of `shape` would have more bytes than a machine word counts."""
    if 8 * math.prod(shape) > sys.maxsize:
        raise ShapeError(f"{name} {shape} makes more numbers than can be counted")


def above_zero(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a number > 0 in `dtype`, not rounded to 0: what keeps a divisor from that."""
    return max(dtype.type(value), np.finfo(dtype).tiny)


def as_array(name: str, x: Any) -> Array:
    """Return what NumPy can view as an array: arrays and their like, buffers, lists, and DLPack on the CPU.

    Ragged lists are a ShapeError; masked arrays, whose mask would be lost, and what cannot be viewed a DTypeError.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise DTypeError(f"{name} must be a plain numpy.ndarray, got a masked array")
    try:
        if not hasattr(x, "__dlpack__") or hasattr(x, "__array__"):
            return np.asarray(x)
    except ValueError as error:
        raise ShapeError(f"{name} must be an array, got a {type(x).__name__} that makes none: {error}") from error
    except (BufferError, RuntimeError, TypeError) as error:
        raise DTypeError(f"{name} must be an array that NumPy can view, got {type(x).__name__}: {error}") from error
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DTypeError(f"{name} must be an array that NumPy can view, got {type(x).__name__}: {error}") from error


def as_contiguous(array: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """Return an array as the compiled code takes it: C-contiguous, aligned, of `dtype` or native in its own.

    NumPy's own function leaves open whether the array is aligned.
    """
    if dtype is None and not array.dtype.isnative:
        dtype = array.dtype.newbyteorder("=")
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.aligned else array.copy()


def check_array(name: str, x: Any, ndim: int | None = None) -> Array:
    """Return `x` if it is a plain float32 or float64 ndarray of `ndim` axes (of any layout and byte order)."""
    if not isinstance(x, np.ndarray):
        raise DTypeError(f"{name} must be a numpy.ndarray, got {type(x).__name__}")
    if isinstance(x, np.ma.MaskedArray):
        raise DTypeError(f"{name} must be a plain numpy.ndarray, got a masked array")
    if not is_float(x.dtype):
        raise DTypeError(f"{name} must be float32 or float64, got {x.dtype}")
    if ndim is not None and x.ndim != ndim:
        axes = {4: " (N, C, H, W)", 2: " (rows, columns)"}.get(ndim, "")
        raise ShapeError(f"{name} must be {ndim}-D{axes}, got {x.ndim}-D {x.shape}")
    return x.view(np.ndarray)  # not a subclass: a matrix stays 2-D however it is reshaped


def check_apart(names: Iterable[str], arrays: Iterable[Array]) -> None:
    """Raise ValueError if two of the arrays, which are called by these names, share memory."""
    seen: list[tuple[str, Array]] = []
    for name, array in zip(names, arrays, strict=True):
        for other_name, other in seen:
            if np.may_share_memory(array, other) and np.shares_memory(array, other):
                raise ValueError(f"{other_name} and {name} share memory: each must have its own")
        seen.append((name, array))
