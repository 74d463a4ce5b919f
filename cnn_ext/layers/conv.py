"""Convolution as a matrix product: unfold the image into columns, multiply by the filters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from .._checks import check_float_dtype, check_image_shape, check_int
from .._windows import window_counts
from ..errors import ShapeError
from ..initializers import RngLike, he_normal
from .base import Array, ArrayOf, Layer, Shape, as_float_array


class Conv(Layer):
    """2-D convolution (cross-correlation, as everywhere in deep learning) with a bias per filter.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (C, H, W) of one input image.
    n_filter : int
        Number of filters, the channels of the output.
    h_filter, w_filter : int
        Height and width of a filter, in pixels.
    stride : int
        Step between neighbouring windows, in pixels.
    padding : int
        Rows and columns of zeros put around the image on every side.
    dtype : numpy dtype
        float32 or float64: of the weights, and what the layer computes in.
    rng : numpy.random.Generator, int or None
        Draws the initial weights (He's normal distribution; biases start at zero).

    Attributes
    ----------
    W : ndarray, shape (n_filter, C, h_filter, w_filter)
    b : ndarray, shape (n_filter,)
    out_dim : tuple of int
        Shape (n_filter, H_out, W_out) of one output, where H_out = (H + 2 * padding - h_filter) // stride + 1.
        Rows and columns on the far side that fill no window are left out, as in PyTorch and ONNX.

    Raises
    ------
    ShapeError
        A filter larger than the padded image.
    ValueError, DTypeError
        A size that is not a positive int (padding may be 0).

    References
    ----------
    LeCun et al.: Gradient-based learning applied to document recognition. Proc. IEEE 86(11), 1998.
    Chellapilla, Puri, Simard: High performance convolutional neural networks for document processing. 2006
    (the product of matrices).
    """

    param_names = ("W", "b")
    config_names = ("X_dim", "n_filter", "h_filter", "w_filter", "stride", "padding", "dtype")

    W = ArrayOf("params", 0)
    b = ArrayOf("params", 1)

    def __init__(
        self,
        X_dim: tuple[int, int, int],
        n_filter: int,
        h_filter: int,
        w_filter: int,
        stride: int,
        padding: int,
        *,
        dtype: Any = np.float32,
        rng: RngLike = None,
    ) -> None:
        super().__init__()
        self.X_dim = self.input_shape = check_image_shape("X_dim", X_dim)
        self.n_filter = check_int("n_filter", n_filter, 1)
        self.h_filter = check_int("h_filter", h_filter, 1)
        self.w_filter = check_int("w_filter", w_filter, 1)
        self.stride = check_int("stride", stride, 1)
        self.padding = check_int("padding", padding, 0)
        self.dtype = check_float_dtype("dtype", dtype)
        h_out, w_out = window_counts(self.X_dim[1:], (self.h_filter, self.w_filter), self.padding, self.stride)
        self.out_dim = (self.n_filter, h_out, w_out)
        shapes = self.state_shapes(self.config())
        fan_in = self.X_dim[0] * self.h_filter * self.w_filter
        self.params = [he_normal(shapes["W"], fan_in, self.dtype, rng), np.zeros(shapes["b"], self.dtype)]
        self._columns: Any = None

    @classmethod
    def state_shapes(cls, config: dict[str, Any]) -> dict[str, Shape]:
        n_filter = config["n_filter"]
        return {"W": (n_filter, config["X_dim"][0], config["h_filter"], config["w_filter"]), "b": (n_filter,)}

    def output_shape(self, shape: Shape) -> Shape:
        return self.out_dim

    def forward(self, X: Array, training: bool = True) -> Array:
        """Convolve a batch.

        Parameters
        ----------
        X : array, shape (N, C, H, W)
        training : bool
            Keep the columns for `backward`. They are a copy: changing `X` afterwards changes no gradient.

        Returns
        -------
        ndarray, shape (N, n_filter, H_out, W_out)

        Raises
        ------
        ShapeError
            X is not a batch of images of `X_dim`.
        """
        X = as_float_array("X", X, self.dtype)
        if X.ndim != 4:
            raise ShapeError(f"X must be 4-D (N, C, H, W), got {X.ndim}-D {X.shape}")
        if X.shape[1] != self.X_dim[0]:
            plural = "s" if self.X_dim[0] > 1 else ""
            raise ShapeError(f"Conv expects {self.X_dim[0]} input channel{plural}, got {X.shape[1]}")
        if X.shape[1:] != self.X_dim:
            raise ShapeError(f"Conv expects images of shape {self.X_dim}, got {X.shape[1:]}")
        columns = kernels.im2col(X, self.h_filter, self.w_filter, self.padding, self.stride)
        # One row a filter, one column a position and image, the image index running fastest.
        out = self.W.reshape(self.n_filter, -1) @ columns + self.b[:, None]
        out = np.ascontiguousarray(out.reshape(*self.out_dim, len(X)).transpose(3, 0, 1, 2))
        self._columns = columns if training else None
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, [dW, db]) for the gradient `dout`, shape (N, n_filter, H_out, W_out)."""
        gradients = self.parameter_gradients(dout)
        dcolumns = self.W.reshape(self.n_filter, -1).T @ self._rows(as_float_array("dout", dout, self.dtype))
        x_shape = (len(dout), *self.X_dim)
        dX = kernels.col2im(dcolumns, x_shape, self.h_filter, self.w_filter, self.padding, self.stride)
        return dX, gradients

    def parameter_gradients(self, dout: Array) -> list[Array]:
        """Return [dW, db] alone: all that the first layer of a network needs."""
        rows = self._rows(self._check_gradient(dout))
        return [(rows @ self._columns.T).reshape(self.W.shape), rows.sum(axis=1)]

    def _rows(self, dout: Array) -> Array:
        """Lay a gradient out as the product's result was: (n_filter, H_out * W_out * N)."""
        return dout.transpose(1, 2, 3, 0).reshape(self.n_filter, -1)
