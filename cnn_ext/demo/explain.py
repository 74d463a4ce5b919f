"""What a network makes of one image: its layers' outputs as pictures, and which ink its guess rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import check_array, check_int
from .._types import Array
from ..errors import ShapeError
from ..network import NeuralNet

OCCLUDER, STEP = 4, 2
"""Side of the square that covers a part of the image, and how far it moves; small beside a stroke's length."""


@dataclass(frozen=True)
class LayerOutput:
    """What a layer gives for one image: `maps` of shape (C, H, W); numbers without a place are maps of one pixel."""

    name: str
    maps: Array


def layer_outputs(net: NeuralNet, image: Array) -> list[LayerOutput]:
    """Return what each layer gives for `image`, shape (C, H, W), first layer first; those that only reshape left out.

    The layers are run one by one, as their definitions stand, and not fused as `NeuralNet.forward` runs them.
    """
    out = _as_batch(net, image)
    outputs = []
    for layer in net.layers:
        before, out = out, NeuralNet([layer], net.loss_func).forward(out.astype(net.dtype), training=False)
        only_reshaped = before.shape != out.shape and np.array_equal(before.ravel(), out.ravel())
        if not only_reshaped:
            maps = out[0] if out.ndim == 4 else out.reshape(-1, 1, 1)
            outputs.append(LayerOutput(type(layer).__name__, maps))
    return outputs


def occlusion_map(net: NeuralNet, image: Array, label: int) -> Array:
    """Return which parts of `image` speak for the class `label`, and which against it.

    A square of ground (zeros) is moved over the image. What the log-odds of the class lose while a pixel is covered, as
    a mean over all places of the square that cover it, is the pixel's value: positive where the ink speaks for the
    class. Where the square covers no ink nothing changes, and nothing is computed.

    Parameters
    ----------
    net : NeuralNet
    image : array of float, shape (C, H, W)
    label : int
        The class, in [0, number of classes).

    Returns
    -------
    ndarray, shape (H, W), float64

    References
    ----------
    Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014.
    """
    batch = _as_batch(net, image)
    scores = net.forward(batch, training=False)
    if scores.shape[1] < 2:
        raise ShapeError("net must tell two classes apart at least, got one")
    label = check_int("label", label, 0, scores.shape[1] - 1)
    height, width = batch.shape[2:]
    places = [
        (slice(top, top + OCCLUDER), slice(left, left + OCCLUDER))
        for top in range(0, max(height - OCCLUDER, 0) + 1, STEP)
        for left in range(0, max(width - OCCLUDER, 0) + 1, STEP)
    ]
    covers_ink = [bool(batch[0][:, rows, columns].any()) for rows, columns in places]
    covered = np.repeat(batch, sum(covers_ink), axis=0)
    for one, (rows, columns) in zip(covered, [place for place, inked in zip(places, covers_ink) if inked]):
        one[:, rows, columns] = 0
    losses = np.zeros(len(places))
    if len(covered):
        covered_scores = np.concatenate(
            [net.forward(covered[start : start + 32], training=False) for start in range(0, len(covered), 32)]
        )
        losses[covers_ink] = _log_odds(scores, label)[0] - _log_odds(covered_scores, label)
    total, count = np.zeros((2, height, width))
    for loss, (rows, columns) in zip(losses, places):
        total[rows, columns] += loss
        count[rows, columns] += 1
    return total / np.maximum(count, 1)


def _as_batch(net: NeuralNet, image: Any) -> Array:
    image = check_array("image", image)
    if image.ndim != 3:
        raise ShapeError(f"image must be 3-D (C, H, W), got {image.ndim}-D {image.shape}")
    return image[np.newaxis].astype(net.dtype)


def _log_odds(scores: Array, label: int) -> Array:
    """Return the logarithm of p / (1 - p) of a class, from scores (N, classes) of at least two classes."""
    scores = scores.astype(np.float64)
    others = np.delete(scores, label, axis=1)
    peak = others.max(axis=1, keepdims=True)
    return scores[:, label] - (peak[:, 0] + np.log(np.exp(others - peak).sum(axis=1)))
