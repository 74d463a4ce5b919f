"""A network as one file of C99: the weights as constants, `predict` as plain loops, nothing else needed.

Images lie channels last inside, so that the innermost loops of all layers run over neighbouring numbers: a compiler
makes vectors of them. The layers compute from one static buffer into another, by turns.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._checks import above_zero
from .._files import write_atomically
from .._types import Shape
from .._version import __version__
from ..errors import ShapeError
from ..layers import (
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
from ..layers.base import Layer
from ..layers.folding import folded_layers
from .c_functions import FRAME, FUNCTIONS
from .common import check_layers, input_shape_of

PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LINE = 8
"""Numbers on a line of a constant array."""
LARGEST = 2**31 - 1
"""What an int of C can count."""


def write_c(net: Any, path: str | os.PathLike[str], prefix: str) -> None:
    """Write `net` to `path`; see `NeuralNet.to_c`."""
    if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
        raise ValueError(f"prefix must be a C identifier that begins with a letter, got {prefix!r}")
    check_layers(net.layers, CALLS, "written as C")
    net.shapes()  # raises where layers do not fit together
    layers = folded_layers(net.layers)
    told = next((index for index, layer in enumerate(layers) if layer.input_shape is not None), 0)
    # An input is a row of numbers to C: what flattens it has nothing to do.
    layers = [layer for index, layer in enumerate(layers) if index >= told or type(layer) is not Flatten]
    source = _Source(input_shape_of(layers), net.dtype)
    for index, layer in enumerate(layers):
        CALLS[type(layer)](layer, source, f"layer{index}")
        source.shape = layer.output_shape(source.shape)
    write_atomically(path, [source.text(net.layers, prefix).encode("ascii")])


class _Source:
    """The constant arrays and the calls so far; `shape` is that of the numbers that the last call has left."""

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.input_shape = self.shape = shape
        self.dtype = dtype
        self.size = math.prod(shape)
        self.arrays: list[str] = []
        self.calls: list[str] = []
        self.used = {"channels_last": None}
        self.buffer = "a"

    def pixels(self) -> int:
        return math.prod(self.shape[1:])

    def array(self, name: str, values: Any) -> str:
        """Define a constant array, and return its name."""
        suffix = "f" if self.dtype == np.float32 else ""
        numbers = [_exactly(number) + suffix for number in np.asarray(values, self.dtype).ravel().tolist()]
        lines = [", ".join(numbers[start : start + LINE]) for start in range(0, len(numbers), LINE)]
        self.arrays.append(f"static const REAL @{name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n")
        return f"@{name}"

    def in_place(self, function: str, *arguments: Any) -> None:
        self._call(function, self.buffer, *arguments)

    def into_other(self, function: str, out_shape: Shape, *arguments: Any) -> None:
        other = "b" if self.buffer == "a" else "a"
        self._call(function, self.buffer, other, *arguments)
        self.buffer, self.size = other, max(self.size, math.prod(out_shape))

    def _call(self, function: str, *arguments: Any) -> None:
        self.used[function] = None
        self.calls.append(f"    @{function}({', '.join(map(str, arguments))});")

    def text(self, layers: Sequence[Any], prefix: str) -> str:
        """Return the whole file."""
        if len(self.shape) != 1:
            raise ShapeError(f"to_c needs a network that gives one row of scores an image, got {self.shape}")
        if self.size > LARGEST:
            raise ShapeError(f"to_c needs layers of at most {LARGEST} numbers an image, got one of {self.size}")
        moves = any("(a, b" in call for call in self.calls)
        functions = "\n".join(FUNCTIONS[name] for name in self.used)
        text = FRAME.format(
            version=__version__,
            layers="\n".join(f"     {layer!r}" for layer in layers),
            include="\n#include <math.h>\n" if "EXP" in functions or "TANH" in functions else "",
            shape=" x ".join(map(str, self.input_shape))
            + (" (channels, rows, columns)" * (len(self.input_shape) == 3)),
            n_in=math.prod(self.input_shape),
            n_out=self.shape[0],
            last=self.shape[0] - 1,
            arrays="\n".join(self.arrays),
            functions=functions,
            buffers="".join(f"    static REAL {name}[{self.size}];\n" for name in ("ab" if moves else "a")),
            channels=self.input_shape[0] if len(self.input_shape) == 3 else 1,
            pixels=math.prod(self.input_shape[1:] if len(self.input_shape) == 3 else self.input_shape),
            calls="\n".join(self.calls),
            end=self.buffer,
        )
        tokens = {"@": f"{prefix}_", "REAL": "float", "EXP": "expf", "TANH": "tanhf"}
        if self.dtype == np.float64:
            tokens.update({"REAL": "double", "EXP": "exp", "TANH": "tanh"})
        return re.sub("@|REAL|EXP|TANH", lambda match: tokens[match[0]], text)


def _exactly(number: float) -> str:
    """Return a number as C reads it to the last bit: by the standard, that is hexadecimal."""
    digits, exponent = number.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{exponent}"


def _standardize(layer: Any, source: _Source, name: str) -> None:
    channels = source.shape[0]
    arrays = [source.array(f"{name}_{key}", np.broadcast_to(getattr(layer, key), channels)) for key in ("mean", "std")]
    source.in_place("standardize", *arrays, source.pixels(), channels)


def _conv(layer: Any, source: _Source, name: str) -> None:
    W = source.array(f"{name}_w", layer.W.transpose(2, 3, 1, 0))
    b = source.array(f"{name}_b", layer.b)
    channels, height, width = layer.X_dim
    filters, h_out, w_out = layer.out_dim
    windows = (layer.h_filter, layer.w_filter, layer.stride, layer.padding)
    source.into_other("conv", layer.out_dim, W, b, height, width, channels, h_out, w_out, filters, *windows)


def _dense(layer: Any, source: _Source, name: str) -> None:
    arrays = source.array(f"{name}_w", layer.W), source.array(f"{name}_b", layer.b)
    source.into_other("dense", (layer.out_size,), *arrays, layer.in_size, layer.out_size)


def _max_pool(layer: Any, source: _Source, name: str) -> None:
    channels, h_out, w_out = layer.out_dim
    source.into_other("max_pool", layer.out_dim, layer.X_dim[2], channels, h_out, w_out, layer.size, layer.stride)


def _average(layer: Any, source: _Source, name: str) -> None:
    channels, h_out, w_out = layer.out_dim
    windows = (layer.size, layer.size, layer.stride)
    source.into_other("average", layer.out_dim, layer.X_dim[2], channels, h_out, w_out, *windows)


def _global_average(layer: Any, source: _Source, name: str) -> None:
    channels, height, width = layer.X_dim
    source.into_other("average", layer.out_dim, width, channels, 1, 1, height, width, 1)


def _flatten(layer: Any, source: _Source, name: str) -> None:
    channels, pixels = source.shape[0], source.pixels()
    if channels > 1 and pixels > 1:  # else the order is the same
        source.into_other("channels_first", source.shape, channels, pixels)


def _batch_norm(layer: Any, source: _Source, name: str) -> None:
    scale = layer.gamma / np.sqrt(layer.running_var + above_zero(layer.eps, layer.dtype))
    values = {"mean": layer.running_mean, "scale": scale, "beta": layer.beta}
    arrays = [source.array(f"{name}_{key}", value) for key, value in values.items()]
    source.in_place("batch_norm", *arrays, source.pixels(), source.shape[0])


def _each_number(function: str) -> Callable[[Any, _Source, str], None]:
    return lambda layer, source, name: source.in_place(function, math.prod(source.shape))


CALLS: dict[type[Layer], Callable[[Any, _Source, str], None]] = {
    AvgPool: _average,
    BatchNorm: _batch_norm,
    Conv: _conv,
    Dropout: lambda layer, source, name: None,
    Flatten: _flatten,
    FullyConnected: _dense,
    GlobalAvgPool: _global_average,
    Maxpool: _max_pool,
    ReLU: _each_number("relu"),
    Sigmoid: _each_number("sigmoid"),
    Standardize: _standardize,
    Tanh: _each_number("tanh"),
}
"""What each layer becomes."""
