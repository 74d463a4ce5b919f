"""The moving average of the weights, against closed forms."""

import math

import numpy as np
import pytest

from cnn_ext import BatchNorm, DTypeError, Flatten, FullyConnected, NeuralNet, ReLU, WeightAverage


def make_net(dtype=np.float64, seed=0):
    layers = [Flatten(), FullyConnected(4, 6, dtype=dtype, rng=seed), BatchNorm(6, dtype=dtype), ReLU()]
    return NeuralNet([*layers, FullyConnected(6, 3, dtype=dtype, rng=seed + 1)])


def arrays(net):
    return [array for layer in net.layers for array in (*layer.params, *layer.buffers)]


def set_all(net, value):
    """Parameters are changed in place, statistics replaced, as a training step does."""
    for layer in net.layers:
        for param in layer.params:
            param[...] = value
        layer.buffers = [np.full_like(buffer, value) for buffer in layer.buffers]


def averages(average, net):
    average.swap()
    found = [array.copy() for array in arrays(net)]
    average.swap()
    return found


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-14)])  # a few eps: one a step
def test_the_first_steps_give_the_plain_mean(dtype, rtol):
    net = make_net(dtype)
    set_all(net, 5)
    average = WeightAverage(net, 0.99)
    values = [5, 2, -7, 11, 3, 8, 13]
    for n, value in enumerate(values[1:], 2):
        set_all(net, value)
        average.update()
        for array in averages(average, net):
            assert array.dtype == dtype
            np.testing.assert_allclose(array, np.mean(values[:n]), rtol=rtol)
    assert average.steps == 6


def test_later_steps_are_weighted_by_powers_of_the_decay():
    """1 / (n + 1) is above 1 - 0.75 up to step 2: a mean of three, then a quarter of each new value."""
    net, values = make_net(), [5.0, 2.0, -1.0, 11.0, 3.0, 8.0]
    set_all(net, values[0])
    average = WeightAverage(net, 0.75)
    for value in values[1:]:
        set_all(net, value)
        average.update()
    expected = 0.75**3 * (5 + 2 - 1) / 3 + 0.25 * (0.75**2 * 11 + 0.75 * 3 + 8)
    for array in averages(average, net):
        np.testing.assert_allclose(array, expected, rtol=1e-14)  # a few eps


def test_decay_0_is_half_then_the_newest():
    net = make_net()
    set_all(net, 4)
    average = WeightAverage(net, 0)
    set_all(net, 8)
    average.update()
    assert all((array == 8).all() for array in averages(average, net))


def test_a_start_is_a_copy():
    net = make_net()
    before = [array.copy() for array in arrays(net)]
    average = WeightAverage(net, 0.9)
    set_all(net, 7)
    for array, start in zip(averages(average, net), before, strict=True):
        np.testing.assert_array_equal(array, start)


def test_swapping_twice_changes_no_byte_and_keeps_the_arrays(rng):
    net = make_net(np.float32)
    average = WeightAverage(net, 0.9)
    params = [param for layer in net.layers for param in layer.params]
    for _ in range(3):
        for array in arrays(net):
            array[...] = rng.standard_normal(array.shape)
        average.update()
    params[0][0, 0], params[1][0] = np.nan, -0.0
    before = [array.tobytes() for array in arrays(net)]
    average.swap()
    swapped = [array.tobytes() for array in arrays(net)]
    assert all(one != other for one, other in zip(swapped, before, strict=True))
    average.swap()
    assert [array.tobytes() for array in arrays(net)] == before
    average.swap()
    assert [array.tobytes() for array in arrays(net)] == swapped
    assert all(one is other for one, other in zip(params, sum(net.params, []), strict=True))


def test_what_is_predicted_after_a_swap_is_the_averages(rng):
    net, other = make_net(), make_net()
    X = rng.random((5, 4))
    average = WeightAverage(net, 0.9)
    for array in arrays(net):
        array[...] = rng.random(array.shape)
    average.update()
    for array, mean in zip(arrays(other), averages(average, net), strict=True):
        array[...] = mean
    assert net.predict_proba(X).tobytes() != other.predict_proba(X).tobytes()
    average.swap()
    assert net.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()


def test_layers_of_ones_own_need_no_buffers():
    class Scale:
        def __init__(self):
            self.params = [np.array([2.0])]

        def forward(self, X):
            return X * self.params[0]

        def backward(self, dout):
            raise NotImplementedError

    net = NeuralNet([Scale(), FullyConnected(4, 3, dtype=np.float64)])
    average = WeightAverage(net, 0.9)
    net.layers[0].params[0][0] = 4
    average.update()
    average.swap()
    assert net.layers[0].params[0][0] == 3


@pytest.mark.parametrize(
    ("decay", "error", "message"),
    [
        (1, ValueError, r"decay must be in \[0, 1\), got 1"),
        (-0.1, ValueError, "decay must be in"),
        (math.nan, ValueError, "decay must be in"),
        ("0.9", DTypeError, "decay must be a number, got str"),
        (None, DTypeError, "decay must be a number, got NoneType"),
        (True, DTypeError, "decay must be a number, got bool"),
    ],
)
def test_bad_decay(decay, error, message):
    with pytest.raises(error, match=message):
        WeightAverage(make_net(), decay)
