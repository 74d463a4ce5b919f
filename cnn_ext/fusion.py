"""Runs of layers that are computed in one pass.

A convolution makes one block with a ReLU, a max-pooling and a batch normalization behind it, as far as they are there;
ReLU and pooling may stand before the normalization or behind it. Before it, or without one, the full-size map between
convolution and pooling is never written, and on the way back only the winners of the pooling are visited. In inference
a batch normalization right behind the convolution is folded into its weights, so that it costs no pass. Between two
blocks images stay channels last. What comes out is what the layers give one by one: forward to the bit, backward and
inference with batch normalization to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ._checks import as_contiguous
from ._types import Array
from .engine import LARGEST_POOL, ConvEngine, NormEngine
from .foreign import Foreign
from .layers import BatchNorm, Conv, Maxpool, ReLU, is_own
from .layers.base import as_gradient


class Block:
    """A Conv and what runs in one with it; made anew for each pass, over buffers that the layers keep."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers: tuple[Any, ...] = tuple(layers)
        self.conv: Conv = layers[0]
        types = [type(layer) for layer in layers]
        norm_at = types.index(BatchNorm) if BatchNorm in types else len(layers)
        self.engine: ConvEngine = self.conv.engine(*_relu_and_pool(layers[:norm_at]))
        self.norm: BatchNorm | None = None
        self.folded: ConvEngine | None = None
        if norm_at < len(layers):
            self.norm = layers[norm_at]
            relu, pool = _relu_and_pool(layers[norm_at:])
            self.norm_engine: NormEngine = layers[norm_at].engine(relu, pool)
            if norm_at == 1 and self.conv.pools(pool):
                self.folded = self.conv.engine(relu, pool)
        self.out_dim: Any = next(layer.out_dim for layer in reversed(layers) if hasattr(layer, "out_dim"))
        self.takes_channels_last = self.gives_channels_last = False
        self._output: Any = None  # shape and dtype of the last pass's

    def forward(self, X: Array, training: bool) -> Array:
        """Run the block; a layer's own `backward` has nothing to go back from afterwards."""
        if not self.takes_channels_last:
            X = as_contiguous(self.conv.check_images(X))
        for layer in self.layers:
            layer.forget()
        if self.norm is not None and self.folded is not None and not training:
            return self._infer(self.norm, self.folded, X)
        z_last = self.gives_channels_last or self.norm is not None
        z = self.engine.forward(
            X, *self.conv.weights(), training=training, last=self.takes_channels_last, out_last=z_last
        )
        if self.norm is not None:
            z = self.norm.normalize(self.norm_engine, z, training, self.gives_channels_last)
        self._output = z.shape, z.dtype
        return z

    def _infer(self, norm: BatchNorm, engine: ConvEngine, X: Array) -> Array:
        """Run the block with the norm folded into the weights: anew at each call, as they may have changed."""
        self.engine.trained_on = None  # there is nothing to go back from, here either
        W, b = self.conv.weights()
        W, b = norm.folded(W, b, axis=0)
        return engine.forward(X, W, b, training=False, last=self.takes_channels_last, out_last=self.gives_channels_last)

    def has_been_left(self) -> bool:
        """Whether a layer of the block went forward by itself since, so that the way back leads through the layers."""
        return any(layer.can_go_back() for layer in self.layers)

    def backward(self, dout: Array, need_dX: bool) -> tuple[Array, list[list[Array]]]:
        """Return the gradients of the block's input and of its layers' params, last layer first."""
        if self.engine.trained_on is None:
            raise RuntimeError("backward() called before forward(): it needs a forward pass with training=True first")
        dout = as_contiguous(as_gradient(dout, *self._output))
        grads: dict[Any, list[Array]] = {}
        if self.norm is not None:
            dout, grads[self.norm] = self.norm.normalize_back(self.norm_engine, dout)
        dX, dW, db = self.engine.backward(dout, self.conv.weights()[0], need_dx=need_dX)
        grads[self.conv] = [dW, db]
        return dX, [grads.get(layer, []) for layer in reversed(self.layers)]


def find_steps(layers: Sequence[Any]) -> list[Any]:
    """Return the layers in order, with each Conv and what can run in one with it replaced by a `Block`.

    Exactly these types: a subclass may compute something else, and is `Foreign` as all layers that are not the
    package's. The pooling windows must not overlap.
    """
    steps: list[Any] = []
    index = 0
    while index < len(layers):
        if type(layers[index]) is Conv:
            steps.append(Block(_run_of(layers, index)))
            index += len(steps[-1].layers)
        else:
            steps.append(layers[index] if is_own(layers[index]) else Foreign(layers[index], index))
            index += 1
    for before, after in pairwise(steps):
        if isinstance(before, Block) and isinstance(after, Block) and after.conv.X_dim == before.out_dim:
            before.gives_channels_last = after.takes_channels_last = before.conv.dtype == after.conv.dtype
    return steps


def _run_of(layers: Sequence[Any], index: int) -> list[Any]:
    """Return the Conv at `index` with the layers behind it that run in one with it."""
    conv: Conv = layers[index]
    run: list[Any] = [conv]
    dim, normed = conv.out_dim, False
    free: list[type] = [ReLU, Maxpool]  # what may still come, before a BatchNorm and behind it
    for layer in layers[index + 1 : index + 6]:
        if type(layer) is BatchNorm and not normed and layer.X_dim == dim and layer.dtype == conv.dtype:
            normed, free = True, [ReLU, Maxpool]
        elif type(layer) in free and (type(layer) is not Maxpool or _fits(layer, dim, conv, normed)):
            free.remove(type(layer))
            dim = layer.out_dim if type(layer) is Maxpool else dim
        else:
            break
        run.append(layer)
    return run


def _fits(pool: Maxpool, dim: tuple[int, ...], conv: Conv, normed: bool) -> bool:
    return (
        pool.X_dim == dim
        and pool.size == pool.stride
        and 2 <= pool.size <= LARGEST_POOL
        and (normed or conv.pools(pool.size))
    )


def _relu_and_pool(layers: Sequence[Any]) -> tuple[bool, int]:
    """Return whether there is a ReLU among the layers, and the side of their pooling windows, 1 for none."""
    pools = [layer.size for layer in layers if type(layer) is Maxpool]
    return any(type(layer) is ReLU for layer in layers), pools[0] if pools else 1
