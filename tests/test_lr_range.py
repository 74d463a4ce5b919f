"""The range test: its losses in closed form, where it stops, and that it leaves everything as it was."""

import copy
import pickle
import sys

import numpy as np
import pytest

from cnn_ext import (
    SGD,
    AdamW,
    BatchNorm,
    Conv,
    Dropout,
    DTypeError,
    Flatten,
    FullyConnected,
    LRRange,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    fit,
    lr_find,
)

pytestmark = pytest.mark.slow


def quadratic(scores, y):
    return 0.5 * float(np.square(scores).mean()), scores / len(scores)


@pytest.fixture
def parabola():
    """A score s = W + b, the same for all rows, and a loss s**2 / 2: a step makes (1 - 2 * lr) * s of s."""
    layer = FullyConnected(1, 1, dtype=np.float64)
    layer.W, layer.b = [[3.0]], [1.0]
    return NeuralNet([layer], quadratic, l2=0), np.ones((10, 1)), np.zeros(10, int)


@pytest.fixture
def images(rng):
    y = rng.integers(0, 3, 100)
    X = rng.random((100, 1, 6, 6), np.float32)
    X[np.arange(100), 0, y] += 1
    return X, y


def make_net():
    conv = Conv((1, 6, 6), 4, 3, 3, 1, 1, rng=0)
    dense = FullyConnected(144, 3, rng=1)
    return NeuralNet([conv, BatchNorm(conv.out_dim), ReLU(), Flatten(), Dropout(0.9, rng=2), dense])


@pytest.mark.parametrize("batch_size", [2, 10, 64])  # five steps an epoch; one; fewer images than a batch wants
def test_a_parabola_in_closed_form(parabola, batch_size):
    net, X, y = parabola
    found = lr_find(net, X, y, optimizer=SGD(0.7), lowest=1e-3, highest=10, steps=50, batch_size=batch_size, rng=0)
    s, mean, losses, smoothed = 4.0, 0.0, [], []
    rates = [1e-3 * 1e4 ** (t / 49) for t in range(50)]
    for t, lr in enumerate(rates):
        losses.append(s * s / 2)
        mean = 0.9 * mean + 0.1 * losses[-1]
        smoothed.append(mean / (1 - 0.9 ** (t + 1)))
        s *= 1 - 2 * lr
        if smoothed[-1] > 4 * min(smoothed):
            break
    assert 30 < len(losses) < 50  # beyond a rate of 1 it diverges
    np.testing.assert_allclose(found.lrs, rates[: len(losses)], rtol=1e-13)  # powers are formed in another way
    np.testing.assert_allclose(found.losses, losses, rtol=1e-9)  # s nearly cancels in W + b where lr is near 1 / 2
    np.testing.assert_allclose(found.smoothed, smoothed, rtol=1e-9)
    assert found.suggestion == found.lrs[np.argmin(smoothed)] / 10
    assert 0.05 < found.suggestion < 1  # the best constant rate is 1 / 2, from 1 on it does not converge


def test_all_steps_are_taken_where_nothing_diverges(parabola):
    found = lr_find(*parabola, optimizer=SGD(1), lowest=1e-3, highest=1e-2, steps=7, batch_size=4)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) == 7
    assert found.lrs[0] == 1e-3 and found.lrs[-1] == 1e-2
    np.testing.assert_allclose(found.lrs[1:] / found.lrs[:-1], 10 ** (1 / 6), rtol=1e-14)
    assert found.suggestion == 1e-3  # the loss still falls at the last


def test_a_loss_that_overflows_ends_the_test(parabola):
    """One step makes -2e200 of a score of 1e100, and its square is no float64."""
    net, X, y = parabola
    net.layers[0].W[:] = 1e100
    found = lr_find(net, X, y, optimizer=SGD(1), lowest=1e100, highest=1e101, steps=9)
    assert len(found.losses) == 1 and found.losses[0] == pytest.approx(5e199)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("highest", [1.0, 1e30])
def test_net_and_optimizer_are_as_before(images, highest, trained):
    net, optimizer = make_net(), AdamW(0.01)
    if trained:
        fit(net, *images, optimizer=optimizer, epochs=2, batch_size=16, rng=0)
    before = pickle.dumps((net, optimizer))
    found = lr_find(net, *images, optimizer=optimizer, highest=highest, steps=20, rng=0)
    assert len(found.losses) > 2
    assert pickle.dumps((net, optimizer)) == before


def test_the_seed_decides_everything_and_it_is_fits_own_run(images):
    results = [lr_find(make_net(), *images, optimizer=AdamW(), steps=15, rng=seed) for seed in (3, 3, 4)]
    one, same, other = (b"".join(a.tobytes() for a in (r.lrs, r.losses, r.smoothed)) for r in results)
    assert one == same != other
    rates = results[0].lrs
    history = fit(
        make_net(), *images, optimizer=AdamW(1.0), schedule=lambda t: rates[t], epochs=7, batch_size=64, rng=3
    )
    per_epoch = results[0].losses[:14].reshape(7, 2).mean(axis=1)  # 100 images are two batches
    np.testing.assert_allclose(history.loss, per_epoch, rtol=1e-12)  # a mean of two


def test_the_suggested_rate_trains(images):
    """In 30 epochs of two steps, in which the lowest rate of the test hardly moves."""
    found = lr_find(make_net(), *images, optimizer=AdamW(), rng=0)
    losses = []
    for lr in (found.suggestion, found.lrs[0]):
        net = make_net()
        fit(net, *images, optimizer=AdamW(lr), epochs=30, batch_size=64, rng=0)
        losses.append(net.evaluate(*images)[0])
    assert losses[0] < 0.01 < 0.5 < losses[1]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lowest": 0}, ValueError, r"lowest must be in \(0, inf\), got 0"),
        ({"highest": np.inf}, ValueError, "highest must be in"),
        ({"lowest": "1"}, DTypeError, "lowest must be a number, got str"),
        ({"lowest": 1.0, "highest": 1.0}, ValueError, "lowest must be below highest, got 1.0 and 1.0"),
        ({"steps": 1}, ValueError, "steps must be >= 2, got 1"),
        ({"steps": 10.0}, DTypeError, "steps must be an int, got float"),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"rng": -1}, ValueError, "rng must be a seed >= 0"),
        ({"X": np.zeros((0, 1)), "y": np.zeros(0, int)}, ShapeError, "holds no images"),
        ({"y": np.zeros(9, int)}, ShapeError, "X and y must have the same length, got 10 and 9"),
        ({"X": np.full((10, 1), np.nan)}, NonFiniteError, "step 1: the loss is nan"),
    ],
)
def test_bad_arguments(parabola, changes, error, message):
    net, X, y = parabola
    before = copy.deepcopy(net.params)
    with pytest.raises(error, match=message):
        lr_find(**{"net": net, "X": X, "y": y, "optimizer": SGD(0.1), **changes})
    assert net.params == before


def test_plot_is_a_png(parabola, tmp_path):
    pytest.importorskip("matplotlib")
    found = lr_find(*parabola, optimizer=SGD(0.1))
    path = tmp_path / "range.test"  # exactly this name, whatever it ends in
    found.plot(path)
    png = path.read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png.rstrip().endswith(b"IEND\xaeB`\x82")
    assert [p.name for p in tmp_path.iterdir()] == ["range.test"]
    with pytest.raises(OSError):
        found.plot(tmp_path / "nowhere" / "range.png")


def test_plot_without_matplotlib_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = LRRange(*np.ones((3, 2)))
    with pytest.raises(ImportError, match=r"^plot needs Matplotlib \(.*\): pip install 'cnn_ext\[plot\]'$"):
        found.plot(tmp_path / "range.png")
    assert list(tmp_path.iterdir()) == []
