"""Layers that are not the package's, at work in a network: what they give is checked, so that errors name the layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ._types import Array
from .errors import DTypeError, ShapeError


class Foreign:
    """One such layer, with its place in the network; made anew for each pass."""

    def __init__(self, layer: Any, index: int) -> None:
        self.layer, self._name = layer, f"layer {index} ({type(layer).__name__})"
        self._before: Any = None

    def forward(self, X: Array, training: bool) -> Array:
        """Return the layer's output, an array with a row an image, in the precision of `X`."""
        self._before = X.shape, X.dtype
        X = X.copy()  # the layer may change it in place: the one before still needs it, and so does the caller
        out = self.layer.forward(X, training=training) if _takes_training(self.layer) else self.layer.forward(X)
        if not isinstance(out, np.ndarray):
            raise DTypeError(f"{self._name}: forward must return an array, got {type(out).__name__}")
        if out.ndim == 0 or len(out) != len(X):
            raise ShapeError(f"{self._name}: forward must return a row for each of {len(X)} images, got {out.shape}")
        self._check_dtype("forward", out)
        return out

    def backward(self, dout: Array, need_dX: bool) -> tuple[Array, list[list[Array]]]:
        """Return the gradients of the input, which counts only with `need_dX`, and of params, as a `Block` does."""
        result = self.layer.backward(dout)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise DTypeError(
                f"{self._name}: backward must return (dX, [gradient of each of params]), got {type(result).__name__}"
            )
        dX, grads = result[0], list(result[1])
        if need_dX:
            if not isinstance(dX, np.ndarray) or dX.shape != self._before[0]:
                got = dX.shape if isinstance(dX, np.ndarray) else type(dX).__name__
                raise ShapeError(f"{self._name}: backward must return dX of shape {self._before[0]}, got {got}")
            self._check_dtype("backward", dX)
        shapes, wanted = ([getattr(array, "shape", None) for array in of] for of in (grads, self.layer.params))
        if shapes != wanted:
            raise ShapeError(f"{self._name}: backward must return gradients of shapes {wanted}, got {shapes}")
        return dX, [grads]

    def _check_dtype(self, method: str, array: Array) -> None:
        if array.dtype != self._before[1]:
            raise DTypeError(f"{self._name}: {method} must keep the dtype, {self._before[1]}, got {array.dtype}")


def _takes_training(layer: Any) -> bool:
    return _function_takes_training(getattr(layer.forward, "__func__", layer.forward))


@lru_cache(maxsize=256)
def _function_takes_training(forward: Callable[..., Any]) -> bool:
    parameters = inspect.signature(forward).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
