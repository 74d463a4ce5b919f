"""What all forms ask of a network before they are written."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from typing import Any

from .._checks import check_int
from .._extras import missing_extra
from .._types import Shape
from ..errors import DTypeError, ShapeError
from ..layers import check_known
from ..layers.base import Layer, named_arrays
from ..passes import check_finite


def check_layers(layers: Sequence[Any], known: Collection[type[Layer]], done: str) -> None:
    """Raise unless all layers are among those `known`, of one precision, and every number of them finite."""
    check_known(layers, known, done)
    arrays = named_arrays(layers)
    first = next(iter(arrays), "")
    for name, array in arrays.items():
        if array.dtype != arrays[first].dtype:
            raise DTypeError(
                f"{first} is {arrays[first].dtype}, {name} {array.dtype}: only networks of one precision can be {done}"
            )
        check_finite(name, array)


def input_shape_of(layers: Sequence[Layer], given: Any = None) -> Shape:
    """Return the shape of one input: what the layers tell, or where they do not, what was `given`."""
    told = None
    for layer in layers:
        told = layer.input_shape
        if told is not None or type(layer).output_shape is not Layer.output_shape:  # shapes end to be the input's
            break
    if given is None:
        if told is None:
            raise ValueError("input_shape must be given: the network's first layers take inputs of any shape")
        return told
    if not isinstance(given, (tuple, list)) or not given:
        raise ShapeError(f"input_shape must be a tuple like (C, H, W), got {given!r}")
    shape = tuple(check_int(f"input_shape[{axis}]", size, 1) for axis, size in enumerate(given))
    if told not in (None, shape):
        raise ShapeError(f"input_shape must be {told}, as the network's layers tell, got {shape}")
    return shape


def onnx_module(name: str) -> Any:
    """Import a module that the extra `onnx` brings."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing_extra("ONNX", "onnx", error) from error
