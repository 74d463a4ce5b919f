"""Learning-rate schedules: functions from the number of a step to a factor of the base rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from ._checks import check_int

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
    total_steps = check_int("total_steps", total_steps, 1)
    warmup_steps = check_int("warmup_steps", warmup_steps, 0, total_steps - 1)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor
