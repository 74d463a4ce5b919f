from typing import Any, TypeVar

import numpy as np

from ._threads import POOL as POOL
from ._threads import SET_NUMBER as SET_NUMBER

_Real = TypeVar("_Real", np.float32, np.float64)
_Reals = np.ndarray[Any, np.dtype[_Real]]

def multiply(
    n_rows: int,
    n_columns: int,
    n_terms: int,
    a: _Reals[_Real],
    a_transposed: bool,
    b: _Reals[_Real],
    bias: _Reals[_Real],
    c: _Reals[_Real],
    c_transposed: bool,
) -> None: ...
