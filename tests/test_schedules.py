"""Schedules against their closed forms: at the first step, in the middle, at the last and beyond."""

import math
from itertools import pairwise

import pytest

from cnn_ext import DTypeError
from cnn_ext.schedules import constant, cosine, exponential, linear, one_cycle, step_decay, warmup


def near(value):
    return pytest.approx(value, rel=1e-14)  # a few roundings


def test_constant():
    assert [constant()(step) for step in (0, 10, 10**9)] == [1, 1, 1]


def test_cosine():
    factor = cosine(12, 4)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert factor(8) == near(0.5)
    assert factor(6) == near(0.5 * (1 + math.sqrt(0.5)))
    assert factor(11) == near(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert factor(12) == factor(100) == 0
    assert cosine(2)(0) == 1 and cosine(2)(1) == near(0.5)


def test_linear():
    factor = linear(12, 4)
    assert [factor(step) for step in range(14)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
        0.875,
        0.75,
        0.625,
        0.5,
        0.375,
        0.25,
        0.125,
        0,
        0,
    ]
    factor = linear(4, end_factor=0.5)
    assert [factor(step) for step in (0, 1, 2, 3, 4, 5, 10**9)] == [1, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5]


def test_step_decay():
    factor = step_decay(3, 0.5)
    assert [factor(step) for step in range(10)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert factor(3 * 10**6) == 0  # 2.0 ** -(10 ** 6), below any float
    assert step_decay(10)(10) == 0.1


def test_exponential():
    factor = exponential(0.5)
    assert [factor(step) for step in (0, 1, 2, 10)] == [1, 0.5, 0.25, 2.0**-10]
    a_tenth_in_seven_steps = exponential(0.1 ** (1 / 7))
    assert a_tenth_in_seven_steps(7) == near(0.1) and a_tenth_in_seven_steps(70) == pytest.approx(1e-10, rel=1e-13)
    assert exponential(1)(10**9) == 1


def test_one_cycle_of_straight_lines():
    factor = one_cycle(9, 0.5, start_factor=0.25, end_factor=0.5, annealing="linear")  # the peak is round(4.5) - 1
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1]
    assert [factor(step) for step in range(4, 9)] == [near(1 - 0.1 * (step - 3)) for step in range(4, 9)]
    assert factor(8) == factor(9) == factor(10**9) == 0.5


def test_one_cycle_of_cosines():
    factor = one_cycle(100)
    assert factor(0) == 1 / 25 and factor(29) == 1 and factor(99) == factor(1000) == 1e-4
    assert factor(14.5) == near((1 / 25 + 1) / 2)  # half of the rise, between two steps
    assert factor(64) == near((1 + 1e-4) / 2)  # half of the fall
    assert factor(7.25) == near(1 + (1 / 25 - 1) / 2 * (1 + math.sqrt(0.5)))


@pytest.mark.parametrize(("total", "peak_at", "peak"), [(3, 0.001, 1), (3, 0.999, 1), (50, 1e-9, 1), (50, 0.9999, 48)])
def test_one_cycle_rises_and_falls_however_short(total, peak_at, peak):
    factor = one_cycle(total, peak_at)
    values = [factor(step) for step in range(total)]
    assert values[0] == 1 / 25 and values[peak] == 1 == max(values) and values[-1] == 1e-4


def test_one_cycle_is_pytorchs():
    """OneCycleLR(max_lr=1, total_steps=10), PyTorch's defaults, from its documented formulas."""
    factor = one_cycle(10, end_factor=1 / 25 / 1e4)
    for step in range(10):
        if step <= 2:
            expected = 1 + (1 / 25 - 1) / 2 * (math.cos(math.pi * step / 2) + 1)
        else:
            expected = 4e-6 + (1 - 4e-6) / 2 * (math.cos(math.pi * (step - 2) / 7) + 1)
        assert factor(step) == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_warmup_comes_before_and_shifts():
    factor = warmup(step_decay(2, 0.5), 4)
    assert [factor(step) for step in range(9)] == [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5, 0.25]
    factor = warmup(lambda step: 0.5 / (step + 1), 2)  # rises to the schedule's own first factor
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.5, 0.25]
    assert [warmup(exponential(0.5), 0)(step) for step in range(3)] == [1, 0.5, 0.25]


PEAKS = {
    "cosine": (lambda: cosine(50, 7), 7),
    "linear": (lambda: linear(50, 7, 0.1), 7),
    "step_decay": (lambda: step_decay(5, 0.3), 0),
    "exponential": (lambda: exponential(0.95), 0),
    "one_cycle": (lambda: one_cycle(50), 14),
    "one_cycle, linear": (lambda: one_cycle(50, annealing="linear"), 14),
    "warmup": (lambda: warmup(exponential(0.95), 7), 7),
}


@pytest.mark.parametrize("name", PEAKS)
def test_up_to_the_peak_then_down(name):
    make, peak = PEAKS[name]
    factor = make()
    values = [factor(step) for step in range(60)]
    assert all(a < b or b == 1 for a, b in pairwise(values[: peak + 1]))
    assert all(a >= b for a, b in pairwise(values[peak:]))
    assert values[peak] == max(values) == 1 and min(values) >= 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cosine(0), ValueError, "total_steps must be >= 1"),
        (lambda: cosine(10, 10), ValueError, "warmup_steps must be <= 9"),
        (lambda: cosine(10.0), DTypeError, "total_steps must be an int"),
        (lambda: linear(0), ValueError, "total_steps must be >= 1"),
        (lambda: linear(10, 10), ValueError, "warmup_steps must be <= 9"),
        (lambda: linear(10, -1), ValueError, "warmup_steps must be >= 0"),
        (lambda: linear(10, 0, 1.5), ValueError, r"end_factor must be in \[0, 1\], got 1.5"),
        (lambda: linear(10, 0, math.nan), ValueError, "end_factor must be in"),
        (lambda: step_decay(0), ValueError, "every_steps must be >= 1, got 0"),
        (lambda: step_decay(True), DTypeError, "every_steps must be an int, got bool"),
        (lambda: step_decay(5, 0), ValueError, r"gamma must be in \(0, 1\], got 0"),
        (lambda: step_decay(5, 1.1), ValueError, "gamma must be in"),
        (lambda: exponential(0), ValueError, "gamma must be in"),
        (lambda: exponential("0.9"), DTypeError, "gamma must be a number, got str"),
        (lambda: one_cycle(2), ValueError, "total_steps must be >= 3, got 2"),
        (lambda: one_cycle(9, 0.0), ValueError, r"peak_at must be in \(0, 1\), got 0"),
        (lambda: one_cycle(9, 1), ValueError, "peak_at must be in"),
        (lambda: one_cycle(9, start_factor=-0.1), ValueError, "start_factor must be in"),
        (lambda: one_cycle(9, end_factor=2), ValueError, "end_factor must be in"),
        (lambda: one_cycle(9, annealing="cos"), ValueError, "annealing must be 'cosine' or 'linear', got 'cos'"),
        (lambda: warmup(0.5, 3), DTypeError, "schedule must be callable, got float"),
        (lambda: warmup(constant(), -1), ValueError, "warmup_steps must be >= 0, got -1"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()
