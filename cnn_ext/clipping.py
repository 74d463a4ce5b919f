"""Gradient clipping: a step is kept from being much larger than all others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ._checks import as_list, check_apart, check_array, check_real
from ._types import Array
from .passes import sum_of_squares


def clip_gradients(grads: Sequence[Array], max_norm: float) -> float:
    """Scale all gradients in place by max_norm / norm where their common norm is larger than max_norm.

    Their direction stays. Gradients that hold a NaN or an infinity are left as they are: an optimizer's `step`
    refuses and names them.

    Parameters
    ----------
    grads : sequence of ndarray
        float32 or float64, writable, none sharing memory with another.
    max_norm : float
        In (0, inf).

    Returns
    -------
    float
        The L2 norm before; the same for any number of threads.

    Raises
    ------
    DTypeError
        A gradient that is not a float array; `max_norm` not a number.
    ValueError
        `max_norm` out of range; a read-only gradient; gradients that share memory. No gradient is changed then.

    References
    ----------
    Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks. ICML 2013.
    """
    max_norm = check_real("max_norm", max_norm, "(0, inf)")
    named = {f"grads[{i}]": check_array(f"grads[{i}]", grad) for i, grad in enumerate(as_list("grads", grads))}
    for name, grad in named.items():
        if not grad.flags.writeable:
            raise ValueError(f"{name} is read-only and cannot be scaled")
    check_apart(named, named.values())
    grads = list(named.values())
    norm = math.sqrt(sum(map(sum_of_squares, grads)))
    if math.isinf(norm):
        norm = _norm_of_large(grads)
    if math.isfinite(norm) and norm > max_norm:
        for grad in grads:
            grad *= grad.dtype.type(max_norm / norm)
    return norm


def _norm_of_large(grads: Sequence[Array]) -> float:
    """Return the norm of numbers whose squares, but perhaps not they themselves, are beyond their dtype's range."""
    largest = max(float(np.abs(grad).max(initial=0)) for grad in grads)
    if not math.isfinite(largest):
        return largest
    return largest * math.sqrt(sum(float(np.square(grad / largest, dtype=np.float64).sum()) for grad in grads))
