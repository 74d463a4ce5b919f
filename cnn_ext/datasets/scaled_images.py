"""Images held as bytes and scaled to float32 as they are asked for: a quarter of the memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._types import Array
from ..errors import DTypeError, ShapeError

_WHITE = np.float32(255)


class ScaledImages:
    """A read-only sequence of float32 images in [0, 1] over an array of bytes.

    Indexing the first axis gives what `images[index].astype(np.float32) / np.float32(255)` would, bit for bit, as a
    new C-contiguous array. The bytes themselves are neither copied nor changed.

    Parameters
    ----------
    images : numpy.ndarray
        uint8, two axes or more, for instance (N, C, H, W).

    Attributes
    ----------
    images : numpy.ndarray
        The bytes.
    shape : tuple of int
        That of `images`.
    ndim : int
        The number of axes.
    dtype : numpy.dtype
        float32, always.

    Raises
    ------
    DTypeError
        `images` is not an array of uint8.
    ShapeError
        `images` has fewer than two axes.
    """

    dtype: np.dtype[np.float32] = np.dtype(np.float32)

    def __init__(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        if not isinstance(images, np.ndarray):
            raise DTypeError(f"images must be a numpy.ndarray, got {type(images).__name__}")
        if isinstance(images, np.ma.MaskedArray):
            raise DTypeError("images must be a plain numpy.ndarray, got a masked array")
        if images.dtype != np.uint8:
            raise DTypeError(f"images must be uint8, got {images.dtype}")
        if images.ndim < 2:
            raise ShapeError(f"images must have at least 2 axes, got {images.ndim}-D {images.shape}")
        self.images = images
        self.shape: tuple[int, ...] = images.shape
        self.ndim: int = images.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the images that an int, a slice or an array of ints or booleans picks."""
        # Not np.take from a table of 256: it would widen every byte to an 8-byte index first.
        return np.divide(self.images[index], _WHITE, dtype=np.float32, order="C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all images as one array (NumPy would otherwise gather them one by one)."""
        if copy is False:
            raise ValueError("copy=False: scaled images cannot be had without a copy")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"ScaledImages(shape={self.shape})"
