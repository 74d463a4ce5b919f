"""Pooling: the largest or the average value of each window, and the way back."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import kernels
from .._checks import check_image_shape, check_int
from .._types import Array, Shape
from .._windows import check_windows
from ..errors import ShapeError
from .base import Layer, as_float_array


class _Pooling(Layer):
    """What poolings share: images of one shape in, images or rows of `out_dim` out."""

    out_dim: Any

    def __init__(self, X_dim: tuple[int, int, int]) -> None:
        super().__init__()
        self.X_dim: tuple[int, int, int] = check_image_shape("X_dim", X_dim)
        self.input_shape: Shape | None = self.X_dim

    def output_shape(self, shape: Shape) -> Shape:
        return self.out_dim

    def _check_images(self, X: Array) -> Array:
        X = as_float_array("X", X)
        if X.shape[1:] != self.X_dim:
            raise ShapeError(f"{type(self).__name__} expects images of shape {self.X_dim}, got {X.shape[1:]}")
        return X


class _WindowPooling(_Pooling):
    """Pooling over square windows."""

    config_names: ClassVar[tuple[str, ...]] = ("X_dim", "size", "stride")
    out_dim: tuple[int, int, int]

    def __init__(self, X_dim: tuple[int, int, int], size: int, stride: int) -> None:
        super().__init__(X_dim)
        self.size: int = check_int("size", size, 1)
        self.stride: int = check_int("stride", stride, 1)
        windows = check_windows((1, *self.X_dim), {"size": self.size}, 0, self.stride)
        self.out_dim = (self.X_dim[0], windows.h_out, windows.w_out)


class Maxpool(_WindowPooling):
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

    kept_names: ClassVar[tuple[str, ...]] = ("_argmax",)

    def __init__(self, X_dim: tuple[int, int, int], size: int, stride: int) -> None:
        super().__init__(X_dim, size, stride)
        self._argmax: Any = None

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return the maxima, shape (N, C, H_out, W_out), of a batch X, shape (N, C, H, W)."""
        X = self._check_images(X)
        self.forget()
        out, argmax = kernels.maxpool_forward(X, self.size, self.stride)
        self._argmax = argmax if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): each gradient goes to its window's winner, and adds up where windows overlap."""
        dout = self._check_gradient(dout)
        dX = kernels.maxpool_backward(dout, self._argmax, (len(dout), *self.X_dim), self.size, self.stride)
        return dX, []


class AvgPool(_WindowPooling):
    """Average pooling over square windows.

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
    LeCun et al.: Gradient-based learning applied to document recognition. Proc. IEEE 86(11), 1998.
    """

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return the averages, shape (N, C, H_out, W_out), of a batch X, shape (N, C, H, W)."""
        X = self._check_images(X)
        self.forget()
        out = kernels.avgpool_forward(X, self.size, self.stride)
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): each pixel of a window gets its share; where windows overlap, shares add up."""
        dout = self._check_gradient(dout)
        return kernels.avgpool_backward(dout, (len(dout), *self.X_dim), self.size, self.stride), []


class GlobalAvgPool(_Pooling):
    """The average of each channel over the whole image: (N, C, H, W) becomes (N, C), ready for a dense layer.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (C, H, W) of one input.

    Raises
    ------
    ShapeError, DTypeError
        An X_dim that is not a shape of images.

    References
    ----------
    Lin, Chen, Yan: Network in network. ICLR 2014.
    """

    config_names: ClassVar[tuple[str, ...]] = ("X_dim",)

    def __init__(self, X_dim: tuple[int, int, int]) -> None:
        super().__init__(X_dim)
        self.out_dim: Shape = self.X_dim[:1]

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return the averages, shape (N, C), of a batch X, shape (N, C, H, W)."""
        X = self._check_images(X)
        self.forget()
        out = kernels.avgpool_forward(X, self.X_dim[1:], 1)[:, :, 0, 0]
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): each pixel gets its share of the gradient, shape (N, C)."""
        dout = self._check_gradient(dout)[:, :, None, None]
        return kernels.avgpool_backward(dout, (len(dout), *self.X_dim), self.X_dim[1:], 1), []
