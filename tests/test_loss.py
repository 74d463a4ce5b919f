"""Softmax, its loss, the penalties, the accuracy."""

import math

import numpy as np
import pytest

from cnn_ext import (
    DTypeError,
    FullyConnected,
    NonFiniteError,
    ReLU,
    ShapeError,
    SoftmaxLoss,
    accuracy,
    delta_l1_regularization,
    delta_l2_regularization,
    l1_regularization,
    l2_regularization,
    softmax,
)

OUT = np.zeros((2, 10), np.float32)


def test_loss_by_hand():
    out = np.array([[0.0, math.log(3.0)], [math.log(3.0), 0.0]])
    loss, dout = SoftmaxLoss(out, np.array([1, 1]))
    assert loss == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-15)
    np.testing.assert_allclose(dout, [[0.125, -0.125], [0.375, -0.375]], rtol=1e-14)
    np.testing.assert_allclose(softmax(out), [[0.25, 0.75], [0.75, 0.25]], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_any_finite_scores_give_a_finite_loss(size, dtype, rng):
    out = (size * rng.standard_normal((6, 10))).astype(dtype)
    before = out.copy()
    loss, dout = SoftmaxLoss(out, np.arange(6))
    assert math.isfinite(loss) and isinstance(loss, float) and dout.dtype == dtype
    np.testing.assert_array_equal(out, before)
    # p - one-hot, each of the 10 terms rounded once
    np.testing.assert_allclose(dout.sum(axis=1), 0, atol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(softmax(out).sum(axis=1), 1, rtol=10 * np.finfo(dtype).eps)


def test_one_class_costs_nothing():
    loss, dout = SoftmaxLoss(np.array([[3.0], [-7.0]]), np.array([0, 0]))
    assert loss == 0 and not dout.any()


@pytest.mark.parametrize(
    ("out", "y", "error", "message"),
    [
        (OUT, [-1, 0], ValueError, r"label -1 at row 0 outside \[0, 10\)"),
        (OUT, [0, 10], ValueError, r"label 10 at row 1 outside \[0, 10\)"),
        (OUT, np.array([0, 2**63], np.uint64), ValueError, "label 9223372036854775808 at row 1"),
        (OUT, [0.0, 1.0], DTypeError, "y must be integer labels, got dtype float64"),
        (OUT, [True, False], DTypeError, "y must be integer labels, got dtype bool"),
        (OUT, np.eye(2, 10, dtype=int), ShapeError, r"y must have shape \(2,\), got \(2, 10\): give class numbers"),
        (OUT, [0], ShapeError, r"y must have shape \(2,\), got \(1,\)"),
        (OUT[:0], np.zeros(0, int), ShapeError, "out has no rows"),
        (OUT[:, :0], [0, 0], ShapeError, "out has no columns"),
        (OUT[0], [0], ShapeError, r"out must be 2-D \(N, C\), got 1-D"),
        (OUT.astype(int), [0, 0], DTypeError, "out must be float32 or float64"),
        (np.array([[0, 1.0], [np.inf, 0]]), [0, 0], NonFiniteError, "non-finite score at row 1: inf in column 0"),
        (np.array([[0, np.nan]]), [0], NonFiniteError, "non-finite score at row 0: nan in column 1"),
        (np.full((1, 2), -np.inf), [0], NonFiniteError, "non-finite score at row 0: -inf"),
    ],
)
def test_bad_scores_and_labels(out, y, error, message):
    with pytest.raises(error, match=message):
        SoftmaxLoss(out, np.asarray(y))


def test_accuracy():
    assert accuracy([1, 2, 3, 4], [1, 2, 0, 4]) == 0.75
    with pytest.raises(ShapeError, match=r"y_pred must have the shape of y_true \(2,\), got \(3,\)"):
        accuracy([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="y_true is empty"):
        accuracy([], [])


@pytest.fixture
def layers():
    first, last = FullyConnected(2, 2, dtype=np.float64, rng=0), FullyConnected(2, 1, dtype=np.float64, rng=0)
    first.W, last.W = [[1.0, -2.0], [0.0, 3.0]], [[4.0], [-5.0]]
    first.b = [100.0, 100.0]  # never counted
    return [first, ReLU(), last]


def test_penalties_by_hand(layers):
    assert l2_regularization(layers, 0.1) == pytest.approx(0.05 * (1 + 4 + 9 + 16 + 25))
    assert l1_regularization(layers, 0.1) == pytest.approx(0.1 * (1 + 2 + 3 + 4 + 5))
    assert l2_regularization(layers) == l2_regularization(layers, 0.001)
    assert l2_regularization([ReLU()]) == 0


@pytest.mark.parametrize(
    ("delta", "first", "last"),
    [
        (delta_l2_regularization, [[1.5, 0.0], [1.0, 2.5]], [[3.0], [-1.5]]),
        (delta_l1_regularization, [[1.5, 0.5], [1.0, 1.5]], [[1.5], [0.5]]),
    ],
)
def test_gradients_get_the_penalty_last_layer_first(layers, delta, first, last):
    grads = [[np.ones((2, 1)), np.ones(1)], [], [np.ones((2, 2)), np.ones(2)]]
    new = delta(layers, grads, 0.5)
    assert new[0][0].tolist() == last and new[2][0].tolist() == first
    assert new[0][1].tolist() == [1] and new[1] == []
    assert all(
        (g == 1).all() and not np.shares_memory(g, n) for old, fresh in zip(grads, new) for g, n in zip(old, fresh)
    )


@pytest.mark.parametrize("function", [l2_regularization, l1_regularization])
@pytest.mark.parametrize(
    ("lam", "error"), [(-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("1", DTypeError)]
)
def test_bad_strength(layers, function, lam, error):
    with pytest.raises(error, match="lam must be"):
        function(layers, lam)
    with pytest.raises(ValueError, match="grads must have one entry for each of the 3 layers, got 2"):
        delta_l2_regularization(layers, [[], []])
