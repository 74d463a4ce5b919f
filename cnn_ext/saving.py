"""A network as a file: its architecture as JSON, its arrays as tensors, checked against each other on the way back.

Keys of the architecture: `layers`, `l2`, `loss_func` (a name); where there is need of them `loss_config` (settings of a
CrossEntropy), `storage_dtype` (float16: of all tensors) and `notes`. Readers that know the first three alone load what
they can and refuse the rest by name, so the format's version has not changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._checks import check_real
from ._types import Array, Shape
from .errors import CheckpointMismatchError, DTypeError, shown
from .layers import LAYER_TYPES, Layer, check_known, is_own
from .loss import CrossEntropy, LossFunction, SoftmaxLoss
from .model_file import check_storage_dtype, parse_json, read_model, write_model
from .passes import check_finite

DTYPES = {name: np.dtype(name) for name in ("float32", "float64")}
STORED = {"float16": np.dtype(np.float16)}
"""What tensors may be rounded to in a file, instead of lying there as the layers compute."""


class SavedNetwork(NamedTuple):
    """What a network is made anew from; the loss is None where the file has only its name."""

    layers: list[Layer]
    loss_name: str
    loss_func: LossFunction | None
    l2: float
    notes: dict[str, Any]


def write_network(
    path: str | os.PathLike[str],
    layers: Sequence[Any],
    loss_func: LossFunction,
    l2: float,
    storage_dtype: Any = None,
    notes: Any = None,
) -> None:
    """Write what a network is made of to `path`; see `NeuralNet.save`."""
    tensors = {}
    check_known(layers, LAYER_TYPES.values(), "saved: named_params() has its arrays")
    for index, layer in enumerate(layers):
        if not is_own(layer):
            _check_tells_all(layer, f"layer {index} ({type(layer).__name__})")
        tensors.update({f"layers.{index}.{key}": array for key, array in layer.state().items()})
    architecture = architecture_of(layers, loss_func, l2)
    if storage_dtype is not None:
        architecture["storage_dtype"] = check_storage_dtype(storage_dtype).name
    if notes := check_notes({} if notes is None else notes):
        architecture["notes"] = notes
    write_model(path, architecture, tensors, storage_dtype)


def _check_tells_all(layer: Any, name: str) -> None:
    """Raise DTypeError if `read_network` could not make a layer that was put into `LAYER_TYPES` again."""
    try:
        config, found = layer.config(), {key: array.shape for key, array in layer.state().items()}
        told = type(layer).state_shapes(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise DTypeError(f"{name} cannot be saved: not a cnn_ext.Layer with the names it tells: {error}") from error
    if {key: tuple(shape) for key, shape in told.items()} != found or (found and "dtype" not in config):
        raise DTypeError(
            f"{name} cannot be saved: it holds {found}, but state_shapes tells {told}, and config_names "
            f"{list(config)}, which must have 'dtype'"
        )


def architecture_of(layers: Sequence[Any], loss_func: LossFunction, l2: float) -> dict[str, Any]:
    """Return layers and loss as JSON can hold them; of a layer that is not the package's, its name."""
    configs = [layer.config() if isinstance(layer, Layer) else {} for layer in layers]
    architecture = {
        "layers": [{"type": type(layer).__name__, **config} for layer, config in zip(layers, configs, strict=True)],
        "l2": check_real("l2", l2, "[0, inf)"),
        "loss_func": _loss_name(loss_func),
    }
    if type(loss_func) is CrossEntropy:
        # apart from the name: older readers then ask for the loss
        architecture["loss_config"] = loss_func.config()  # pyright: ignore[reportFunctionMemberAccess]
    return architecture


def _loss_name(loss_func: LossFunction) -> str:
    """Return the loss's own name; one that is called like the package's, and is not, with its module."""
    name = str(getattr(loss_func, "__name__", type(loss_func).__name__))
    if name == SoftmaxLoss.__name__ and loss_func is not SoftmaxLoss:
        return f"{getattr(loss_func, '__module__', 'another')}.{name}"
    return name


def check_notes(notes: Any, name: str = "notes") -> dict[str, Any]:
    """Return a copy of `notes` if it is a dict that comes back from JSON as it is, else raise."""
    if not isinstance(notes, dict):
        raise DTypeError(f"{name} must be a dict, got {type(notes).__name__}")
    try:
        copy = parse_json(json.dumps(notes, allow_nan=False))
    except TypeError as error:
        raise DTypeError(f"{name} must hold what JSON can: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must hold what JSON can: {error}") from error
    if copy != notes:
        raise ValueError(f"{name} must come back from JSON as they are: with text as keys, and lists for tuples")
    return dict(copy)


def read_network(path: str | os.PathLike[str], allow_nonfinite: bool = False) -> SavedNetwork:
    """Return the network kept in `path`; see `NeuralNet.load`."""
    model = read_model(path)
    if "checkpoint" in model.architecture:
        raise CheckpointMismatchError(f"{path} is a checkpoint, not a saved network: let its run go on, and save that")
    try:
        configs = [dict(entry) for entry in model.architecture["layers"]]
        types = [_type_of(index, config.pop("type")) for index, config in enumerate(configs)]
        stored = None if "storage_dtype" not in model.architecture else STORED[model.architecture["storage_dtype"]]
        wanted = {
            f"layers.{index}.{key}": (tuple(shape), DTYPES[config["dtype"]] if stored is None else stored)
            for index, (layer_type, config) in enumerate(zip(types, configs, strict=True))
            for key, shape in layer_type.state_shapes(config).items()
        }
        for layer_type, config in zip(types, configs, strict=True):
            if unknown := config.keys() - set(layer_type.config_names):
                raise ValueError(f"{layer_type.__name__} has no {', '.join(sorted(unknown))}")
            DTYPES[config.get("dtype", "float32")]  # by name alone: NumPy would parse any other text
        # Compared before any layer is made: a forged size must not become an allocation.
        _check_tensors(path, model.tensors, wanted, allow_nonfinite)
        layers = [layer_type(**config) for layer_type, config in zip(types, configs, strict=True)]
        l2 = check_real("l2", model.architecture["l2"], "[0, inf)")
        notes = model.architecture.get("notes", {})
        if not isinstance(notes, dict):
            raise TypeError(f"notes must be a dict, got {type(notes).__name__}")
        loss_name, loss_func = str(model.architecture["loss_func"]), _loss_of(model.architecture)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointMismatchError(f"{path} describes no network of this version: {shown(repr(error))}") from error
    for name, tensor in model.tensors.items():
        _, index, key = name.split(".")
        setattr(layers[int(index)], key, tensor)
    return SavedNetwork(layers, loss_name, loss_func, l2, notes)


def _type_of(index: int, name: Any) -> type[Layer]:
    if name not in LAYER_TYPES:
        raise ValueError(
            f"layer {index} is a {name!r}, which is not in cnn_ext.layers.LAYER_TYPES: put your own there first"
        )
    return LAYER_TYPES[name]


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
            f"missing: {shown(', '.join(missing)) or 'none'}; unexpected: {shown(', '.join(unexpected)) or 'none'}"
        )
    for name, (shape, dtype) in wanted.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointMismatchError(f"{path}: {name} must be {dtype} {shape}, got {tensor.dtype} {tensor.shape}")
        if not allow_nonfinite:
            check_finite(f"{path}: {name}", tensor, CheckpointMismatchError)
        if name.endswith(".running_var") and (tensor < 0).any():
            raise CheckpointMismatchError(f"{path}: {name}: running_var < 0")
