"""Early stopping: when it stops, and that the best epoch's network comes back, to the bit."""

import math

import numpy as np
import pytest

from cnn_ext import (
    SGD,
    BatchNorm,
    Callback,
    DTypeError,
    EarlyStopping,
    FullyConnected,
    NeuralNet,
    NonFiniteError,
    ReLU,
    fit,
)


@pytest.fixture
def data(rng):
    X = rng.random((30, 4), np.float32)
    return X, rng.integers(0, 3, 30)


def make_net():
    return NeuralNet([FullyConnected(4, 6, rng=0), BatchNorm(6), ReLU(), FullyConnected(6, 3, rng=1)])


def state(net):
    return [array.tobytes() for layer in net.layers for array in layer.state().values()]


class Script(Callback):
    """Records the values of a script, and what the network is after each epoch."""

    def __init__(self, name, values):
        self.name, self.values, self.states = name, values, []

    def on_epoch(self, run):
        run.record[self.name] = self.values[run.epoch - 1]
        self.states.append(state(run.net))


def run(data, name, values, epochs=None, more=(), **settings):
    net, script, stopping = make_net(), Script(name, values), EarlyStopping(name, **settings)
    fit(
        net,
        *data,
        optimizer=SGD(0.1),
        epochs=epochs or len(values),
        batch_size=10,
        rng=0,
        callbacks=[script, stopping, *more],
    )
    return net, script, stopping


CASES = [
    # name, values, settings, best epoch, epochs run
    ("validation_accuracy", [0.5, 0.7, 0.6, 0.7, 0.6, 0.9], {"patience": 3}, 2, 5),
    ("validation_accuracy", [0.5, 0.7, 0.6, 0.6, 0.8, 0.8, 0.8, 0.8, 0.9], {"patience": 3}, 5, 8),
    ("validation_accuracy", [0.5, 0.4, 0.6], {"patience": 1}, 1, 2),
    ("validation_accuracy", [0.1, 0.2, 0.3], {"patience": 1}, 3, 3),
    ("validation_loss", [2.0, 1.0, 1.5, 1.0, 0.5], {"patience": 2}, 2, 4),
    ("my_loss", [-1.0, -2.0, -1.5, -1.75], {"patience": 5}, 2, 4),
    ("train_accuracy", [0.5, 0.625, 0.75, 1.0], {"patience": 3, "minimum_change": 0.25}, 4, 4),
    ("train_accuracy", [0.5, 0.625, 0.75, 0.75], {"patience": 2, "minimum_change": 0.25}, 1, 3),
    ("validation_loss", [math.nan, 3.0, math.nan, 2.0, math.nan, math.nan], {"patience": 2}, 4, 6),
    ("validation_loss", [math.inf, 3.0, math.inf, math.inf], {"patience": 2}, 2, 4),
]


@pytest.mark.parametrize(("name", "values", "settings", "best", "epochs"), CASES)
def test_stops_and_puts_the_best_back(data, name, values, settings, best, epochs):
    net, script, stopping = run(data, name, values, **settings)
    assert len(script.states) == epochs
    assert stopping.best_epoch == best and stopping.best_value == values[best - 1]
    assert state(net) == script.states[best - 1]
    for arrays in zip(*script.states, strict=True):  # running statistics among them: each epoch changed it
        assert len(set(arrays)) == epochs


def test_without_restoring_the_last_epoch_stays(data):
    net, script, stopping = run(data, "a_loss", [1, 2, 3, 4], patience=2, restore_best=False)
    assert stopping.best_epoch == 1 and len(script.states) == 3
    assert state(net) == script.states[-1]


def test_a_quantity_that_is_never_a_number_leaves_the_last_epoch(data):
    net, script, stopping = run(data, "validation_loss", [math.nan] * 9, patience=3)
    assert stopping.best_epoch == 0 and math.isnan(stopping.best_value)
    assert len(script.states) == 3 and state(net) == script.states[-1]


def test_the_arrays_stay_the_same_ones(data):
    net = make_net()
    weights = net.layers[0].W
    fit(
        net,
        *data,
        optimizer=SGD(0.1),
        epochs=3,
        batch_size=10,
        rng=0,
        callbacks=[Script("a_loss", [1, 2, 3]), EarlyStopping("a_loss")],
    )
    assert net.layers[0].W is weights


class Break(Callback):
    def __init__(self, at_step, action):
        self.at_step, self.action = at_step, action

    def on_step(self, run):
        if run.step == self.at_step:
            self.action(run)


def raise_interrupt(run):
    raise KeyboardInterrupt


def test_after_an_interrupt_the_best_comes_back(data):
    net, script, stopping = make_net(), Script("a_loss", [3, 1, 2, 2]), EarlyStopping("a_loss")
    with pytest.raises(KeyboardInterrupt):  # in the fourth epoch of three steps
        fit(
            net,
            *data,
            optimizer=SGD(0.1),
            epochs=9,
            batch_size=10,
            rng=0,
            callbacks=[script, stopping, Break(11, raise_interrupt)],
        )
    assert stopping.best_epoch == 2 and state(net) == script.states[1]


def test_after_divergence_the_best_comes_back(data):
    def spoil(run):
        run.net.layers[0].W[:] = np.nan

    net, script, stopping = make_net(), Script("a_loss", [3, 1, 2, 2]), EarlyStopping("a_loss")
    with pytest.raises(NonFiniteError):
        fit(
            net,
            *data,
            optimizer=SGD(0.1),
            epochs=9,
            batch_size=10,
            rng=0,
            callbacks=[script, stopping, Break(8, spoil)],
        )
    assert state(net) == script.states[1]


def test_before_the_first_epoch_there_is_nothing_to_put_back(data):
    net, stopping = make_net(), EarlyStopping("a_loss")
    with pytest.raises(KeyboardInterrupt):
        fit(
            net,
            *data,
            optimizer=SGD(0.1),
            epochs=9,
            batch_size=10,
            rng=0,
            callbacks=[stopping, Break(2, raise_interrupt)],
        )
    trained = make_net()
    fit(
        trained,
        *data,
        optimizer=SGD(0.1),
        epochs=1,
        batch_size=10,
        rng=0,
        callbacks=[Break(2, lambda run: setattr(run, "stop", True))],
    )
    assert stopping.best_epoch == 0 and state(net) == state(trained)


def test_stopped_by_another(data):
    stop = Break(7, lambda run: setattr(run, "stop", True))  # within the third epoch
    net, script, _ = run(data, "a_loss", [3, 1, 2], epochs=9, more=[stop])
    assert len(script.states) == 3 and state(net) == script.states[1]


def test_a_second_run_begins_anew(data):
    stopping = EarlyStopping("a_loss", patience=1)
    for values, best in (([1, 2], 1), ([9, 8], 2)):
        fit(
            make_net(),
            *data,
            optimizer=SGD(0.1),
            epochs=2,
            batch_size=10,
            callbacks=[Script("a_loss", values), stopping],
        )
        assert stopping.best_epoch == best and stopping.best_value == values[best - 1]


def test_on_a_real_validation_set(data):
    """Labels drawn at random: the validation loss on other labels must rise in the end."""
    X, y = data
    net, stopping = make_net(), EarlyStopping("validation_loss", patience=4)
    validation = (X, np.roll(y, 1))
    history = fit(
        net,
        X,
        y,
        optimizer=SGD(0.5, 0.9),
        epochs=200,
        batch_size=10,
        rng=0,
        validation=validation,
        callbacks=[stopping],
    )
    assert len(history) == stopping.best_epoch + 4 < 200
    assert stopping.best_value == min(history.validation_loss) == history.validation_loss[stopping.best_epoch - 1]
    assert net.evaluate(*validation)[0] == stopping.best_value


def test_a_record_without_the_quantity(data):
    net = make_net()
    with pytest.raises(
        ValueError,
        match=r"watches 'validation_accuracy', but .* only epoch, loss, running_accuracy, seconds, images_per",
    ):
        fit(net, *data, optimizer=SGD(0.1), epochs=2, batch_size=10, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping("seconds"), ValueError, "monitor must be a name that ends in .* got 'seconds'"),
        (lambda: EarlyStopping(None), DTypeError, "monitor must be a str, got NoneType"),
        (lambda: EarlyStopping(patience=0), ValueError, "patience must be >= 1, got 0"),
        (lambda: EarlyStopping(patience=2.0), DTypeError, "patience must be an int, got float"),
        (lambda: EarlyStopping(minimum_change=-1), ValueError, r"minimum_change must be in \[0, inf\), got -1"),
        (lambda: EarlyStopping(minimum_change=math.nan), ValueError, "minimum_change must be in"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_before_the_first_epoch_there_is_no_best_one():
    stopping = EarlyStopping()
    assert stopping.best_epoch == 0 and math.isnan(stopping.best_value)
