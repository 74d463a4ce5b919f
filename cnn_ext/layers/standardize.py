"""Standardization: the preprocessing of images as a network's first layer, so that it is saved with the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._checks import check_image_shape, check_real
from .._types import Array, Shape
from ..errors import ShapeError
from .base import Layer, as_float_array

CHUNK = 256
"""Images that `Standardize.fit` takes at a time."""

Numbers = float | tuple[float, ...]


class Standardize(Layer):
    """(X - mean) / std, with one mean and one std or with one of each a channel; they are given, not trained.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (C, H, W) of one image.
    mean, std : float, or sequence of C floats
        In the units of the pixels; within +-1e38, and std above 1e-38, so that float32 can hold them.

    Raises
    ------
    ValueError
        A number out of range.
    ShapeError
        As many numbers as there are not channels; an input of another shape than X_dim.
    DTypeError
        Something other than numbers.

    References
    ----------
    LeCun, Bottou, Orr, Müller: Efficient BackProp, section 4.3. 1998.
    """

    config_names: ClassVar[tuple[str, ...]] = ("X_dim", "mean", "std")

    def __init__(self, X_dim: tuple[int, int, int], mean: Any, std: Any) -> None:
        super().__init__()
        self.X_dim: tuple[int, int, int] = check_image_shape("X_dim", X_dim)
        self.input_shape: Shape | None = self.X_dim
        self.mean: Numbers = _numbers("mean", mean, self.X_dim[0], "(-1e38, 1e38)")
        self.std: Numbers = _numbers("std", std, self.X_dim[0], "(1e-38, 1e38)")

    @classmethod
    def fit(cls, X: Any) -> Standardize:
        """Return the layer that brings each channel of images X, shape (N, C, H, W), to mean 0 and variance 1.

        X may be anything that gives such arrays of floats when sliced, such as `ScaledImages`: it is read twice, a few
        images at a time, and its moments are summed in float64.

        Raises
        ------
        ShapeError
            X is not a batch of at least one image.
        ValueError
            A channel that is the same everywhere: its std would be 0. NaN or infinity among the pixels.
        """
        shape = np.shape(X)
        if len(shape) != 4 or 0 in shape:
            raise ShapeError(f"X must be a batch of images (N, C, H, W), got shape {shape}")

        def average(function: Callable[[Array], Array]) -> Array:
            parts = (as_float_array("X", X[start : start + CHUNK]) for start in range(0, shape[0], CHUNK))
            sums = [function(part.astype(np.float64, order="C")).sum(axis=(0, 2, 3)) for part in parts]
            return np.sum(sums, axis=0)[:, np.newaxis, np.newaxis] / (shape[0] * shape[2] * shape[3])

        with np.errstate(invalid="ignore"):  # what comes of infinities is refused below
            pixel = as_float_array("X", X[:1])[0, :, :1, :1].astype(np.float64)
            mean = pixel + average(lambda part: part - pixel)  # exact where all pixels are alike
            std = np.sqrt(average(lambda part: np.square(part - mean)))
        return cls(shape[1:], mean.ravel(), std.ravel())

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return (X - mean) / std for images X, shape (N, C, H, W), in the dtype of X."""
        X = as_float_array("X", X)
        if X.shape[1:] != self.X_dim:
            raise ShapeError(f"Standardize expects images of shape (N, *{self.X_dim}), got {X.shape}")
        out = np.subtract(X, _per_channel(self.mean, X.dtype), order="C")
        out /= _per_channel(self.std, X.dtype)
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []) with dX = dout / std."""
        dout = self._check_gradient(dout)
        return np.divide(dout, _per_channel(self.std, dout.dtype), order="C"), []


def _numbers(name: str, value: Any, n_channels: int, interval: str) -> Numbers:
    """Return one number as a float, several as a tuple of one float a channel: as JSON can hold them."""
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(values, (list, tuple)):
        return check_real(name, values, interval)
    if len(values) != n_channels:
        raise ShapeError(f"{name} must be one number or one for each of {n_channels} channels, got {len(values)}")
    return tuple(check_real(f"{name}[{channel}]", number, interval) for channel, number in enumerate(values))


def _per_channel(numbers: Numbers, dtype: np.dtype[Any]) -> Any:
    """Return the numbers in `dtype`, to go with images (N, C, H, W)."""
    return dtype.type(numbers) if isinstance(numbers, float) else np.array(numbers, dtype).reshape(-1, 1, 1)
