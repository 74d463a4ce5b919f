"""NeuralNet: forward, backward, prediction, saving, and what it refuses."""

import json

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    BatchNorm,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    Conv,
    Dropout,
    DTypeError,
    Ensemble,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    SoftmaxLoss,
    Standardize,
    make_cifar10_cnn,
    make_mnist_cnn,
    softmax,
)
from cnn_ext.model_file import read_model, write_model


def small_net(dtype=np.float32, l2=0.001):
    conv = Conv((1, 6, 6), 3, 3, 3, 1, 1, dtype=dtype, rng=0)
    pool = Maxpool(conv.out_dim, 2, 2)
    norm, dense = BatchNorm(conv.out_dim, dtype=dtype), FullyConnected(27, 4, dtype=dtype, rng=1)
    return NeuralNet([conv, norm, ReLU(), pool, Dropout(0.8, rng=2), Flatten(), dense], l2=l2)


@pytest.fixture
def images(rng):
    return rng.random((300, 1, 6, 6), np.float32), rng.integers(0, 4, 300)


def test_a_step_is_loss_penalty_and_gradients(images):
    X, y = images[0][:8], images[1][:8]
    net, plain = small_net(l2=0.5), small_net(l2=0)
    loss, grads = net.train_step(X, y)
    plain_loss, plain_grads = plain.train_step(X, y)
    assert loss == pytest.approx(plain_loss + cnn_ext.l2_regularization(net.layers, 0.5), rel=1e-6)
    assert [len(g) for g in grads] == [2, 0, 0, 0, 0, 2, 2]
    np.testing.assert_allclose(grads[0][0], plain_grads[0][0] + 0.5 * net.layers[-1].W, rtol=1e-6)
    np.testing.assert_array_equal(grads[-2][0], plain_grads[-2][0])  # gamma is not penalized


def test_any_strength_of_the_penalty_counts(images):
    X, y = images[0][:8], images[1][:8]
    losses = {l2: small_net(l2=l2).train_step(X, y)[0] for l2 in (0, 1, 2)}
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-5)
    assert losses[1] > losses[0] + 0.1


def test_backward_is_the_layers_one_by_one(images):
    net, other = small_net(), small_net()
    out = net.forward(images[0][:5])
    dout = np.ones_like(out)
    grads = net.backward(dout)
    X = images[0][:5]
    for layer in other.layers:
        X = layer.forward(X)
    assert X.tobytes() == out.tobytes()
    for layer, got in zip(reversed(other.layers), grads, strict=True):
        dout, wanted = layer.backward(dout)
        assert [g.tolist() for g in got] == [w.tolist() for w in wanted]


def test_standardized_images_in_the_network_and_before_it(images):
    X, y = images[0][:8], images[1][:8]
    net, other = small_net(), small_net()
    net.layers[:0] = [Standardize((1, 6, 6), 0.25, 0.5), Standardize((1, 6, 6), -1, 2)]
    prepared = ((X - np.float32(0.25)) / np.float32(0.5) + 1) / np.float32(2)
    (loss, grads), (other_loss, other_grads) = net.train_step(X, y), other.train_step(prepared, y)
    assert loss == other_loss and grads[-2:] == [[], []]
    for got, wanted in zip(grads[:-2], other_grads, strict=True):
        assert [g.tobytes() for g in got] == [w.tobytes() for w in wanted]
    assert net.predict_proba(X).tobytes() == other.predict_proba(prepared).tobytes()


def test_prediction(images):
    X, y = images
    net = small_net()
    out = net.forward(X, training=False)
    np.testing.assert_array_equal(net.predict(X), out.argmax(axis=1))
    np.testing.assert_allclose(net.predict_proba(X), softmax(out), rtol=1e-5)  # chunks are multiplied apart
    loss, accuracy = net.evaluate(X, y)
    assert loss == pytest.approx(SoftmaxLoss(out, y)[0], rel=1e-6)
    assert accuracy == (out.argmax(axis=1) == y).mean()
    assert net.predict(X).dtype == np.int64
    assert net.predict(X[:0]).shape == (0,) and net.predict_proba(X[:0]).shape == (0, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_class_is_made_up_for_an_image_that_has_none(images, value):
    X = images[0].copy()
    X[170, 0, 2, 2] = value  # in the second chunk
    net, ways = small_net(), [*map(Ensemble, ([small_net()], [small_net(), small_net()]))]
    for predict in [method for way in (net, *ways) for method in (way.predict, way.predict_proba)]:
        with np.errstate(invalid="ignore"), pytest.raises(NonFiniteError, match="image 170 has no most probable class"):
            predict(X)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(net.scores_of(X)[170]).all()  # as they are
    np.testing.assert_array_equal(net.predict(X[:170]), net.predict(images[0][:170]))


def test_a_class_may_be_ruled_out_by_minus_infinity(images):
    net = small_net()
    net.layers[-1].b[1] = -np.inf
    assert 1 not in net.predict(images[0]) and not net.predict_proba(images[0])[:, 1].any()


def test_prediction_changes_and_keeps_nothing(images):
    net = small_net()
    before = [{name: a.copy() for name, a in layer.state().items()} for layer in net.layers]
    first, second = net.predict_proba(images[0]), net.predict_proba(images[0])
    np.testing.assert_array_equal(first, second)  # no dropout
    for layer, state in zip(net.layers, before, strict=True):
        assert not [value for value in vars(layer).values() if isinstance(value, np.ndarray)]
        for name, array in layer.state().items():
            np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize(
    "convert", [lambda X: X.astype(np.float64), lambda X: X.tolist(), memoryview, lambda X: X[:, :, ::-1][:, :, ::-1]]
)
def test_what_becomes_an_array_is_taken(images, convert):
    X = images[0][:3]
    net = small_net()
    np.testing.assert_array_equal(net.predict_proba(convert(X)), net.predict_proba(X))
    assert net.forward(convert(X)).dtype == np.float32


@pytest.mark.parametrize("method", ["forward", "predict", "predict_proba"])
def test_bytes_are_refused_with_a_hint(method):
    with pytest.raises(DTypeError, match=r"X must be float32 or float64, got uint8: scale it first"):
        getattr(small_net(), method)(np.zeros((2, 1, 6, 6), np.uint8))


def test_layers_of_ones_own(images):
    class Scale:
        """No base class, and a forward that takes X alone."""

        def __init__(self):
            self.params = [np.array([2.0], np.float32)]

        def forward(self, X):
            self.X = X
            return X * self.params[0]

        def backward(self, dout):
            return dout * self.params[0], [np.array([(dout * self.X).sum()])]

    class Watch:
        params = ()

        def forward(self, X, training=True):
            self.training = training
            return X

        def backward(self, dout):
            return dout, ()

    watch = Watch()
    net = NeuralNet([Scale(), watch, Flatten(), FullyConnected(36, 4, rng=0)])
    X, y = images
    _, grads = net.train_step(X[:5], y[:5])
    assert watch.training is True and grads[-1][0].shape == (1,)
    net.predict(X)
    assert watch.training is False
    assert list(net.named_params()) == ["layers.0.params.0", "layers.3.W", "layers.3.b"]
    assert "?" in net.summary()
    with pytest.raises(DTypeError, match=r"layer 0 \(Scale\) is not one of cnn_ext's layers"):
        net.save("nowhere")


def test_layers_are_read_anew(images):
    net = small_net()
    net.layers[-1] = FullyConnected(27, 7, rng=0)
    assert net.forward(images[0][:2]).shape == (2, 7)
    assert net.params[-1] is net.layers[-1].params


def test_layers_that_do_not_fit():
    with pytest.raises(
        ShapeError, match=r"layer 1 \(FullyConnected\) takes inputs of shape \(9,\), but .* gives \(10,\)"
    ):
        NeuralNet([FullyConnected(4, 10), FullyConnected(9, 2)])
    with pytest.raises(ValueError, match="at least one layer"):
        NeuralNet([])
    with pytest.raises(ValueError, match="l2 must be in"):
        NeuralNet([ReLU()], l2=-1)


def test_bad_evaluation(images):
    X, y = images
    with pytest.raises(ShapeError, match=r"y must have shape \(300,\), got \(299,\)"):
        small_net().evaluate(X, y[1:])
    with pytest.raises(ValueError, match=r"label 4 at row \d+ outside \[0, 4\)"):
        small_net().evaluate(X, y + 1)
    with pytest.raises(ShapeError, match="holds no images"):
        small_net().evaluate(X[:0], y[:0])
    with pytest.raises(TypeError, match="parallel must be of type DataParallel, got int"):
        small_net().evaluate(X, y, 3)


def test_summary_of_the_series_network():
    summary = NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=0)).summary()
    assert "0 Conv            16 x 28 x 28         416    1.6 KiB      49.0 KiB" in summary
    assert summary.splitlines()[-1].split() == ["total", "202,738", "791.9", "KiB"]


@pytest.mark.parametrize(
    ("make", "shape", "count"), [(make_mnist_cnn, (1, 28, 28), 202_738), (make_cifar10_cnn, (3, 32, 32), 22_046)]
)
def test_ready_made_networks(make, shape, count):
    layers = make(shape, 10, rng=0)
    assert sum(p.size for layer in layers for p in layer.params) == count
    assert not layers[-1].params[0].any()  # the zero last layer that keeps the series' rate from killing it
    same, other = make(shape, 10, rng=0), make(shape, 10, rng=1)
    assert (same[0].W == layers[0].W).all() and not (other[0].W == layers[0].W).all()
    assert NeuralNet(make(shape, 3, dtype=np.float64)).forward(np.zeros((2, *shape))).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_and_loaded_is_the_same(tmp_path, images, dtype):
    net = small_net(dtype, l2=0.02)
    net.train_step(*(a[:9] for a in images))  # moves the running statistics
    path = tmp_path / "a name without ending"
    net.save(path)
    loaded = NeuralNet.load(path)
    assert repr(loaded) == repr(net) and loaded.l2 == 0.02
    for a, b in zip(net.layers, loaded.layers, strict=True):
        for name, array in a.state().items():
            np.testing.assert_array_equal(getattr(b, name), array, strict=True)
    assert loaded.predict_proba(images[0]).tobytes() == net.predict_proba(images[0]).tobytes()
    net.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_a_loss_of_ones_own_must_be_given_again(tmp_path):
    def my_loss(out, y):
        return SoftmaxLoss(out, y)

    NeuralNet([FullyConnected(3, 2, rng=0)], my_loss).save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="saved with the loss 'my_loss': give it as loss_func"):
        NeuralNet.load(tmp_path / "m")
    assert NeuralNet.load(tmp_path / "m", loss_func=my_loss).loss_func is my_loss


def test_a_loss_that_is_called_like_the_packages_is_another(tmp_path):
    def softmax_loss(out, y):
        return SoftmaxLoss(out, y)

    softmax_loss.__name__ = "SoftmaxLoss"
    NeuralNet([FullyConnected(3, 2, rng=0)], softmax_loss).save(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"saved with the loss '.*test_network\.SoftmaxLoss': give it"):
        NeuralNet.load(tmp_path / "m")


def test_a_class_is_no_loss():
    with pytest.raises(DTypeError, match="loss_func must be callable, got the class CrossEntropy: call it"):
        NeuralNet([FullyConnected(3, 2, rng=0)], cnn_ext.CrossEntropy)


@pytest.mark.parametrize("params", [lambda W, b: [W, b], lambda W, b: [b, W], lambda W, b: [b]])
def test_the_penalty_is_on_the_weights_wherever_they_stand(params):
    class Dense:
        def __init__(self):
            self.W, self.b = np.full((3, 2), 0.5, np.float32), np.full(2, 0.25, np.float32)
            self.params = params(self.W, self.b)

        def forward(self, X):
            self.X = X
            return X @ self.W + self.b

        def backward(self, dout):
            of = {id(self.W): self.X.T @ dout, id(self.b): dout.sum(axis=0)}
            return dout @ self.W.T, [of[id(param)] for param in self.params]

    X, y = np.ones((4, 3), np.float32), np.array([0, 1, 1, 1])
    steps = [NeuralNet([Dense()], l2=l2).train_step(X, y) for l2 in (0, 0.1)]
    trained = len(steps[0][1][0]) == 2
    assert steps[1][0] - steps[0][0] == pytest.approx(0.5 * 0.1 * 6 * 0.25 if trained else 0, abs=1e-7)
    for gradient, penalized in zip(steps[0][1][0], steps[1][1][0], strict=True):
        added = 0.1 * 0.5 if gradient.ndim == 2 else 0
        np.testing.assert_allclose(penalized - gradient, added, atol=1e-7)  # roundings of numbers below 1


def change_tensors(**changes):
    return lambda architecture, tensors: tensors.update({k.replace("__", "."): v for k, v in changes.items()})


def change_layer(index, **changes):
    return lambda architecture, tensors: architecture["layers"][index].update(changes)


MISMATCHES = [
    (lambda a, t: t.pop("layers.6.W"), "missing: layers.6.W; unexpected: none"),
    (change_tensors(layers__9__W=np.zeros(3, np.float32)), "missing: none; unexpected: layers.9.W"),
    (change_tensors(layers__6__b=np.zeros(5, np.float32)), r"layers.6.b must be float32 \(4,\), got float32 \(5,\)"),
    (change_tensors(layers__6__b=np.zeros(4)), r"layers.6.b must be float32 \(4,\), got float64 \(4,\)"),
    (change_tensors(layers__6__b=np.array([1, np.nan, np.inf, 0], np.float32)), "layers.6.b has 2 non-finite values"),
    (change_tensors(layers__1__running_var=np.full(3, -1, np.float32)), "running_var < 0"),
    (change_layer(0, n_filter=10**9), "layers.0.W must be"),
    (change_layer(0, type="Eval"), "describes no network of this version"),
    (change_layer(0, dtype="object"), "describes no network of this version: KeyError.'object'"),
    (change_layer(0, X_dim="abc"), "layers.0.W must be|describes no network"),
    (change_layer(0, X_dim=[1, 10**9, 6]), "describes no network"),
    (change_layer(2, unknown=1), "describes no network of this version"),
    (change_layer(4, prob=7), "describes no network of this version"),
    (lambda a, t: a.pop("layers"), "describes no network of this version"),
    (lambda a, t: a.update(l2=-1), "describes no network of this version"),
    (lambda a, t: a.update(layers="abc"), "describes no network of this version"),
]


@pytest.mark.parametrize(("change", "message"), MISMATCHES)
def test_a_file_that_does_not_fit_itself(tmp_path, change, message):
    path = tmp_path / "model"
    small_net().save(path)
    model = read_model(path)
    architecture, tensors = json.loads(json.dumps(model.architecture)), dict(model.tensors)
    change(architecture, tensors)
    write_model(path, architecture, tensors)
    with pytest.raises(CheckpointMismatchError, match=message):
        NeuralNet.load(path)


def test_non_finite_weights_if_one_asks_for_them(tmp_path):
    net = NeuralNet([FullyConnected(2, 2, rng=0)])
    net.layers[0].W[0, 0] = np.nan
    net.save(tmp_path / "m")
    assert np.isnan(NeuralNet.load(tmp_path / "m", allow_nonfinite=True).layers[0].W[0, 0])
    with pytest.raises(CheckpointMismatchError):
        NeuralNet.load(tmp_path / "m")
    with pytest.raises(CheckpointCorruptError):
        NeuralNet.load(__file__)
