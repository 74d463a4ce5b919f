"""Every gradient against central differences, in float64."""

import numpy as np
import pytest

from cnn_ext import (
    AvgPool,
    BatchNorm,
    Conv,
    CrossEntropy,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    NeuralNet,
    ReLU,
    Sigmoid,
    SoftmaxLoss,
    Standardize,
    Tanh,
    delta_l1_regularization,
    delta_l2_regularization,
    l1_regularization,
    l2_regularization,
)
from cnn_ext.layers import LAYER_TYPES

EPS, RTOL, ATOL = 1e-6, 1e-3, 1e-5  # torch.autograd.gradcheck's


def numerical_gradient(function, array):
    """Central differences of the number `function()` over each entry of `array`, changed in place and put back."""
    gradient = np.empty_like(array)
    for index in np.ndindex(*array.shape):
        kept = array[index]
        array[index] = kept + EPS
        above = function()
        array[index] = kept - EPS
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * EPS)
    return gradient


def spread(shape, rng):
    """Distinct values, none nearer to zero or to another than 100 eps: off every kink."""
    n = int(np.prod(shape))
    return (rng.permutation(np.linspace(-1.0, 1.0, n)) + 1 / (3 * n)).reshape(shape)


LAYERS = {
    "conv": (lambda r: Conv((2, 5, 4), 3, 3, 2, 1, 1, dtype=np.float64, rng=r), (2, 2, 5, 4)),
    "conv, stride 2, uneven": (lambda r: Conv((1, 6, 5), 2, 3, 3, 2, 0, dtype=np.float64, rng=r), (3, 1, 6, 5)),
    "max-pool": (lambda r: Maxpool((2, 4, 6), 2, 2), (2, 2, 4, 6)),
    "average pool, overlapping": (lambda r: AvgPool((2, 5, 7), 3, 2), (2, 2, 5, 7)),
    "global average pool": (lambda r: GlobalAvgPool((3, 4, 5)), (2, 3, 4, 5)),
    "max-pool, overlapping": (lambda r: Maxpool((1, 5, 5), 3, 1), (2, 1, 5, 5)),
    "dense": (lambda r: FullyConnected(5, 4, dtype=np.float64, rng=r), (3, 5)),
    "ReLU": (lambda r: ReLU(), (3, 4, 2)),
    "sigmoid": (lambda r: Sigmoid(), (3, 4)),
    "tanh": (lambda r: Tanh(), (3, 2, 2, 2)),
    "standardize": (lambda r: Standardize((2, 3, 4), [0.1, -0.2], [0.5, 3.0]), (2, 2, 3, 4)),
    "flatten": (lambda r: Flatten(), (2, 3, 2, 2)),
    "batch norm of images": (lambda r: BatchNorm((2, 3, 2), dtype=np.float64), (4, 2, 3, 2)),
    "batch norm of rows": (lambda r: BatchNorm(3, dtype=np.float64), (5, 3)),
}


def test_the_table_is_complete():
    assert {type(make(0)) for make, _ in LAYERS.values()} | {Dropout} == set(LAYER_TYPES.values())


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, rng):
    make, shape = LAYERS[name]
    layer = make(rng)
    for param in layer.params:
        param += 0.1 * rng.standard_normal(param.shape)
    X = spread(shape, rng)
    dout = rng.standard_normal(layer.forward(X).shape)

    def value():
        return float(np.vdot(layer.forward(X), dout))

    layer.forward(X)
    dX, grads = layer.backward(dout)
    assert len(grads) == len(layer.params)
    for gradient, array in [(dX, X), *zip(grads, layer.params, strict=True)]:
        assert gradient.dtype == np.float64 and gradient.flags.c_contiguous
        np.testing.assert_allclose(gradient, numerical_gradient(value, array), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize(("shape", "per_channel"), [((4, 5), False), ((3, 4, 2, 2), True)])
def test_dropout(shape, per_channel, rng):
    X = rng.standard_normal(shape)
    dout = rng.standard_normal(X.shape)

    def value():  # the same seed draws the same mask
        return float(np.vdot(Dropout(0.6, per_channel, rng=3).forward(X), dout))

    layer = Dropout(0.6, per_channel, rng=3)
    layer.forward(X)
    np.testing.assert_allclose(layer.backward(dout)[0], numerical_gradient(value, X), rtol=RTOL, atol=ATOL)


LOSSES = {
    "softmax": SoftmaxLoss,
    "smoothed": CrossEntropy(0.3),
    "weighted classes": CrossEntropy(0.1, [0.5, 0, 2]),
    "weighted rows": lambda out, y: CrossEntropy(0.1, [0.5, 1, 2])(out, y, [3, 0.5, 0, 1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, rng):
    loss, out, y = LOSSES[name], rng.standard_normal((4, 3)), np.array([0, 2, 1, 2])
    _, dout = loss(out, y)
    np.testing.assert_allclose(dout, numerical_gradient(lambda: loss(out, y)[0], out), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize(
    ("penalty", "delta"), [(l2_regularization, delta_l2_regularization), (l1_regularization, delta_l1_regularization)]
)
def test_penalties(penalty, delta, rng):
    layers = [FullyConnected(4, 3, dtype=np.float64, rng=rng), ReLU(), FullyConnected(3, 2, dtype=np.float64, rng=rng)]
    zero = [[np.zeros_like(p) for p in layer.params] for layer in reversed(layers)]
    grads = delta(layers, zero, 0.3)
    for layer, (dW, db) in ((layers[2], grads[0]), (layers[0], grads[2])):
        expected = numerical_gradient(lambda: penalty(layers, 0.3), layer.W)
        np.testing.assert_allclose(dW, expected, rtol=RTOL, atol=ATOL)
        assert not db.any()


def test_whole_network(rng):
    conv = Conv((1, 6, 6), 2, 3, 3, 1, 1, dtype=np.float64, rng=rng)
    layers = [
        conv,
        BatchNorm(conv.out_dim, dtype=np.float64),
        ReLU(),
        Maxpool(conv.out_dim, 2, 2),
        Flatten(),
        FullyConnected(18, 5, dtype=np.float64, rng=rng),
        Tanh(),
        FullyConnected(5, 3, dtype=np.float64, rng=rng),
    ]
    net = NeuralNet(layers, l2=0.05)
    X, y = spread((4, 1, 6, 6), rng), np.array([0, 1, 2, 1])
    _, grads = net.train_step(X, y)
    for layer, layer_grads in zip(reversed(layers), grads, strict=True):
        for gradient, array in zip(layer_grads, layer.params, strict=True):
            expected = numerical_gradient(lambda: net.train_step(X, y)[0], array)
            np.testing.assert_allclose(gradient, expected, rtol=RTOL, atol=ATOL)
