"""The passes of a step over all numbers of an array: compiled where it is plain, else in NumPy.

The compiled ones share an array out over the threads, with the same bits for any number of them. Nothing here checks
the arrays' shapes: that is done by who calls.
"""

from __future__ import annotations

import math

import numpy as np

from ._compiled import _update
from ._types import Array
from .errors import NonFiniteError


def all_finite(x: Array) -> bool:
    """Return whether `x` holds neither NaN nor infinity."""
    if _are_plain(x):
        return bool(_update.all_finite(x.reshape(-1)))
    return bool(np.isfinite(x).all())


def check_finite(name: str, x: Array, error: type[Exception] = NonFiniteError) -> None:
    """Raise `error` if an entry of `x` is NaN or infinite, with their number."""
    if not all_finite(x):
        raise error(f"{name} has {np.count_nonzero(~np.isfinite(x))} non-finite values")


def sum_of_squares(x: Array) -> float:
    """Return the sum of the squares of `x`, the same for any number of threads."""
    if _are_plain(x):
        return float(_update.sum_of_squares(x.reshape(-1)))
    return float(np.square(x, dtype=np.float64).sum())


def add_scaled(target: Array, source: Array, factor: float) -> None:
    """Do target += factor * source in place, in the precision of `target`."""
    if _are_plain(target, source):
        _update.add_scaled(target.reshape(-1), source.reshape(-1), factor)
    else:
        target += target.dtype.type(factor) * source


def lerp(target: Array, source: Array, weight: float) -> None:
    """Do target += weight * (source - target) in place, in the precision of `target`: a step of a running mean."""
    if _are_plain(target, source):
        _update.lerp(target.reshape(-1), source.reshape(-1), weight)
    else:
        target += target.dtype.type(weight) * (source - target)


def momentum_step(param: Array, grad: Array, velocity: Array, lr: float, momentum: float, nesterov: bool) -> None:
    """Do one step of SGD with momentum in place, as `optimizers.SGD` describes it; all three of one shape."""
    if _are_plain(param, grad, velocity):
        _update.momentum_step(param.reshape(-1), grad.reshape(-1), velocity.reshape(-1), lr, momentum, nesterov)
        return
    number = param.dtype.type
    velocity *= number(momentum)
    velocity += grad
    param -= number(lr) * (grad + number(momentum) * velocity if nesterov else velocity)


def adam_step(
    param: Array,
    grad: Array,
    first: Array,
    second: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float = 0.0,
) -> None:
    """Do the step of number `step` (from 1) of Adam in place, as `optimizers.Adam` describes it, all four of one shape.

    `decay` times the parameter is taken off as well. Both corrections of the moments' start are formed once, not for
    each number: lr * (m / c1) / (sqrt(v / c2) + eps) is (lr / c1) * m / (sqrt(v) / sqrt(c2) + eps).
    """
    rate, root = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    if _are_plain(param, grad, first, second):
        p, g, m, v = (array.reshape(-1) for array in (param, grad, first, second))
        _update.adam_step(p, g, m, v, beta1, beta2, rate, root, eps, decay)
        return
    number = param.dtype.type
    first *= number(beta1)
    first += number(1 - beta1) * grad
    second *= number(beta2)
    second += number(1 - beta2) * grad * grad
    param -= number(decay) * param + number(rate) * first / (number(root) * np.sqrt(second) + number(eps))


def _are_plain(*arrays: Array) -> bool:
    """Whether the compiled passes over memory can take these as they are: all of one dtype."""
    dtype = arrays[0].dtype
    if dtype.char not in "fd" or not dtype.isnative:
        return False
    for array in arrays:
        flags = array.flags
        if array.dtype != dtype or not (flags.c_contiguous and flags.aligned):
            return False
    return True
