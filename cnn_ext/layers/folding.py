"""Batch normalization folded into the layers before it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from . import BatchNorm, Conv, FullyConnected, is_own


def folded_layers(layers: Sequence[Any]) -> list[Any]:
    """Return copies of the layers, each `BatchNorm` right behind a layer with weights taken into those weights."""
    folded: list[Any] = []
    for layer in layers:
        before: Any = folded[-1] if folded else None
        # Exactly these types: a subclass may compute something else.
        if type(layer) is BatchNorm and type(before) in (Conv, FullyConnected) and before.dtype == layer.dtype:
            W, b = before.weights()
            before.W, before.b = layer.folded(W, b, axis=0 if type(before) is Conv else 1)
        else:
            folded.append(_like(layer))
    return folded


def _like(layer: Any) -> Any:
    """Return a copy of a layer, for the package's own without the buffers that they compute in."""
    if not is_own(layer):
        return copy.deepcopy(layer)
    like = type(layer)(**layer.config())
    for name, array in layer.state().items():
        setattr(like, name, array)
    return like
