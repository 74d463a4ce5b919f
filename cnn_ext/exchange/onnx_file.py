"""An ONNX file of a stranger as a chain of operators, each with its settings and arrays; nothing in it is run.

The protocol buffer is parsed, and no more of the onnx package is asked: its checker and its readers of arrays follow
paths to other files.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._files import open_regular
from .._types import Array, Shape
from ..errors import CheckpointCorruptError, CheckpointMismatchError, shown
from ..passes import check_finite
from .common import onnx_module

LARGEST_FILE = 1 << 30
MOST_NODES = 10_000
OLDEST_OPSET = 9
"""Before it, batch normalization had other attributes."""
DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8"), 11: np.dtype("<f8")}
"""The element types of ONNX that are read: FLOAT, INT64 and DOUBLE."""
FLOATS = (1, 11)
LISTS = {1: "float_data", 7: "int64_data", 11: "double_data"}
"""Where a tensor keeps its numbers that has them not as raw bytes."""


@dataclass
class Node:
    """An operator: how messages call it, its type, its settings, and the arrays that it takes beside the chain's."""

    place: str
    op: str
    settings: dict[str, Any]
    arrays: list[Array | None]
    taken: set[str] = field(default_factory=set)

    def get(self, name: str, default: Any) -> Any:
        """Return a setting, and note that it was understood."""
        self.taken.add(name)
        return self.settings.get(name, default)

    def demand(self, name: str, wanted: Any, default: Any = None) -> None:
        """Raise unless a setting is what alone is supported; missing, it is `default` or else as wanted."""
        value = self.get(name, wanted if default is None else default)
        if value != wanted:
            raise self.refused(f"with {name} {value!r}, where only {wanted!r} is read")

    def refused(self, reason: str) -> CheckpointMismatchError:
        return CheckpointMismatchError(f"{self.place} {reason}")


@dataclass(frozen=True)
class Chain:
    """Operators in their order, the shape of one input, the size of a batch (None: any), and the version."""

    nodes: list[Node]
    input_shape: Shape
    batch: int | None
    opset: int


def read_chain(path: str | os.PathLike[str]) -> Chain:
    """Return the operators in an ONNX file, each of which takes the output of the one before it, and arrays.

    Raises
    ------
    CheckpointCorruptError
        No ONNX file, or one that contradicts itself.
    CheckpointMismatchError
        Another graph than a chain of float operators.
    """
    onnx = onnx_module("onnx")
    path = os.fspath(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(_content(path))
    except onnx_module("google.protobuf.message").DecodeError as error:
        raise CheckpointCorruptError(f"{path} is not an ONNX file: {error}") from error
    if not model.HasField("graph") or not model.graph.node:
        raise CheckpointCorruptError(f"{path} is not an ONNX file: it holds no graph")
    try:
        return _chain_of(model, _opset_of(model, onnx.defs.onnx_opset_version()))
    except (CheckpointCorruptError, CheckpointMismatchError) as error:
        raise type(error)(f"{path}: {shown(error)}") from error


def _content(path: str) -> bytes:
    with open_regular(path, CheckpointCorruptError) as (file, size):
        if size > LARGEST_FILE:
            raise CheckpointMismatchError(f"{path} has {size} bytes, more than the {LARGEST_FILE} that are read")
        return file.read(size)


def _opset_of(model: Any, newest: int) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise CheckpointCorruptError(f"the file names {len(versions)} versions of ONNX's operators, not one")
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise CheckpointMismatchError(
            f"the operators are of opset {versions[0]}; {OLDEST_OPSET} to {newest} are read (by the installed onnx)"
        )
    if model.functions:
        raise CheckpointMismatchError("the file defines functions of its own, which are not read")
    return int(versions[0])


def _chain_of(model: Any, opset: int) -> Chain:
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise CheckpointMismatchError(
            f"the graph has {len(graph.node)} operators, more than the {MOST_NODES} that are read"
        )
    if graph.sparse_initializer:
        raise CheckpointMismatchError("the graph has sparse arrays, which are not read")
    arrays: dict[str, Array] = {}
    for tensor in graph.initializer:
        _define(arrays, tensor.name, _array_of(tensor))
    inputs = [value for value in graph.input if value.name not in arrays]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise CheckpointMismatchError(
            f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs; one of each is read"
        )
    batch, shape = _shape_of(inputs[0])
    end, nodes = inputs[0].name, []
    for index, proto in enumerate(graph.node):
        node = _node_of(proto, f"operator {index} ({proto.domain + '.' if proto.domain else ''}{proto.op_type})")
        if proto.domain not in ("", "ai.onnx"):
            raise node.refused("is not one of ONNX's own, which alone are read")
        if node.op == "Constant" and not proto.input and list(node.settings) == ["value"]:
            _define(arrays, _only_output(node, proto), node.settings["value"])
        elif node.op == "Identity" and len(proto.input) == 1 and proto.input[0] in arrays:
            _define(arrays, _only_output(node, proto), arrays[proto.input[0]])
        else:
            if list(proto.input[:1]) != [end]:
                raise node.refused(f"takes {list(proto.input)[:1]}, not {end!r}: only chains of operators are read")
            for name in proto.input[1:]:
                if name and name not in arrays:
                    raise node.refused(f"takes {name!r}, which is no array of the file")
            node.arrays = [arrays[name] if name else None for name in proto.input[1:]]
            end = _only_output(node, proto)
            if end in arrays or end == inputs[0].name:
                raise CheckpointCorruptError(f"{node.place} gives {end!r}, which is there already")
            nodes.append(node)
    if graph.output[0].name != end:
        raise CheckpointMismatchError(
            f"the graph's output is {graph.output[0].name!r}, the last operator's {end!r}: only chains are read"
        )
    return Chain(nodes, shape, batch, opset)


def _define(arrays: dict[str, Array], name: str, array: Array) -> None:
    if name in arrays:
        raise CheckpointCorruptError(f"the array {name!r} is defined twice")
    arrays[name] = array


def _only_output(node: Node, proto: Any) -> str:
    outputs = [name for name in proto.output if name]
    if len(outputs) != 1:
        raise node.refused(f"gives {len(outputs)} outputs; one is read")
    return str(outputs[0])


def _node_of(proto: Any, place: str) -> Node:
    settings: dict[str, Any] = {}
    kinds = {1: "f", 2: "i", 3: "s", 4: "t", 7: "ints"}  # the types of attributes that the operators here have
    for attribute in proto.attribute:
        if attribute.name in settings:
            raise CheckpointCorruptError(f"{place} has {attribute.name} twice")
        if attribute.type not in kinds or (attribute.type == 4 and proto.op_type != "Constant"):
            raise CheckpointMismatchError(f"{place} has the setting {attribute.name}, of a kind that is not read")
        value = getattr(attribute, kinds[attribute.type])
        if attribute.type == 1:
            value = float(str(np.float32(value)))  # 1e-5 as it was meant, not as float32 holds it
        elif attribute.type == 3:
            value = value.decode("ascii", "replace")
        elif attribute.type == 4:
            value = _array_of(value, place)
        elif attribute.type == 7:
            value = list(value)
        settings[attribute.name] = value
    return Node(place, proto.op_type, settings, [])


def _array_of(tensor: Any, name: str = "") -> Array:
    name = name or f"the array {tensor.name!r}"
    if tensor.data_location or tensor.external_data:
        raise CheckpointMismatchError(
            f"{name} lies in another file, which is not read: save the model as one file "
            "(in PyTorch, with external_data=False)"
        )
    if tensor.data_type not in DTYPES:
        raise CheckpointMismatchError(f"{name} has element type {tensor.data_type}; FLOAT, DOUBLE and INT64 are read")
    if len(tensor.dims) > 4 or min(tensor.dims, default=0) < 0:
        raise CheckpointMismatchError(f"{name} has shape {list(tensor.dims)}; up to four axes are read")
    dtype, count = DTYPES[tensor.data_type], math.prod(tensor.dims)
    raw = tensor.raw_data
    values = getattr(tensor, LISTS[tensor.data_type])
    if len(raw) + len(values) * dtype.itemsize != count * dtype.itemsize:
        raise CheckpointCorruptError(f"{name} of shape {list(tensor.dims)} has {len(raw)} bytes, {len(values)} numbers")
    array = np.frombuffer(raw, dtype) if raw else np.array(values, dtype)
    array = array.reshape(tuple(tensor.dims)).astype(dtype.newbyteorder("="))
    check_finite(name, array, CheckpointMismatchError)
    return array


def _shape_of(value: Any) -> tuple[int | None, Shape]:
    """Return the size of a batch, None for any, and the shape of one input."""
    tensor = value.type.tensor_type
    if tensor.elem_type not in FLOATS:
        raise CheckpointMismatchError(
            f"the input {value.name!r} has element type {tensor.elem_type}, not FLOAT or DOUBLE"
        )
    batch, *sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim] or [None]
    if len(sizes) not in (1, 3) or any(size is None or size < 1 for size in sizes):
        axes = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        raise CheckpointMismatchError(
            f"the input {value.name!r} has shape ({axes}); (N, C, H, W) or (N, features) is read, with sizes but for N"
        )
    return batch, tuple(int(size) for size in sizes if size is not None)
