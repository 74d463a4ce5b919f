"""Learning-rate schedules: functions from the number of a step to a factor of the base rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from ._checks import check_int, check_real
from .errors import DTypeError

Schedule: TypeAlias = Callable[[int], float]
"""Takes the step's number, 0 for the first, and returns what the optimizer's `lr` is multiplied by."""


def constant() -> Schedule:
    """Return the schedule that is 1 at every step."""
    return lambda step: 1.0


def cosine(total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Return a linear rise to 1 over the warm-up, then half a cosine down to 0 at `total_steps`.

    Parameters
    ----------
    total_steps : int
        Length of the run.
    warmup_steps : int
        Length of the rise: step t of it has the factor (t + 1) / warmup_steps. Less than `total_steps`.

    Raises
    ------
    ValueError, DTypeError
        A length that is not an int in its range.

    References
    ----------
    Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017.
    Goyal et al.: Accurate, large minibatch SGD. 2017 (the warm-up).
    """
    length = _steps_after_warmup(total_steps, warmup_steps)
    return warmup(lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / length))), warmup_steps)


def linear(total_steps: int, warmup_steps: int = 0, end_factor: float = 0.0) -> Schedule:
    """Return a linear rise to 1 over the warm-up, then a straight line down to `end_factor` at `total_steps`.

    Parameters
    ----------
    total_steps : int
        Length of the run.
    warmup_steps : int
        Length of the rise: step t of it has the factor (t + 1) / warmup_steps. Less than `total_steps`.
    end_factor : float
        In [0, 1]: the factor at `total_steps`, the step after the last, and from there on.

    Raises
    ------
    ValueError, DTypeError
        A length that is not an int in its range; a factor that is not a number in its.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD. 2017 (the warm-up).
    """
    length = _steps_after_warmup(total_steps, warmup_steps)
    end_factor = check_real("end_factor", end_factor, "[0, 1]")
    return warmup(lambda step: _between(1.0, end_factor, min(1.0, step / length)), warmup_steps)


def step_decay(every_steps: int, gamma: float = 0.1) -> Schedule:
    """Return gamma ** (step // every_steps): the rate falls at once, every so many steps.

    PyTorch's `StepLR`, counted in steps: for one fall every 10 epochs, `every_steps` is 10 * steps per epoch.

    Parameters
    ----------
    every_steps : int
        At least 1.
    gamma : float
        In (0, 1].

    Raises
    ------
    ValueError, DTypeError
        `every_steps` not an int, or `gamma` not a number, in its range.
    """
    every_steps = check_int("every_steps", every_steps, 1)
    gamma = check_real("gamma", gamma, "(0, 1]")
    return lambda step: gamma ** (step // every_steps)


def exponential(gamma: float) -> Schedule:
    """Return gamma ** step.

    PyTorch's `ExponentialLR`, counted in steps: to lose a tenth an epoch, `gamma` is 0.9 ** (1 / steps per epoch).

    Parameters
    ----------
    gamma : float
        In (0, 1].

    Raises
    ------
    ValueError, DTypeError
        `gamma` not a number in its range.
    """
    gamma = check_real("gamma", gamma, "(0, 1]")
    return lambda step: gamma**step


def one_cycle(
    total_steps: int,
    peak_at: float = 0.3,
    start_factor: float = 1 / 25,
    end_factor: float = 1e-4,
    annealing: str = "cosine",
) -> Schedule:
    """Return a rise from `start_factor` to 1, then a fall to `end_factor` at the last step.

    The optimizer's `lr` is the rate at the peak, several times what a constant rate would be (`lr_find` helps to find
    it). As in PyTorch's `OneCycleLR` step peak_at * total_steps - 1 (rounded, and neither the first nor the last) is
    the peak; `end_factor` is of the peak, not of the start. The momentum stays as it is.

    Parameters
    ----------
    total_steps : int
        Length of the run, at least 3.
    peak_at : float
        In (0, 1): which part of the run is the rise.
    start_factor, end_factor : float
        In [0, 1].
    annealing : {"cosine", "linear"}
        Form of both: half a cosine or a straight line.

    Raises
    ------
    ValueError, DTypeError
        A length that is not an int, or a factor that is not a number, in its range; another annealing.

    References
    ----------
    Smith, Topin: Super-convergence: very fast training of neural networks using large learning rates. 2018.
    """
    total_steps = check_int("total_steps", total_steps, 3)
    peak = round(check_real("peak_at", peak_at, "(0, 1)") * total_steps) - 1
    peak = min(max(peak, 1), total_steps - 2)
    start_factor = check_real("start_factor", start_factor, "[0, 1]")
    end_factor = check_real("end_factor", end_factor, "[0, 1]")
    if annealing not in ("cosine", "linear"):
        raise ValueError(f"annealing must be 'cosine' or 'linear', got {annealing!r}")

    def factor(step: int) -> float:
        rising = step <= peak
        progress = step / peak if rising else min(1.0, (step - peak) / (total_steps - 1 - peak))
        if annealing == "cosine":
            progress = 0.5 * (1 - math.cos(math.pi * progress))
        return _between(start_factor, 1.0, progress) if rising else _between(1.0, end_factor, progress)

    return factor


def warmup(schedule: Schedule, warmup_steps: int) -> Schedule:
    """Return `schedule` behind a linear rise to its first factor, from where it runs as it would without.

    Parameters
    ----------
    schedule : callable
        Its step 0 is the first after the warm-up.
    warmup_steps : int
        Length of the rise: step t of it has (t + 1) / warmup_steps times the factor `schedule(0)`.

    Raises
    ------
    ValueError, DTypeError
        A schedule that cannot be called; a length that is not an int, or below 0.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD. 2017.
    """
    if not callable(schedule):
        raise DTypeError(f"schedule must be callable, got {type(schedule).__name__}")
    warmup_steps = check_int("warmup_steps", warmup_steps, 0)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps * schedule(0)
        return schedule(step - warmup_steps)

    return factor


def _steps_after_warmup(total_steps: int, warmup_steps: int) -> int:
    total_steps = check_int("total_steps", total_steps, 1)
    return total_steps - check_int("warmup_steps", warmup_steps, 0, total_steps - 1)


def _between(start: float, end: float, progress: float) -> float:
    """Return what lies so far from `start` to `end`: exactly these at 0 and 1."""
    return (1 - progress) * start + progress * end
