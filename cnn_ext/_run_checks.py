"""What a training run is given, checked before the first step: what is found later has changed the network by then."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._checks import as_array, check_instance
from .batches import as_indexable, check_lengths
from .callbacks import Callback
from .distributed import check_parallel
from .errors import DTypeError
from .layers.base import as_float_array
from .loss import CrossEntropy, SoftmaxLoss, check_labels, check_takes_weights, check_weights
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
        if strange := [name for name in dir(kind) if name.startswith("on_") and not hasattr(Callback, name)]:
            message = f"callbacks[{i}] ({kind.__name__}): nothing calls {', '.join(strange)}, but {', '.join(CALLED)}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
    if validation is not None:
        if not isinstance(validation, Sequence) or isinstance(validation, str) or len(validation) != 2:
            length = f" of length {len(validation)}" if isinstance(validation, (tuple, list)) else ""
            raise DTypeError(f"validation must be a tuple (X, y), got {type(validation).__name__}{length}")
        try:
            check_data(net, *validation)
        except (ValueError, TypeError) as error:
            raise type(error)(f"validation: {error}") from error


def check_data(net: NeuralNet, X: Any, y: Any, sample_weight: Any = None) -> None:
    """Raise unless images are the network's and have as many labels, these its classes, and weights are numbers >= 0.

    A loss of one's own may make something else of its labels and weights: only their number is checked then.
    """
    X = as_indexable("X", X)
    n_images = check_lengths(X, as_indexable("y", as_array("y", y)))
    as_float_array("X", X[:0])
    shape = net.shapes(X.shape[1:])[-1]
    if sample_weight is not None:
        check_takes_weights(net.loss_func)
    if not (net.loss_func is SoftmaxLoss or isinstance(net.loss_func, CrossEntropy)):
        return
    n_classes = shape[0] if shape is not None and len(shape) == 1 else np.iinfo(np.int64).max
    check_labels(as_array("y", y), n_images, n_classes)
    if sample_weight is not None:
        check_weights("sample_weight", sample_weight, n_images)
