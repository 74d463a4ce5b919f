from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL
from ._windows import Windows

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]
_Places = np.ndarray[Any, np.dtype[np.intp]]

def maxpool_forward(
    x: _Reals[_Real],
    out: _Reals[_Real],
    argmax: _Places,
    windows: Windows,
) -> None: ...
def maxpool_backward(
    dout: _Reals[_Real],
    argmax: _Places,
    dx: _Reals[_Real],
    windows: Windows,
) -> None: ...
def avgpool_forward(
    x: _Reals[_Real],
    out: _Reals[_Real],
    windows: Windows,
) -> None: ...
def avgpool_backward(
    dout: _Reals[_Real],
    dx: _Reals[_Real],
    windows: Windows,
) -> None: ...
