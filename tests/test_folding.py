"""Batch normalization folded into the weights before it: for one pass of inference, and for good."""

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    BatchNorm,
    Conv,
    CrossEntropy,
    Dropout,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    NeuralNet,
    ReLU,
    ShapeError,
    Tanh,
    fold_batch_norm,
)

EPS = {np.float32: 5e-6, np.float64: 2e-14}
"""Of the largest result: a sum of some 100 products is off by a few eps in either way of computing it, by more with
Winograd's method (2.4e-6 in float32, see docs/kernels.md), and folding rounds each weight once more. Measured: at most
1.1e-6 and 1.6e-15."""


def spread_out(norm, rng):
    """Give a norm statistics and parameters as after training, and a channel that is off."""
    n = len(norm.gamma)
    norm.gamma, norm.beta = rng.normal(1, 0.5, n), rng.normal(0, 0.5, n)
    norm.running_mean, norm.running_var = rng.normal(0, 1, n), rng.uniform(0.1, 4, n)
    norm.gamma[0] = 0


def blocks(rng, dtype=np.float32, pool=2, n_channels=1, n_filter=8, size=3, stride=1, behind=(ReLU,)):
    """Two blocks of a convolution with what stands behind it, and an average."""
    layers, X_dim = [], (n_channels, 18, 14)
    for filters in (n_filter, n_filter + 4):
        conv = Conv(X_dim, filters, size, size, stride, size // 2, dtype=dtype, rng=rng)
        conv.b = rng.standard_normal(filters)
        norm = BatchNorm(conv.out_dim, dtype=dtype)
        spread_out(norm, rng)
        layers += [conv, norm, *(layer() for layer in behind)]
        X_dim = conv.out_dim
        if pool > 1:
            layers.append(Maxpool(X_dim, pool, pool))
            X_dim = layers[-1].out_dim
    return NeuralNet([*layers, GlobalAvgPool(X_dim), FullyConnected(X_dim[0], 5, dtype=dtype, rng=rng)])


def one_by_one(net, X):
    for layer in net.layers:
        X = layer.forward(X, training=False)
    return X


def assert_close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=0, atol=EPS[wanted.dtype.type] * np.abs(wanted).max())


KINDS = {
    "pooled": {},
    "winograd": {"n_channels": 8},
    "5 x 5": {"n_channels": 4, "size": 5},
    "3 x 3 windows, directly": {"pool": 3, "n_filter": 3},
    "3 x 3 windows over tiles": {"pool": 3, "n_channels": 8},
    "without pooling": {"pool": 1},
    "without ReLU": {"pool": 1, "behind": ()},
    "Tanh behind": {"behind": (Tanh,)},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_inference_is_the_layers_to_rounding(kind, dtype, rng):
    net = blocks(rng, dtype, **KINDS[kind])
    X = rng.standard_normal((9, *net.layers[0].X_dim)).astype(dtype)
    for training in (False, True, False):  # another pass in between leaves nothing behind
        if training:
            net.train_step(X, np.zeros(9, int))
        out = net.forward(X, training=False)
        assert out.dtype == dtype and out.flags.c_contiguous
        assert_close(out, one_by_one(net, X))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_and_in_1000(kind, rng):
    net = blocks(rng, **KINDS[kind])
    X = rng.standard_normal((1000, *net.layers[0].X_dim)).astype(np.float32)
    all_of_them = net.predict_proba(X)
    for row in (0, 3, 127, 128, 999):
        assert net.predict_proba(X[row : row + 1]).tobytes() == all_of_them[row : row + 1].tobytes()
    before = cnn_ext.get_num_threads()
    try:
        cnn_ext.set_num_threads(3)
        assert net.predict_proba(X).tobytes() == all_of_them.tobytes()
    finally:
        cnn_ext.set_num_threads(before)


@pytest.mark.parametrize(
    ("index", "name"), [(0, "W"), (0, "b"), (1, "gamma"), (1, "beta"), (1, "running_mean"), (1, "running_var")]
)
def test_changes_between_two_calls_count(index, name, rng):
    net = blocks(rng)
    X = rng.standard_normal((4, 1, 18, 14)).astype(np.float32)
    before = net.forward(X, training=False)
    getattr(net.layers[index], name)[...] *= 3  # in place, as an optimizer does
    after = net.forward(X, training=False)
    assert np.abs(after - before).max() > 1e-2 * np.abs(before).max()
    assert_close(after, one_by_one(net, X))
    net.layers[1].eps = 5
    assert_close(net.forward(X, training=False), one_by_one(net, X))


def test_there_is_no_way_back_from_inference(rng):
    net = blocks(rng)
    X = rng.standard_normal((4, 1, 18, 14)).astype(np.float32)
    dout = np.ones_like(net.forward(X))
    net.backward(dout)
    net.forward(X, training=False)
    with pytest.raises(RuntimeError, match=r"backward\(\) called before forward\(\)"):
        net.backward(dout)


@pytest.mark.parametrize("kind", ["pooled", "winograd", "5 x 5", "without pooling", "without ReLU", "Tanh behind"])
def test_folded_for_good_is_what_inference_does(kind, rng):
    net = blocks(rng, **KINDS[kind])
    X = rng.standard_normal((9, *net.layers[0].X_dim)).astype(np.float32)
    folded = fold_batch_norm(net)
    assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
    assert folded.forward(X, training=False).tobytes() == net.forward(X, training=False).tobytes()


def test_folded_for_good_in_dense_layers(tmp_path, rng):
    first, norm, last = FullyConnected(6, 40, rng=rng), BatchNorm(40), BatchNorm(3)
    for layer in (norm, last):
        spread_out(layer, rng)
    net = NeuralNet([first, norm, ReLU(), Dropout(0.7), FullyConnected(40, 3, rng=rng), last], CrossEntropy(0.1), 0.25)
    X = rng.standard_normal((9, 6)).astype(np.float32)
    kept = {name: param.copy() for name, param in net.named_params().items()}
    folded = fold_batch_norm(net)
    assert [type(layer).__name__ for layer in folded.layers] == ["FullyConnected", "ReLU", "Dropout", "FullyConnected"]
    assert (folded.layers[2].prob, folded.loss_func, folded.l2) == (0.7, net.loss_func, 0.25)
    assert_close(folded.forward(X, training=False), net.forward(X, training=False))
    for name, param in net.named_params().items():
        np.testing.assert_array_equal(param, kept[name])
        assert not any(np.shares_memory(param, new) for new in folded.named_params().values())
    net.save(tmp_path / "m")
    folded.save(tmp_path / "folded")
    assert (tmp_path / "folded").stat().st_size < (tmp_path / "m").stat().st_size - 4 * 4 * 43
    loaded = NeuralNet.load(tmp_path / "folded")
    assert loaded.predict_proba(X).tobytes() == folded.predict_proba(X).tobytes()


def test_what_is_not_folded(rng):
    class OwnConv(Conv):
        """May compute anything."""

    own = OwnConv((1, 4, 4), 2, 3, 3, 1, 1, rng=rng)
    conv = Conv((2, 4, 4), 2, 3, 3, 1, 1, rng=rng)
    norms = [BatchNorm((1, 4, 4)), BatchNorm((2, 4, 4)), BatchNorm((2, 4, 4)), BatchNorm((2, 4, 4), dtype=np.float64)]
    for norm in norms:
        spread_out(norm, rng)
    net = NeuralNet([norms[0], own, norms[1], ReLU(), norms[2], conv, norms[3]])
    folded = fold_batch_norm(net)
    assert [type(layer) for layer in folded.layers] == [type(layer) for layer in net.layers]
    assert not {*map(id, folded.layers)} & {*map(id, net.layers)}
    X = rng.standard_normal((3, 1, 4, 4)).astype(np.float32)
    assert folded.forward(X, training=False).tobytes() == net.forward(X, training=False).tobytes()


def test_layers_that_no_longer_fit(rng):
    net = blocks(rng)
    net.layers[1] = BatchNorm((3, 4, 5))
    with pytest.raises(ShapeError, match=r"layer 1 \(BatchNorm\) takes inputs of shape"):
        fold_batch_norm(net)


def test_after_inference_there_is_nothing_to_go_back_from(rng):
    net, X = blocks(rng), rng.random((3, 1, 18, 14), np.float32)
    out = net.forward(X)
    net.forward(X, training=False)
    with pytest.raises(RuntimeError, match=r"backward\(\) called before forward\(\)"):
        net.backward(np.ones_like(out))
