"""Batch normalization: each feature brought to mean 0 and variance 1 over the batch, then scaled and shifted."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._checks import above_zero, as_contiguous, check_countable, check_float_dtype, check_image_shape, check_int
from .._types import Array, Shape
from ..engine import NormEngine
from ..errors import ShapeError
from ..initializers import RngLike
from .base import ArrayOf, Layer, NumberIn, as_float_array


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

    param_names: ClassVar[tuple[str, ...]] = ("gamma", "beta")
    buffer_names: ClassVar[tuple[str, ...]] = ("running_mean", "running_var")
    config_names: ClassVar[tuple[str, ...]] = ("X_dim", "momentum", "eps", "dtype")
    kept_names: ClassVar[tuple[str, ...]] = ("_scales",)

    gamma: ArrayOf = ArrayOf("params", 0)
    beta: ArrayOf = ArrayOf("params", 1)
    running_mean: ArrayOf = ArrayOf("buffers", 0)
    running_var: ArrayOf = ArrayOf("buffers", 1, least=0)
    momentum: NumberIn = NumberIn("[0, 1]")
    eps: NumberIn = NumberIn("(0, inf)")

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
        self.X_dim: tuple[int, int, int] | int = (
            check_image_shape("X_dim", X_dim) if per_channel else check_int("X_dim", X_dim, 1)
        )
        self.momentum = momentum
        self.eps = eps
        self.dtype: np.dtype[Any] = check_float_dtype("dtype", dtype)
        self.input_shape: Shape | None = self.X_dim if isinstance(self.X_dim, tuple) else (self.X_dim,)
        check_countable("X_dim", self.input_shape)
        n_features = self.input_shape[0]
        self.params: list[Array] = [np.ones(n_features, self.dtype), np.zeros(n_features, self.dtype)]
        self.buffers: list[Array] = [np.zeros(n_features, self.dtype), np.ones(n_features, self.dtype)]
        self._engines: dict[tuple[bool, int], NormEngine] = {}
        self._scales: Any = None  # 1 / std and gamma / std of the last batch in training

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_engines": {}}  # they are made again when they are needed

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
        self.forget()
        engine = self.engine(relu=False, pool=1)
        out = self.normalize(engine, engine.keep(_channels_last(X)), training).reshape(X.shape)
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, [dgamma, dbeta]) for the gradient `dout`, of the last output's shape."""
        dout = as_contiguous(self._check_gradient(dout))
        dX, grads = self.normalize_back(self.engine(relu=False, pool=1), dout)
        return np.array(dX.transpose(0, 3, 1, 2), order="C").reshape(dout.shape), grads  # dX is the engine's own

    def engine(self, relu: bool, pool: int) -> NormEngine:
        """Return the engine that also does what stands behind, for a network that runs this layer in one with it."""
        key = (relu, pool)
        if key not in self._engines:
            self._engines[key] = NormEngine(self.dtype, relu, pool)
        return self._engines[key]

    def normalize(self, engine: NormEngine, z: Array, training: bool, out_last: bool = False) -> Array:
        """Do the forward pass on an engine, for images z, shape (N, H, W, C)."""
        if training:
            mean, var = self._batch_statistics(z, *engine.moments(z))
        else:
            mean, var = self.running_mean, self.running_var
        gamma, beta = (as_contiguous(param, self.dtype) for param in self.params)
        inverse_std = 1 / np.sqrt(var + above_zero(self.eps, self.dtype))
        scale = gamma * inverse_std
        self._scales = (inverse_std, scale) if training else None
        return engine.forward(z, as_contiguous(mean, self.dtype), scale, beta, out_last)

    def folded(self, W: Array, b: Array, axis: int) -> tuple[Array, Array]:
        """Return new weights and biases with which the layer before does in inference what both do.

        Parameters
        ----------
        W, b : ndarray
            Those of the layer before; its outputs are `axis` of W.
        axis : int
        """
        gamma, beta = (as_contiguous(param, self.dtype) for param in self.params)
        scale = gamma * (1 / np.sqrt(self.running_var + above_zero(self.eps, self.dtype)))
        shape = [1] * W.ndim
        shape[axis] = -1
        return W * scale.reshape(shape), (b - self.running_mean) * scale + beta

    def normalize_back(self, engine: NormEngine, dout: Array) -> tuple[Array, list[Array]]:
        """Do the backward pass on the engine of the forward pass; the gradient of z is the engine's own buffer."""
        inverse_std, scale = self._scales
        g, (dbeta, product) = engine.gradient(dout)
        count = g.size // len(dbeta)
        dgamma = product * inverse_std
        offset, slope = dbeta / count, dgamma * inverse_std / count
        dz = engine.through(scale, offset.astype(self.dtype), slope.astype(self.dtype))
        return dz, [dgamma.astype(self.dtype), dbeta.astype(self.dtype)]

    def _batch_statistics(self, z: Array, means: Array, squares: Array) -> tuple[Array, Array]:
        """Return mean and variance of all images from those of each, and update the running averages."""
        count = len(z) * z.shape[1] * z.shape[2]
        if count < 2:
            shape = (len(z), *(self.input_shape or ()))
            if count == 0:
                raise ShapeError(f"BatchNorm needs at least 2 images to train on, got X of shape {shape}")
            raise ValueError(f"need more than 1 value per feature when training, got {shape}")
        # In float64: a constant feature then has exactly its value as mean, and variance 0.
        mean = means.mean(axis=0, dtype=np.float64)
        var = squares.sum(axis=0, dtype=np.float64) / count + np.square(means - mean).mean(axis=0)
        unbiased = (var * (count / (count - 1))).astype(self.dtype)
        keep, weight = self.dtype.type(1 - self.momentum), self.dtype.type(self.momentum)
        mean = mean.astype(self.dtype)
        self.running_mean = keep * self.running_mean + weight * mean
        self.running_var = keep * self.running_var + weight * unbiased
        return mean, var.astype(self.dtype)


def _channels_last(X: Array) -> Array:
    """Return rows (N, C) or images (N, C, H, W) as (N, H, W, C)."""
    return X.reshape(*X.shape[:2], *(X.shape[2:] or (1, 1))).transpose(0, 2, 3, 1)
