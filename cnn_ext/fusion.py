"""Runs of layers that are computed in one pass.

A convolution, a ReLU and a max-pooling in a row make one block: the full-size map between them is never written, and on
the way back only the winners of the pooling are visited. Between two blocks images stay channels last. What comes out
is what the layers give one by one: forward to the bit, backward to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .engine import ConvEngine
from .layers import Conv, Maxpool, ReLU
from .layers.base import Array

LARGEST_POOL = 15  # the place of a winner is kept in one byte


class Block:
    """Conv, ReLU and Maxpool as one; made anew for each pass, over buffers that the convolution layer keeps."""

    def __init__(self, conv: Conv, relu: ReLU, pool: Maxpool) -> None:
        self.layers = (conv, relu, pool)
        self.conv = conv
        self.engine: ConvEngine = conv.engine_with_pool(pool.size)
        self.takes_channels_last = self.gives_channels_last = False

    def forward(self, X: Array, training: bool) -> Array:
        """Run the block; a layer's own `backward` has nothing to go back from afterwards."""
        if not self.takes_channels_last:
            X = np.ascontiguousarray(self.conv.check_images(X))
        for layer in self.layers:
            layer.forget()
        return self.engine.forward(
            X, *self.conv.weights(), training=training, last=self.takes_channels_last, out_last=self.gives_channels_last
        )

    def has_been_left(self) -> bool:
        """Whether a layer of the block went forward by itself since, so that the way back leads through the layers."""
        return any(layer.can_go_back() for layer in self.layers)

    def backward(self, dout: Array, need_dX: bool) -> tuple[Array, list[list[Array]]]:
        """Return the gradients of the block's input and of its layers' params, last layer first."""
        if self.engine.trained_on == 0:
            raise RuntimeError("backward() called before forward(): it needs a forward pass with training=True first")
        dX, dW, db = self.engine.backward(np.ascontiguousarray(dout), self.conv.weights()[0], need_dx=need_dX)
        return dX, [[], [], [dW, db]]


def find_blocks(layers: Sequence[Any]) -> list[Any]:
    """Return the layers in order, with each Conv, ReLU, Maxpool that can run as one replaced by a `Block`.

    Exactly these types: a subclass may compute something else. The pooling windows must not overlap.
    """
    steps: list[Any] = []
    index = 0
    while index < len(layers):
        three = layers[index : index + 3]
        if [type(layer) for layer in three] == [Conv, ReLU, Maxpool] and _fits(three[0], three[2]):
            steps.append(Block(*three))
            index += 3
        else:
            steps.append(layers[index])
            index += 1
    for before, after in pairwise(steps):
        if isinstance(before, Block) and isinstance(after, Block) and after.conv.X_dim == before.layers[2].out_dim:
            before.gives_channels_last = after.takes_channels_last = before.conv.dtype == after.conv.dtype
    return steps


def _fits(conv: Conv, pool: Maxpool) -> bool:
    return pool.X_dim == conv.out_dim and pool.size == pool.stride and 2 <= pool.size <= LARGEST_POOL
