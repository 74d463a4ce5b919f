"""Layers that are not the package's: errors in them name the layer, and tell what was wanted."""

import copy

import numpy as np
import pytest

from cnn_ext import BatchNorm, Conv, DTypeError, Flatten, FullyConnected, NeuralNet, ReLU, ShapeError, Sigmoid


class Scale:
    """out = factor * X, right in all; the tests put one error in at a time."""

    def __init__(self):
        self.params = [np.array([2.0], np.float32)]

    def forward(self, X):
        self.X = X
        return self.params[0] * X

    def backward(self, dout):
        return self.params[0] * dout, [np.array([(dout * self.X).sum()])]


def net_with(layer):
    return NeuralNet([FullyConnected(4, 3, rng=0), layer, ReLU(), FullyConnected(3, 2, rng=1)])


def step(layer):
    return net_with(layer).train_step(np.ones((5, 4), np.float32), np.zeros(5, np.int64))


def test_a_right_one_gives_what_numpy_gives():
    net = net_with(Scale())
    _, grads = step(Scale())
    assert [[gradient.shape for gradient in of] for of in grads] == [[(3, 2), (2,)], [], [(1,)], [(4, 3), (3,)]]
    X = np.ones((5, 4), np.float32)
    wanted = np.maximum(2 * net.layers[0].forward(X, training=False), 0) @ net.layers[3].W + net.layers[3].b
    np.testing.assert_allclose(net.forward(X), wanted, rtol=1e-6)


@pytest.mark.parametrize("before", [[], [ReLU()], [Sigmoid()], [BatchNorm((4, 6, 6)), ReLU()]], ids=str)
def test_one_that_works_in_place_spoils_neither_the_layer_before_nor_the_images(before, rng):
    class Negative:
        params = []

        def __init__(self, in_place):
            self.in_place = in_place

        def forward(self, X):
            return np.negative(X, out=X) if self.in_place else -X

        def backward(self, dout):
            return -dout, []

    def gradients(layer):
        head = [Conv((1, 6, 6), 4, 3, 3, 1, 1, rng=0), *copy.deepcopy(before)]
        net = NeuralNet([*head, layer, Flatten(), FullyConnected(144, 3, rng=1)])
        return [g.tobytes() for of in net.train_step(X, y)[1] for g in of]

    X, y = rng.standard_normal((5, 1, 6, 6)).astype(np.float32), np.arange(5) % 3
    assert gradients(Negative(in_place=True)) == gradients(Negative(in_place=False))
    kept = X.copy()
    NeuralNet([Negative(in_place=True), Flatten(), FullyConnected(36, 3)]).predict(X)
    np.testing.assert_array_equal(X, kept)


def gives(method, change):
    """A layer whose forward or backward gives something else."""

    class Wrong(Scale):
        def forward(self, X):
            out = super().forward(X)
            return change(out) if method == "forward" else out

        def backward(self, dout):
            result = super().backward(dout)
            return change(*result) if method == "backward" else result

    return Wrong()


WRONG = {
    "no array": ("forward", lambda out: None, DTypeError, "forward must return an array, got NoneType"),
    "a wider dtype": (
        "forward",
        lambda out: out.astype(np.float64),
        DTypeError,
        "forward must keep the dtype, float32, got float64",
    ),
    "too few rows": (
        "forward",
        lambda out: out[1:],
        ShapeError,
        r"forward must return a row for each of 5 images, got \(4, 3\)",
    ),
    "a number": (
        "forward",
        lambda out: np.array(1, np.float32),
        ShapeError,
        r"forward must return a row for each of 5 images, got \(\)",
    ),
    "dX alone": (
        "backward",
        lambda dX, grads: dX,
        DTypeError,
        r"backward must return \(dX, \[gradient of each of params\]\), got ndarray",
    ),
    "dX of another shape": (
        "backward",
        lambda dX, grads: (dX[:, :2], grads),
        ShapeError,
        r"backward must return dX of shape \(5, 3\), got \(5, 2\)",
    ),
    "no dX": (
        "backward",
        lambda dX, grads: (None, grads),
        ShapeError,
        r"backward must return dX of shape \(5, 3\), got NoneType",
    ),
    "dX of a wider dtype": (
        "backward",
        lambda dX, grads: (dX.astype(np.float64), grads),
        DTypeError,
        "backward must keep the dtype, float32, got float64",
    ),
    "a gradient missing": (
        "backward",
        lambda dX, grads: (dX, []),
        ShapeError,
        r"backward must return gradients of shapes \[\(1,\)\], got \[\]",
    ),
    "a gradient of another shape": (
        "backward",
        lambda dX, grads: (dX, [grads[0][0]]),
        ShapeError,
        r"backward must return gradients of shapes \[\(1,\)\], got \[\(\)\]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_one_is_named(case):
    method, change, error, message = WRONG[case]
    with pytest.raises(error, match=rf"layer 1 \(Wrong\): {message}"):
        step(gives(method, change))


def test_nobody_asks_the_first_one_for_dX():
    class First(Scale):
        def backward(self, dout):
            return None, super().backward(dout)[1]

    net = NeuralNet([First(), Flatten(), FullyConnected(4, 2, rng=0)])
    _, grads = net.train_step(np.ones((5, 4), np.float32), np.zeros(5, np.int64))
    assert grads[-1][0].shape == (1,)


def test_the_penalty_is_not_added_to_an_array_that_the_layer_keeps():
    class Keeping:
        def __init__(self):
            self.params = [np.eye(3, dtype=np.float32)]
            self.W = self.params[0]  # what the penalty is on
            self.gradient = np.zeros((3, 3), np.float32)

        def forward(self, X):
            return X @ self.params[0]

        def backward(self, dout):
            return dout, [self.gradient]

    layer = Keeping()
    net = NeuralNet([FullyConnected(4, 3, rng=0), layer, FullyConnected(3, 2, rng=1)], l2=0.5)
    _, grads = net.train_step(np.ones((5, 4), np.float32), np.zeros(5, np.int64))
    np.testing.assert_array_equal(grads[1][0], 0.5 * np.eye(3))
    assert not layer.gradient.any()
