"""Layers from an ONNX model that is a chain of the operators that they are written as, and a few that mean the same."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Array
from ..errors import CheckpointMismatchError
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
from .onnx_file import Chain, Node, read_chain


def read_layers(path: str | os.PathLike[str]) -> list[Layer]:
    """Return the layers in an ONNX file; see `NeuralNet.from_onnx`."""
    chain = read_chain(path)
    reader = _Reader(chain)
    try:
        for index, node in enumerate(chain.nodes):
            reader.read(index, node)
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(f"{os.fspath(path)}: {error}") from error
    return reader.layers


class _Reader:
    """The layers so far, and the shape of what the last one gives."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.shape = chain, chain.input_shape
        self.layers: list[Layer] = []
        self.is_last = False
        self.averaged: tuple[int, int, int] | None = None
        """Shape of the images behind which an average over all their pixels waits for the flattening."""

    def read(self, index: int, node: Node) -> None:
        if node.op not in LAYERS:
            raise node.refused(f"is not one that is read: {', '.join(sorted(LAYERS))}")
        self.is_last = index == len(self.chain.nodes) - 1
        if self.averaged is not None and node.op not in ("Flatten", "Reshape", "Identity"):
            raise node.refused("stands behind a global average: only a Flatten or Reshape may")
        try:
            LAYERS[node.op](self, node)
        except CheckpointMismatchError:
            raise
        except (ValueError, TypeError, OverflowError, IndexError) as error:  # what the layers refuse
            raise node.refused(f"makes no layer: {error}") from error
        if unknown := sorted(node.settings.keys() - node.taken):
            raise node.refused(f"has the setting {unknown[0]}, which is not read")
        if self.is_last and self.averaged is not None:
            raise node.refused("is a global average that nothing flattens")

    def add(self, layer: Layer, **arrays: Array) -> None:
        for name, array in arrays.items():
            setattr(layer, name, array)
        self.layers.append(layer)
        self.shape = layer.output_shape(self.shape)

    def image_shape(self, node: Node) -> tuple[int, int, int]:
        if len(self.shape) != 3:
            raise node.refused(f"takes images, but what comes has shape {self.shape}")
        return self.shape[0], self.shape[1], self.shape[2]


def _arrays(node: Node, least: int, most: int) -> list[Array | None]:
    """Return the arrays of a node, None for those that it has not."""
    if not least <= len(node.arrays) <= most or None in [None if a is None else 0 for a in node.arrays[:least]]:
        raise node.refused(f"takes {len(node.arrays)} arrays, {least} to {most} expected")
    return node.arrays + [None] * (most - len(node.arrays))


def _floats(node: Node, array: Array | None, *shape: int | None) -> Array:
    """Return an array of the wanted shape, where None is any size."""
    wanted = "x".join("n" if size is None else str(size) for size in shape)
    if array is None or array.dtype.kind != "f" or array.ndim != len(shape):
        found = "none" if array is None else f"{array.dtype} {array.shape}"
        raise node.refused(f"takes an array of floats of {wanted}, got {found}")
    if any(size not in (None, got) for size, got in zip(shape, array.shape)) or 0 in array.shape:
        raise node.refused(f"takes an array of floats of {wanted}, got {array.shape}")
    return array


def _equal(node: Node, name: str, count: int, default: int) -> int:
    """Return the number that a setting repeats for each axis or side."""
    values = node.get(name, [default] * count)
    if not isinstance(values, list) or len(values) != count or len(set(values)) != 1:
        raise node.refused(f"with {name} {values!r}: only {count} equal numbers are read")
    return int(values[0])


def _window(node: Node) -> None:
    node.demand("auto_pad", "NOTSET")
    node.demand("dilations", [1, 1])


def _conv(reader: _Reader, node: Node) -> None:
    dim = reader.image_shape(node)
    W, b = _arrays(node, 1, 2)
    W = _floats(node, W, None, dim[0], None, None)
    _window(node)
    node.demand("group", 1)
    node.demand("kernel_shape", list(W.shape[2:]))
    stride, padding = _equal(node, "strides", 2, 1), _equal(node, "pads", 4, 0)
    b = np.zeros(len(W), W.dtype) if b is None else _floats(node, b, len(W))
    n_filter, _, h_filter, w_filter = W.shape
    reader.add(Conv(dim, n_filter, h_filter, w_filter, stride, padding, dtype=W.dtype), W=W, b=b)


def _pool(layer_type: Any) -> Callable[[_Reader, Node], None]:
    def read(reader: _Reader, node: Node) -> None:
        _arrays(node, 0, 0)
        _window(node)
        for name in ("ceil_mode", "storage_order"):
            node.demand(name, 0)
        node.get("count_include_pad", 0)  # there is no padding
        node.demand("pads", [0, 0, 0, 0])
        size = _equal(node, "kernel_shape", 2, 0)
        reader.add(layer_type(reader.image_shape(node), size, _equal(node, "strides", 2, 1)))

    return read


def _global_average(reader: _Reader, node: Node) -> None:
    _arrays(node, 0, 0)
    reader.averaged = reader.image_shape(node)
    reader.shape = (reader.averaged[0], 1, 1)


def _mean(reader: _Reader, node: Node) -> None:
    """Read the form in which PyTorch writes a global average."""
    dim = reader.image_shape(node)
    (given,) = _arrays(node, 0, 1)
    axes = node.get("axes", []) if given is None else given.tolist()
    node.demand("noop_with_empty_axes", 0)
    if not isinstance(axes, list) or sorted(axis % 4 for axis in axes if -4 <= axis < 4) != [2, 3]:
        raise node.refused(f"over the axes {axes!r}: only the mean over height and width is read")
    if node.get("keepdims", 1):
        reader.averaged, reader.shape = dim, (dim[0], 1, 1)
    else:
        reader.add(GlobalAvgPool(dim))


def _flatten(reader: _Reader, node: Node) -> None:
    _arrays(node, 0, 0)
    node.demand("axis", 1)
    _add_flat(reader)


def _reshape(reader: _Reader, node: Node) -> None:
    (target,) = _arrays(node, 1, 1)
    shape = [] if target is None else target.tolist()
    size, batch = math.prod(reader.shape), reader.chain.batch
    keeps_zeros = node.get("allowzero", 0) != 0
    firsts = [-1] if keeps_zeros else [-1, 0]
    good = [[first, size] for first in (*firsts, *([] if batch is None else [batch]))]
    good += [[first, -1] for first in (*firsts[1:], *([] if batch is None else [batch]))]
    if shape not in good:
        raise node.refused(f"to {shape}: only what lays each of the {reader.shape} out as one row is read")
    _add_flat(reader)


def _add_flat(reader: _Reader) -> None:
    if reader.averaged is not None:
        dim, reader.averaged = reader.averaged, None
        reader.add(GlobalAvgPool(dim))
    else:
        reader.add(Flatten())


def _gemm(reader: _Reader, node: Node) -> None:
    W, b = _arrays(node, 1, 2)
    node.demand("alpha", 1.0)
    node.demand("beta", 1.0)
    node.demand("transA", 0)
    W = _floats(node, W, None, None)
    _add_dense(reader, node, W.T if node.get("transB", 0) else W, b)


def _matmul(reader: _Reader, node: Node) -> None:
    (W,) = _arrays(node, 1, 1)
    _add_dense(reader, node, _floats(node, W, None, None), None)


def _add_dense(reader: _Reader, node: Node, W: Array, b: Array | None) -> None:
    if reader.shape != W.shape[:1]:
        raise node.refused(f"takes rows of {W.shape[0]}, but what comes has shape {reader.shape}")
    b = np.zeros(W.shape[1], W.dtype) if b is None else _floats(node, b.reshape(-1), W.shape[1])
    reader.add(FullyConnected(*W.shape, dtype=W.dtype), W=W, b=b)


def _add(reader: _Reader, node: Node) -> None:
    """Read the bias behind a MatMul."""
    (b,) = _arrays(node, 1, 1)
    dense: Any = reader.layers[-1] if reader.layers else None
    if type(dense) is not FullyConnected or dense.b.any():
        raise node.refused("stands not behind a MatMul, where alone it is read")
    dense.b = _floats(node, None if b is None else b.reshape(-1), dense.out_size)


def _batch_norm(reader: _Reader, node: Node) -> None:
    features = reader.shape[0]
    gamma, beta, mean, var = (_floats(node, array, features) for array in _arrays(node, 4, 4))
    node.demand("training_mode", 0)
    if (var < 0).any():
        raise node.refused("has a negative variance")
    momentum = round(1 - node.get("momentum", 0.9), 9)  # ours is the weight of the newest batch
    layer = BatchNorm(
        reader.shape if len(reader.shape) == 3 else features, momentum, node.get("epsilon", 1e-5), dtype=gamma.dtype
    )
    reader.add(layer, gamma=gamma, beta=beta, running_mean=mean, running_var=var)


def _standardize(name: str) -> Callable[[_Reader, Node], None]:
    def read(reader: _Reader, node: Node) -> None:
        dim = reader.image_shape(node)
        (numbers,) = _arrays(node, 1, 1)
        if numbers is None or numbers.shape not in ((), (1,), (dim[0], 1, 1), (1, dim[0], 1, 1)):
            raise node.refused("takes other than one number, or one a channel")
        # The shortest number that float32 holds as this one: what was written in the first place.
        values = tuple(float(str(number)) for number in numbers.ravel())
        value = values[0] if numbers.size == 1 else values
        before: Any = reader.layers[-1] if reader.layers else None
        if name == "std" and type(before) is Standardize and before.std == 1.0:
            reader.layers[-1] = Standardize(dim, before.mean, value)
        else:
            reader.add(Standardize(dim, **{"mean": 0.0, "std": 1.0, name: value}))

    return read


def _dropout(reader: _Reader, node: Node) -> None:
    ratio, training = _arrays(node, 0, 2)
    if training is not None and training.any():
        raise node.refused("drops out in inference")
    node.get("seed", 0)
    rate = node.get("ratio", 0.5) if ratio is None else float(str(ratio.reshape(-1)[0]))
    reader.add(Dropout(1 - rate))


def _softmax(reader: _Reader, node: Node) -> None:
    _arrays(node, 0, 0)
    axis = node.get("axis", 1 if reader.chain.opset < 13 else -1)
    if not reader.is_last or len(reader.shape) != 1 or axis not in (1, -1):
        raise node.refused("is read at the end alone, over the classes: `predict_proba` does it")


def _plain(layer_type: Any) -> Callable[[_Reader, Node], None]:
    def read(reader: _Reader, node: Node) -> None:
        _arrays(node, 0, 0)
        if layer_type is not None:
            reader.add(layer_type())

    return read


LAYERS: dict[str, Callable[[_Reader, Node], None]] = {
    "Add": _add,
    "AveragePool": _pool(AvgPool),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Div": _standardize("std"),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "Identity": _plain(None),
    "MatMul": _matmul,
    "MaxPool": _pool(Maxpool),
    "ReduceMean": _mean,
    "Relu": _plain(ReLU),
    "Reshape": _reshape,
    "Sigmoid": _plain(Sigmoid),
    "Softmax": _softmax,
    "Sub": _standardize("mean"),
    "Tanh": _plain(Tanh),
}
"""What each operator becomes."""
