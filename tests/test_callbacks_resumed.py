"""What callbacks keep, and what they change, is there again when a run goes on from a checkpoint."""

import signal

import numpy as np
import pytest

from cnn_ext import SGD, Callback, Checkpoint, CheckpointMismatchError, Dropout, FullyConnected, NeuralNet, ReLU, fit
from cnn_ext.model_file import read_model, write_model

EPOCHS, STEPS = 3, 12  # four steps an epoch


class Killed(Exception):
    pass


class KillAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise Killed


class Counts(Callback):
    """Made as one would make it: the counter begins in on_start, the state has nothing to tell at first."""

    def on_start(self, run):
        self.steps, self.epochs = 0, []

    def on_step(self, run):
        self.steps += 1

    def on_epoch(self, run):
        self.epochs.append(run.epoch)

    def state(self):
        return {"steps": self.steps, "epochs": self.epochs} if self.steps else {}

    def restore(self, state):
        self.steps, self.epochs = state.get("steps", 0), state.get("epochs", [])


class HalveEachEpoch(Callback):
    def on_epoch(self, run):
        run.optimizer.lr *= 0.5


class RateOfSteps(Callback):
    def __init__(self):
        self.rates = {}

    def on_step(self, run):
        self.rates[run.step] = run.optimizer.lr


def train(checkpoint, *callbacks, lr=0.1, validation_rows=20):
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 6), np.float32), rng.integers(0, 2, 40)
    net = NeuralNet([FullyConnected(6, 5, rng=0), ReLU(), FullyConnected(5, 2, rng=1)])
    validation = X[:validation_rows], y[:validation_rows]
    arguments = {"epochs": EPOCHS, "batch_size": 10, "rng": 0, "validation": validation, "checkpoint": checkpoint}
    fit(net, X, y, optimizer=SGD(lr, 0.9), callbacks=callbacks, **arguments)
    return [param.tobytes() for param in net.named_params().values()]


def test_a_state_is_asked_for_after_the_start_alone(tmp_path):
    whole = Counts()
    train(None, whole)
    for step in (1, 3, 4, 5, 8, 12):
        counts = Counts()
        with pytest.raises(Killed):
            train(Checkpoint(tmp_path / str(step), every_steps=1), counts, KillAt(step))
        counts = Counts()
        train(Checkpoint(tmp_path / str(step), every_steps=1), counts)
        assert (counts.steps, counts.epochs) == (whole.steps, whole.epochs) == (STEPS, [1, 2, 3])


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="no such signals")
def test_what_an_evaluation_has_changed_is_not_kept_where_it_is_broken_off(tmp_path):
    class Interrupts(Callback):
        def on_epoch(self, run):
            if run.epoch == 2:
                signal.raise_signal(signal.SIGINT)

    counts = Counts()
    with pytest.raises(KeyboardInterrupt):
        train(Checkpoint(tmp_path), counts, Interrupts())
    counts = Counts()
    train(Checkpoint(tmp_path), counts)
    assert counts.epochs == [1, 2, 3]


@pytest.mark.parametrize("step", [5, 8, 9])
def test_the_rate_that_a_callback_has_set_is_gone_on_with(tmp_path, step):
    rates = RateOfSteps()
    whole = train(None, HalveEachEpoch(), rates)
    with pytest.raises(Killed):
        train(Checkpoint(tmp_path, every_steps=1), HalveEachEpoch(), KillAt(step))
    again = RateOfSteps()
    assert train(Checkpoint(tmp_path, every_steps=1), HalveEachEpoch(), again) == whole
    assert again.rates == {n: rate for n, rate in rates.rates.items() if n in again.rates} and again.rates


def test_a_rate_that_was_changed_by_hand_counts_from_then_on(tmp_path):
    with pytest.raises(Killed):
        train(Checkpoint(tmp_path, every_steps=1), HalveEachEpoch(), KillAt(6))
    rates = RateOfSteps()
    with pytest.warns(RuntimeWarning, match=r"optimizer\.lr: 0\.1, now 0\.3"):
        train(Checkpoint(tmp_path, allow_changes=True), rates, lr=0.3)
    assert set(rates.rates.values()) == {0.3}


class KeepsNothingBack(Callback):
    def state(self):
        return {"n": 1}


class Keeps(Callback):
    def __init__(self, value):
        self.value = value

    def state(self):
        return self.value

    def restore(self, state):
        self.value = state


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (KeepsNothingBack(), r"callbacks\[0\] \(KeepsNothingBack\) has a state, but no restore"),
        (Keeps([1]), r"state\(\) of the callback Keeps\.0 must return a dict, got list"),
        (Keeps(None), r"state\(\) of the callback Keeps\.0 must return a dict, got NoneType"),
        (
            Keeps({"n": np.float32(1)}),
            r"the state 'n' of the callback Keeps\.0 must be what JSON can hold, or a list of",
        ),
        (
            Keeps({"a": np.ones(2)}),
            r"the state 'a' of the callback Keeps\.0 must be what JSON can hold, or a list of arr",
        ),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_by_name(tmp_path, callback, message):
    with pytest.raises(TypeError, match=message):
        train(Checkpoint(tmp_path), callback)


def test_another_validation_set_is_another_run(tmp_path):
    train(Checkpoint(tmp_path))
    with pytest.raises(CheckpointMismatchError, match=r"of another run: validation\[0\]: [0-9a-f]{64}, now "):
        train(Checkpoint(tmp_path), validation_rows=21)


def test_checkpoints_of_version_1_0_0_are_gone_on_with(tmp_path):
    """They tell neither of the validation set nor of the rate."""
    whole = train(None)
    with pytest.raises(Killed):
        train(Checkpoint(tmp_path, every_steps=1), KillAt(6))
    for path in tmp_path.iterdir():
        file = read_model(path)
        kept = file.architecture["checkpoint"]
        del kept["settings"]["run"]["validation"], kept["state"]["rates"]
        write_model(path, file.architecture, file.tensors)
    assert train(Checkpoint(tmp_path)) == whole


@pytest.mark.parametrize("rates", [None, 0.1, [0.1], [0.1, "fast"], [0.1, -1.0]])
def test_forged_rates_are_refused(tmp_path, rates):
    with pytest.raises(Killed):
        train(Checkpoint(tmp_path, every_steps=1), KillAt(6))
    newest = max(tmp_path.iterdir())
    file = read_model(newest)
    file.architecture["checkpoint"]["state"]["rates"] = rates
    write_model(newest, file.architecture, file.tensors)
    with pytest.raises(CheckpointMismatchError, match=newest.name):
        train(Checkpoint(tmp_path))


def test_dropout_without_a_seed_of_its_own_follows_from_that_of_fit(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 6), np.float32), rng.integers(0, 2, 40)
    layers = [FullyConnected(6, 5, rng=0), Dropout(0.5), FullyConnected(5, 2, rng=1)]
    NeuralNet(layers).save(tmp_path / "net")

    def trained(seed):
        net = NeuralNet.load(tmp_path / "net")
        fit(net, X, y, optimizer=SGD(0.1), epochs=2, batch_size=10, rng=seed)
        return [param.tobytes() for param in net.named_params().values()]

    assert trained(3) == trained(3)
    own = Dropout(0.5, rng=5)
    drawn = own.rng
    fit(NeuralNet([layers[0], own, layers[2]]), X, y, optimizer=SGD(0.1), epochs=1, batch_size=10, rng=0)
    assert own.rng is drawn  # a seed of its own stays
