"""Penalties on large weights: what they add to the loss and to the gradients.

Only a `W` that is trained is penalized; biases and the parameters of batch normalization are left free. Gradients come
as `NeuralNet.backward` gives them, last layer first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._checks import as_list, check_real
from ._types import Array
from .passes import add_scaled, sum_of_squares

Gradients = Sequence[Sequence[Array]]


def l2_regularization(layers: Sequence[Any], lam: float = 0.001) -> float:
    """Return 0.5 * lam * (sum of all squared weights) over the layers that train a `W`.

    Raises
    ------
    ValueError, DTypeError
        `lam` negative, infinite, NaN or not a number.

    References
    ----------
    Krogh, Hertz: A simple weight decay can improve generalization. NeurIPS 1991.
    """
    lam, layers = check_real("lam", lam, "[0, inf)"), as_list("layers", layers)
    return 0.5 * lam * sum(sum_of_squares(W) for layer in layers for W in _weights(layer))


def delta_l2_regularization(layers: Sequence[Any], grads: Gradients, lam: float = 0.001) -> list[list[Array]]:
    """Return new gradients with lam * W added to each W's; nothing is changed in place.

    Parameters
    ----------
    layers : sequence of layers
        First layer first.
    grads : sequence of sequences of ndarray
        Gradients of each layer's `params`, last layer first.
    lam : float
        Strength, >= 0.

    Raises
    ------
    ValueError
        As many gradients as there are not layers; `lam` out of range.
    """
    lam = check_real("lam", lam, "[0, inf)")
    return _with_penalty(layers, grads, lambda gradient, W: add_scaled(gradient, W, lam))


def l1_regularization(layers: Sequence[Any], lam: float = 0.001) -> float:
    """Return lam * (sum of all absolute weights) over the layers that train a `W`.

    Raises
    ------
    ValueError, DTypeError
        `lam` negative, infinite, NaN or not a number.

    References
    ----------
    Tibshirani: Regression shrinkage and selection via the lasso. J. R. Stat. Soc. B 58(1), 1996.
    """
    lam, layers = check_real("lam", lam, "[0, inf)"), as_list("layers", layers)
    return lam * sum(float(np.abs(W).sum(dtype=np.float64)) for layer in layers for W in _weights(layer))


def delta_l1_regularization(layers: Sequence[Any], grads: Gradients, lam: float = 0.001) -> list[list[Array]]:
    """Return new gradients with lam * sign(W) added to each W's (0 at 0); see `delta_l2_regularization`."""
    lam = check_real("lam", lam, "[0, inf)")
    return _with_penalty(layers, grads, lambda gradient, W: add_scaled(gradient, np.sign(W), lam))


def add_to_weights(layers: Sequence[Any], grads: Gradients, add_slope: Callable[[Array, Array], None]) -> None:
    """Call `add_slope(gradient, W)`, which changes the gradient in place, for each layer that trains a `W`."""
    for layer, layer_grads in zip(reversed(layers), grads, strict=True):
        for W in _weights(layer):
            (at,) = (index for index, param in enumerate(layer.params) if param is W)
            add_slope(layer_grads[at], W)


def _weights(layer: Any) -> list[Array]:
    """Return the layer's `W` if it has one and trains it: if it is among its `params`."""
    W: Any = getattr(layer, "W", None)
    return [W] if any(param is W for param in layer.params) else []


def _with_penalty(
    layers: Sequence[Any], grads: Gradients, add_slope: Callable[[Array, Array], None]
) -> list[list[Array]]:
    layers, grads = as_list("layers", layers), as_list("grads", grads)
    if len(layers) != len(grads):
        raise ValueError(f"grads must have one entry for each of the {len(layers)} layers, got {len(grads)}")
    penalized = [[np.array(grad) for grad in layer_grads] for layer_grads in grads]
    add_to_weights(layers, penalized, add_slope)
    return penalized
