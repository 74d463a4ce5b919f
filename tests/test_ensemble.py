"""Ensembles and views: means of probabilities by hand, and views of images against exact results."""

import math
from fractions import Fraction

import numpy as np
import pytest

from cnn_ext import (
    BatchNorm,
    Conv,
    DTypeError,
    Ensemble,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    ReLU,
    ShapeError,
    View,
    shifted_views,
)
from cnn_ext.augmentation import RandomAffine
from cnn_ext.datasets import ScaledImages


def make_net(seed, num_class=3, dtype=np.float32):
    conv = Conv((1, 8, 8), 4, 3, 3, 1, 1, dtype=dtype, rng=seed)
    pool = Maxpool(conv.out_dim, 2, 2)
    last = FullyConnected(64, num_class, dtype=dtype, rng=seed + 1)
    return NeuralNet([conv, BatchNorm(conv.out_dim, dtype=dtype), ReLU(), pool, Flatten(), last])


@pytest.fixture
def nets():
    return [make_net(0), make_net(10), make_net(20)]


@pytest.fixture
def X(rng):
    return rng.random((300, 1, 8, 8), dtype=np.float32)


def test_the_mean_of_probabilities(nets, X):
    found = Ensemble(nets).predict_proba(X)
    one, two, three = (net.predict_proba(X).astype(np.float64) for net in nets)
    assert found.shape == (300, 3) and found.dtype == np.float64
    np.testing.assert_allclose(found, (one + two + three) / 3, rtol=1e-15)  # a division's rounding
    np.testing.assert_array_equal(Ensemble(nets).predict(X), found.argmax(axis=1))
    assert Ensemble(nets).predict(X).dtype == np.int64
    assert set(Ensemble(nets).predict(X)) == {0, 1, 2}


def test_one_network_without_views_is_the_network(nets, X):
    np.testing.assert_array_equal(Ensemble(nets[:1]).predict_proba(X), nets[0].predict_proba(X))
    y = nets[1].predict(X)
    loss, accuracy = Ensemble(iter(nets[:1])).evaluate(X, y)
    net_loss, net_accuracy = nets[0].evaluate(X, y)
    assert accuracy == net_accuracy
    assert loss == pytest.approx(net_loss, rel=1e-6)  # the network's is formed from float32 scores


def test_views_are_seen_by_each_network(nets, X):
    views = [View(), View(flip=True), lambda images: 1 - images]
    found = Ensemble(nets[:2], views).predict_proba(X)
    votes = [net.predict_proba(seen) for net in nets[:2] for seen in (X, X[..., ::-1], 1 - X)]
    np.testing.assert_allclose(found, sum(vote.astype(np.float64) for vote in votes) / 6, rtol=1e-15)


def test_evaluate_by_hand(nets, X, rng):
    y = rng.integers(0, 3, 300)
    probabilities = (nets[0].predict_proba(X).astype(np.float64) + nets[1].predict_proba(X)) / 2
    loss, accuracy = Ensemble(nets[:2]).evaluate(X, y.tolist())
    expected = sum(-math.log(row[label]) for row, label in zip(probabilities, y)) / 300
    assert loss == pytest.approx(expected, rel=1e-13)  # sums of 300 in another order
    assert accuracy == sum(row.argmax() == label for row, label in zip(probabilities, y)) / 300


def test_a_probability_of_0_gives_a_large_loss_not_an_infinite_one(X):
    net = make_net(0)
    net.layers[-1].W, net.layers[-1].b = np.zeros((64, 3)), [0, 0, 1000]
    loss, accuracy = Ensemble([net]).evaluate(X, np.zeros(300, int))
    assert (loss, accuracy) == (pytest.approx(-math.log(np.finfo(float).tiny)), 0)


def test_a_row_alone_and_among_others(nets, X):
    ensemble = Ensemble(nets, [View(), View(rotation=10, right=0.5)])
    together = ensemble.predict_proba(X)
    assert ensemble.predict_proba(X[3:10]).tobytes() == together[3:10].tobytes()
    for row in (0, 127, 128, 299):
        assert ensemble.predict_proba(X[row : row + 1]).tobytes() == together[row : row + 1].tobytes()


def test_lists_and_bytes_are_taken(nets, rng):
    pixels = rng.integers(0, 256, (150, 1, 8, 8), np.uint8)
    ensemble = Ensemble(nets, shifted_views(1))
    X = pixels.astype(np.float32) / np.float32(255)
    expected = ensemble.predict_proba(X)
    assert ensemble.predict_proba(ScaledImages(pixels)).tobytes() == expected.tobytes()
    np.testing.assert_array_equal(Ensemble(nets).predict_proba(X.tolist()), Ensemble(nets).predict_proba(X))


@pytest.mark.parametrize("views", [(), shifted_views(1)], ids=["no views", "views"])
def test_no_images(nets, views):
    ensemble = Ensemble(nets, views)
    none = np.empty((0, 1, 8, 8), np.float32)
    assert ensemble.predict_proba(none).shape == (0, 3) and ensemble.predict(none).shape == (0,)
    with pytest.raises(ShapeError):
        ensemble.evaluate(none, np.empty(0, int))


def test_what_does_not_fit(nets, X):
    with pytest.raises(ValueError, match="nets must hold at least one network, got none"):
        Ensemble([])
    with pytest.raises(ShapeError, match=r"nets and views must agree on .*\(128, 3\), \(128, 4\)"):
        Ensemble([nets[0], make_net(0, num_class=4)]).predict_proba(X)
    for views in ([lambda images: images[1:]], [View(), lambda images: images[1:]]):
        with pytest.raises(ShapeError, match=r"nets and views must agree on .* for 128 images, got .*\(127, 3\)"):
            Ensemble(nets, views).predict_proba(X)
    with pytest.raises(ShapeError, match=r"y must have shape \(300,\), got \(299,\)"):
        Ensemble(nets).evaluate(X, np.zeros(299, int))
    with pytest.raises(ValueError, match=r"label 3 at row 0 outside \[0, 3\)"):
        Ensemble(nets).evaluate(X, np.full(300, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_view_that_changes_nothing_is_a_copy(X, dtype):
    images = X.astype(dtype)
    view = View()(images)
    assert view.dtype == dtype and not np.shares_memory(view, images)
    np.testing.assert_array_equal(view, images)


def test_a_flip(X):
    before = X.tobytes()
    np.testing.assert_array_equal(View(flip=True)(X), X[..., ::-1])
    assert X.tobytes() == before


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -2), (3, 2), (-1, 1), (8, 0), (-20, 20)])
def test_whole_shifts_are_exact(rng, down, right):
    X = rng.random((3, 2, 8, 6), dtype=np.float32)
    expected = np.full_like(X, 0.5)
    for row in range(8):
        for column in range(6):
            if 0 <= row + down < 8 and 0 <= column + right < 6:
                expected[:, :, row + down, column + right] = X[:, :, row, column]
    np.testing.assert_array_equal(View(down=down, right=right, fill=0.5)(X), expected)


def test_flip_comes_before_the_rest(X):
    np.testing.assert_array_equal(
        View(flip=True, rotation=10, right=1.5, scale=1.2)(X), View(rotation=10, right=1.5, scale=1.2)(X[..., ::-1])
    )


def test_half_a_pixel_is_the_mean_of_two(rng):
    X = rng.random((2, 1, 4, 4))
    expected = X / 2
    expected[..., 1:] += X[..., :-1] / 2
    np.testing.assert_array_equal(View(right=0.5)(X), expected)


def test_a_quarter_turn_is_counter_clockwise(rng):
    X = rng.random((2, 1, 5, 5))
    # cos(90 degrees) is 6e-17: places are off by so much, and at the border a little of the fill comes in
    np.testing.assert_allclose(View(rotation=90)(X), np.rot90(X, axes=(2, 3)), atol=1e-14)


def test_the_geometry_of_random_affine():
    X = np.random.default_rng(0).random((1, 1, 12, 12))
    for seed in range(5):
        random = RandomAffine(rotation=30, translation=2, scale=0.2, fill=0.25)(X, seed)
        angle, factor, _, down, right = np.random.default_rng(seed).uniform(-1, 1, (1, 5))[0]
        view = View(rotation=30 * angle, down=2 * down, right=2 * right, scale=1 + 0.2 * factor, fill=0.25)
        np.testing.assert_allclose(view(X), random, atol=1e-13)  # the angle is rounded in another order


def test_shifted_views(X):
    views = shifted_views(2)
    assert views[0] == View() and len(set(views)) == 9
    assert {(view.down, view.right) for view in views} == {(down, right) for down in (-2, 0, 2) for right in (-2, 0, 2)}
    np.testing.assert_array_equal(views[0](X), X)


def test_any_kind_of_number_will_do_for_a_view(X):
    half = View(rotation=Fraction(1, 2), down=np.float32(1), flip=np.True_)
    assert half == View(rotation=0.5, down=1.0, flip=True) and type(half.rotation) is float
    np.testing.assert_array_equal(half(X), View(rotation=0.5, down=1.0, flip=True)(X))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rotation": 181}, ValueError, r"rotation must be in \[-180, 180\], got 181"),
        ({"rotation": "10"}, DTypeError, "rotation must be a number, got str"),
        ({"down": math.inf}, ValueError, r"down must be in \(-inf, inf\), got inf"),
        ({"right": math.nan}, ValueError, "right must be in"),
        ({"scale": 0}, ValueError, r"scale must be in \(0, inf\), got 0"),
        ({"fill": None}, DTypeError, "fill must be a number, got NoneType"),
        ({"fill": 1e39}, ValueError, r"fill must be in \(-3.4e38, 3.4e38\), got 1e\+39"),
        ({"flip": 1}, DTypeError, "flip must be a bool, got int"),
    ],
)
def test_bad_views(settings, error, message):
    with pytest.raises(error, match=message):
        View(**settings)


def test_views_of_what_is_no_batch_of_images():
    with pytest.raises(ShapeError, match="must be 4-D"):
        View()(np.zeros((3, 4)))
    with pytest.raises(DTypeError):
        View()(np.zeros((1, 1, 4, 4), np.uint8))
