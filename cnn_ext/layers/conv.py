"""The convolution layer, over the compiled convolutions.

`cnn_ext.reference.conv2d_forward` is the same as a product of matrices, in four lines of NumPy.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._checks import as_contiguous, check_float_dtype, check_image_shape, check_int
from .._types import Array, Shape
from .._windows import TILE_RESULTS, Windows, check_windows
from ..engine import ConvEngine, fastest_tile
from ..errors import ShapeError
from ..initializers import RngLike, he_normal
from .base import ArrayOf, Layer, as_float_array


class Conv(Layer):
    """2-D convolution (cross-correlation, as everywhere in deep learning) with a bias per filter.

    Computed directly, or by Winograd's method where that is faster: stride 1, 3 x 3 filters over at least 8 channels or
    5 x 5 over at least 4; see `cnn_ext.kernels.winograd_conv2d_forward` for what it does to rounding.

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
    tile : int
        Side of the tiles that Winograd's method works on, 6 or 8; 0 where the convolution is computed directly.

    Raises
    ------
    ShapeError
        A filter larger than the padded image.
    ValueError, DTypeError
        A size that is not a positive int (padding may be 0).

    References
    ----------
    LeCun et al.: Gradient-based learning applied to document recognition. Proc. IEEE 86(11), 1998.
    Zhang, Franchetti, Low: High performance zero-memory overhead direct convolutions. ICML 2018.
    Lavin, Gray: Fast algorithms for convolutional neural networks. CVPR 2016.
    """

    param_names: ClassVar[tuple[str, ...]] = ("W", "b")
    config_names: ClassVar[tuple[str, ...]] = (
        "X_dim",
        "n_filter",
        "h_filter",
        "w_filter",
        "stride",
        "padding",
        "dtype",
    )

    W: ArrayOf = ArrayOf("params", 0)
    b: ArrayOf = ArrayOf("params", 1)

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
        self.X_dim: tuple[int, int, int] = check_image_shape("X_dim", X_dim)
        self.input_shape: Shape | None = self.X_dim
        self.n_filter: int = check_int("n_filter", n_filter, 1)
        self.h_filter: int = check_int("h_filter", h_filter, 1)
        self.w_filter: int = check_int("w_filter", w_filter, 1)
        self.stride: int = check_int("stride", stride, 1)
        self.padding: int = check_int("padding", padding, 0)
        self.dtype: np.dtype[Any] = check_float_dtype("dtype", dtype)
        window = {"h_filter": self.h_filter, "w_filter": self.w_filter}
        self.windows: Windows = check_windows((1, *self.X_dim), window, self.padding, self.stride)
        self.out_dim: tuple[int, int, int] = (self.n_filter, self.windows.h_out, self.windows.w_out)
        self.tile: int = fastest_tile(self.windows, self.n_filter)
        shapes = self.state_shapes(self.config())
        self.W_shape: Shape = shapes["W"]
        fan_in = self.X_dim[0] * self.h_filter * self.w_filter
        self.params: list[Array] = [he_normal(shapes["W"], fan_in, self.dtype, rng), np.zeros(shapes["b"], self.dtype)]
        self._engines: dict[tuple[bool, int], ConvEngine] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_engines": {}}  # they are made again when they are needed

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
            Keep the images for `backward`. They are a copy: changing `X` afterwards changes no gradient.

        Returns
        -------
        ndarray, shape (N, n_filter, H_out, W_out)

        Raises
        ------
        ShapeError
            X is not a batch of images of `X_dim`.
        """
        X = as_contiguous(self.check_images(X))
        self.forget()
        out = self._alone().forward(X, *self.weights(), training=training)
        self._note_output(out, training)
        return out

    def check_images(self, X: Array) -> Array:
        """Return `X` in the layer's dtype if it is a batch of images of `X_dim`, else raise."""
        X = as_float_array("X", X, self.dtype)
        if X.ndim != 4:
            raise ShapeError(f"X must be 4-D (N, C, H, W), got {X.ndim}-D {X.shape}")
        if X.shape[1] != self.X_dim[0]:
            plural = "s" if self.X_dim[0] > 1 else ""
            raise ShapeError(
                f"Conv expects {self.X_dim[0]} input channel{plural}, got {X.shape[1]}: X must be (N, C, H, W), "
                f"here (N, *{self.X_dim}), got {X.shape}"
            )
        if X.shape[1:] != self.X_dim:
            raise ShapeError(f"Conv expects images of shape {self.X_dim}, got {X.shape[1:]}")
        return X

    def weights(self) -> tuple[Array, Array]:
        """Return `W` and `b` as the kernels want them: of the layer's dtype, contiguous."""
        W, b = (as_contiguous(param, self.dtype) for param in self.params)
        if W.shape != self.W_shape or b.shape != (self.n_filter,):
            raise ShapeError(
                f"Conv has W {self.W_shape} and b ({self.n_filter},), but params hold {W.shape} and {b.shape}"
            )
        return W, b

    def engine(self, relu: bool, pool: int) -> ConvEngine:
        """Return the engine that also does what stands behind, for a network that runs this layer in one with it."""
        key = (relu, pool)
        if key not in self._engines:
            self._engines[key] = ConvEngine(self.windows, self.n_filter, self.dtype, relu, pool, self.tile)
        return self._engines[key]

    def _alone(self) -> ConvEngine:
        return self.engine(relu=False, pool=1)

    def pools(self, size: int) -> bool:
        """Whether an engine of this layer can pool windows of this side: they must fill its tiles, if there are any."""
        return self.tile == 0 or TILE_RESULTS % size == 0

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, [dW, db]) for the gradient `dout`, shape (N, n_filter, H_out, W_out)."""
        dX, dW, db = self._alone().backward(as_contiguous(self._check_gradient(dout)), self.weights()[0])
        return dX, [dW, db]

    def parameter_gradients(self, dout: Array) -> list[Array]:
        """Return [dW, db] alone: all that the first layer of a network needs."""
        dout = as_contiguous(self._check_gradient(dout))
        return list(self._alone().backward(dout, self.weights()[0], need_dx=False)[1:])
