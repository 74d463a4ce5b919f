from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL
from ._threads import SET_NUMBER as SET_NUMBER
from ._windows import Windows

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]

MAX_POOL: int

def buffer_sizes(
    real_bytes: int,
    windows: Windows,
    n_filter: int,
    relu: bool,
    pool: int,
    tile: int,
) -> tuple[int, int, int, int, int, int]: ...
def forward(
    windows: Windows,
    relu: bool,
    pool: int,
    tile: int,
    x: _Reals[_Real],
    x_channels_last: bool,
    w: _Reals[_Real],
    b: _Reals[_Real],
    padded: _Reals[_Real],
    wild: _Bytes,
    packed: _Reals[_Real],
    scratch: _Bytes,
    out: _Reals[_Real],
    out_channels_last: bool,
    places: _Bytes,
) -> None: ...
def pad_images(
    windows: Windows,
    n_filter: int,
    tile: int,
    x: _Reals[_Real],
    padded: _Reals[_Real],
    wild: _Bytes,
) -> None: ...
def backward(
    windows: Windows,
    relu: bool,
    pool: int,
    tile: int,
    dout: _Reals[_Real],
    out: _Reals[_Real],
    out_channels_last: bool,
    places: _Bytes,
    padded: _Reals[_Real],
    wild: _Bytes,
    w: _Reals[_Real],
    packed: _Reals[_Real],
    scratch: _Bytes,
    partial: _Reals[_Real],
    dw: _Reals[_Real],
    db: _Reals[_Real],
    dx: _Reals[_Real],
    x_channels_last: bool,
) -> None: ...
