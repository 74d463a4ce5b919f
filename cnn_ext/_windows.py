"""How windows lie over a batch of images: checked once here, for the kernels, their twins and the layers."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np

from ._checks import check_array, check_int
from .errors import DTypeError, ShapeError

WINOGRAD_SIDES = (3, 5)
"""Heights, and widths, of the filters that Winograd's convolution takes."""

TILE_RESULTS = 4
"""Height and width of the results of a tile in Winograd's convolution."""


class Windows(NamedTuple):
    """A checked geometry; the fields stand in the order of the C struct `geometry`."""

    n_images: int
    n_channels: int
    height: int
    width: int
    h_window: int
    w_window: int
    padding: int
    stride: int
    h_out: int
    w_out: int

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.n_images, self.n_channels, self.height, self.width

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self.n_images, self.n_channels, self.h_out, self.w_out

    @property
    def columns_shape(self) -> tuple[int, int]:
        return self.n_channels * self.h_window * self.w_window, self.h_out * self.w_out * self.n_images


def check_windows(x_shape: Any, window: dict[str, Any], padding: Any, stride: Any) -> Windows:
    """Return the geometry of windows over images of `x_shape` (N, C, H, W).

    `window` holds the names and values of the window's height and width (one entry if it is square). No product of
    sizes can overflow afterwards.
    """
    if not isinstance(x_shape, (tuple, list)) or len(x_shape) != 4:
        raise ShapeError(f"x_shape must be a tuple (N, C, H, W), got {x_shape!r}")
    for axis, (size, minimum) in enumerate(zip(x_shape, (0, 1, 1, 1), strict=True)):
        if isinstance(size, (bool, np.bool_)) or not isinstance(size, (int, np.integer)) or size < minimum:
            raise ShapeError(
                f"x_shape must hold sizes (N >= 0, C, H, W >= 1), got {size!r} on axis {axis} of {x_shape}"
            )
    sizes = [check_int(name, size, 1) for name, size in window.items()]
    padding = check_int("padding", padding, 0)
    stride = check_int("stride", stride, 1)
    n_images, n_channels, height, width = map(int, x_shape)
    h_out, w_out = window_counts((height, width), (sizes[0], sizes[-1]), padding, stride)
    windows = Windows(n_images, n_channels, height, width, sizes[0], sizes[-1], padding, stride, h_out, w_out)
    padded = (n_images, n_channels, height + 2 * padding, width + 2 * padding)
    largest = (
        max(math.prod(max(size, 1) for size in shape) for shape in (windows.x_shape, padded, windows.columns_shape))
        + max(height, width)
        + 2 * padding
    )
    if 8 * largest > sys.maxsize:
        raise ShapeError(
            f"x_shape {tuple(x_shape)} with windows of {sizes[0]} x {sizes[-1]} makes more numbers than can be counted"
        )
    return windows


def window_counts(image: tuple[int, int], window: tuple[int, int], padding: int, stride: int) -> tuple[int, int]:
    """Return how many windows fit down and across a padded image; what fills no window is left out."""
    padded = (image[0] + 2 * padding, image[1] + 2 * padding)
    if window[0] > padded[0] or window[1] > padded[1]:
        raise ShapeError(f"kernel ({window[0]} x {window[1]}) larger than padded input ({padded[0]} x {padded[1]})")
    return (padded[0] - window[0]) // stride + 1, (padded[1] - window[1]) // stride + 1


def window_sides(size: Any) -> dict[str, Any]:
    """Return the sides of a window by name, for `check_windows`: one number is a square."""
    if isinstance(size, tuple) and len(size) == 2:
        return {"size[0]": size[0], "size[1]": size[1]}
    return {"size": size}


def check_gradient(dout_shape: tuple[int, ...], windows: Windows) -> None:
    """Refuse gradients of another shape than the windows' results."""
    if dout_shape != windows.out_shape:
        raise ShapeError(f"dout must have shape {windows.out_shape}, got {dout_shape}")


def check_columns(cols_shape: tuple[int, ...], windows: Windows) -> None:
    """Refuse columns of another shape than the geometry gives."""
    rows, columns = windows.columns_shape
    if cols_shape[0] != rows:
        raise ShapeError(f"cols has {cols_shape[0]} rows, expected C*kh*kw = {rows}")
    if cols_shape[1] != columns:
        raise ShapeError(f"cols has {cols_shape[1]} columns, expected N*oh*ow = {columns}")


def check_argmax(argmax: Any, dout_shape: tuple[int, ...], windows: Windows) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return `argmax` as intp after checking its dtype, its shape, that of `dout`, and its range."""
    if isinstance(argmax, np.ma.MaskedArray):
        raise DTypeError("argmax must be a plain numpy.ndarray, got a masked array")
    if not isinstance(argmax, np.ndarray) or argmax.dtype.kind not in "iu":
        found = argmax.dtype if isinstance(argmax, np.ndarray) else type(argmax).__name__
        raise DTypeError(f"argmax must be a numpy.ndarray of integers, got {found}")
    check_gradient(dout_shape, windows)
    if argmax.shape != windows.out_shape:
        raise ShapeError(f"argmax must have shape {windows.out_shape}, got {argmax.shape}")
    places = windows.h_window * windows.w_window
    outside = (argmax < 0) | (argmax >= places)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"max index {argmax[where]} at output {where} outside [0, {places})")
    return argmax.astype(np.intp, copy=False)


def check_convolution(x: Any, w: Any, padding: Any, stride: Any) -> Windows:
    """Return the geometry of a convolution after checking images and filters."""
    x, w = check_array("x", x, 4), check_array("w", w, 4)
    windows = check_windows(x.shape, {"h_filter": w.shape[2], "w_filter": w.shape[3]}, padding, stride)
    if len(w) == 0:
        raise ShapeError(f"w must hold at least one filter, got shape {w.shape}")
    if w.shape[1] != x.shape[1]:
        raise ShapeError(f"w must have the {x.shape[1]} channels of x, got shape {w.shape}")
    _check_dtype_of_filters("x", x, w)
    return windows


def check_biases(b: Any, w: Any) -> None:
    """Refuse biases that do not fit the checked filters `w`."""
    if check_array("b", b, 1).shape != (len(w),):
        raise ShapeError(f"b must have shape ({len(w)},), got {b.shape}")
    _check_dtype_of_filters("b", b, w)


def check_convolved_gradient(dout: Any, w: Any, windows: Windows) -> None:
    """Refuse gradients that do not fit the results of the checked filters `w`."""
    wanted = (windows.n_images, len(w), windows.h_out, windows.w_out)
    if check_array("dout", dout, 4).shape != wanted:
        raise ShapeError(f"dout must have shape {wanted}, got {dout.shape}")
    _check_dtype_of_filters("dout", dout, w)


def _check_dtype_of_filters(name: str, array: Any, w: Any) -> None:
    if array.dtype.newbyteorder("=") != w.dtype.newbyteorder("="):
        raise DTypeError(f"{name} must have the dtype of w, {w.dtype}, got {array.dtype}")


def winograd_tile(windows: Windows) -> int:
    """Return the side of the tiles of pixels from which Winograd's method computes a convolution, 0 if it does not."""
    side = windows.h_window
    if side != windows.w_window or side not in WINOGRAD_SIDES or windows.stride != 1 or windows.padding >= side:
        return 0
    return side + TILE_RESULTS - 1


def check_winograd(x: Any, w: Any, padding: Any) -> Windows:
    """Return the geometry of a convolution by Winograd's method after checking it as `check_convolution` does."""
    windows = check_convolution(x, w, padding, 1)
    sides = (windows.h_window, windows.w_window)
    if sides[0] != sides[1] or sides[0] not in WINOGRAD_SIDES:
        raise ShapeError(f"w must hold filters of 3 x 3 or 5 x 5, got {sides[0]} x {sides[1]}")
    if padding >= sides[0]:
        raise ValueError(f"padding must be < {sides[0]}, the filters' side, got {padding}")
    return windows
