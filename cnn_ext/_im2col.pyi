from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL
from ._windows import Windows

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]

def im2col(
    x: _Reals[_Real],
    scratch: _Reals[_Real],
    columns: _Reals[_Real],
    windows: Windows,
) -> None: ...
def col2im(
    columns: _Reals[_Real],
    scratch: _Reals[_Real],
    dx: _Reals[_Real],
    windows: Windows,
) -> None: ...
