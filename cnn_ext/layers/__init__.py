"""The layers a network is made of, one family a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DTypeError
from .activation import ReLU, Sigmoid, Tanh
from .base import Layer
from .conv import Conv
from .dense import FullyConnected
from .dropout import Dropout
from .norm import BatchNorm
from .pool import AvgPool, GlobalAvgPool, Maxpool
from .shape import Flatten
from .standardize import Standardize

LAYER_TYPES: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        AvgPool,
        BatchNorm,
        Conv,
        Dropout,
        Flatten,
        FullyConnected,
        GlobalAvgPool,
        Maxpool,
        ReLU,
        Sigmoid,
        Standardize,
        Tanh,
    )
}
"""Every layer of the package by name: what a saved model may be made of."""


def is_own(layer: Any) -> bool:
    """Whether a layer is exactly one of the package's: a subclass may compute something else."""
    return type(layer) is LAYER_TYPES.get(type(layer).__name__)


def check_own(layers: Iterable[Any], done: str) -> None:
    """Raise DTypeError for the first layer that is not the package's, and so cannot be `done` ("saved")."""
    for index, layer in enumerate(layers):
        if not is_own(layer):
            name = type(layer).__name__
            raise DTypeError(f"layer {index} ({name}) is not one of cnn_ext's layers and cannot be {done}")


__all__ = [
    "LAYER_TYPES",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dropout",
    "Flatten",
    "FullyConnected",
    "GlobalAvgPool",
    "Layer",
    "Maxpool",
    "ReLU",
    "Sigmoid",
    "Standardize",
    "Tanh",
    "check_own",
    "is_own",
]
