"""The compiled modules: this file alone imports them, and says what to do where they are missing."""

from __future__ import annotations

import os

try:
    from . import _conv, _im2col, _matmul, _norm, _pooling, _threads, _update, _warp
except ImportError as error:
    if "CNN_EXT_SIMD" in str(error):
        raise
    raise ImportError(
        f"the compiled modules of cnn_ext are missing or were built for another Python ({error}): "
        "run `python -m pip install -e .` in the source folder, or install the wheel"
    ) from error

INSTRUCTION_SET: str = _threads.INSTRUCTION_SET
"""What the kernels run on: "baseline", "avx2" or "avx512"; CNN_EXT_SIMD forces one before the import."""

SET_REASON: str = "CNN_EXT_SIMD" if os.environ.get("CNN_EXT_SIMD", "").strip() else "the best that the processor has"

__all__ = [
    "INSTRUCTION_SET",
    "SET_REASON",
    "_conv",
    "_im2col",
    "_matmul",
    "_norm",
    "_pooling",
    "_threads",
    "_update",
    "_warp",
]
