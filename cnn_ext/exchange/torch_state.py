"""Weights under PyTorch's names and in its layout, as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._checks import as_array
from .._types import Array
from ..errors import CheckpointMismatchError, DTypeError, shown
from ..layers import OWN, BatchNorm, Conv, FullyConnected, check_known
from ..layers.base import Layer
from ..model_file import read_tensors
from ..passes import check_finite

NAMES: dict[type[Layer], dict[str, str]] = {
    Conv: {"weight": "W", "bias": "b"},
    FullyConnected: {"weight": "W", "bias": "b"},
    BatchNorm: {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"},
}
"""PyTorch's names of the arrays of every layer that has some, and ours."""
KNOWN = {*NAMES, *(layer for layer in OWN if not layer.param_names)}
"""These layers, and those without arrays."""

COUNTER = "num_batches_tracked"
"""An int64 of PyTorch's `BatchNorm` that only averages without a momentum read."""


def state_of(layers: Sequence[Any]) -> dict[str, Array]:
    """Return the arrays of the layers; see `NeuralNet.to_torch_state_dict`."""
    check_known(layers, KNOWN, "written as a PyTorch state dict")
    state = {}
    for index, layer in enumerate(layers):
        for theirs, ours in NAMES.get(type(layer), {}).items():
            state[f"{index}.{theirs}"] = np.array(_turned(layer, getattr(layer, ours)), layer.dtype, order="C")
        if type(layer) is BatchNorm:
            state[f"{index}.{COUNTER}"] = np.array(0, np.int64)
    return state


def load_state(layers: Sequence[Any], state: Mapping[str, Any] | str | os.PathLike[str]) -> None:
    """Set the arrays of the layers; see `NeuralNet.load_torch_state_dict`."""
    check_known(layers, KNOWN, "read from a PyTorch state dict")
    if isinstance(state, Mapping):
        source, given = "state", {key: as_array(f"state[{key!r}]", value) for key, value in state.items()}
    elif isinstance(state, (str, os.PathLike)):
        source, given = os.fspath(state), read_tensors(state)
    else:
        raise DTypeError(f"state must be a dict of arrays or the path of a file, got {type(state).__name__}")
    wanted = state_of(layers)
    missing = sorted(key for key in wanted.keys() - given.keys() if not key.endswith(COUNTER))
    unexpected = sorted(map(str, given.keys() - wanted.keys()))
    if missing or unexpected:
        raise CheckpointMismatchError(
            f"{source} has other arrays than an nn.Sequential of these layers: "
            f"missing: {shown(', '.join(missing)) or 'none'}; unexpected: {shown(', '.join(unexpected)) or 'none'}"
        )
    for key, array in given.items():
        _check(source, key, array, wanted[key])
    for index, layer in enumerate(layers):
        for theirs, ours in NAMES.get(type(layer), {}).items():
            setattr(layer, ours, _turned(layer, given[f"{index}.{theirs}"]))


def _check(source: str, key: str, array: Array, wanted: Array) -> None:
    exact = array.dtype.kind == wanted.dtype.kind and np.can_cast(array.dtype, wanted.dtype, "safe")
    if array.shape != wanted.shape or not exact:
        raise CheckpointMismatchError(
            f"{source}: {key} must be {wanted.dtype} {wanted.shape}, got {array.dtype} {array.shape}"
        )
    check_finite(f"{source}: {key}", array, CheckpointMismatchError)
    if key.endswith(".running_var") and (array < 0).any():
        raise CheckpointMismatchError(f"{source}: {key}: running_var < 0")


def _turned(layer: Any, array: Array) -> Array:
    """Return weights between (inputs, outputs), as ours are, and (outputs, inputs); other arrays as they are."""
    return array.T if type(layer) is FullyConnected else array
