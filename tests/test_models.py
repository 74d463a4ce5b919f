"""The ready-made networks: their sizes, their shapes, and that the seed decides their weights."""

import numpy as np
import pytest

from cnn_ext import DTypeError, NeuralNet, ShapeError, SoftmaxLoss
from cnn_ext.models import MODELS

BEST_CONVS = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
SIZES = {  # weights and biases by hand, gamma and beta of each filter
    ("mnist", (1, 28, 28)): (25 * 16 + 16) + (16 * 25 * 32 + 32) + (32 * 49 * 120 + 120) + (120 * 10 + 10),
    ("cifar10", (3, 32, 32)): (3 * 25 * 16 + 16) + (16 * 25 * 20 + 20) + (20 * 64 * 10 + 10),
    ("small", (1, 28, 28)): 29_546,
    ("small", (3, 32, 32)): (3 * 25 + 3) * 16 + (16 * 9 + 3) * 32 + (32 * 9 + 3) * 64 + (64 * 16 * 10 + 10),
    ("best", (1, 28, 28)): 298_858,
    ("best", (3, 32, 32)): sum((inputs * 9 + 3) * filters for inputs, filters in BEST_CONVS) + (128 * 16 * 10 + 10),
}


def bits(layers):
    return [array.tobytes() for layer in layers for array in layer.state().values()]


@pytest.mark.parametrize(("name", "shape"), SIZES, ids=str)
def test_number_of_parameters(name, shape):
    layers = MODELS[name](shape, 10, rng=0)
    assert sum(param.size for layer in layers for param in layer.params) == SIZES[name, shape]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 17, 30)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_precision(name, dtype, shape, rng):
    net = NeuralNet(MODELS[name](shape, 7, dtype=dtype, rng=0), l2=0)
    assert {param.dtype for param in net.named_params().values()} == {np.dtype(dtype)}
    X, y = rng.random((5, *shape)), rng.integers(0, 7, 5)
    assert net.shapes()[-1] == (7,)
    out = net.forward(X.astype(dtype))
    assert (out.shape, out.dtype) == ((5, 7), dtype)
    assert (out == 0).all()  # the last layer starts at zero
    loss, grads = net.train_step(X.astype(dtype), y)
    assert loss == pytest.approx(np.log(7))
    assert [[g.shape for g in layer] for layer in reversed(grads)] == [[p.shape for p in ps] for ps in net.params]


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(name):
    def make(rng):
        return bits(MODELS[name]((1, 28, 28), 10, rng=rng))

    assert make(1) == make(1) == make(np.random.default_rng(1)) != make(2)


@pytest.mark.parametrize("name", ["small", "best"])
def test_what_normalized_networks_hold(name):
    """Each convolution with its norm, so that a network runs them in one; a loss that all classes share at first."""
    layers = [type(layer).__name__ for layer in MODELS[name]((1, 28, 28), 10)]
    assert layers.count("Conv") == layers.count("BatchNorm") == layers.count("ReLU") == {"small": 3, "best": 6}[name]
    assert layers.count("Maxpool") == 3 and layers[-2:] == ["Flatten", "FullyConnected"]
    behind = {"small": ["Maxpool", "BatchNorm", "ReLU"], "best": ["BatchNorm", "ReLU"]}[name]
    for i, layer in enumerate(layers):
        assert layer != "Conv" or layers[i + 1 : i + 1 + len(behind)] == behind


@pytest.mark.parametrize(("name", "least"), [("mnist", 4), ("cifar10", 4), ("small", 8), ("best", 8)])
def test_the_smallest_images(name, least):
    net = NeuralNet(MODELS[name]((1, least, least), 10, rng=0), SoftmaxLoss)
    assert net.predict(np.zeros((2, 1, least, least), np.float32)).shape == (2,)
    for shape in ((1, least - 1, least), (1, least, least - 1), (1, 1, 1)):
        message = rf"X_dim: images of {shape[1]} x {shape[2]} pixels are too small .* takes {least} x {least} and more"
        with pytest.raises(ShapeError, match=message):
            MODELS[name](shape, 10)


@pytest.mark.parametrize("name", MODELS)
def test_bad_arguments(name):
    with pytest.raises(ShapeError, match="X_dim must be a tuple"):
        MODELS[name]((28, 28), 10)
    with pytest.raises(ValueError):
        MODELS[name]((1, 28, 28), 0)
    with pytest.raises(DTypeError):
        MODELS[name]((1, 28, 28), 10, dtype=np.float16)
    with pytest.raises(DTypeError, match="rng must be"):
        MODELS[name]((1, 28, 28), 10, rng="x")
