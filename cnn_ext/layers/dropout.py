"""Dropout: in training, a random part of the numbers, or of the channels, is left out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._checks import check_bool, check_float_dtype
from .._types import Array
from ..errors import ShapeError
from ..initializers import RngLike, as_generator
from .base import Layer, NumberIn, as_float_array


class Dropout(Layer):
    """Keep each number with probability `prob`, scaled by 1 / prob; in inference keep all as they are.

    Parameters
    ----------
    prob : float
        Probability of keeping a number, in (0, 1].
    per_channel : bool
        Keep or leave out whole channels of images: neighbouring pixels are so alike that leaving out single ones
        takes little away.
    dtype : numpy dtype
        float32 or float64: precision of the draws. The output has the input's dtype.
    rng : numpy.random.Generator, int or None
        Draws what is kept; the attribute `rng` may be set. None: the system's own seed, until `fit` gives one.

    Raises
    ------
    ValueError, DTypeError
        `prob` outside (0, 1] or not a number; `per_channel` not a bool.
    ShapeError
        With `per_channel`, an input that is not a batch of images (N, C, H, W).

    References
    ----------
    Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting. JMLR 15, 2014
      (with the scale moved from inference to training).
    Tompson et al.: Efficient object localization using convolutional networks. CVPR 2015 (per channel).
    """

    config_names: ClassVar[tuple[str, ...]] = ("prob", "per_channel", "dtype")
    kept_names: ClassVar[tuple[str, ...]] = ("_mask",)

    prob: NumberIn = NumberIn("(0, 1]")

    def __init__(
        self, prob: float = 0.5, per_channel: bool = False, *, dtype: Any = np.float32, rng: RngLike = None
    ) -> None:
        super().__init__()
        self.prob = prob
        self.per_channel: bool = check_bool("per_channel", per_channel)
        self.dtype: np.dtype[Any] = check_float_dtype("dtype", dtype)
        self.rng: np.random.Generator = as_generator(rng)
        self._is_seeded = rng is not None
        self._mask: Any = None

    def seed_from(self, rng: np.random.Generator) -> None:
        """Draw from now on from a seed that `rng` draws, if the layer was made without one, as by `NeuralNet.load`."""
        if not self._is_seeded:
            self.rng, self._is_seeded = np.random.default_rng(int(rng.integers(2**63))), True

    def forward(self, X: Array, training: bool = True) -> Array:
        """Return X, of any shape (or (N, C, H, W) per channel), thinned out in training, unchanged in inference."""
        X = as_float_array("X", X)
        if self.per_channel and X.ndim != 4:
            raise ShapeError(f"Dropout per channel expects images (N, C, H, W), got X of shape {X.shape}")
        self.forget()
        if not training:
            self._mask = None
            return X.copy()
        drawn = (*X.shape[:2], 1, 1) if self.per_channel else X.shape
        kept = self.rng.random(drawn, dtype=self.dtype) < self.prob
        self._mask = kept * X.dtype.type(1 / self.prob)
        out = X * self._mask
        self._note_output(out, training)
        return out

    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return (dX, []): the gradient, thinned out and scaled as the last output was."""
        return self._check_gradient(dout) * self._mask, []
