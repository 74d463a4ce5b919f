from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]

def all_finite(
    x: _Reals[_Real],
) -> bool: ...
def sum_of_squares(
    x: _Reals[_Real],
) -> float: ...
def add_scaled(
    target: _Reals[_Real],
    source: _Reals[_Real],
    factor: float,
) -> None: ...
def momentum_step(
    param: _Reals[_Real],
    grad: _Reals[_Real],
    velocity: _Reals[_Real],
    lr: float,
    momentum: float,
    nesterov: bool,
) -> None: ...
def lerp(
    target: _Reals[_Real],
    source: _Reals[_Real],
    weight: float,
) -> None: ...
def adam_step(
    param: _Reals[_Real],
    grad: _Reals[_Real],
    first: _Reals[_Real],
    second: _Reals[_Real],
    beta1: float,
    beta2: float,
    rate: float,
    root: float,
    eps: float,
    decay: float,
) -> None: ...
