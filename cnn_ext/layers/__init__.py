"""The layers a network is made of, one family a file."""

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
]
