"""Memory stays flat: over many calls, over many calls that fail, and over the steps of a training."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest

import cnn_ext
from cnn_ext import NeuralNet, kernels, make_small_cnn
from cnn_ext.layers import LAYER_TYPES

F = np.float32
X, W, B = np.ones((2, 3, 8, 8), F), np.ones((4, 3, 3, 3), F), np.ones(4, F)
DOUT = np.ones((2, 4, 8, 8), F)
PLACES = np.zeros((2, 3, 4, 4), np.intp)
WRONG = np.ones((2, 3, 8), F)

# Arguments that are right; the first array replaced by WRONG, they are not.
CALLS = {
    "im2col": (kernels.im2col, X, 3, 3, 1, 1),
    "col2im": (kernels.col2im, np.ones((27, 128), F), X.shape, 3, 3, 1, 1),
    "conv2d_forward": (kernels.conv2d_forward, X, W, B, 1, 1),
    "conv2d_backward": (kernels.conv2d_backward, DOUT, X, W, 1, 1),
    "winograd_conv2d_forward": (kernels.winograd_conv2d_forward, X, W, B, 1),
    "winograd_conv2d_backward": (kernels.winograd_conv2d_backward, DOUT, X, W, 1),
    "maxpool_forward": (kernels.maxpool_forward, X, 2, 2),
    "maxpool_backward": (kernels.maxpool_backward, np.ones((2, 3, 4, 4), F), PLACES, X.shape, 2, 2),
    "avgpool_forward": (kernels.avgpool_forward, X, 2, 2),
    "avgpool_backward": (kernels.avgpool_backward, np.ones((2, 3, 4, 4), F), X.shape, 2, 2),
    "warp_affine": (kernels.warp_affine, X, np.ones((2, 2, 3), F)),
    "warp_flow": (kernels.warp_flow, X, np.ones((2, 2, 8, 8), F)),
    "gaussian_blur": (kernels.gaussian_blur, X, 1.0),
}

LAYERS = {
    "Conv": lambda: cnn_ext.Conv((3, 8, 8), 4, 3, 3, 1, 1, rng=0),
    "Maxpool": lambda: cnn_ext.Maxpool((3, 8, 8), 2, 2),
    "AvgPool": lambda: cnn_ext.AvgPool((3, 8, 8), 2, 2),
    "GlobalAvgPool": lambda: cnn_ext.GlobalAvgPool((3, 8, 8)),
    "BatchNorm": lambda: cnn_ext.BatchNorm((3, 8, 8)),
    "Standardize": lambda: cnn_ext.Standardize((3, 8, 8), 0.5, 1.0),
    "Dropout": lambda: cnn_ext.Dropout(0.5, per_channel=True, rng=0),
    "Flatten": lambda: cnn_ext.Flatten(),
    "FullyConnected": lambda: cnn_ext.FullyConnected(8, 4, rng=0),
    "ReLU": lambda: cnn_ext.ReLU(),
    "Sigmoid": lambda: cnn_ext.Sigmoid(),
    "Tanh": lambda: cnn_ext.Tanh(),
}
ROWS = X[:, 0, 0]
TAKE_ANY_SHAPE = {"Flatten", "ReLU", "Sigmoid", "Tanh"}


def growth(call, times):
    """Return the bytes that so many calls leave behind, after as many have filled what is kept on purpose.

    The least of three rounds: a leak is in each of them, what something else in the process takes meanwhile is not.
    """
    for _ in range(20):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            call()
        levels = []
        for _ in range(4):
            gc.collect()
            levels.append(tracemalloc.get_traced_memory()[0])
            for _ in range(times if len(levels) < 4 else 0):
                call()
        return min(after - before for before, after in itertools.pairwise(levels))
    finally:
        tracemalloc.stop()


# Less than one number a call: NumPy's arrays are traced, so are exceptions and their tracebacks.
def bound(times):
    return 8 * times


def test_the_tables_are_complete():
    functions = {name for name in kernels.__all__ if callable(getattr(kernels, name))}
    assert functions == set(CALLS)
    assert set(LAYERS) == set(LAYER_TYPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_kernels(name):
    function, *arguments = CALLS[name]
    assert growth(lambda: function(*arguments), 300) < bound(300)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_kernels_that_refuse(name):
    function, _, *rest = CALLS[name]

    def call():
        with pytest.raises(ValueError):
            function(WRONG, *rest)

    assert growth(call, 1000) < bound(1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer, images = LAYERS[name](), ROWS if name == "FullyConnected" else X

    def call():
        layer.backward(np.ones_like(layer.forward(images)))

    assert growth(call, 300) < bound(300)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_refuse(name):
    layer = LAYERS[name]()
    layer.forward(ROWS if name == "FullyConnected" else X)
    wrong = WRONG.astype(int) if name in TAKE_ANY_SHAPE else WRONG

    def call():
        with pytest.raises(cnn_ext.DTypeError if name in TAKE_ANY_SHAPE else ValueError):
            layer.forward(wrong)
        with pytest.raises((ValueError, RuntimeError)):
            layer.backward(WRONG)

    # As many calls as make what is kept once, such as the names of dtypes in messages, small beside a byte a call.
    assert growth(call, 2000) < bound(2000)


@pytest.mark.slow
def test_steps_of_a_training():
    net, optimizer = NeuralNet(make_small_cnn((1, 8, 8), 3, rng=0)), cnn_ext.Adam()
    params = list(net.named_params().values())
    rng = np.random.default_rng(0)
    images, labels = rng.random((8, 1, 8, 8), F), rng.integers(0, 3, 8)

    def step():
        _, grads = net.train_step(images, labels)
        optimizer.step(params, [grad for layer in reversed(grads) for grad in layer])

    assert growth(step, 150) < bound(150)
