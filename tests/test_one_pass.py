"""`backward` goes back through the last whole forward pass, or says that there is none."""

import numpy as np
import pytest

from cnn_ext import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    DTypeError,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    NeuralNet,
    ReLU,
    ShapeError,
    Sigmoid,
    Tanh,
)
from cnn_ext.layers import activation, dense, pool

IMAGES = np.ones((4, 3, 6, 6), np.float32)
ROWS = np.ones((4, 6), np.float32)


class OutOfMemory(Exception):
    pass


def fail(*_, **__):
    raise OutOfMemory


# A layer, its input, and where its forward pass can be made to fail in its midst.
PASSES = {
    "FullyConnected": (lambda: FullyConnected(6, 2, rng=0), ROWS, (dense, "dense_forward")),
    "Maxpool": (lambda: Maxpool((3, 6, 6), 2, 2), IMAGES, (pool.kernels, "maxpool_forward")),
    "AvgPool": (lambda: AvgPool((3, 6, 6), 2, 2), IMAGES, (pool.kernels, "avgpool_forward")),
    "GlobalAvgPool": (lambda: GlobalAvgPool((3, 6, 6)), IMAGES, (pool.kernels, "avgpool_forward")),
    "ReLU": (ReLU, IMAGES, (activation.np, "maximum")),
    "Sigmoid": (Sigmoid, IMAGES, (activation.np, "exp")),
    "Tanh": (Tanh, IMAGES, (activation.np, "tanh")),
    "Dropout": (lambda: Dropout(0.5, rng=0), IMAGES, (None, "rng")),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_of_a_layer_that_failed_leaves_none_to_go_back_from(name, monkeypatch):
    make, X, (where, what) = PASSES[name]
    layer = make()
    out = layer.forward(X)
    layer.backward(np.ones_like(out))
    with monkeypatch.context() as patch:
        if name == "Dropout":
            patch.setattr(layer, "rng", type("Generator", (), {"random": fail}))
        else:
            patch.setattr(where, what, fail)
        with pytest.raises(OutOfMemory):
            layer.forward(X)
    with pytest.raises(RuntimeError, match="backward\\(\\) called before forward\\(\\)"):
        layer.backward(np.ones_like(out))


def net_of(*more):
    conv = Conv((3, 6, 6), 4, 3, 3, stride=1, padding=1, rng=0)
    first, last = FullyConnected(144, 8, rng=1), FullyConnected(8, 2, rng=2)
    return NeuralNet([conv, BatchNorm(conv.out_dim), ReLU(), *more, Flatten(), first, ReLU(), last])


class FailsAtWill:
    params = ()
    fails = False

    def forward(self, X):
        if self.fails:
            raise OutOfMemory
        return X

    def backward(self, dout):
        return dout, []


def test_a_pass_of_a_network_that_failed_leaves_none_to_go_back_from():
    middle = FailsAtWill()
    net = net_of(middle)
    dout = np.ones((4, 2), np.float32)
    net.forward(IMAGES)
    net.backward(dout)
    middle.fails = True
    with pytest.raises(OutOfMemory):
        net.forward(2 * IMAGES)
    with pytest.raises(RuntimeError, match="backward\\(\\) called before forward\\(\\)"):
        net.backward(dout)
    middle.fails = False
    net.forward(IMAGES)
    net.backward(dout)


def test_a_layer_stands_in_one_place():
    """It used to send both gradients through the second pass."""
    relu = ReLU()
    layers = [FullyConnected(6, 6, rng=0), relu, FullyConnected(6, 6, rng=1), relu, FullyConnected(6, 2, rng=2)]
    with pytest.raises(ValueError, match=r"layers\[3\] is layers\[1\]: each place needs a layer of its own"):
        NeuralNet(layers)
    net = NeuralNet([*layers[:3], ReLU(), layers[4]])
    net.layers[3] = relu
    with pytest.raises(ValueError, match=r"layers\[3\] is layers\[1\]"):
        net.forward(ROWS)


@pytest.mark.parametrize(
    "layers",
    [
        lambda conv: [conv],
        lambda conv: [conv, ReLU(), Maxpool(conv.out_dim, 2, 2)],
        lambda conv: [conv, BatchNorm(conv.out_dim), ReLU()],
    ],
    ids=["Conv", "Conv, ReLU, Maxpool", "Conv, BatchNorm, ReLU"],
)
def test_the_gradient_of_a_network_that_ends_in_a_convolution_is_checked(layers, rng):
    """One of the same size and another shape used to pass."""
    net = NeuralNet(layers(Conv((3, 6, 6), 4, 3, 3, stride=1, padding=1, rng=0)))
    out = net.forward(IMAGES)
    dout = rng.standard_normal(out.shape).astype(out.dtype)
    wanted = [gradient.tobytes() for of in net.backward(dout) for gradient in of]
    for other in (dout.transpose(0, 2, 3, 1).copy(), dout[:2], dout.ravel()):
        net.forward(IMAGES)
        with pytest.raises(ShapeError, match="does not match last forward output"):
            net.backward(other)
    with pytest.raises(DTypeError, match="dout must be"):
        net.backward(dout.astype(int))
    net.forward(IMAGES)
    assert [gradient.tobytes() for of in net.backward(dout.tolist()) for gradient in of] == wanted


def test_a_registered_layer_is_checked_like_any_of_ones_own(registered_layer):
    class Wrong(type(registered_layer)):
        def forward(self, X):
            return X[:1]

    base_layers = [FullyConnected(6, 3, rng=0)]
    net = NeuralNet([*base_layers, registered_layer])
    assert net.forward(ROWS).shape == (4, 3)
    with pytest.raises(ShapeError, match=r"layer 1 \(Wrong\): forward must return a row for each of 4 images"):
        NeuralNet([*base_layers, Wrong(3)]).forward(ROWS)
