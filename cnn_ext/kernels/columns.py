"""Windows of images as columns of a matrix, and back."""

from __future__ import annotations

import numpy as np

from .._checks import as_contiguous, check_array
from .._compiled import _im2col
from .._types import Array
from .._windows import (
    check_columns,
    check_windows,
)


def im2col(x: Array, h_filter: int, w_filter: int, padding: int, stride: int) -> Array:
    """Unfold every window of a batch of images into one column of a matrix.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W), float32 or float64
        Images.
    h_filter, w_filter : int
        Height and width of a window, in pixels.
    padding : int
        Rows and columns of zeros around each image.
    stride : int
        Step between neighbouring windows, in pixels.

    Returns
    -------
    ndarray, shape (C * h_filter * w_filter, H_out * W_out * N)
        Row (c, i, j), column (y, x, n): the pixel of image n, channel c, at place (i, j) of the window at (y, x). The
        image index runs fastest. H_out = (H + 2 * padding - h_filter) // stride + 1: trailing rows and columns that
        fill no window are left out, as in PyTorch and ONNX.

    Raises
    ------
    DTypeError
        x not a float32 or float64 ndarray; a size not an int.
    ShapeError
        x not 4-D, an axis but the first of length 0, or a window larger than the padded image.
    ValueError
        A size out of range.
    MemoryError
        More columns than there is memory for.

    References
    ----------
    Chellapilla, Puri, Simard: High performance convolutional neural networks for document processing. 2006.
    """
    x = check_array("x", x, 4)
    windows = check_windows(x.shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    x = as_contiguous(x)
    columns = np.empty(windows.columns_shape, x.dtype)
    _im2col.im2col(x.reshape(-1), np.empty(x.size, x.dtype), columns.reshape(-1), windows)
    return columns


def col2im(
    cols: Array, x_shape: tuple[int, int, int, int], h_filter: int, w_filter: int, padding: int, stride: int
) -> Array:
    """Add columns back into images where they came from: the adjoint of `im2col`.

    Parameters
    ----------
    cols : ndarray, shape (C * h_filter * w_filter, H_out * W_out * N), float32 or float64
        Columns in the order of `im2col`.
    x_shape : tuple of int
        Shape (N, C, H, W) of the images.
    h_filter, w_filter, padding, stride : int
        As in `im2col`.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Each pixel is the sum of its entries in `cols`, formed in the order of (i, j).

    Raises
    ------
    DTypeError, ShapeError, ValueError, MemoryError
        As `im2col`; ShapeError also for columns that do not fit `x_shape`.
    """
    cols = check_array("cols", cols, 2)
    windows = check_windows(x_shape, {"h_filter": h_filter, "w_filter": w_filter}, padding, stride)
    check_columns(cols.shape, windows)
    cols = as_contiguous(cols)
    dx = np.empty(windows.x_shape, cols.dtype)
    _im2col.col2im(cols.reshape(-1), np.empty(dx.size, cols.dtype), dx.reshape(-1), windows)
    return dx
