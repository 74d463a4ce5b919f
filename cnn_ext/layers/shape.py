"""Layers that change the shape of an array and not its numbers."""

from __future__ import annotations

import math

from .._types import Array, Shape
from ..errors import ShapeError
from .base import Layer, as_float_array


class Flatten(Layer):
    """Lay each image out as one row: (N, C, H, W) becomes (N, C * H * W)."""

    def __init__(self) -> None:
        super().__init__()
        self._X_shape: Shape = ()

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return X, shape (N, ...), as rows, shape (N, product of the rest)."""
        X = as_float_array("X", X)
        if X.ndim == 0:
            raise ShapeError("Flatten expects X of shape (N, ...), got a single number")
        out = X.reshape(len(X), math.prod(X.shape[1:]))
        self._X_shape = X.shape
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): the gradient in the shape of the last input."""
        return self._check_gradient(dout).reshape(self._X_shape), []
