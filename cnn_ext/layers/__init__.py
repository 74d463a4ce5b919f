"""The layers a network is made of, one family a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
"""What a saved model may be made of, by name: the package's layers, and those that a program has put here."""

OWN = frozenset(LAYER_TYPES.values())
"""Every layer of the package."""


def is_own(layer: Any) -> bool:
    """Whether a layer is exactly one of the package's: a subclass may compute something else."""
    return type(layer) in OWN


def check_known(layers: Iterable[Any], known: Collection[type[Layer]], done: str) -> None:
    """Raise DTypeError for the first layer that is not among those `known`, and so cannot be `done` ("saved")."""
    for index, layer in enumerate(layers):
        if type(layer) not in known:
            name = type(layer).__name__
            raise DTypeError(f"layer {index} ({name}) is not one of cnn_ext's layers and cannot be {done}")


__all__ = [
    "LAYER_TYPES",
    "OWN",
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
    "check_known",
    "is_own",
]
