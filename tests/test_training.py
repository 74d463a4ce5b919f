"""The training loop, its callbacks, and the series' solvers over it."""

import re
from pathlib import Path

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    SGD,
    Adam,
    Callback,
    Conv,
    DTypeError,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    fit,
    get_minibatches,
)
from cnn_ext.datasets import ScaledImages

GOLDEN = Path(__file__).parent / "golden" / "curve.npz"


@pytest.fixture
def data(rng):
    y = rng.integers(0, 3, 50)
    X = rng.random((50, 4), np.float32)
    X[np.arange(50), y] += 1
    return X, y


def make_net(seed=0):
    return NeuralNet([FullyConnected(4, 8, rng=seed), ReLU(), FullyConnected(8, 3, rng=seed + 1)])


def test_golden_curve():
    stored = np.load(GOLDEN)
    conv, conv2 = Conv((1, 8, 8), 4, 3, 3, 1, 1), Conv((4, 4, 4), 6, 3, 3, 1, 1)
    net = NeuralNet([conv, ReLU(), Maxpool((4, 8, 8), 2, 2), conv2, ReLU(), Flatten(), FullyConnected(96, 3)])
    for index, param in enumerate(net.named_params().values()):
        param[...] = stored[f"p{index}"]
    optimizer = SGD(0.1, 0.9, nesterov=True)
    losses = []
    for start in range(0, 160, 8):
        rows = stored["order"][start : start + 8]
        loss, grads = net.train_step(stored["X"][rows], stored["y"][rows])
        losses.append(loss)
        optimizer.step(list(net.named_params().values()), [g for layer in reversed(grads) for g in layer])
    # float32 against float64 loops: roundings grow over the steps, to well below a thousandth here
    np.testing.assert_allclose(losses, stored["losses"], rtol=1e-3)


def test_fit_learns_and_records(data):
    history = fit(make_net(), *data, optimizer=SGD(0.1, 0.9, True), epochs=20, batch_size=8, rng=0, validation=data)
    assert [record["epoch"] for record in history] == list(range(1, 21)) == history.epoch
    assert history.loss[-1] < 0.5 * history.loss[0] and history.validation_accuracy[-1] > 0.9
    assert all(seconds > 0 for seconds in history.seconds + history.images_per_second)
    with pytest.raises(AttributeError, match="no epoch has recorded 'nonsense'"):
        history.nonsense


def weights_after(seed, data, **changes):
    net = make_net()
    arguments = {"optimizer": Adam(), "epochs": 2, "batch_size": 7, "rng": seed, **changes}
    fit(net, *data, **arguments)
    return b"".join(p.tobytes() for p in net.named_params().values())


def test_the_seed_decides_everything(data):
    assert weights_after(1, data) == weights_after(1, data)
    assert weights_after(1, data) != weights_after(2, data)
    assert weights_after(np.random.default_rng(1), data) == weights_after(1, data)


def test_every_image_once_an_epoch_in_a_new_order(data):
    X, y = data
    X[:, 0] = np.arange(50)
    seen = []

    class Spy(NeuralNet):
        def train_step(self, X, y):
            seen.append(X[:, 0].astype(int).tolist())
            return super().train_step(X * np.float32(0.01), y)

    fit(Spy(make_net().layers), X, y, optimizer=SGD(0.01), epochs=2, batch_size=8, rng=0)
    assert [len(batch) for batch in seen] == [8, 8, 8, 8, 8, 8, 2] * 2
    first, second = sum(seen[:7], []), sum(seen[7:], [])
    assert sorted(first) == sorted(second) == list(range(50)) and first != second != list(range(50))


def test_schedule_gets_the_number_of_the_step(data):
    steps = []
    before = [p.copy() for p in make_net().named_params().values()]
    net = make_net()
    fit(net, *data, optimizer=SGD(1.0), epochs=2, batch_size=25, schedule=lambda step: steps.append(step) or 0.0)
    assert steps == [0, 1, 2, 3]
    for old, new in zip(before, net.named_params().values(), strict=True):
        np.testing.assert_array_equal(old, new)  # a rate of zero


def test_callbacks_come_in_order_and_can_stop(data):
    calls = []

    class Watch(Callback):
        def on_start(self, run):
            calls.append(("start", run.epochs, run.n_images, run.steps_per_epoch))

        def on_step(self, run):
            calls.append(("step", run.epoch, run.step))
            assert np.isfinite(run.loss)
            run.stop = run.step == 3

        def on_epoch(self, run):
            calls.append(("epoch", run.epoch, sorted(run.record)))
            run.record["extra"] = 5

        def on_end(self, run):
            calls.append(("end", run.step))

    history = fit(make_net(), *data, optimizer=SGD(0.1), epochs=9, batch_size=25, callbacks=[Watch()])
    record = ["epoch", "images_per_second", "loss", "running_accuracy", "seconds"]
    assert calls == [
        ("start", 9, 50, 2),
        ("step", 1, 1),
        ("step", 1, 2),
        ("epoch", 1, record),
        ("step", 2, 3),
        ("epoch", 2, record),
        ("end", 3),
    ]
    assert history.extra == [5, 5]


def test_a_method_that_nothing_calls_is_told(data):
    class Elsewhere(Callback):
        def on_epoch_end(self, run):
            pass

        def on_step(self, run):
            pass

    told = r"callbacks\[1\] \(Elsewhere\): on_epoch_end is never called; on_start, on_step, on_epoch, on_end are$"
    with pytest.warns(RuntimeWarning, match=told):
        fit(make_net(), *data, optimizer=SGD(0.1), epochs=1, batch_size=25, callbacks=[Callback(), Elsewhere()])


def test_callbacks_end_also_after_an_error(data):
    ended = []

    class Watch(Callback):
        def on_step(self, run):
            raise KeyboardInterrupt

        def on_end(self, run):
            ended.append(run.step)

    with pytest.raises(KeyboardInterrupt):
        fit(make_net(), *data, optimizer=SGD(0.1), epochs=1, batch_size=25, callbacks=[Watch()])
    assert ended == [1]


def test_divergence_is_named_and_leaves_the_last_good_weights(data):
    X, y = data
    X = X.copy()
    X[49] = np.nan
    net = make_net()
    with pytest.raises(NonFiniteError, match=r"step \d+: out has a non-finite score at row"):
        fit(net, X, y, optimizer=SGD(0.1), epochs=1, batch_size=5, rng=0)
    assert all(np.isfinite(p).all() for p in net.named_params().values())


def test_images_as_bytes_are_scaled_when_gathered(rng):
    pixels, y = rng.integers(0, 256, (30, 1, 4, 4), np.uint8), rng.integers(0, 3, 30)
    results = []
    for X in (ScaledImages(pixels), pixels.astype(np.float32) / np.float32(255)):
        net = NeuralNet([Flatten(), FullyConnected(16, 3, rng=0)])
        fit(net, X, y, optimizer=SGD(0.1), epochs=2, batch_size=8, rng=0, validation=(X, y))
        results.append(net.layers[1].W.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("convert", [lambda a: a.tolist(), memoryview])
def test_lists_and_buffers_are_taken(data, convert):
    assert weights_after(1, [convert(a) for a in data]) == weights_after(1, data)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"batch_size": 2.5}, DTypeError, "batch_size must be an int"),
        ({"rng": "x"}, DTypeError, "rng must be a numpy.random.Generator"),
        ({"y": np.zeros(49, int)}, ShapeError, "X and y must have the same length, got 50 and 49"),
        ({"y": np.full(50, 3)}, ValueError, r"label 3 at row 0 outside \[0, 3\)"),
        ({"y": np.full(50, -1)}, ValueError, r"label -1 at row 0 outside \[0, 3\)"),
        ({"X": np.zeros((50, 4), np.uint8)}, DTypeError, "scale it first"),
        ({"X": np.zeros((0, 4), np.float32), "y": np.zeros(0, int)}, ShapeError, "holds no images"),
    ],
)
def test_bad_arguments(data, changes, error, message):
    arguments = {"X": data[0], "y": data[1], "optimizer": SGD(0.1), "epochs": 1, "batch_size": 10, **changes}
    net = make_net()
    before = [p.tobytes() for p in net.named_params().values()]
    with pytest.raises(error, match=message):
        fit(net, **arguments)
    assert [p.tobytes() for p in net.named_params().values()] == before


def test_minibatches(data):
    X, y = data
    batches = get_minibatches(X, y, 20, shuffle=False)
    assert len(batches) == 3 and [len(b[1]) for b in batches] == [20, 20, 10]
    np.testing.assert_array_equal(batches[-1][0], X[40:])
    np.testing.assert_array_equal(batches[1:][0][1], y[20:40])
    shuffled = get_minibatches(X, y, 20, rng=0)
    rows = np.concatenate([b[0] for b in shuffled])
    assert sorted(rows.tolist()) == sorted(X.tolist()) and rows.tolist() != X.tolist()
    with pytest.raises(IndexError):
        batches[3]


SOLVERS = [cnn_ext.sgd, cnn_ext.sgd_momentum, cnn_ext.adagrad, cnn_ext.rmsprop, cnn_ext.adam]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.__name__)
def test_solvers_print_as_the_series_does(solver, data, capsys):
    net = make_net()
    assert (
        solver(net, *data, minibatch_size=10, epoch=2, learning_rate=0.02, X_test=data[0], y_test=data[1], rng=0) is net
    )
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["Epoch 1", "Epoch 2"]
    for line in lines[1::2]:
        assert re.fullmatch(r"Loss = \d\.\d+ \| Training Accuracy = [\d.]+ \| Test Accuracy = [\d.]+", line)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.__name__)
def test_solvers_are_the_loop_with_their_optimizer(solver, data, capsys):
    optimizers = {"sgd": SGD(0.02), "sgd_momentum": SGD(0.02, 0.9, True), "adam": Adam(0.02)}
    net = solver(make_net(), *data, 10, 3, 0.02, verbose=False, rng=5)
    assert capsys.readouterr().out == ""
    if solver.__name__ in optimizers:  # state kept over the epochs, which a solver that restarts it would not show
        other = make_net()
        fit(other, *data, optimizer=optimizers[solver.__name__], epochs=3, batch_size=10, rng=5)
        assert net.layers[0].W.tobytes() == other.layers[0].W.tobytes()


def test_solver_without_test_set(data, capsys):
    cnn_ext.sgd(make_net(), *data, 10, 1, 0.02)
    assert "Test" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="X_test and y_test must be given together"):
        cnn_ext.sgd(make_net(), *data, 10, 1, 0.02, X_test=data[0])


@pytest.mark.parametrize(
    ("changes", "error"), [({"augment": 3}, cnn_ext.DTypeError), ({"sample_weight": np.ones(50)}, cnn_ext.DTypeError)]
)
def test_a_run_that_is_refused_leaves_the_old_log(data, tmp_path, changes, error):
    (tmp_path / "run.csv").write_text("old")
    log, settings = cnn_ext.CsvLog(tmp_path / "run.csv"), {"optimizer": SGD(0.1), "epochs": 2, "batch_size": 10}
    with pytest.raises(error):
        fit(make_net(), *data, callbacks=[log], **settings, **changes)
    assert (tmp_path / "run.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cnn_ext.CsvLog(3), cnn_ext.DTypeError, "path must be a str or os.PathLike, got int"),
        (lambda: cnn_ext.CsvLog("x", None), cnn_ext.DTypeError, "tested must be a str, got NoneType"),
        (lambda: cnn_ext.JsonLog("x", {"a": object()}), TypeError, "settings must be what JSON can hold: .*object"),
        (lambda: cnn_ext.JsonLog("x", {"a": float("nan")}), ValueError, "settings must be what JSON can hold"),
    ],
)
def test_logs_that_could_not_be_written(make, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make()
    assert list(tmp_path.iterdir()) == []


def test_the_csv_log_has_a_line_an_epoch(data, tmp_path):
    path = tmp_path / "run.csv"
    log = cnn_ext.CsvLog(path, "held-out")
    settings = {"optimizer": SGD(0.1), "epochs": 2, "batch_size": 10, "rng": 0}
    history = fit(make_net(), *data, validation=data, validate_last_only=True, callbacks=[log], **settings)
    names, first, second = path.read_text().splitlines()
    assert names == (
        "epoch,loss,running_accuracy,train_accuracy,held-out_loss,held-out_accuracy,seconds,images_per_second"
    )
    for line, record in zip((first, second), history, strict=True):
        values = line.split(",")
        assert values[:6] == [
            str(record["epoch"]),
            repr(record["loss"]),
            repr(record["running_accuracy"]),
            "",
            str(record.get("validation_loss", "")),
            str(record.get("validation_accuracy", "")),
        ]
        assert float(values[6]) == record["seconds"]
    assert "validation_loss" not in history[0] and "validation_loss" in history[1]


def test_numbers_of_numpys_are_written_like_others(data, tmp_path):
    class Share(Callback):
        def on_epoch(self, run):
            run.record["train_accuracy"] = np.float64(0.5)

    log = cnn_ext.CsvLog(tmp_path / "run.csv")
    fit(make_net(), *data, optimizer=SGD(0.1), epochs=1, batch_size=10, callbacks=[Share(), log])
    assert (tmp_path / "run.csv").read_text().splitlines()[1].split(",")[3] == "0.5"


@pytest.mark.parametrize(("factor", "told"), [(255, True), (1, False)])
def test_images_that_were_not_scaled_are_told_of_where_it_diverges(factor, told, data):
    X, y = data
    with pytest.raises(NonFiniteError, match=r"^step ") as caught:
        fit(make_net(), factor * X, y, optimizer=SGD(1e25), epochs=3, batch_size=10, rng=0)
    assert ("scale them to [0, 1]" in str(caught.value)) == told
