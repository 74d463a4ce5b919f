"""Activations: functions of one number, applied to each element of an array of any shape."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._types import Array
from .base import Layer, as_float_array


class ReLU(Layer):
    """max(x, 0), with the derivative at 0 taken as 0. NaN passes through.

    References
    ----------
    Nair, Hinton: Rectified linear units improve restricted Boltzmann machines. ICML 2010.
    """

    kept_names: ClassVar[tuple[str, ...]] = ("_off",)

    def __init__(self) -> None:
        super().__init__()
        self._off: Any = None

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return max(X, 0) for a float array X of any shape."""
        X = as_float_array("X", X)
        self.forget()
        out = np.maximum(X, 0)
        self._off = X <= 0 if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): the gradient where the input was positive, elsewhere 0."""
        dX = np.array(self._check_gradient(dout))
        np.copyto(dX, 0, where=self._off)
        return dX, []


class Sigmoid(Layer):
    """1 / (1 + exp(-x)), without overflow for any x."""

    kept_names: ClassVar[tuple[str, ...]] = ("_derivative",)

    def __init__(self) -> None:
        super().__init__()
        self._derivative: Any = None

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return the sigmoid of a float array X of any shape."""
        X = as_float_array("X", X)
        self.forget()
        e = np.exp(-np.abs(X))  # never above 1
        out = np.where(X >= 0, 1, e) / (1 + e)
        self._derivative = e / (1 + e) ** 2 if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []) with dX = dout * s * (1 - s), s the last output."""
        return self._check_gradient(dout) * self._derivative, []


class Tanh(Layer):
    """The hyperbolic tangent.

    References
    ----------
    LeCun, Bottou, Orr, Müller: Efficient BackProp. 1998.
    """

    kept_names: ClassVar[tuple[str, ...]] = ("_derivative",)

    def __init__(self) -> None:
        super().__init__()
        self._derivative: Any = None

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return tanh of a float array X of any shape."""
        X = as_float_array("X", X)
        self.forget()
        out = np.tanh(X)
        self._derivative = 1 - out**2 if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []) with dX = dout * (1 - t**2), t the last output."""
        return self._check_gradient(dout) * self._derivative, []
