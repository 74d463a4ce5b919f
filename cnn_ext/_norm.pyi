from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL
from ._threads import SET_NUMBER as SET_NUMBER

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]

def moments(
    z: _Reals[_Real],
    mean: _Reals[_Real],
    squares: _Reals[_Real],
) -> None: ...
def forward(
    z: _Reals[_Real],
    mean: _Reals[_Real],
    scale: _Reals[_Real],
    shift: _Reals[_Real],
    relu: bool,
    pool: int,
    out: _Reals[_Real],
    out_channels_last: bool,
    places: _Bytes,
) -> None: ...
def gradient(
    z: _Reals[_Real],
    mean: _Reals[_Real],
    relu: bool,
    pool: int,
    dout: _Reals[_Real],
    out: _Reals[_Real],
    out_channels_last: bool,
    places: _Bytes,
    g: _Reals[_Real],
    sums: _Reals[_Real],
) -> None: ...
def through(
    z: _Reals[_Real],
    mean: _Reals[_Real],
    scale: _Reals[_Real],
    offset: _Reals[_Real],
    slope: _Reals[_Real],
    g: _Reals[_Real],
) -> None: ...
