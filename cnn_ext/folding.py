"""Networks that are no longer trained, with batch normalization folded into the layers before it."""

from __future__ import annotations

import copy

from ._checks import check_instance
from .layers.folding import folded_layers
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
    folded = NeuralNet(folded_layers(net.layers), net.loss_func, net.l2)
    folded.notes = copy.deepcopy(net.notes)
    return folded
