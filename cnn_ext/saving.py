"""A network as a file: its architecture as JSON, its arrays as tensors, checked against each other on the way back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._checks import FLOAT_DTYPES, check_real
from .errors import CheckpointMismatchError, DTypeError
from .layers import LAYER_TYPES, Layer
from .layers.base import Array, Shape
from .loss import CrossEntropy, LossFunction, SoftmaxLoss
from .model_file import read_model, write_model

DTYPES = {dtype.name: dtype for dtype in FLOAT_DTYPES}


class SavedNetwork(NamedTuple):
    """What a network is made anew from; the loss is None where the file has only its name."""

    layers: list[Layer]
    loss_name: str
    loss_func: LossFunction | None
    l2: float


def write_network(path: str | os.PathLike[str], layers: Sequence[Any], loss_func: LossFunction, l2: float) -> None:
    """Write what a network is made of to `path`; see `NeuralNet.save`."""
    entries, tensors = [], {}
    for index, layer in enumerate(layers):
        name = type(layer).__name__
        if type(layer) is not LAYER_TYPES.get(name):
            raise DTypeError(f"layer {index} ({name}) is not one of cnn_ext's layers and cannot be saved")
        entries.append({"type": name, **layer.config()})
        tensors.update({f"layers.{index}.{key}": array for key, array in layer.state().items()})
    architecture = {"layers": entries, "l2": check_real("l2", l2, "[0, inf)")}
    architecture["loss_func"] = getattr(loss_func, "__name__", type(loss_func).__name__)
    if type(loss_func) is CrossEntropy:
        architecture["loss_config"] = loss_func.config()  # apart from the name: older readers then ask for the loss
    write_model(path, architecture, tensors)


def read_network(path: str | os.PathLike[str], allow_nonfinite: bool = False) -> SavedNetwork:
    """Return the network kept in `path`; see `NeuralNet.load`."""
    model = read_model(path)
    try:
        configs = [dict(entry) for entry in model.architecture["layers"]]
        types = [LAYER_TYPES[config.pop("type")] for config in configs]
        wanted = {
            f"layers.{index}.{key}": (tuple(shape), DTYPES[config["dtype"]])
            for index, (layer_type, config) in enumerate(zip(types, configs, strict=True))
            for key, shape in layer_type.state_shapes(config).items()
        }
        for layer_type, config in zip(types, configs, strict=True):
            if unknown := config.keys() - set(layer_type.config_names):
                raise ValueError(f"{layer_type.__name__} has no {', '.join(sorted(unknown))}")
        # Compared before any layer is made: a forged size must not become an allocation.
        _check_tensors(path, model.tensors, wanted, allow_nonfinite)
        layers = [layer_type(**config) for layer_type, config in zip(types, configs, strict=True)]
        l2 = check_real("l2", model.architecture["l2"], "[0, inf)")
        loss_name, loss_func = str(model.architecture["loss_func"]), _loss_of(model.architecture)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointMismatchError(f"{path} describes no network of this version: {error!r}") from error
    for name, tensor in model.tensors.items():
        _, index, key = name.split(".")
        setattr(layers[int(index)], key, tensor)
    return SavedNetwork(layers, loss_name, loss_func, l2)


def _loss_of(architecture: dict[str, Any]) -> LossFunction | None:
    """Return the loss that a file tells in full, None for one of its writer's own."""
    if "loss_config" in architecture:
        if architecture["loss_func"] != CrossEntropy.__name__:
            raise ValueError(f"a loss_config belongs to CrossEntropy, not to {architecture['loss_func']!r}")
        return CrossEntropy(**architecture["loss_config"])
    return SoftmaxLoss if architecture["loss_func"] == SoftmaxLoss.__name__ else None


def _check_tensors(
    path: Any, tensors: dict[str, Array], wanted: dict[str, tuple[Shape, Any]], allow_nonfinite: bool
) -> None:
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        raise CheckpointMismatchError(
            f"{path} has other tensors than its architecture: "
            f"missing: {', '.join(missing) or 'none'}; unexpected: {', '.join(unexpected) or 'none'}"
        )
    for name, (shape, dtype) in wanted.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointMismatchError(f"{path}: {name} must be {dtype} {shape}, got {tensor.dtype} {tensor.shape}")
        if not allow_nonfinite and not np.isfinite(tensor).all():
            count = np.count_nonzero(~np.isfinite(tensor))
            raise CheckpointMismatchError(f"{path}: {name} has {count} non-finite values")
        if name.endswith(".running_var") and (tensor < 0).any():
            raise CheckpointMismatchError(f"{path}: {name}: running_var < 0")
