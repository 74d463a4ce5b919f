"""CrossEntropy: smoothed targets, weighted classes and rows, and SoftmaxLoss to the bit without them."""

import json

import numpy as np
import pytest

from cnn_ext import (
    CrossEntropy,
    DTypeError,
    FullyConnected,
    NeuralNet,
    NonFiniteError,
    ShapeError,
    SoftmaxLoss,
    softmax,
)

SCORES = np.zeros((2, 10), np.float32)


def naive(scores, y, smoothing=0.0, class_weight=None, sample_weight=None):
    """The formulas as they are written, in float64."""
    n, c = scores.shape
    log_p = np.log(softmax(np.asarray(scores, np.float64)))
    target = (1 - smoothing) * np.eye(c)[y] + smoothing / c
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    weight = weight * (np.ones(c) if class_weight is None else np.asarray(class_weight))[y]
    share = weight / weight.sum()
    return -(share * (target * log_p).sum(axis=1)).sum(), share[:, np.newaxis] * (np.exp(log_p) - target)


@pytest.fixture
def batch(rng):
    return 3 * rng.standard_normal((50, 10)), rng.integers(0, 10, 50)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (7, 3), (50, 10), (129, 100)])
def test_with_nothing_set_it_is_the_softmax_loss(dtype, shape, layout, rng):
    scores = (100 * rng.standard_normal(shape)).astype(dtype)
    y = rng.integers(0, shape[1], shape[0])
    plain_loss, plain = SoftmaxLoss(scores, y)
    loss, dscores = CrossEntropy()(layout(scores), layout(y))
    assert loss == plain_loss and dscores.tobytes() == plain.tobytes() and dscores.dtype == dtype


def test_the_softmax_loss_keeps_its_bits(rng):
    """As the first version computed it, pass by pass."""
    for dtype in (np.float32, np.float64):
        out, y = rng.standard_normal((50, 10)).astype(dtype), rng.integers(0, 10, 50)
        shifted = out - out.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(axis=1, keepdims=True)
        dout = e / total
        dout[np.arange(50), y] -= 1
        dout /= 50
        loss, got = SoftmaxLoss(out, y)
        assert loss == np.mean(np.log(total[:, 0]) - shifted[np.arange(50), y], dtype=np.float64)
        assert got.tobytes() == dout.tobytes()


def test_smoothing_by_hand():
    # p = (3/4, 1/4), target = (0.9, 0.1)
    loss, dscores = CrossEntropy(0.2)(np.array([[np.log(3.0), 0.0]]), np.array([0]))
    assert loss == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25), rel=1e-14)
    np.testing.assert_allclose(dscores, [[-0.15, 0.15]], rtol=1e-14)


def test_weights_by_hand():
    # rows that cost log 4 and log 4/3, of which the first counts three times as much
    scores, y = np.array([[0.0, np.log(3.0)], [0.0, np.log(3.0)]]), np.array([0, 1])
    expected = (3 * np.log(4) + np.log(4 / 3)) / 4
    for loss, weights in ((CrossEntropy(class_weight=[3, 1]), None), (CrossEntropy(), [1.5, 0.5])):
        value, dscores = loss(scores, y, weights)
        assert value == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(dscores, [[-0.5625, 0.5625], [0.0625, -0.0625]], rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0, 0.1, 0.9])
@pytest.mark.parametrize("class_weight", [None, np.arange(10)])
@pytest.mark.parametrize("weighted_rows", [False, True])
def test_the_formulas_as_written(smoothing, class_weight, weighted_rows, batch, rng):
    sample_weight = rng.random(50) if weighted_rows else None
    expected_loss, expected = naive(*batch, smoothing, class_weight, sample_weight)
    # float32: scores of up to 10, rounded once, and sums of 10
    for dtype, eps in ((np.float64, 1e-13), (np.float32, 1e-5)):
        scores = batch[0].astype(dtype)
        kept = scores.copy()
        loss, dscores = CrossEntropy(smoothing, class_weight)(scores, batch[1], sample_weight)
        assert loss == pytest.approx(expected_loss, rel=eps) and type(loss) is float
        assert dscores.dtype == dtype
        np.testing.assert_allclose(dscores, expected, rtol=0, atol=eps / 10)
        np.testing.assert_array_equal(scores, kept)


def test_as_pytorch_documents_it(batch, rng):
    """`torch.nn.CrossEntropyLoss`: l_n = -w[y_n] log p[n, y_n], mean = sum(l) / sum(w[y]); smoothed without weights."""
    scores, y = batch
    log_p, w = np.log(softmax(scores)), rng.random(10)
    nll = -w[y] * log_p[np.arange(50), y]
    assert CrossEntropy(class_weight=w)(scores, y)[0] == pytest.approx(nll.sum() / w[y].sum(), rel=1e-13)
    smoothed = 0.9 * -log_p[np.arange(50), y].mean() + 0.1 / 10 * -log_p.sum(axis=1).mean()
    assert CrossEntropy(0.1)(scores, y)[0] == pytest.approx(smoothed, rel=1e-13)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_an_int_weight_is_as_many_rows(smoothing, batch, rng):
    scores, y = batch
    times = rng.integers(0, 4, 50)
    loss = CrossEntropy(smoothing, rng.random(10))
    value, dscores = loss(scores, y, times)
    repeated_value, repeated = loss(np.repeat(scores, times, axis=0), np.repeat(y, times))
    # float64, other sums over some 80 rows
    assert value == pytest.approx(repeated_value, rel=1e-13)
    starts = (np.cumsum(times) - times)[times > 0]
    np.testing.assert_allclose(dscores[times > 0], np.add.reduceat(repeated, starts), rtol=1e-12, atol=1e-15)
    assert not dscores[times == 0].any()


def test_no_row_counts(batch):
    for loss, weights in ((CrossEntropy(0.1), np.zeros(50)), (CrossEntropy(class_weight=np.zeros(10)), None)):
        value, dscores = loss(*batch, weights)
        assert value == 0 and dscores.shape == (50, 10) and not dscores.any()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_any_finite_scores_give_a_finite_loss(size, batch):
    loss, dscores = CrossEntropy(0.1, np.ones(10))((size * batch[0]).astype(np.float32), batch[1])
    assert np.isfinite(loss) and np.isfinite(dscores).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CrossEntropy(1.0), ValueError, r"label_smoothing must be in \[0, 1\), got 1.0"),
        (lambda: CrossEntropy(-0.1), ValueError, r"label_smoothing must be in \[0, 1\)"),
        (lambda: CrossEntropy(float("nan")), ValueError, r"label_smoothing must be in \[0, 1\)"),
        (lambda: CrossEntropy("0.1"), DTypeError, "label_smoothing must be a number, got str"),
        (lambda: CrossEntropy(0, [1, -1]), ValueError, r"class_weight must be in \[0, inf\), got -1.0 at 1"),
        (lambda: CrossEntropy(0, [1, np.nan]), ValueError, r"class_weight must be in \[0, inf\), got nan at 1"),
        (lambda: CrossEntropy(0, [np.inf, 1]), ValueError, r"class_weight must be in \[0, inf\), got inf at 0"),
        (lambda: CrossEntropy(0, []), ShapeError, "class_weight must be a row of weights"),
        (lambda: CrossEntropy(0, 1.0), ShapeError, r"class_weight must be a row of weights, .*, got shape \(\)"),
        (
            lambda: CrossEntropy(0, [[1, 2]]),
            ShapeError,
            r"class_weight must be a row of weights, .*, got shape \(1, 2\)",
        ),
        (lambda: CrossEntropy(0, "balanced"), DTypeError, "class_weight must be an array of real numbers"),
        (lambda: CrossEntropy(0, {0: 1.0}), DTypeError, "class_weight must be an array of real numbers"),
        (lambda: CrossEntropy(0, [True, False]), DTypeError, "class_weight must be an array of real numbers"),
        (lambda: CrossEntropy(0, np.ones(9))(SCORES, [0, 1]), ShapeError, "has 9 weights, but there are 10 classes"),
        (lambda: CrossEntropy()(SCORES, [0, 1], [1]), ShapeError, r"sample_weight must have shape \(2,\), got"),
        (lambda: CrossEntropy()(SCORES, [0, 1], [1, -2]), ValueError, r"sample_weight must be in \[0, inf\), got -2.0"),
        (lambda: CrossEntropy()(SCORES, [0, 1], [1, np.nan]), ValueError, "sample_weight must be in .*, got nan at 1"),
        (lambda: CrossEntropy()(SCORES, [0, 1], [1j, 1]), DTypeError, "sample_weight must be an array of real numbers"),
        (lambda: CrossEntropy()(SCORES, [0, 1], [1e308] * 2), ValueError, "must add up to a finite number, got inf"),
        (lambda: CrossEntropy(0, [1e200] * 10)(SCORES, [0, 1], [1e200] * 2), ValueError, "must add up to a finite"),
        (lambda: CrossEntropy()(SCORES, [-1, 0]), ValueError, r"label -1 at row 0 outside \[0, 10\)"),
        (lambda: CrossEntropy(0, np.ones(10))(SCORES, [0, 10]), ValueError, r"label 10 at row 1 outside \[0, 10\)"),
        (lambda: CrossEntropy()(SCORES[:0], np.zeros(0, int)), ShapeError, "scores has no rows"),
        (
            lambda: CrossEntropy()(SCORES + np.inf, [0, 1]),
            NonFiniteError,
            "scores has a non-finite score at row 0: inf",
        ),
    ],
)
def test_bad_settings_and_weights(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1), CrossEntropy(0.25, np.float32([0, 0.1, 3]))])
def test_its_settings_are_json(loss):
    like = CrossEntropy(**json.loads(json.dumps(loss.config())))
    assert like.config() == loss.config()
    assert (
        repr(like)
        == repr(loss)
        == f"CrossEntropy(label_smoothing={loss.label_smoothing!r}, "
        + (f"class_weight={loss.config()['class_weight']!r})")
    )


def test_a_class_weight_is_a_copy():
    mine = np.ones(3)
    loss = CrossEntropy(0, mine)
    mine[0] = -1
    assert loss.config()["class_weight"] == [1, 1, 1]


def test_evaluation_in_chunks_is_the_mean_over_all(rng):
    X, y = rng.standard_normal((300, 4)), np.sort(rng.integers(0, 3, 300))  # sorted: chunks of unlike weight
    net = NeuralNet([FullyConnected(4, 3, dtype=np.float64, rng=0)], CrossEntropy(0.1, [0.1, 1, 7]))
    whole, _ = net.loss_func(net.forward(X, training=False), y)
    assert net.evaluate(X, y)[0] == pytest.approx(whole, rel=1e-13)  # other sums over 300 rows of float64
    net.loss_func = CrossEntropy(class_weight=[0, 0, 0])
    assert net.evaluate(X, y)[0] == 0


def test_a_single_class_has_a_weight_too():
    loss, dscores = CrossEntropy(class_weight=[2])(np.zeros((3, 1)), np.zeros(3, np.int64))
    assert loss == 0 and not dscores.any()


def test_the_weight_that_is_wrong_is_told_not_one_of_zero():
    with pytest.raises(ValueError, match=r"class_weight must be in \[0, inf\), got -1.0 at 1"):
        CrossEntropy(class_weight=[0, -1, 2])
