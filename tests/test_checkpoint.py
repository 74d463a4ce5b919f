"""Checkpoints through `fit`: a run that goes on is the run that never stopped, to the bit, or is refused."""

import hashlib
import logging
import os
import shutil
import threading
import warnings

import numpy as np
import pytest

from cnn_ext import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    Checkpoint,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    Conv,
    CrossEntropy,
    Dropout,
    DTypeError,
    EarlyStopping,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    NonFiniteError,
    ReLU,
    RMSProp,
    fit,
    get_num_threads,
    set_num_threads,
)
from cnn_ext.augmentation import RandomAffine
from cnn_ext.layers.base import arrays_of
from cnn_ext.schedules import cosine

N, BATCH, EPOCHS = 45, 10, 3  # five steps an epoch, the last of five images
STEPS = 15


class Killed(Exception):
    pass


class KillAt(Callback):
    """End the run by an exception at a step, as abruptly as Python can."""

    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise Killed


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        run.stop = run.stop or run.step == self.step


class Losses(Callback):
    """Remember each step's loss, and in checkpoints nothing."""

    def __init__(self):
        self.losses = {}

    def on_step(self, run):
        self.losses[run.step] = run.loss


@pytest.fixture(autouse=True)
def threads_as_before():
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return rng.random((N, 1, 8, 8), np.float32), rng.integers(0, 3, N)


def make_net(rng):
    return NeuralNet(
        [
            Conv((1, 8, 8), 4, 3, 3, stride=1, padding=1, rng=rng),
            BatchNorm((4, 8, 8)),
            ReLU(),
            Maxpool((4, 8, 8), 2, 2),
            Flatten(),
            Dropout(0.7, rng=rng),
            FullyConnected(64, 3, rng=rng),
        ],
        CrossEntropy(0.1),
    )


def train(data, folder=None, *, kill_at=None, every_steps=1, callbacks=(), net=None, seed=7, **changes):
    """Train the little network; the generator is also that of its Dropout. Return (digest, history, optimizer)."""
    X, y = data
    rng = np.random.default_rng(seed)
    own = make_net(rng)
    net = net or own
    checkpoint = None if folder is None else Checkpoint(folder, every_steps=every_steps)
    settings = {
        "optimizer": SGD(0.1, 0.9, True),
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "schedule": cosine(STEPS, 2),
        "augment": RandomAffine(10, 1, 0.1),
        "average": 0.8,
        "max_norm": 1.0,
        "validation": (X[:20], y[:20]),
        "checkpoint": checkpoint,
        **changes,
    }
    watchers = [*callbacks, *([] if kill_at is None else [KillAt(kill_at)])]
    history = fit(net, X, y, rng=rng, callbacks=watchers, **settings)
    return digest(net, settings["optimizer"], rng), without_times(history), settings["optimizer"]


def digest(net, optimizer, *generators):
    """Return the SHA-256 sum of weights, statistics, optimizer state and the states of all generators."""
    total = hashlib.sha256()
    for array in [*arrays_of(net.layers), *(array for state in optimizer.state.values() for array in state)]:
        total.update(array.tobytes())
    own = [layer.rng for layer in net.layers if hasattr(layer, "rng")]
    total.update(repr([optimizer.steps, *(rng.bit_generator.state for rng in [*generators, *own])]).encode())
    return total.hexdigest()


def without_times(history):
    return [
        {name: value for name, value in record.items() if "second" not in name and name != "images_per_second"}
        for record in history
    ]


@pytest.fixture(scope="module")
def whole(data):
    return train(data)[:2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills", [[1], [4], [5], [6], [10], [14], [15], [2, 3, 4], [5, 10, 15], list(range(1, 16))], ids=str
)
@pytest.mark.parametrize("every_steps", [1, 3])
def test_killed_and_resumed_is_the_same_to_the_bit(data, whole, tmp_path, kills, every_steps):
    for number, step in enumerate(kills):
        set_num_threads(1 + number % 2)
        with pytest.raises(Killed):
            train(data, tmp_path, kill_at=step, every_steps=every_steps)
    set_num_threads(2)
    assert train(data, tmp_path)[:2] == whole
    assert train(data, tmp_path)[:2] == whole  # and once more, now that it is complete


@pytest.mark.parametrize(
    "make_optimizer",
    [lambda: SGD(0.1), lambda: SGD(0.1, 0.5), AdaGrad, RMSProp, Adam, AdamW],
    ids=["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw"],
)
def test_the_state_of_every_optimizer_is_kept(data, tmp_path, make_optimizer):
    whole = train(data, optimizer=make_optimizer())[:2]
    with pytest.raises(Killed):
        train(data, tmp_path, optimizer=make_optimizer(), kill_at=7)
    assert train(data, tmp_path, optimizer=make_optimizer())[:2] == whole


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM])
def test_any_bit_generator_is_kept(data, tmp_path, kind):
    def run(folder=None, kill_at=None):
        rng = np.random.Generator(kind(3))
        net, optimizer = make_net(rng), SGD(0.1, 0.9)
        checkpoint = None if folder is None else Checkpoint(folder, every_steps=1)
        callbacks = [] if kill_at is None else [KillAt(kill_at)]
        fit(
            net, *data, optimizer=optimizer, epochs=2, batch_size=9, rng=rng, callbacks=callbacks, checkpoint=checkpoint
        )
        return digest(net, optimizer, rng)

    with pytest.raises(Killed):
        run(tmp_path, kill_at=7)
    assert run(tmp_path) == run()


def test_a_seed_of_the_systems_is_gone_on_with(data, tmp_path):
    net = make_net(0)
    losses = Losses()
    arguments = {"epochs": 2, "batch_size": BATCH, "checkpoint": Checkpoint(tmp_path, every_steps=1)}
    with pytest.raises(Killed):
        fit(net, *data, optimizer=SGD(0.1), callbacks=[KillAt(4)], **arguments)
    history = fit(make_net(1), *data, optimizer=SGD(0.1), callbacks=[losses], **arguments)
    assert list(losses.losses) == [4, 5, 6, 7, 8, 9, 10] and len(history) == 2


def test_early_stopping_goes_on_with_its_best_weights(data, tmp_path):
    def run(folder=None, kill_at=None):
        stopping = EarlyStopping("validation_loss", patience=2)
        result = train(data, folder, kill_at=kill_at, callbacks=[stopping], epochs=8, optimizer=SGD(2.0))
        return result[:2], stopping.best_epoch, stopping.best_value

    whole = run()
    assert whole[1] < len(whole[0][1]) < 8  # it stopped early, and the best epoch is not the last
    for step in (8, 5 * whole[1] + 3):
        with pytest.raises(Killed):
            run(tmp_path, kill_at=step)
        assert run(tmp_path) == whole
        shutil.rmtree(tmp_path)


@pytest.mark.parametrize("step", [3, 5])
def test_a_run_that_a_callback_stopped_is_complete(data, tmp_path, step):
    stopped = train(data, tmp_path, callbacks=[StopAt(step)])[:2]
    losses = Losses()
    assert train(data, tmp_path, callbacks=[losses])[:2] == stopped
    assert losses.losses == {} and len(stopped[1]) == 1


def test_killed_while_it_was_evaluated(data, whole, tmp_path):
    class KillAtEpoch(Callback):
        def on_epoch(self, run):
            if run.epoch == 2:
                raise Killed

    with pytest.raises(Killed):
        train(data, tmp_path, every_steps=4, callbacks=[KillAtEpoch()])
    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "step-000000005.safetensors",
        "step-000000009.safetensors",
    ]
    assert train(data, tmp_path)[:2] == whole


def test_the_attributes_tell_what_was_found(data, tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "folder", every_steps=4)
    train(data, checkpoint=checkpoint)
    assert (checkpoint.resumed_from, checkpoint.found_complete, checkpoint.errors) == (None, False, [])
    assert checkpoint.latest == tmp_path / "new" / "folder" / "step-000000015.safetensors"
    train(data, checkpoint=checkpoint)
    assert checkpoint.found_complete and checkpoint.resumed_from == checkpoint.latest


def test_by_default_a_checkpoint_an_epoch_and_a_minute(data, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, step, *_: written.append(step))
    train(data, checkpoint=Checkpoint(tmp_path))
    assert written == [5, 10, 15]
    written.clear()
    train(data, checkpoint=str(tmp_path))
    assert written == [5, 10, 15]
    written.clear()
    train(data, checkpoint=Checkpoint(tmp_path, every_seconds=1e-9))
    assert set(written) == set(range(1, 16))
    every_minute, every_hundred = Checkpoint(tmp_path), Checkpoint(tmp_path, every_steps=100)
    assert [every_minute.is_due(10**6, seconds) for seconds in (59.9, 60.0)] == [False, True]
    assert [every_hundred.is_due(steps, 3600.0) for steps in (99, 100)] == [False, True]


def test_the_last_two_are_kept_and_foreign_files_left_alone(data, tmp_path):
    (tmp_path / "step-x.safetensors").write_text("mine")
    (tmp_path / "step-1.safetensors").write_text("mine")
    train(data, tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        "step-000000014.safetensors",
        "step-000000015.safetensors",
        "step-1.safetensors",
        "step-x.safetensors",
    ]


# What must be the same for a run to go on: a change, and the line that the error has for it.
CHANGES = {
    "epochs": ({"epochs": 4}, r"epochs: 3, now 4"),
    "batch size": ({"batch_size": 9}, r"batch_size: 10, now 9"),
    "rate": ({"optimizer": SGD(0.2, 0.9, True)}, r"optimizer\.lr: 0\.1, now 0\.2"),
    "momentum": ({"optimizer": SGD(0.1, 0.8, True)}, r"optimizer\.momentum: 0\.9, now 0\.8"),
    "optimizer": ({"optimizer": Adam(0.1)}, r"optimizer\.type: SGD, now Adam"),
    "schedule": ({"schedule": None}, r"schedule\[0\]: 0\.5, now 1\.0"),
    "augmentation": ({"augment": RandomAffine(5, 1, 0.1)}, r"augment\.rotation: 10\.0, now 5\.0"),
    "no augmentation": ({"augment": None}, r"augment: .*, now None"),
    "average": ({"average": None}, r"average: 0\.8, now None"),
    "max_norm": ({"max_norm": 2.0}, r"max_norm: 1\.0, now 2\.0"),
    "seed": ({"seed": 8}, r"rng_at_start: [0-9a-f]{64}, now [0-9a-f]{64}"),
    "sample weights": ({"sample_weight": np.ones(N)}, r"sample_weight: None, now [0-9a-f]{64}"),
}


@pytest.mark.parametrize("changes, message", CHANGES.values(), ids=CHANGES)
def test_another_run_is_refused_and_nothing_changed(data, tmp_path, changes, message):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    refused(data, tmp_path, message, **changes)


def refused(data, folder, message, net=None, **changes):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    net = net or make_net(np.random.default_rng(5))
    before = [array.copy() for array in arrays_of(net.layers)]
    with pytest.raises(CheckpointMismatchError, match=message) as caught:
        train(data, folder, net=net, **changes)
    assert str(folder / "step-000000006.safetensors") in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays_of(net.layers)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_other_images_labels_and_networks_are_refused(data, tmp_path):
    X, y = data
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    other = X.copy()
    other[-1, 0, -1, -1] = np.nextafter(other[-1, 0, -1, -1], 2)
    refused((other, y), tmp_path, r"images: [0-9a-f]{64}, now")
    refused((X, np.roll(y, 1)), tmp_path, r"labels: [0-9a-f]{64}, now")
    refused((X[:-1], y[:-1]), tmp_path, r"n_images: 45, now 44")
    net = make_net(0)
    net.layers[5] = Dropout(0.6)
    refused(data, tmp_path, r"network\.layers\[5\]\.prob: 0\.7, now 0\.6", net=net)
    wider = NeuralNet([Flatten(), FullyConnected(64, 3)])
    refused(data, tmp_path, r"network\.layers: .*, now .*", net=wider)


def test_callbacks_with_a_state_must_be_the_same(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7, callbacks=[EarlyStopping()])
    refused(data, tmp_path, r"EarlyStopping\.0 in the checkpoint, none now")


def test_changes_may_be_allowed_but_not_to_what_the_arrays_mean(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    checkpoint = Checkpoint(tmp_path, allow_changes=True)
    with pytest.warns(RuntimeWarning, match=r"epochs: 3, now 4; .*going on with those of now"):
        history = train(data, checkpoint=checkpoint, epochs=4)[1]
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    with pytest.raises(CheckpointMismatchError, match="batch_size: 10, now 9"):
        train(data, checkpoint=checkpoint, epochs=4, batch_size=9)


def test_further_settings_are_compared_first(data, tmp_path):
    train(data, checkpoint=Checkpoint(tmp_path, settings={"seed": 1, "of": [1, 2]}))
    with pytest.raises(CheckpointMismatchError, match=r"of another run: seed: 1, now 2; of\[1\]: 2, now 3 \(allow_ch"):
        train(data, checkpoint=Checkpoint(tmp_path, settings={"seed": 2, "of": [1, 3]}), epochs=7)


def test_without_resume_a_folder_with_a_run_is_refused(data, tmp_path):
    train(data, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"holds a run .*step-000000015\.safetensors.*resume it, or choose another"
    ):
        train(data, checkpoint=Checkpoint(tmp_path, resume=False))


def test_a_damaged_newest_one_gives_way_to_the_one_before(data, whole, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    older, newest = sorted(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning) as caught:
        assert train(data, tmp_path)[:2] == whole
    assert str(newest) in str(caught[0].message) and f"going on from {older}" in str(caught[0].message)


def test_without_a_sound_one_the_run_is_refused(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointCorruptError, match=r"no checkpoint is sound: .*000006.*000005"):
        train(data, tmp_path)


def test_a_saved_network_is_no_checkpoint_and_the_reverse(data, tmp_path):
    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    newest = tmp_path / "step-000000006.safetensors"
    with pytest.raises(CheckpointMismatchError, match="is a checkpoint, not a saved network"):
        NeuralNet.load(newest)
    make_net(0).save(newest)
    with pytest.raises(CheckpointMismatchError, match="is a saved network, not a checkpoint"):
        train(data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["epoch", "history", "epoch_so_far", "drawn_from", "generators", "callbacks"])
@pytest.mark.parametrize("value", [None, "absent", [1], {"bit_generator": "PCG64"}], ids=str)
def test_a_sealed_file_of_other_content_is_refused(data, tmp_path, name, value):
    from cnn_ext.model_file import read_model, write_model

    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    newest = tmp_path / "step-000000006.safetensors"
    file = read_model(newest)
    state = file.architecture["checkpoint"]["state"]
    if value == "absent":
        del state[name]
    else:
        state[name] = value
    write_model(newest, file.architecture, file.tensors)
    net = make_net(3)
    before = [array.copy() for array in arrays_of(net.layers)]
    with pytest.raises(CheckpointMismatchError, match="step-000000006"):
        train(data, tmp_path, net=net)
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays_of(net.layers)))


def test_what_cannot_be_kept_is_named(data, tmp_path):
    class Odd(Callback):
        def on_epoch(self, run):
            run.record["odd"] = object()

    with pytest.raises(TypeError, match=r"a callback's record or state holds what no checkpoint can: .*object"):
        train(data, tmp_path, callbacks=[Odd()], every_steps=100)


def test_numbers_of_numpys_are_kept_as_pythons(data, tmp_path):
    class Counts(Callback):
        def on_epoch(self, run):
            run.record.update(wrong=np.int64(3), shares=[np.float32(0.5), {"rest": np.arange(2)}])
            run.stop = np.mean(run.record["loss"]) < 0

    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7, callbacks=[Counts()])
    history = train(data, tmp_path, callbacks=[Counts()])[1]
    assert history[0]["wrong"] == 3 and history[0]["shares"] == [0.5, {"rest": [0, 1]}]


def test_a_second_run_in_a_session_goes_on_where_dropout_draws_from_its_generator(data, tmp_path):
    """The first has seeded the layer: the generator has moved on from where the second one's stands."""
    X, y = data

    def run(net, folder, *callbacks):
        settings = {"optimizer": SGD(0.1), "epochs": EPOCHS, "batch_size": BATCH, "rng": np.random.default_rng(3)}
        fit(net, X, y, callbacks=callbacks, checkpoint=Checkpoint(folder, every_steps=1), **settings)
        return [array.tobytes() for array in arrays_of(net.layers)]

    def fresh():
        return NeuralNet([Flatten(), Dropout(0.7), FullyConnected(64, 3, rng=0)])

    net = fresh()
    with pytest.raises(Killed):
        run(net, tmp_path / "killed", KillAt(7))
    assert run(net, tmp_path / "killed") == run(fresh(), tmp_path / "whole")


def test_divergence_leaves_the_last_good_checkpoint(data, tmp_path):
    class Poison(Callback):
        def on_step(self, run):
            if run.step == 8:
                run.net.layers[-1].W[0, 1] = np.inf

    with pytest.raises(NonFiniteError, match=r"step 8: network\.layers\.6\.W has 1 non-finite values"):
        train(data, tmp_path, every_steps=3, callbacks=[Poison()])
    assert sorted(os.listdir(tmp_path)) == ["step-000000003.safetensors", "step-000000005.safetensors"]
    with pytest.raises(NonFiniteError, match="step 9: "):
        train(data, tmp_path, every_steps=100, callbacks=[Poison()])
    assert len(train(data, tmp_path)[1]) == EPOCHS


def test_a_disk_that_fills_up_costs_a_warning_and_no_checkpoint(data, whole, tmp_path, monkeypatch):
    from cnn_ext import _files

    with pytest.raises(Killed):
        train(data, tmp_path, kill_at=7)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    checkpoint = Checkpoint(tmp_path, every_steps=1)
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(_files.os, "fsync", lambda _: (_ for _ in ()).throw(full))
        assert train(data, checkpoint=checkpoint)[:2] == whole
    assert len(checkpoint.errors) == len(caught) >= 9
    assert all(error.__traceback__ is None for error in checkpoint.errors)  # their frames hold whole files
    assert "after step 7: [Errno 28]" in str(caught[0].message) and "000006.safetensors is intact" in str(
        caught[0].message
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_folder_that_cannot_be_used_is_an_error_at_once(data, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            train(data, folder)


def test_left_temporary_files_are_removed_when_they_are_old(data, tmp_path):
    old, new = tmp_path / f".{'a' * 16}.tmp", tmp_path / f".{'b' * 16}.tmp"
    old.write_text("")
    new.write_text("")
    os.utime(old, (0, 0))
    with pytest.warns(RuntimeWarning, match="1 temporary files, left by killed runs, were removed"):
        train(data, tmp_path)
    assert not old.exists() and new.exists()


def test_in_another_thread_than_the_main_one(data, whole, tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(train(data, tmp_path)[:2]))
    thread.start()
    thread.join()
    assert results == [whole]


BAD_ARGUMENTS = {
    "folder": ({"folder": 3}, DTypeError, "folder must be a path, got int"),
    "empty folder": ({"folder": ""}, ValueError, "folder must be a path, got an empty one"),
    "every_steps 0": ({"every_steps": 0}, ValueError, "every_steps must be >= 1, got 0"),
    "every_steps True": ({"every_steps": True}, DTypeError, "every_steps must be an int, got bool"),
    "every_seconds 0": ({"every_seconds": 0}, ValueError, r"every_seconds must be in \(0, inf\), got 0"),
    "every_seconds nan": ({"every_seconds": float("nan")}, ValueError, "every_seconds must be in"),
    "settings": ({"settings": [1]}, DTypeError, "settings must be a dict, got list"),
    "settings of objects": ({"settings": {"a": object()}}, DTypeError, "settings must hold what JSON can"),
    "resume": ({"resume": "yes"}, DTypeError, "resume must be a bool, got str"),
    "allow_changes": ({"allow_changes": 1}, DTypeError, "allow_changes must be a bool, got int"),
}


@pytest.mark.parametrize("arguments, kind, message", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(arguments, kind, message):
    with pytest.raises(kind, match=message):
        Checkpoint(**{"folder": "x", **arguments})


def test_fit_takes_a_checkpoint_or_a_path(data):
    with pytest.raises(DTypeError, match="checkpoint must be a Checkpoint or a path, got int"):
        train(data, checkpoint=3)


def test_the_library_logs_and_configures_nothing(data, tmp_path, caplog):
    assert logging.getLogger("cnn_ext").handlers == [] and logging.getLogger("cnn_ext").level == logging.NOTSET
    with caplog.at_level("DEBUG", "cnn_ext"):
        train(data, checkpoint=tmp_path)
        train(data, checkpoint=tmp_path)
    assert {record.name for record in caplog.records} == {"cnn_ext"}
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("epoch 1 of 3: {'epoch': 1, 'loss': ")
    assert messages[1] == f"checkpoint written: {tmp_path / 'step-000000005.safetensors'}"
    assert messages[-1] == f"going on from {tmp_path / 'step-000000015.safetensors'}"
