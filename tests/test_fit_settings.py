"""What the training loop does on request: augmentation, weights of images, clipping, averaging, when it validates."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    SGD,
    BatchNorm,
    Callback,
    Conv,
    CrossEntropy,
    DTypeError,
    EarlyStopping,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    WeightAverage,
    fit,
)
from cnn_ext.augmentation import Compose, RandomAffine, RandomErasing, Transform


@pytest.fixture
def data(rng):
    y = rng.integers(0, 3, 50)
    X = rng.random((50, 4), np.float32)
    X[np.arange(50), y] += 1
    return X, y


def make_net():
    return NeuralNet([FullyConnected(4, 8, rng=0), ReLU(), FullyConnected(8, 3, rng=1)])


def some_images(rng, n=50):
    return rng.random((n, 1, 8, 8), dtype=np.float32), rng.integers(0, 3, n)


def conv_net():
    conv = Conv((1, 8, 8), 4, 3, 3, 1, 1, rng=0)
    pool = Maxpool(conv.out_dim, 2, 2)
    return NeuralNet([conv, BatchNorm(conv.out_dim), ReLU(), pool, Flatten(), FullyConnected(64, 3, rng=1)])


def test_a_last_batch_of_two_rows_is_enough_to_normalize(rng):
    net = NeuralNet([FullyConnected(4, 8, rng=0), BatchNorm(8), FullyConnected(8, 3, rng=1)])
    history = fit(net, rng.random((6, 4), np.float32), np.arange(6) % 3, optimizer=SGD(0.1), epochs=1, batch_size=4)
    assert np.isfinite(history.loss).all()


def test_the_step_whose_loss_is_not_finite_is_told(data):
    steps = []

    def loss_func(scores, y):
        steps.append(len(y))
        return (np.inf if len(steps) == 3 else 1.0), np.zeros_like(scores)

    net = make_net()
    net.loss_func = loss_func
    with pytest.raises(NonFiniteError, match="step 3: the loss is inf"):
        fit(net, *data, optimizer=SGD(0.1), epochs=1, batch_size=10)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda scores, y: 0.5, DTypeError, r"\(mean loss, gradient of the scores\), got float"),
        (lambda scores, y: (1.0, scores, y), DTypeError, ".*, got tuple of length 3"),
        (lambda scores, y: (None, scores), DTypeError, "a real number as its mean loss, got None"),
        (lambda scores, y: ("0.5", scores), DTypeError, "a real number as its mean loss, got '0.5'"),
        (lambda scores, y: (1 + 2j, scores), DTypeError, "a real number as its mean loss"),
        (lambda scores, y: (scores.sum(axis=1), scores), ShapeError, r"one number .* got an array of shape \(10,\)"),
        (lambda scores, y: (1.0, None), DTypeError, "a gradient of float32 or float64, got object"),
        (lambda scores, y: (1.0, np.zeros((10, 3), int)), DTypeError, "a gradient of float32 or float64, got int64"),
        (lambda scores, y: (1.0, scores[0]), ShapeError, r"a gradient of the scores' shape \(10, 3\), got \(3,\)"),
    ],
)
def test_a_loss_of_ones_own_that_gives_something_else_is_named(data, wrong, error, message):
    net = make_net()
    net.loss_func = wrong
    before = bits(net)
    with pytest.raises(error, match=f"loss_func must return {message}"):
        fit(net, *data, optimizer=SGD(0.1), epochs=1, batch_size=10)
    assert bits(net) == before
    if "gradient of" in message and "mean loss" not in message:
        net.evaluate(*data)  # which takes none
        return
    with pytest.raises(error, match=f"loss_func must return {message.replace('10', '50')}"):
        net.evaluate(*data)


def bits(net):
    return b"".join(array.tobytes() for layer in net.layers for array in layer.state().values())


def trained(data, net=None, **changes):
    net = net or conv_net()
    history = fit(net, *data, **{"optimizer": SGD(0.05, 0.9, True), "epochs": 2, "batch_size": 8, "rng": 3, **changes})
    return net, history


@pytest.fixture
def images(rng):
    return some_images(rng)


@pytest.fixture
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


AUGMENT = Compose([RandomAffine(15, 1, 0.1), RandomErasing()])


def test_augmented_batches_are_the_transforms_with_seeds_from_the_runs_generator(images, no_thread_stays):
    X, y = images
    seen = []

    class Spy(NeuralNet):
        def train_step(self, X, y):
            seen.append((X.copy(), y.copy()))
            return super().train_step(X, y)

    trained(images, Spy(conv_net().layers), augment=AUGMENT)
    generator, expected = np.random.default_rng(3), []
    for _ in range(2):
        order = generator.permutation(50)
        for start, seed in zip(range(0, 50, 8), generator.integers(2**63, size=7)):
            rows = order[start : start + 8]
            expected.append((AUGMENT(X[rows], np.random.default_rng(seed)), y[rows]))
    assert len(seen) == 14
    for (X_seen, y_seen), (X_expected, y_expected) in zip(seen, expected, strict=True):
        assert X_seen.tobytes() == X_expected.tobytes()
        np.testing.assert_array_equal(y_seen, y_expected)


def test_augmentation_gives_the_same_bits_for_any_number_of_threads(images, monkeypatch, no_thread_stays):
    before, found = cnn_ext.get_num_threads(), set()
    try:
        for augmenting, kernels in ((1, 1), (1, 2), (1, 3), (3, 2)):
            monkeypatch.setattr("cnn_ext.training.AUGMENTING_THREADS", augmenting)
            cnn_ext.set_num_threads(kernels)
            found.add(bits(trained(images, augment=AUGMENT)[0]))
    finally:
        cnn_ext.set_num_threads(before)
    assert len(found) == 1
    assert found != {bits(trained(images)[0])}


def test_several_threads_augment_at_once(images, monkeypatch, no_thread_stays):
    meeting = threading.Barrier(2, timeout=30)

    @dataclass(frozen=True)
    class Meet(Transform):
        def _apply(self, X, rng):
            meeting.wait()
            return X

    monkeypatch.setattr("cnn_ext.training.AUGMENTING_THREADS", 2)
    trained(images, augment=Meet(), batch_size=25)
    assert not meeting.broken


class Watch(Callback):
    def __init__(self, raises_at=None):
        self.raises_at, self.ended = raises_at, []

    def on_step(self, run):
        if run.step == self.raises_at:
            raise KeyboardInterrupt

    def on_end(self, run):
        self.ended.append(run.step)


def test_an_error_in_a_transform_comes_as_it_is(images, no_thread_stays):
    @dataclass(frozen=True)
    class Failing(Transform):
        def _apply(self, X, rng):
            if len(X) == 2:  # the last batch of the epoch
                raise ZeroDivisionError("in the transform")
            return X

    watch = Watch()
    with pytest.raises(ZeroDivisionError, match="in the transform"):
        trained(images, augment=Failing(), callbacks=[watch])
    assert watch.ended == [6]


def test_an_interrupt_while_batches_are_prepared_leaves_no_thread(images, no_thread_stays):
    watch = Watch(raises_at=2)
    with pytest.raises(KeyboardInterrupt):
        trained(images, augment=AUGMENT, callbacks=[watch])
    assert watch.ended == [2]


def test_stopped_within_an_epoch_of_augmented_batches(images, no_thread_stays):
    class Stop(Callback):
        def on_step(self, run):
            run.stop = run.step == 3

    _, history = trained(images, augment=AUGMENT, callbacks=[Stop()], optimizer=SGD(1e-30))
    assert len(history) == 1
    assert history.running_accuracy[0] in [n / 24 for n in range(1, 25)]  # of three batches of 8


def test_a_nan_among_augmented_pixels_is_named(images, no_thread_stays):
    X, y = images
    X[7, 0, 4, 4] = np.nan
    net = conv_net()
    with pytest.raises(NonFiniteError, match=r"step \d: out has a non-finite score at row \d"):
        trained((X, y), net, augment=RandomAffine(5), epochs=1)
    assert all(np.isfinite(p).all() for p in net.named_params().values())


def test_images_that_only_the_augmentation_makes_fit(rng, no_thread_stays):
    X, y = rng.integers(0, 256, (24, 1, 12, 12), np.uint8), np.arange(24) % 3

    def crop_and_scale(X, rng):
        return X[:, :, 2:10, 2:10].astype(np.float32) / 255

    net, other = conv_net(), conv_net()
    trained((X, y), net, augment=crop_and_scale)
    trained((crop_and_scale(X, None), y), other, augment=lambda X, rng: X)
    assert bits(net) == bits(other)


def test_labels_of_a_loss_of_ones_own_are_one_an_image(data):
    net, before = make_net(), bits(make_net())
    net.loss_func = lambda scores, y: (float(np.square(scores - y).mean()), scores - y)
    with pytest.raises(ShapeError, match=r"y must have shape \(50,\), got \(50, 3\)"):
        fit(net, data[0], np.eye(3, dtype=np.float32)[data[1]], optimizer=SGD(0.1), epochs=1, batch_size=3)
    assert bits(net) == before


def test_the_loss_is_a_float_whatever_number_it_comes_as(data, tmp_path):
    def loss_func(scores, y):
        return np.float32(0.5), np.zeros_like(scores)

    net = make_net()
    net.loss_func = loss_func
    settings = {"optimizer": SGD(0.1), "epochs": 1, "batch_size": 10, "validation": data, "checkpoint": tmp_path}
    history = fit(net, *data, **settings)
    assert type(net.evaluate(*data)[0]) is type(history[0]["validation_loss"]) is float
    net.loss_func = lambda scores, y: (0.5, None)  # to evaluate takes no gradient
    assert net.evaluate(*data)[0] == 0.5


def test_clipping_writes_to_no_array_that_a_layer_keeps(data):
    class Scale:
        def __init__(self):
            self.params, self.gradient = [np.ones(4, np.float32)], np.ones(4, np.float32)

        def forward(self, X):
            return self.params[0] * X

        def backward(self, dout):
            return self.params[0] * dout, [self.gradient]

    scale = Scale()
    net = NeuralNet([scale, FullyConnected(4, 3, rng=0)], l2=0)
    fit(net, *data, optimizer=SGD(0.1), epochs=1, batch_size=10, max_norm=0.1)
    np.testing.assert_array_equal(scale.gradient, 1)


def test_images_that_a_transform_does_not_take(data, no_thread_stays):
    with pytest.raises(ShapeError, match="X must be 4-D"):
        fit(make_net(), *data, optimizer=SGD(0.1), epochs=1, batch_size=10, augment=RandomAffine(5))
    with pytest.raises(DTypeError, match="augment must be callable"):
        fit(make_net(), *data, optimizer=SGD(0.1), epochs=1, batch_size=10, augment=5)


def double_net():
    first, last = FullyConnected(4, 8, dtype=np.float64, rng=0), FullyConnected(8, 3, dtype=np.float64, rng=1)
    return NeuralNet([first, ReLU(), last], CrossEntropy(), l2=0.01)


def test_whole_weights_are_images_that_come_so_often(data):
    X, y = data[0].astype(np.float64), data[1]
    weights = np.arange(50) % 4
    results = []
    for arguments in (
        {"X": X, "y": y, "sample_weight": weights, "batch_size": 50},
        {"X": np.repeat(X, weights, axis=0), "y": np.repeat(y, weights), "batch_size": 1000},
    ):
        net = double_net()
        history = fit(net, optimizer=SGD(0.1, 0.9), epochs=5, rng=0, **arguments)
        results.append([history.loss, *net.named_params().values()])
    for weighted, repeated in zip(*results, strict=True):
        np.testing.assert_allclose(weighted, repeated, rtol=1e-10)  # sums in another order, over five steps


def test_weights_go_with_their_images(data):
    """Weight 0 for half of the images, in shuffled batches: labels of that half change nothing."""
    X, y = data
    weights = (np.arange(50) < 25).astype(float)
    results = []
    for labels in (y, np.where(weights > 0, y, (y + 1) % 3)):
        net = NeuralNet(make_net().layers, CrossEntropy())
        fit(net, X, labels, optimizer=SGD(0.1), epochs=2, batch_size=5, rng=0, sample_weight=weights.tolist())
        results.append(bits(net))
    assert results[0] == results[1]


def test_a_class_that_is_missing(data):
    X, y = data
    net = NeuralNet(make_net().layers, CrossEntropy(class_weight=[1, 5, 1]))
    history = fit(net, X, np.where(y == 1, 2, y), optimizer=SGD(0.1, 0.9), epochs=5, batch_size=10, validation=data)
    assert np.isfinite(history.loss + history.validation_loss).all()
    assert 1 not in net.predict(X)


def test_max_norm(data):
    huge, _ = trained(data, make_net(), max_norm=1e30)
    assert bits(huge) == bits(trained(data, make_net())[0])
    lengths, last = [], []

    class Measure(Callback):
        def on_start(self, run):
            last[:] = [p.copy() for p in run.net.named_params().values()]

        def on_step(self, run):
            params = list(run.net.named_params().values())
            lengths.append(np.sqrt(sum(np.square(p - old).sum() for p, old in zip(params, last))))
            last[:] = [p.copy() for p in params]

    trained((data[0].astype(float), data[1]), double_net(), optimizer=SGD(0.5), max_norm=1e-3, callbacks=[Measure()])
    np.testing.assert_allclose(lengths, [0.5e-3] * 14, rtol=1e-9)  # differences of numbers around 1, each off by an eps


class Follow(Callback):
    """Drives an average of its own, and keeps what the network is after each epoch."""

    def __init__(self, net, decay):
        self.average, self.epochs = WeightAverage(net, decay), []

    def on_step(self, run):
        self.average.update()

    def on_epoch(self, run):
        self.epochs.append(bits(run.net))


def test_the_average_is_what_is_evaluated_seen_and_left(images):
    plain, averaged = conv_net(), conv_net()
    follow, seen = Follow(plain, 0.9), Follow(averaged, 0.9)
    trained(images, plain, callbacks=[follow], epochs=3)
    _, history = trained(images, averaged, callbacks=[seen], epochs=3, average=0.9, validation=images)
    raw = bits(plain)
    follow.average.swap()
    assert bits(averaged) == seen.epochs[-1] == bits(plain) != raw
    assert plain.evaluate(*images) == (history.validation_loss[-1], history.validation_accuracy[-1])
    one_epoch, _ = trained(images, average=0.9, epochs=1)  # the same first epoch
    assert seen.epochs[0] == bits(one_epoch)
    assert len({*seen.epochs, *follow.epochs}) == 6


def test_after_an_error_the_weights_are_those_of_the_last_step(images):
    plain, averaged = conv_net(), conv_net()
    for net, average in ((plain, None), (averaged, 0.9)):
        with pytest.raises(KeyboardInterrupt):
            trained(images, net, average=average, callbacks=[Watch(raises_at=9)])  # in the second epoch
    assert bits(plain) == bits(averaged)


def test_a_run_stopped_by_a_callback_leaves_the_average(images):
    class Stop(Callback):
        def on_epoch(self, run):
            run.stop = True

    stopped, history = trained(images, average=0.9, epochs=5, callbacks=[Stop()])
    assert len(history) == 1 and bits(stopped) == bits(trained(images, average=0.9, epochs=1)[0])


def test_early_stopping_puts_the_best_average_back(images):
    class Script(Callback):
        def on_epoch(self, run):
            run.record["a_loss"] = [3, 1, 2, 2][run.epoch - 1]

    stopping = EarlyStopping("a_loss", patience=2)
    stopped, history = trained(images, average=0.9, epochs=9, callbacks=[Script(), stopping])
    assert len(history) == 4 and stopping.best_epoch == 2
    assert bits(stopped) == bits(trained(images, average=0.9, epochs=2)[0])
    with pytest.raises(KeyboardInterrupt):  # within the fourth epoch of seven steps
        interrupted = conv_net()
        trained(images, interrupted, average=0.9, epochs=9, callbacks=[Script(), stopping, Watch(raises_at=24)])
    assert bits(interrupted) == bits(stopped)


def test_validation_after_the_last_epoch_alone(data):
    _, history = trained(data, make_net(), epochs=3, validation=data, validate_last_only=True)
    assert ["validation_loss" in record for record in history] == [False, False, True]
    assert history.validation_accuracy[:2] == [None, None]

    class Stop(Callback):
        def on_step(self, run):
            run.stop = run.step == 9  # in the second epoch, which so becomes the last

    _, history = trained(data, make_net(), epochs=3, validation=data, validate_last_only=True, callbacks=[Stop()])
    assert ["validation_loss" in record for record in history] == [False, True]


def test_running_accuracy_is_the_share_that_was_right_before_its_step():
    """One weight a class, a rate of 0: image [1, 0] is always taken for class 0, [0, 1] for class 1."""
    X = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    net = NeuralNet([FullyConnected(2, 2)])
    net.layers[0].W, net.layers[0].b = np.eye(2), [0, 0]
    _, history = trained((X, np.array([0, 1, 1, 1, 0])), net, schedule=lambda step: 0.0, batch_size=2)
    assert history.running_accuracy == [0.6, 0.6]


@pytest.mark.parametrize(("X_dim", "n", "batch_size"), [(8, 41, 10), ((8, 1, 1), 41, 10), (8, 3, 1), (8, 1, 50)])
def test_a_last_batch_of_one_image_under_a_batch_norm(rng, X_dim, n, batch_size):
    shape = X_dim if isinstance(X_dim, tuple) else (X_dim,)
    X, y = rng.random((n, *shape), np.float32), rng.integers(0, 3, n)
    net = NeuralNet([BatchNorm(X_dim), Flatten(), FullyConnected(8, 3, rng=0)])
    before = bits(net)
    message = (
        rf"the last batch would be 1 image \(X holds {n}, batch_size is {batch_size}\), too few for layer 0 \(BatchNorm"
    )
    with pytest.raises(ShapeError, match=message):
        trained((X, y), net, batch_size=batch_size)
    assert bits(net) == before


def test_one_image_is_enough_for_a_batch_norm_over_its_pixels(rng):
    _, history = trained(some_images(rng, 41), conv_net(), batch_size=10)
    assert np.isfinite(history.loss).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"max_norm": 0}, ValueError, r"max_norm must be in \(0, inf\), got 0"),
        ({"max_norm": "1"}, DTypeError, "max_norm must be a number, got str"),
        ({"average": 1}, ValueError, r"average must be in \[0, 1\), got 1"),
        ({"average": "x"}, DTypeError, "average must be a number, got str"),
        ({"sample_weight": np.ones(49)}, ShapeError, r"sample_weight must have shape \(50,\), got \(49,\)"),
        ({"sample_weight": np.ones((50, 1))}, ShapeError, r"sample_weight must have shape \(50,\), got \(50, 1\)"),
        ({"sample_weight": np.full(50, -1.0)}, ValueError, r"sample_weight must be in \[0, inf\), got -1.0 at 0"),
        ({"sample_weight": ["a"] * 50}, DTypeError, "sample_weight must be an array of real numbers"),
    ],
)
def test_bad_settings_change_nothing(data, changes, error, message):
    net = NeuralNet(make_net().layers, CrossEntropy())
    before = bits(net)
    with pytest.raises(error, match=message):
        trained(data, net, **changes)
    assert bits(net) == before


def one_loss(scores, y):
    return cnn_ext.SoftmaxLoss(scores, y)


@pytest.mark.parametrize("loss", [cnn_ext.SoftmaxLoss, one_loss], ids=lambda loss: loss.__name__)
def test_weights_for_a_loss_that_takes_none(images, loss):
    net = NeuralNet(conv_net().layers, loss)
    before = bits(net)
    with pytest.raises(DTypeError, match=rf"a loss that takes it, such as CrossEntropy\(\), got {loss.__name__}"):
        trained(images, net, sample_weight=np.ones(50))
    assert bits(net) == before  # statistics of the batch norm too


def test_a_loss_of_ones_own_may_take_weights(data):
    def loss(scores, y, weights=None):
        return CrossEntropy()(scores, y, weights)

    results = [
        trained(data, NeuralNet(make_net().layers, function), sample_weight=np.arange(50))[0]
        for function in (loss, CrossEntropy())
    ]
    assert bits(results[0]) == bits(results[1])
