"""Names for types that many files spell."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
"""Sizes of an array's axes; of a layer's input and output without that of the batch."""
