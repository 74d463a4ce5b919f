"""What a training run is given, checked before the first step: what is found later has changed the network by then."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from ._checks import check_instance, type_and_length
from .batches import as_indexable, as_labels, check_lengths
from .callbacks import Callback
from .distributed import check_parallel
from .errors import DTypeError, ShapeError
from .layers import is_own
from .layers.base import check_float
from .loss import CrossEntropy, SoftmaxLoss, check_labels, check_one_each, check_takes_weights, check_weights
from .network import NeuralNet
from .optimizers import Optimizer

CALLED = [name for name in vars(Callback) if name.startswith("on_")]


def check_run(
    net: Any, optimizer: Any, schedule: Any, validation: Any, callbacks: Any, augment: Any, parallel: Any
) -> None:
    """Raise DTypeError unless these are what `fit` wants them to be, ValueError where the validation set is not."""
    check_instance("net", net, NeuralNet)
    check_instance("optimizer", optimizer, Optimizer)
    if schedule is not None and not callable(schedule):
        raise DTypeError(f"schedule must be callable, got {type(schedule).__name__}")
    if augment is not None and not callable(augment):
        raise DTypeError(f"augment must be callable, got {type(augment).__name__}")
    check_parallel(parallel)
    check_instance("callbacks", callbacks, Sequence)  # read more than once
    for i, callback in enumerate(callbacks):
        check_instance(f"callbacks[{i}]", callback, Callback)
        kind = type(callback)
        if kind.state is not Callback.state and kind.restore is Callback.restore:
            raise DTypeError(f"callbacks[{i}] ({kind.__name__}) has a state, but no restore that would take it back")
        others = (name for name in dir(kind) if name.startswith("on_") and name not in CALLED)
        if strange := [name for name in others if callable(getattr(kind, name))]:
            message = f"callbacks[{i}] ({kind.__name__}): {', '.join(strange)} is never called; {', '.join(CALLED)} are"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
    if validation is not None:
        if not isinstance(validation, Sequence) or isinstance(validation, str) or len(validation) != 2:
            raise DTypeError(f"validation must be a tuple (X, y), got {type_and_length(validation)}")
        try:
            check_data(net, *validation)
            labels = as_labels(validation[1])
            if len(labels) == 0:
                raise ShapeError("X holds no images")
            check_labels(labels, len(labels), np.iinfo(np.int64).max)  # as `evaluate`, also for a loss of one's own
        except (ValueError, TypeError) as error:
            raise type(error)(f"validation: {error}") from error


def check_data(net: NeuralNet, X: Any, y: Any, sample_weight: Any = None, *, augmented: bool = False) -> None:
    """Raise unless images and labels are what the network takes, one label an image, and weights are numbers >= 0.

    A loss of one's own may make something else of the labels and weights: only their number is checked then. Images
    that are yet to be `augmented` may be of any shape and dtype.
    """
    X, y = as_indexable("X", X), as_labels(y)
    n_images = check_lengths(X, y)
    if not augmented:
        check_float("X", np.dtype(X.dtype))
        _check_shape(net, X)
    if sample_weight is not None:
        check_takes_weights(net.loss_func)
    if not (net.loss_func is SoftmaxLoss or isinstance(net.loss_func, CrossEntropy)):
        check_one_each(y, n_images)
        return
    shape = net.shapes()[-1]
    n_classes = shape[0] if shape is not None and len(shape) == 1 else np.iinfo(np.int64).max
    check_labels(y, n_images, n_classes)
    if sample_weight is not None:
        check_weights("sample_weight", sample_weight, n_images)


def _check_shape(net: NeuralNet, X: Any) -> None:
    """Raise ShapeError unless images of this shape go as far as the first layer that tells what it takes."""
    shape = given = tuple(getattr(X, "shape", ())[1:])
    if not given:  # told by the first forward pass
        return
    for index, layer in enumerate(takewhile(is_own, net.layers)):
        if layer.input_shape is not None:
            if shape != layer.input_shape:
                name = f"layer {index} ({type(layer).__name__})"
                raise ShapeError(
                    f"X holds inputs of shape {given}: {name} takes {layer.input_shape}, and is given {shape}"
                )
            return
        shape = layer.output_shape(shape)
