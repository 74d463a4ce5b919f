"""Networks as ONNX models, checked and run before they are left on disk.

Opset 17 and IR version 8 are of 2022: tools that are older than the version in a file refuse it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import check_choice, check_float_dtype
from .._files import check_writable, write_atomically
from .._types import Array, Shape
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
from ..loss import softmax
from .common import check_layers, input_shape_of, onnx_module

OPSET, IR_VERSION = 17, 8
BATCHES = (1, 3)
"""Sizes of the random batches that a model must get right."""
TOLERANCE = 1e-5
"""Largest difference from the network, in parts of its largest output."""

Add = Callable[..., None]


def write_onnx(net: Any, path: str | os.PathLike[str], output: str, dtype: Any, input_shape: Any) -> None:
    """Write `net` to `path`; see `NeuralNet.to_onnx`."""
    check_choice("output", output, ("scores", "probabilities"))
    dtype = net.dtype if dtype is None else check_float_dtype("dtype", dtype)
    check_layers(net.layers, NODES, "written as ONNX")
    shape = input_shape_of(net.layers, input_shape)
    out_shape = net.shapes(shape)[-1]
    if output == "probabilities" and len(out_shape) != 1:
        raise ShapeError(f"output='probabilities' needs a network that gives one row an image, got {out_shape}")
    check_writable(path)
    onnx = onnx_module("onnx")
    onnx_module("onnxruntime")
    model = _model_of(onnx, net.layers, output, np.dtype(dtype), shape, out_shape)
    content = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(content, full_check=True)
    _check_outputs(net, _runner(onnx, content), output, np.dtype(dtype), shape)
    write_atomically(path, [content])


class _Graph:
    """A chain of nodes that grows at its end."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.end = "input"

    def add(self, place: str, op: str, constants: dict[str, Any], **attributes: Any) -> None:
        """Add a node that takes the last one's output and `constants`, named by their `place`."""
        names = [f"{place}.{name}" for name in constants]
        for name, array in zip(names, constants.values()):
            self.constants.append(self.onnx.numpy_helper.from_array(np.array(array, self.dtype, order="C"), name))
        name = f"{place}.{op}"
        self.nodes.append(self.onnx.helper.make_node(op, [self.end, *names], [name], name=name, **attributes))
        self.end = name


def _model_of(onnx: Any, layers: list[Layer], output: str, dtype: np.dtype[Any], shape: Shape, out_shape: Shape) -> Any:
    graph = _Graph(onnx, dtype)
    for index, layer in enumerate(layers):
        place = f"layers.{index}"
        NODES[type(layer)](layer, lambda op, constants={}, place=place, **keys: graph.add(place, op, constants, **keys))
    if output == "probabilities":
        graph.add("output", "Softmax", {}, axis=1)
    elif not graph.nodes:
        graph.add("output", "Identity", {})
    graph.nodes[-1].output[0] = output
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "network",
            [onnx.helper.make_tensor_value_info("input", element, ["N", *shape])],
            [onnx.helper.make_tensor_value_info(output, element, ["N", *out_shape])],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cnn_ext",
        producer_version=__version__,
    )


def _runner(onnx: Any, content: bytes) -> Callable[[Array], Array]:
    """Return a function that runs the model: in onnxruntime, or where that lacks an operator in ONNX's reference."""
    onnxruntime = onnx_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:  # convolution and averages of float64
        session = onnx_module("onnx.reference").ReferenceEvaluator(onnx.load_model_from_string(content))
    return lambda X: np.asarray(session.run(None, {"input": X})[0])


def _check_outputs(net: Any, run: Callable[[Array], Array], output: str, dtype: np.dtype[Any], shape: Shape) -> None:
    rng = np.random.default_rng(0)
    for n_images in BATCHES:
        X = rng.standard_normal((n_images, *shape))
        if type(net.layers[0]) is Standardize:  # numbers as the network knows them
            X = X * np.reshape(net.layers[0].std, (-1, 1, 1)) + np.reshape(net.layers[0].mean, (-1, 1, 1))
        X = X.astype(dtype)
        wanted = net.forward(X, training=False)
        wanted = softmax(wanted) if output == "probabilities" else wanted
        got = run(X)
        if got.shape != wanted.shape or got.dtype != dtype:
            raise RuntimeError(f"the ONNX model gives {got.dtype} {got.shape} for {wanted.dtype} {wanted.shape}")
        difference, largest = np.abs(got - wanted).max(), np.abs(wanted).max()
        if not difference <= TOLERANCE * largest:
            raise RuntimeError(
                f"the ONNX model differs from the network by {difference:.3g} on random inputs, where the largest "
                f"output is {largest:.3g}: nothing was written"
            )


def _standardize(layer: Any, add: Add) -> None:
    for op, name in (("Sub", "mean"), ("Div", "std")):
        numbers = getattr(layer, name)
        add(op, {name: numbers if isinstance(numbers, float) else np.reshape(numbers, (-1, 1, 1))})


def _conv(layer: Any, add: Add) -> None:
    sides = [layer.h_filter, layer.w_filter]
    pads, strides = [layer.padding] * 4, [layer.stride] * 2
    add("Conv", {"W": layer.W, "b": layer.b}, kernel_shape=sides, pads=pads, strides=strides)


def _pool(op: str) -> Callable[[Any, Add], None]:
    return lambda layer, add: add(op, kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2)


def _global_average(layer: Any, add: Add) -> None:
    add("GlobalAveragePool")
    add("Flatten", axis=1)


def _batch_norm(layer: Any, add: Add) -> None:
    arrays = {name: getattr(layer, name) for name in ("gamma", "beta", "running_mean", "running_var")}
    # ONNX's momentum is the weight of what was, not of the newest batch.
    add("BatchNormalization", arrays, epsilon=layer.eps, momentum=1 - layer.momentum)


NODES: dict[type[Layer], Callable[[Any, Add], None]] = {
    AvgPool: _pool("AveragePool"),
    BatchNorm: _batch_norm,
    Conv: _conv,
    Dropout: lambda layer, add: None,
    Flatten: lambda layer, add: add("Flatten", axis=1),
    FullyConnected: lambda layer, add: add("Gemm", {"W": layer.W, "b": layer.b}),
    GlobalAvgPool: _global_average,
    Maxpool: _pool("MaxPool"),
    ReLU: lambda layer, add: add("Relu"),
    Sigmoid: lambda layer, add: add("Sigmoid"),
    Standardize: _standardize,
    Tanh: lambda layer, add: add("Tanh"),
}
"""What each layer becomes."""
