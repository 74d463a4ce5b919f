"""Dropout: in training, a random part of the numbers is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import check_float_dtype
from ..initializers import RngLike, as_generator
from .base import Array, Layer, NumberIn, as_float_array


class Dropout(Layer):
    """Keep each number with probability `prob`, scaled by 1 / prob; in inference keep all as they are.

    Parameters
    ----------
    prob : float
        Probability of keeping a number, in (0, 1].
    dtype : numpy dtype
        float32 or float64: precision of the draws. The output has the input's dtype.
    rng : numpy.random.Generator, int or None
        Draws what is kept.

    Raises
    ------
    ValueError, DTypeError
        `prob` outside (0, 1] or not a number.

    References
    ----------
    Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting. JMLR 15, 2014
    (with the scale moved from inference to training).
    """

    config_names = ("prob", "dtype")

    prob = NumberIn("(0, 1]")

    def __init__(self, prob: float = 0.5, *, dtype: Any = np.float32, rng: RngLike = None) -> None:
        super().__init__()
        self.prob = prob
        self.dtype = check_float_dtype("dtype", dtype)
        self.rng = as_generator(rng)
        self._mask: Any = None

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return X, of any shape, thinned out in training and unchanged in inference."""
        X = as_float_array("X", X)
        self._note_output(X, training)
        if not training:
            self._mask = None
            return X.copy()
        kept = self.rng.random(X.shape, dtype=self.dtype) < self.prob
        self._mask = kept * X.dtype.type(1 / self.prob)
        return X * self._mask

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): the gradient, thinned out and scaled as the last output was."""
        return self._check_gradient(dout) * self._mask, []
