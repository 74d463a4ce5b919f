"""Ready-made networks, as lists of layers for `NeuralNet`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._checks import check_image_shape
from .errors import ShapeError
from .initializers import RngLike, as_generator
from .layers import BatchNorm, Conv, Flatten, FullyConnected, Layer, Maxpool, ReLU


def make_mnist_cnn(
    X_dim: tuple[int, int, int], num_class: int, *, dtype: Any = np.float32, rng: RngLike = None
) -> list[Layer]:
    """Return the series' network for MNIST: two blocks of convolution, ReLU and max-pooling, then two dense layers.

    Conv 16 of 5 x 5, ReLU, max-pool 2; Conv 32 of 5 x 5, ReLU, max-pool 2; 120 hidden units, ReLU; `num_class` scores.
    The last layer starts at zero: at the series' constant rate of 0.1 with momentum 0.9, random scores at the start
    now and then drive every ReLU to zero in the first epoch, from where no gradient leads back.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (C, H, W) of one image; (1, 28, 28) for MNIST.
    num_class : int
        Number of classes.
    dtype : numpy dtype
        float32 or float64.
    rng : numpy.random.Generator, int or None
        Draws the initial weights.

    Returns
    -------
    list of Layer

    Raises
    ------
    ShapeError, ValueError, DTypeError
        Images too small for the two blocks; a number that is not a positive int.

    References
    ----------
    LeCun et al.: Gradient-based learning applied to document recognition. Proc. IEEE 86(11), 1998 (the form of the
      network).
    """
    rng = as_generator(rng)
    X_dim = _check_room(X_dim, halvings=2)
    conv = Conv(X_dim, n_filter=16, h_filter=5, w_filter=5, stride=1, padding=2, dtype=dtype, rng=rng)
    maxpool = Maxpool(conv.out_dim, size=2, stride=2)
    conv2 = Conv(maxpool.out_dim, n_filter=32, h_filter=5, w_filter=5, stride=1, padding=2, dtype=dtype, rng=rng)
    maxpool2 = Maxpool(conv2.out_dim, size=2, stride=2)
    fc1 = FullyConnected(math.prod(maxpool2.out_dim), 120, dtype=dtype, rng=rng)
    fc2 = FullyConnected(120, num_class, dtype=dtype, rng=rng)
    fc2.W[...] = 0
    return [conv, ReLU(), maxpool, conv2, ReLU(), maxpool2, Flatten(), fc1, ReLU(), fc2]


def make_cifar10_cnn(
    X_dim: tuple[int, int, int], num_class: int, *, dtype: Any = np.float32, rng: RngLike = None
) -> list[Layer]:
    """Return the series' network for CIFAR-10: two blocks of convolution, ReLU and max-pooling, then one dense layer.

    Conv 16 of 5 x 5, ReLU, max-pool 2; Conv 20 of 5 x 5, ReLU, max-pool 2; `num_class` scores, starting at zero. For
    the parameters and errors see `make_mnist_cnn`; images are (3, 32, 32).
    """
    rng = as_generator(rng)
    X_dim = _check_room(X_dim, halvings=2)
    conv = Conv(X_dim, n_filter=16, h_filter=5, w_filter=5, stride=1, padding=2, dtype=dtype, rng=rng)
    maxpool = Maxpool(conv.out_dim, size=2, stride=2)
    conv2 = Conv(maxpool.out_dim, n_filter=20, h_filter=5, w_filter=5, stride=1, padding=2, dtype=dtype, rng=rng)
    maxpool2 = Maxpool(conv2.out_dim, size=2, stride=2)
    fc = FullyConnected(math.prod(maxpool2.out_dim), num_class, dtype=dtype, rng=rng)
    fc.W[...] = 0
    return [conv, ReLU(), maxpool, conv2, ReLU(), maxpool2, Flatten(), fc]


def make_small_cnn(
    X_dim: tuple[int, int, int], num_class: int, *, dtype: Any = np.float32, rng: RngLike = None
) -> list[Layer]:
    """Return a small network that learns in an epoch or two: three convolutions with batch normalization.

    Conv 16 of 5 x 5, 32 and 64 of 3 x 3, each with max-pool 2, BatchNorm and ReLU: pooled first, there is a quarter to
    normalize. `num_class` scores, starting at zero. 29,546 parameters for MNIST. For the parameters and errors see
    `make_mnist_cnn`.
    """
    rng = as_generator(rng)
    layers: list[Layer] = []
    dim = _check_room(X_dim, halvings=3)
    for n_filter, side in ((16, 5), (32, 3), (64, 3)):
        conv = Conv(dim, n_filter, side, side, stride=1, padding=side // 2, dtype=dtype, rng=rng)
        maxpool = Maxpool(conv.out_dim, size=2, stride=2)
        dim = maxpool.out_dim
        layers += [conv, maxpool, BatchNorm(dim, dtype=dtype), ReLU()]
    return [*layers, *_scores(dim, num_class, dtype, rng)]


def make_best_cnn(
    X_dim: tuple[int, int, int], num_class: int, *, dtype: Any = np.float32, rng: RngLike = None
) -> list[Layer]:
    """Return the network of the recipe `best`: six convolutions of 3 x 3 with batch normalization.

    Conv 32 twice, 64 twice and 128 twice, of 3 x 3, each with BatchNorm and ReLU, a max-pool 2 behind each width;
    `num_class` scores, starting at zero. 298,858 parameters for MNIST. For the parameters and errors see
    `make_mnist_cnn`; images of (3, 32, 32) do as well.

    References
    ----------
    Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition. ICLR 2015.
    """
    rng = as_generator(rng)
    layers: list[Layer] = []
    dim = _check_room(X_dim, halvings=3)
    for n_filter in (32, 64, 128):
        for _ in range(2):
            conv = Conv(dim, n_filter, h_filter=3, w_filter=3, stride=1, padding=1, dtype=dtype, rng=rng)
            dim = conv.out_dim
            layers += [conv, BatchNorm(dim, dtype=dtype), ReLU()]
        maxpool = Maxpool(dim, size=2, stride=2)
        dim = maxpool.out_dim
        layers.append(maxpool)
    return [*layers, *_scores(dim, num_class, dtype, rng)]


def make_dense_net(
    X_dim: tuple[int, ...], num_class: int, *, dtype: Any = np.float32, rng: RngLike = None
) -> list[Layer]:
    """Return a network of two dense layers, for rows of features or images of any shape.

    100 hidden units, ReLU; `num_class` scores, starting at zero. For the other parameters and the errors see
    `make_mnist_cnn`.

    Parameters
    ----------
    X_dim : tuple of int
        Shape (features,) of one row, or (C, H, W) of one image.
    """
    rng = as_generator(rng)
    hidden = FullyConnected(math.prod(X_dim), 100, dtype=dtype, rng=rng)
    last = FullyConnected(100, num_class, dtype=dtype, rng=rng)
    last.W[...] = 0
    return [*([Flatten()] if len(X_dim) > 1 else []), hidden, ReLU(), last]


def _check_room(X_dim: Any, halvings: int) -> tuple[int, int, int]:
    """Return the shape of an image that something is left of behind so many max-pools of 2."""
    channels, height, width = check_image_shape("X_dim", X_dim)
    least = 2**halvings
    if min(height, width) < least:
        raise ShapeError(
            f"X_dim: images of {height} x {width} pixels are too small for this network, which takes {least} x {least} "
            "and more"
        )
    return channels, height, width


def _scores(dim: tuple[int, ...], num_class: int, dtype: Any, rng: RngLike) -> list[Layer]:
    """Return the dense layer that ends a network, starting at zero."""
    last = FullyConnected(math.prod(dim), num_class, dtype=dtype, rng=rng)
    last.W[...] = 0
    return [Flatten(), last]


MODELS: dict[str, Callable[..., list[Layer]]] = {
    "mnist": make_mnist_cnn,
    "cifar10": make_cifar10_cnn,
    "small": make_small_cnn,
    "best": make_best_cnn,
}
"""The networks by name, as recipes and the command line call them."""
