"""Optimizers: one or more steps against the formulas of their papers, in plain Python numbers."""

import math

import numpy as np
import pytest

from cnn_ext import SGD, AdaGrad, Adam, AdamW, DTypeError, NonFiniteError, RMSProp, ShapeError

GRADS = [0.5, -2.0, 1.0, 0.25]


def plain(x, lr=0.1):
    for g in GRADS:
        x -= lr * g
    return x


def momentum(x, lr=0.1, mu=0.9):
    v = 0.0
    for g in GRADS:
        v = mu * v + g
        x -= lr * v
    return x


def onnx_nesterov(x, lr=0.1, mu=0.9):
    """ONNX's Momentum operator, mode "nesterov", beta = 1."""
    v = 0.0
    for g in GRADS:
        v = mu * v + g
        x -= lr * (g + mu * v)
    return x


def adagrad(x, lr=0.1, eps=1e-8):
    s = 0.0
    for g in GRADS:
        s += g * g
        x -= lr * g / (math.sqrt(s) + eps)
    return x


def rmsprop(x, lr=0.1, decay=0.9, eps=1e-8):
    s = 0.0
    for g in GRADS:
        s = decay * s + (1 - decay) * g * g
        x -= lr * g / (math.sqrt(s) + eps)
    return x


def adam(x, lr=0.1, b1=0.9, b2=0.999, eps=1e-8):
    m = v = 0.0
    for t, g in enumerate(GRADS, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x -= lr * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
    return x


def adamw(x, lr=0.1, decay=0.2, b1=0.9, b2=0.999, eps=1e-8):
    m = v = 0.0
    for t, g in enumerate(GRADS, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x *= 1 - lr * decay
        x -= lr * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + eps)
    return x


FORMULAS = [
    (lambda: SGD(0.1), plain),
    (lambda: SGD(0.1, 0.9), momentum),
    (lambda: SGD(0.1, 0.9, nesterov=True), onnx_nesterov),
    (lambda: AdaGrad(0.1), adagrad),
    (lambda: RMSProp(0.1), rmsprop),
    (lambda: Adam(0.1), adam),
    (lambda: AdamW(0.1, weight_decay=0.2), lambda x: adamw(x)),
]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-14), (np.float32, 2e-6)])  # some ten roundings
@pytest.mark.parametrize(("make", "formula"), FORMULAS, ids=lambda f: getattr(f, "__name__", ""))
def test_steps_follow_the_formula(make, formula, dtype, rtol):
    params = [np.array([1.0, -3.0], dtype), np.array([[7.0]], dtype)]
    optimizer = make()
    for g in GRADS:
        optimizer.step(params, [np.full(p.shape, g, dtype) for p in params])
    of_vectors = adam if isinstance(optimizer, AdamW) else formula  # weights decay, biases do not
    np.testing.assert_allclose(params[0], [of_vectors(1.0), of_vectors(-3.0)], rtol=rtol)
    np.testing.assert_allclose(params[1], [[formula(7.0)]], rtol=rtol)
    assert optimizer.steps == 4 and params[0].dtype == dtype


@pytest.mark.parametrize("make", [lambda: AdaGrad(eps=1e-300), lambda: RMSProp(eps=1e-300), lambda: Adam(eps=1e-300)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weight_without_a_gradient_stays_however_small_eps_is(make, dtype):
    """Rounded to float32 it would be 0, and the step 0 / 0."""
    param = np.array([1.0, 2.0], dtype)
    make().step([param], [np.zeros(2, dtype)])
    assert param.tolist() == [1, 2]


def test_adamw_by_hand():
    """Step 1 moves by lr * sign(g) (eps aside); the decay takes lr * factor * weight_decay of the weight."""
    weight, bias = np.array([[2.0, -4.0]]), np.array([2.0, -4.0])
    optimizer = AdamW(0.5, eps=1e-300, weight_decay=0.25)
    optimizer.step([weight, bias], [np.array([[3.0, -5.0]]), np.array([3.0, -5.0])], factor=0.5)
    # 2 - 0.25 * 0.25 * 2 - 0.25, and the same mirrored; a few roundings on the way
    np.testing.assert_allclose(weight, [[1.625, -3.5]], rtol=1e-15)
    np.testing.assert_allclose(bias, [1.75, -3.75], rtol=1e-15)


def test_adamw_without_decay_is_adam_and_keeps_its_state():
    grads = [np.array([[0.5, -2.0], [1.0, 3.0]], np.float32)]
    params = [np.ones((2, 2), np.float32)], [np.ones((2, 2), np.float32)]
    plain, decaying = Adam(0.1), AdamW(0.1, weight_decay=0)
    for optimizer, own in zip((plain, decaying), params, strict=True):
        for _ in range(3):
            optimizer.step(own, grads)
    assert params[0][0].tobytes() == params[1][0].tobytes()
    assert list(plain.state) == list(decaying.state) == ["first_moment", "second_moment"]


def test_small_decay_is_not_lost_in_a_factor_next_to_1():
    """lr * weight_decay is 1e-7; in float32, 1 - 1e-7 would take off 1.2e-7."""
    start = 1.5 * 2**24  # neighbouring float32 are 2 apart here
    weight = np.full((1, 1), start, np.float32)
    AdamW(1e-3, weight_decay=1e-4).step([weight], [np.ones((1, 1), np.float32)])
    assert weight == start - 2  # 2.517 and 0.001 are taken off, rounded once; times float32(1 - 1e-7) it is start - 4
    assert np.float32(start) * np.float32(1 - 1e-7) == start - 4


def test_nesterov_is_sutskevers_after_a_change_of_variable():
    """Sutskever takes the gradient at x + mu * v; the stored parameters are those look-ahead points."""
    lr, mu = 0.05, 0.9
    x, v = 2.0, 0.0  # minimizes 3 * x**2, gradient 6 * x
    param, optimizer = np.array([2.0]), SGD(lr, mu, nesterov=True)
    for _ in range(8):
        v = mu * v - lr * 6 * (x + mu * v)
        x += v
        optimizer.step([param], [6 * param])
        assert param[0] == pytest.approx(x + mu * v, rel=1e-12)


def test_onnx_example_with_norm_coefficient():
    """The published test of ONNX's Momentum in nesterov mode, norm_coefficient 0.01, over an L2 gradient."""
    x, g, v = np.array([1.2, 2.8]), np.array([-0.94, -2.5]), np.array([1.7, 3.6])
    norm, alpha, lr = 0.01, 0.95, 0.1
    regularized = g + norm * x
    v_new = alpha * v + regularized
    expected = x - lr * (regularized + alpha * v_new)
    optimizer = SGD(lr, alpha, nesterov=True)
    optimizer.step([x], [np.zeros(2)], factor=0.0)
    optimizer.state["velocity"][0][:] = v
    optimizer.step([x], [regularized])
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_factor_scales_the_rate_and_may_be_zero():
    param = np.array([1.0])
    optimizer = SGD(0.5)
    optimizer.step([param], [np.array([1.0])], factor=0.5)
    optimizer.step([param], [np.array([1.0])], factor=0.0)
    assert param[0] == 0.75


def make_params():
    return [np.ones(3, np.float32), np.ones((2, 2), np.float32)]


BAD_STEPS = [
    (lambda p: (p, [np.ones(3)]), ValueError, "grads must have one array for each of the 2 params, got 1"),
    (lambda p: (p, [np.ones(3), np.ones((2, 3))]), ShapeError, r"grad of b must have shape \(2, 2\), got \(2, 3\)"),
    (lambda p: (p, [np.ones(3), np.full((2, 2), np.nan)]), NonFiniteError, "step 2: grad of b has 4 non-finite values"),
    (lambda p: (p, [np.array([1, np.inf, 1]), np.ones((2, 2))]), NonFiniteError, "step 2: grad of a has 1 non-finite"),
    (lambda p: ([_frozen(p[0]), p[1]], [np.ones(3), np.ones((2, 2))]), ValueError, "a is read-only"),
    (lambda p: ([p[1], p[0]], [np.ones((2, 2)), np.ones(3)]), ShapeError, "not those of the earlier steps"),
]


def _frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("make", [make for make, _ in FORMULAS])
@pytest.mark.parametrize(("spoil", "error", "message"), BAD_STEPS)
def test_a_refused_step_changes_nothing(make, spoil, error, message):
    optimizer, params = make(), make_params()
    optimizer.step(params, [np.ones(3), np.ones((2, 2))])
    if error is ShapeError and "earlier" in message and not optimizer.state:
        return  # plain SGD has no state that could be another's
    before = [p.tobytes() for p in params] + [a.tobytes() for arrays in optimizer.state.values() for a in arrays]
    with pytest.raises(error, match=message):
        optimizer.step(*spoil(params), names=["a", "b"])
    after = [p.tobytes() for p in params] + [a.tobytes() for arrays in optimizer.state.values() for a in arrays]
    assert after == before and optimizer.steps == 1


def test_params_must_not_share_memory():
    both = np.ones(6)
    with pytest.raises(ValueError, match=r"params\[0\] and params\[1\] share memory"):
        SGD(0.1).step([both[:4], both[2:]], [np.ones(4), np.ones(4)])
    assert (both == 1).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(0), ValueError, r"lr must be in \(0, inf\), got 0"),
        (lambda: SGD(-1), ValueError, "lr must be in"),
        (lambda: SGD(float("nan")), ValueError, "lr must be in"),
        (lambda: SGD(float("inf")), ValueError, "lr must be in"),
        (lambda: SGD("0.1"), DTypeError, "lr must be a number, got str"),
        (lambda: SGD(0.1, 1.0), ValueError, r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: SGD(0.1, -0.1), ValueError, "momentum must be in"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "nesterov needs a momentum above 0"),
        (lambda: SGD(0.1, 0.9, nesterov=1), DTypeError, "nesterov must be a bool"),
        (lambda: AdaGrad(0.1, eps=0), ValueError, "eps must be in"),
        (lambda: RMSProp(0.1, decay=1), ValueError, "decay must be in"),
        (lambda: Adam(0.1, beta1=1), ValueError, "beta1 must be in"),
        (lambda: Adam(0.1, beta2=-1), ValueError, "beta2 must be in"),
        (lambda: AdamW(0.1, weight_decay=-1e-3), ValueError, r"weight_decay must be in \[0, inf\), got -0.001"),
        (lambda: AdamW(0.1, weight_decay="1"), DTypeError, "weight_decay must be a number, got str"),
        (lambda: SGD(0.1).step([np.ones(1)], [np.ones(1)], factor=-1), ValueError, "factor must be in"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()
