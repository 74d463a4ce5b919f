"""Max-pooling: the largest value of each window, and the way back to where it stood."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .._checks import check_image_shape, check_int
from .._windows import window_counts
from ..errors import ShapeError
from .base import Array, Layer, Shape, as_float_array


class Maxpool(Layer):
    """Max-pooling over square windows; the layer keeps, for each window, the place of its winner.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (C, H, W) of one input.
    size : int
        Height and width of a window, in pixels.
    stride : int
        Step between neighbouring windows, in pixels.

    Attributes
    ----------
    out_dim : tuple of int
        Shape (C, H_out, W_out) of one output, where H_out = (H - size) // stride + 1.

    Raises
    ------
    ShapeError
        A window larger than the image.
    ValueError, DTypeError
        A size or stride that is not a positive int.

    References
    ----------
    Zhou, Chellappa: Computation of optical flow using a neural network. ICNN 1988.
    """

    config_names = ("X_dim", "size", "stride")

    def __init__(self, X_dim: tuple[int, int, int], size: int, stride: int) -> None:
        super().__init__()
        self.X_dim = self.input_shape = check_image_shape("X_dim", X_dim)
        self.size = check_int("size", size, 1)
        self.stride = check_int("stride", stride, 1)
        h_out, w_out = window_counts(self.X_dim[1:], (self.size, self.size), 0, self.stride)
        self.out_dim = (self.X_dim[0], h_out, w_out)
        self._argmax: Any = None

    def output_shape(self, shape: Shape) -> Shape:
        return self.out_dim

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return the maxima, shape (N, C, H_out, W_out), of a batch X, shape (N, C, H, W)."""
        X = as_float_array("X", X)
        if X.shape[1:] != self.X_dim:
            raise ShapeError(f"Maxpool expects images of shape {self.X_dim}, got {X.shape[1:]}")
        out, argmax = kernels.maxpool_forward(X, self.size, self.stride)
        self._argmax = argmax if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): each gradient goes to its window's winner, and adds up where windows overlap."""
        dout = self._check_gradient(dout)
        dX = kernels.maxpool_backward(dout, self._argmax, (len(dout), *self.X_dim), self.size, self.stride)
        return dX, []
