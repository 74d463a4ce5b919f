"""Networks go through pickle and deepcopy as what they are: weights and settings, not the buffers of the last pass."""

import copy
import pickle

import numpy as np
import pytest

from cnn_ext import (
    SGD,
    AvgPool,
    BatchNorm,
    Conv,
    CrossEntropy,
    Dropout,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    ReLU,
    Sigmoid,
    Tanh,
    fit,
)


def make_net():
    """Every layer that keeps something: some in one pass with their neighbours, some by themselves."""
    conv = Conv((1, 12, 12), 4, 3, 3, 1, 1, rng=0)
    pool = Maxpool(conv.out_dim, 2, 2)
    alone = Maxpool(pool.out_dim, 3, 1)
    average = AvgPool(alone.out_dim, 2, 2)
    fused = [conv, BatchNorm(conv.out_dim), ReLU(), pool]
    dense = [Flatten(), Dropout(0.8, rng=1), FullyConnected(16, 9, rng=2), ReLU(), BatchNorm(9), Sigmoid()]
    layers = [*fused, Tanh(), alone, average, *dense, FullyConnected(9, 3, rng=3)]
    return NeuralNet(layers, CrossEntropy(0.1, class_weight=[1, 2, 3]))


@pytest.fixture
def data(rng):
    return rng.random((60, 1, 12, 12), np.float32), rng.integers(0, 3, 60)


def train(net, data):
    return fit(net, *data, optimizer=SGD(0.1), epochs=1, batch_size=20, rng=0).loss


@pytest.mark.parametrize(
    "through", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy], ids=["pickle", "copy"]
)
def test_a_network_comes_back_and_trains_on_alike(data, through):
    net = make_net()
    train(net, data)
    twin = through(net)
    assert twin.predict_proba(data[0]).tobytes() == net.predict_proba(data[0]).tobytes()
    assert train(twin, data) == train(net, data)
    assert twin.predict_proba(data[0]).tobytes() == net.predict_proba(data[0]).tobytes()


def test_what_a_pass_keeps_is_left_out(data):
    new = len(pickle.dumps(make_net()))
    net = make_net()
    train(net, data)
    for layer in net.layers:
        layer.forward(np.ones((40, *(layer.input_shape or (4, 6, 6))), np.float32))
    # The scores of the last step are kept, 20 rows of 3; every layer's input would be 40 images of 0.4 KB and more.
    assert len(pickle.dumps(net)) < new + 1000


def test_there_is_nothing_to_go_back_from(data):
    net = make_net()
    net.forward(data[0])
    twin = pickle.loads(pickle.dumps(net))
    with pytest.raises(RuntimeError, match="before forward"):
        twin.backward(np.ones((60, 3), np.float32))
    net.backward(np.ones((60, 3), np.float32))  # pickling has taken nothing from the original
