from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]

BORDER: int
MAX_SIDE: int

def warp(
    x: _Reals[_Real],
    places: _Reals[_Real],
    fill: float,
    padded: _Reals[_Real],
    out: _Reals[_Real],
    shape: tuple[int, ...],
    is_flow: bool,
) -> None: ...
def blur(
    x: _Reals[_Real],
    weights: _Reals[_Real],
    scratch: _Reals[_Real],
    out: _Reals[_Real],
    height: int,
    width: int,
) -> None: ...
