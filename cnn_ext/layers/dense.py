"""The fully connected layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._checks import as_contiguous, check_float_dtype, check_int
from .._types import Array, Shape
from ..engine import dense_backward, dense_forward
from ..errors import ShapeError
from ..initializers import RngLike, he_normal
from .base import ArrayOf, Layer, as_float_array


class FullyConnected(Layer):
    """X @ W + b.

    Parameters
    ----------
    in_size, out_size : int
        Numbers of inputs and outputs.
    dtype : numpy dtype
        float32 or float64: of the weights, and what the layer computes in.
    rng : numpy.random.Generator, int or None
        Draws the initial weights (He's normal distribution; biases start at zero).

    Attributes
    ----------
    W : ndarray, shape (in_size, out_size)
    b : ndarray, shape (out_size,)

    Raises
    ------
    ValueError, DTypeError
        A size that is not a positive int, a dtype that is not float32 or float64.

    References
    ----------
    Rumelhart, Hinton, Williams: Learning representations by back-propagating errors. Nature 323, 1986.
    """

    param_names: ClassVar[tuple[str, ...]] = ("W", "b")
    config_names: ClassVar[tuple[str, ...]] = ("in_size", "out_size", "dtype")
    kept_names: ClassVar[tuple[str, ...]] = ("_X",)

    W: ArrayOf = ArrayOf("params", 0)
    b: ArrayOf = ArrayOf("params", 1)

    def __init__(self, in_size: int, out_size: int, *, dtype: Any = np.float32, rng: RngLike = None) -> None:
        super().__init__()
        self.in_size: int = check_int("in_size", in_size, 1)
        self.out_size: int = check_int("out_size", out_size, 1)
        self.dtype: np.dtype[Any] = check_float_dtype("dtype", dtype)
        self.input_shape: Shape | None = (self.in_size,)
        shapes = self.state_shapes(self.config())
        self.params: list[Array] = [
            he_normal(shapes["W"], self.in_size, self.dtype, rng),
            np.zeros(shapes["b"], self.dtype),
        ]
        self._X: Any = None

    @classmethod
    def state_shapes(cls, config: dict[str, Any]) -> dict[str, Shape]:
        return {"W": (config["in_size"], config["out_size"]), "b": (config["out_size"],)}

    def output_shape(self, shape: Shape) -> Shape:
        return (self.out_size,)

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return X @ W + b, shape (N, out_size), for X of shape (N, in_size).

        With `training`, X itself is kept for `backward`, not a copy: do not change it in between.
        """
        X = as_float_array("X", X, self.dtype)
        if X.ndim != 2 or X.shape[1] != self.in_size:
            raise ShapeError(f"FullyConnected expects X of shape (N, {self.in_size}), got {X.shape}")
        self.forget()
        X = as_contiguous(X)
        out = dense_forward(X, *self.weights())
        self._X = X if training else None
        self._note_output(out, training)
        return out

    def weights(self) -> tuple[Array, Array]:
        """Return `W` and `b` as the kernels want them: of the layer's dtype, contiguous, of the right shapes."""
        W, b = (as_contiguous(param, self.dtype) for param in self.params)
        if W.shape != (self.in_size, self.out_size) or b.shape != (self.out_size,):
            raise ShapeError(
                f"FullyConnected has W ({self.in_size}, {self.out_size}) and b ({self.out_size},), "
                f"but params hold {W.shape} and {b.shape}"
            )
        return W, b

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, [dW, db]) for the gradient `dout`, shape (N, out_size)."""
        dX, dW, db = self._gradients(dout, need_dX=True)
        return dX, [dW, db]

    def parameter_gradients(self, dout: Array) -> list[Array]:
        """Return [dW, db] alone: all that the first layer of a network needs."""
        return list(self._gradients(dout, need_dX=False)[1:])

    def _gradients(self, dout: Array, need_dX: bool) -> tuple[Array, Array, Array]:
        dout = as_contiguous(self._check_gradient(dout))
        return dense_backward(dout, self._X, self.weights()[0], need_dx=need_dX)
