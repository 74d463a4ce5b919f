"""Whatever NumPy can view does for images and labels: buffers, `__array__`, and DLPack on the CPU."""

import array

import numpy as np
import pytest

from cnn_ext import SGD, CrossEntropy, DTypeError, NeuralNet, ShapeError, fit, make_mnist_cnn
from cnn_ext.batches import as_indexable
from cnn_ext.datasets.scaled_images import ScaledImages

SHAPE = (1, 8, 8)


class OnlyDLPack:
    """Has no length, no dtype and no `__array__`: nothing but the protocol."""

    def __init__(self, x):
        self._x = x

    def __dlpack__(self, **keywords):
        return self._x.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self._x.__dlpack_device__()


class OnlyArray:
    def __init__(self, x):
        self._x = x

    def __array__(self, dtype=None, copy=None):
        return self._x if dtype is None else self._x.astype(dtype)


class OnAGPU(OnlyDLPack):
    def __dlpack_device__(self):
        return 2, 0  # kDLCUDA

    def __dlpack__(self, **keywords):
        raise BufferError("the array is on a GPU")


def torch_tensor(x):
    return pytest.importorskip("torch").from_numpy(x)


KINDS = {
    "memoryview": lambda x: memoryview(x),
    "__array__": OnlyArray,
    "__dlpack__": OnlyDLPack,
    "list": lambda x: list(x),
    "torch": torch_tensor,
    "torch by DLPack": lambda x: OnlyDLPack(torch_tensor(x)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def images(rng, n=12, dtype=np.float32):
    return rng.random((n, *SHAPE)).astype(dtype), rng.integers(3, size=n)


def network():
    return NeuralNet(make_mnist_cnn(SHAPE, 3, rng=5))


@pytest.mark.slow
def test_inference_and_gradients(kind, rng):
    X, y = images(rng)
    given = kind(X.copy())
    net = network()
    net.layers[-1].W = rng.standard_normal(net.layers[-1].W.shape)
    np.testing.assert_array_equal(net.forward(given, training=False), net.forward(X, training=False))
    np.testing.assert_array_equal(net.layers[0].forward(given), net.layers[0].forward(X))
    np.testing.assert_array_equal(net.predict(given), net.predict(X))
    np.testing.assert_array_equal(net.predict_proba(given), net.predict_proba(X))
    assert net.evaluate(given, kind(y)) == net.evaluate(X, y)
    assert net.train_step(given, kind(y))[0] == net.train_step(X, y)[0]


def test_training(kind, rng):
    X, y = images(rng)
    weights = rng.random(len(X))
    validation = images(rng, 5)
    trained = []
    for of in (lambda x: x, kind):
        net = network()
        fit(
            net, of(X), of(y), optimizer=SGD(0.1), epochs=2, batch_size=5, rng=1, validation=[of(x) for x in validation]
        )
        trained.append([param.copy() for layer in net.layers for param in layer.params])
    for one, other in zip(*trained):
        np.testing.assert_array_equal(one, other)
    net = NeuralNet(network().layers, CrossEntropy())
    fit(net, kind(X), kind(y), optimizer=SGD(0.1), epochs=1, batch_size=5, rng=1, sample_weight=kind(weights))


def test_nothing_is_copied_that_need_not_be(rng):
    X, _ = images(rng)
    for given in (X, memoryview(X), OnlyDLPack(X), OnlyArray(X)):
        assert np.shares_memory(as_indexable("X", given), X)
    scaled = ScaledImages(np.zeros((2, *SHAPE), np.uint8))
    assert as_indexable("X", scaled) is scaled  # all of them at once would take four times the memory


def test_a_tensor_that_is_a_view(rng):
    torch = pytest.importorskip("torch")
    X, _ = images(rng, dtype=np.float64)
    tensor = torch.from_numpy(X).to(memory_format=torch.channels_last)[::2]
    np.testing.assert_array_equal(network().predict_proba(tensor), network().predict_proba(X[::2]))


def test_the_same_is_refused_as_of_arrays(kind, rng):
    pixels = np.zeros((4, *SHAPE), np.uint8)
    with pytest.raises(DTypeError, match="X must be float32 or float64, got uint8: scale it first"):
        network().predict(kind(pixels))
    with pytest.raises(ShapeError, match=r"X must be 4-D \(N, C, H, W\), got 3-D"):
        network().predict(kind(pixels[0].astype(np.float32)))


def test_what_lies_elsewhere_is_refused_by_name(rng):
    X, y = images(rng)
    with pytest.raises(DTypeError, match=r"X must be an array that NumPy can view, got OnAGPU: .*GPU"):
        network().predict(OnAGPU(X))
    with pytest.raises(DTypeError, match="y must be an array that NumPy can view, got OnAGPU"):
        network().evaluate(X, OnAGPU(y))


@pytest.mark.parametrize("error", [RuntimeError, TypeError, BufferError])
def test_what_will_not_become_an_array_is_refused_by_name(error):
    """So do PyTorch's tensors that want a gradient, lie on a GPU, or are of bfloat16."""

    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise error("call detach() first")

    with pytest.raises(DTypeError, match=r"X must be an array that NumPy can view, got Tensor: call detach\(\) first"):
        network().predict(Tensor())


def test_a_tensor_that_wants_a_gradient_is_refused_by_name(rng):
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(images(rng)[0]).requires_grad_()
    with pytest.raises(DTypeError, match=r"X must be an array that NumPy can view, got Tensor: .*detach"):
        network().predict(X)


def test_a_buffer_without_a_shape_is_a_row(rng):
    with pytest.raises(ShapeError, match="got 1-D"):
        network().predict(array.array("f", [0.0] * 64))
