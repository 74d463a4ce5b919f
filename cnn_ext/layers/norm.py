"""Batch normalization: each feature brought to mean 0 and variance 1 over the batch, then scaled and shifted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._checks import check_float_dtype, check_image_shape, check_int
from ..errors import ShapeError
from ..initializers import RngLike
from .base import Array, ArrayOf, Layer, NumberIn, Shape, as_float_array


class BatchNorm(Layer):
    """gamma * (X - mean) / sqrt(var + eps) + beta, per channel of images or per feature of rows.

    Training takes mean and variance from the batch and keeps a running average of both; inference uses
    the running averages.

    Parameters
    ----------
    X_dim : tuple of int or int
        Shape (C, H, W) of one image: statistics per channel, over batch and pixels, for use behind a `Conv`.
        Or a number of features: statistics per feature, over the batch, for use behind a `FullyConnected`.
    momentum : float
        Weight of the newest batch in the running averages, in [0, 1].
    eps : float
        Added to the variance, > 0.
    dtype : numpy dtype
        float32 or float64: of the parameters, and what the layer computes in.
    rng : numpy.random.Generator, int or None
        Taken like the other layers with parameters take it; nothing is drawn (gamma 1, beta 0).

    Attributes
    ----------
    gamma, beta : ndarray, shape (C,) or (features,)
        The trained scale and shift, `params[0]` and `params[1]`.
    running_mean, running_var : ndarray, shape (C,) or (features,)
        The running averages; the variance is the unbiased one, as in PyTorch.

    Raises
    ------
    ValueError
        eps or momentum out of range; training on a single value per feature.
    ShapeError
        An input of another shape than X_dim; an array of the wrong length assigned; training on no image.

    References
    ----------
    Ioffe, Szegedy: Batch normalization: accelerating deep network training by reducing internal covariate
    shift. ICML 2015.
    """

    param_names = ("gamma", "beta")
    buffer_names = ("running_mean", "running_var")
    config_names = ("X_dim", "momentum", "eps", "dtype")

    gamma = ArrayOf("params", 0)
    beta = ArrayOf("params", 1)
    running_mean = ArrayOf("buffers", 0)
    running_var = ArrayOf("buffers", 1)
    momentum = NumberIn("[0, 1]")
    eps = NumberIn("(0, inf)")

    def __init__(
        self,
        X_dim: tuple[int, int, int] | int,
        momentum: float = 0.1,
        eps: float = 1e-5,
        *,
        dtype: Any = np.float32,
        rng: RngLike = None,
    ) -> None:
        super().__init__()
        per_channel = isinstance(X_dim, (tuple, list))
        self.X_dim = check_image_shape("X_dim", X_dim) if per_channel else check_int("X_dim", X_dim, 1)
        self.momentum = momentum
        self.eps = eps
        self.dtype = check_float_dtype("dtype", dtype)
        self.input_shape = self.X_dim if isinstance(self.X_dim, tuple) else (self.X_dim,)
        n_features = self.input_shape[0]
        self.params = [np.ones(n_features, self.dtype), np.zeros(n_features, self.dtype)]
        self.buffers = [np.zeros(n_features, self.dtype), np.ones(n_features, self.dtype)]
        self._axes = (0, 2, 3) if per_channel else (0,)
        self._column = (1, -1, 1, 1) if per_channel else (1, -1)  # lays per-feature numbers along their axis
        self._X_hat: Any = None
        self._inverse_std: Any = None

    @classmethod
    def state_shapes(cls, config: dict[str, Any]) -> dict[str, Shape]:
        X_dim = config["X_dim"]
        n_features = X_dim if isinstance(X_dim, int) else X_dim[0]
        return dict.fromkeys((*cls.param_names, *cls.buffer_names), (n_features,))

    def forward(self, X: Array, training: bool = True) -> Array:
        """Normalize X, shape (N, C, H, W) or (N, features); in training, update the running averages."""
        X = as_float_array("X", X, self.dtype)
        if X.shape[1:] != self.input_shape:
            raise ShapeError(f"BatchNorm expects X of shape (N, *{self.input_shape}), got {X.shape}")
        if training:
            mean, var = self._batch_statistics(X)
        else:
            mean, var = self.running_mean, self.running_var
        inverse_std = 1 / np.sqrt(var + self.dtype.type(self.eps))
        X_hat = (X - mean.reshape(self._column)) * inverse_std.reshape(self._column)
        out = X_hat * self.gamma.reshape(self._column) + self.beta.reshape(self._column)
        self._X_hat, self._inverse_std = (X_hat, inverse_std) if training else (None, None)
        self._note_output(out, training)
        return out

    def _batch_statistics(self, X: Array) -> tuple[Array, Array]:
        count = math.prod(X.shape[axis] for axis in self._axes)
        if count == 0:
            raise ShapeError(f"BatchNorm needs at least 2 images to train on, got X of shape {X.shape}")
        if count == 1:
            raise ValueError(f"need more than 1 value per feature when training, got {X.shape}")
        # Sums in float64: a constant feature then has exactly its value as mean, and variance 0.
        mean = X.mean(axis=self._axes, dtype=np.float64).astype(self.dtype)
        var = np.square(X - mean.reshape(self._column)).mean(axis=self._axes, dtype=np.float64)
        unbiased = (var * (count / (count - 1))).astype(self.dtype)
        keep, weight = self.dtype.type(1 - self.momentum), self.dtype.type(self.momentum)
        self.running_mean = keep * self.running_mean + weight * mean
        self.running_var = keep * self.running_var + weight * unbiased
        return mean, var.astype(self.dtype)

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, [dgamma, dbeta]) for the gradient `dout`, of the last output's shape."""
        dout = self._check_gradient(dout)
        dgamma = (dout * self._X_hat).sum(axis=self._axes)
        dbeta = dout.sum(axis=self._axes)
        count = dout.size // dgamma.size
        through_mean = dbeta.reshape(self._column) / count
        through_var = self._X_hat * (dgamma.reshape(self._column) / count)
        scale = (self.gamma * self._inverse_std).reshape(self._column)
        return scale * (dout - through_mean - through_var), [dgamma, dbeta]
