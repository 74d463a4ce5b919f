"""Batch normalization folded into the layers before it, for networks that are no longer trained."""

from __future__ import annotations

import copy
from typing import Any

from ._checks import check_instance
from .layers import BatchNorm, Conv, FullyConnected, is_own
from .network import NeuralNet


def fold_batch_norm(net: NeuralNet) -> NeuralNet:
    """Return a network that infers what `net` does, without the batch normalizations right behind a layer with weights.

    Their running statistics, gamma and beta go into the weights and biases of the `Conv` or `FullyConnected` before
    them. The results are the same to rounding; a file of the new network is smaller by four numbers a channel. Trained
    further, it is another network, without batch normalization.

    Parameters
    ----------
    net : NeuralNet
        It stays as it is: the new network shares no array with it.

    Returns
    -------
    NeuralNet
        With the loss, L2 strength and notes of `net`.

    Raises
    ------
    DTypeError
        `net` is something else.
    ShapeError
        A layer whose input shape is not what the layer before it gives.

    References
    ----------
    Jacob et al.: Quantization and training of neural networks for efficient integer-arithmetic-only inference,
      section 3.2. CVPR 2018.
    """
    check_instance("net", net, NeuralNet)
    net.shapes()
    layers: list[Any] = []
    for layer in net.layers:
        before: Any = layers[-1] if layers else None
        # Exactly these types: a subclass may compute something else.
        if type(layer) is BatchNorm and type(before) in (Conv, FullyConnected) and before.dtype == layer.dtype:
            W, b = before.weights()
            before.W, before.b = layer.folded(W, b, axis=0 if type(before) is Conv else 1)
        else:
            layers.append(_like(layer))
    folded = NeuralNet(layers, net.loss_func, net.l2)
    folded.notes = copy.deepcopy(net.notes)
    return folded


def _like(layer: Any) -> Any:
    """Return a copy of a layer, for the package's own without the buffers that they compute in."""
    if not is_own(layer):
        return copy.deepcopy(layer)
    like = type(layer)(**layer.config())
    for name, array in layer.state().items():
        setattr(like, name, array)
    return like
