"""What layers compute with: the compiled kernels, with their buffers.

Nothing here checks its arguments: that is done once, by the public kernels and the layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compiled import _conv, _matmul, _norm
from ._types import Array
from ._windows import TILE_RESULTS, Windows, winograd_tile
from .turns import Turn, in_turn

LARGEST_POOL: int = _conv.MAX_POOL
"""Side of the largest pooling window that an engine takes."""


class Buffers:
    """Arrays by name that are made when they are first needed, and kept for the next call of an engine.

    The engine gives images, perhaps pooled: `pool` is the windows' side, 1 for none.
    """

    def __init__(self, dtype: np.dtype[Any], relu: bool, pool: int) -> None:
        self.dtype = dtype
        self.relu: bool = relu
        self.pool: int = pool
        self._buffers: dict[str, Array] = {}

    def _buffer(self, name: str, size: int, dtype: Any = None) -> Array:
        """Return a flat buffer of `size`, new and zero only where the kept one is too small."""
        kept = self._buffers.get(name)
        if kept is None or kept.size < size:
            kept = self._buffers[name] = _aligned_zeros(size, np.dtype(dtype or self.dtype))
        return kept[:size]

    def _result(self, n: int, channels: int, height: int, width: int, last: bool) -> Array:
        """Return room for the results of n maps: channels last in a kept buffer, or a new array of (N, C, H, W)."""
        h_out, w_out = height // self.pool, width // self.pool
        if last:
            return self._buffer("out", n * h_out * w_out * channels).reshape(n, h_out, w_out, channels)
        return np.empty((n, channels, h_out, w_out), self.dtype)

    def _places(self, size: int) -> Array:
        """Return room for the winners' places of so many results; none without pooling."""
        return self._buffer("places", size if self.pool > 1 else 0, np.uint8)


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Return zeros that start at a cache line, so that vectors do not lie across two."""
    room = np.zeros(size * dtype.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * dtype.itemsize].view(dtype)


def fastest_tile(windows: Windows, n_filter: int) -> int:
    """Return the tile with which a convolution is fastest, 0 for directly: a rule on its shape, measured once.

    Winograd's method must save half of the products, which small images do not where tiles stick out over their edges;
    and it turns pixels and results in as many channels and filters as they have, which must not be too few to spread
    that over.
    """
    tile = winograd_tile(windows)
    if tile == 0 or windows.n_channels < (8 if tile == 6 else 4) or n_filter < 4:
        return 0
    n_tiles = -(-windows.h_out // TILE_RESULTS) * -(-windows.w_out // TILE_RESULTS)
    products = windows.h_out * windows.w_out * windows.h_window * windows.w_window
    return tile if 2 * n_tiles * tile**2 <= products else 0


class ConvEngine(Buffers):
    """The compiled convolution with its buffers, for one geometry; optionally with ReLU and max-pooling in one pass.

    Images may come and go channels last, (N, H, W, C), which saves turning them between two convolutions.

    Parameters
    ----------
    windows : Windows
        Geometry of the convolution; its number of images is ignored.
    n_filter : int
    dtype : numpy dtype
        float32 or float64.
    relu : bool
    pool : int
        Side of the pooling windows, their stride as well; 1 for none.
    tile : int
        Side of the tiles of pixels for Winograd's method (`winograd_tile`); 0: directly. `pool` must then divide 4.
    """

    def __init__(
        self,
        windows: Windows,
        n_filter: int,
        dtype: np.dtype[Any],
        relu: bool = False,
        pool: int = 1,
        tile: int = 0,
    ) -> None:
        super().__init__(dtype, relu, pool)
        self.windows: Windows = windows
        self.n_filter: int = n_filter
        self.tile: int = tile
        self.trained_on: int | None = None
        """Images of the last forward pass in training; None if there is none to go back from."""
        self._out: Any = None
        self._out_last = self._last = False
        self._turn = Turn("layer")

    @in_turn
    def forward(
        self, x: Array, w: Array, b: Array, *, training: bool, last: bool = False, out_last: bool = False
    ) -> Array:
        """Return the result for images `x`; `last` and `out_last` say whether channels are last in `x`, the result.

        A result with channels last is the engine's own buffer, overwritten by the next call.
        """
        n = len(x)
        windows = self._windows_of(n)
        self.trained_on, self._out = None, None  # until the end of this pass: it may be interrupted
        padded_size, packed_size, _, scratch_size, *_ = self._sizes(windows)
        padded, packed = self._buffer("padded", padded_size), self._buffer("forward", packed_size)
        out = self._result(n, self.n_filter, windows.h_out, windows.w_out, out_last)
        _conv.forward(
            windows,
            self.relu,
            self.pool,
            self.tile,
            x.reshape(-1),
            last,
            w.reshape(-1),
            b,
            padded,
            self._wild(n),
            packed,
            self._buffer("tiles", scratch_size, np.uint8),
            out.reshape(-1),
            out_last,
            self._places(out.size),
        )
        self.trained_on = n if training else None
        self._out, self._out_last, self._last = out if training else None, out_last, last
        return out

    @in_turn
    def pad(self, x: Array) -> None:
        """Do of `forward` what `backward` needs of it, for a convolution without pooling."""
        windows = self._windows_of(len(x))
        padded = self._buffer("padded", self._sizes(windows)[0])
        _conv.pad_images(windows, self.n_filter, self.tile, x.reshape(-1), padded, self._wild(len(x)))
        self.trained_on, self._out, self._out_last, self._last = len(x), None, False, False

    @in_turn
    def backward(self, dout: Array, w: Array, *, need_dx: bool = True) -> tuple[Array, Array, Array]:
        """Return (dx, dw, db), axes in the order of the last forward pass; without `need_dx`, dx is empty.

        A dx with channels last is the engine's own buffer, overwritten by the next call.
        """
        windows = self._windows_of(self.trained_on or 0)
        padded_size, _, packed_size, _, scratch_size, partial_size = self._sizes(windows)
        if not need_dx:
            dx = np.empty(0, self.dtype)
        elif self._last:
            n, channels, height, width = windows.x_shape
            dx = self._buffer("dx", n * channels * height * width).reshape(n, height, width, channels)
        else:
            dx = np.empty(windows.x_shape, self.dtype)
        dw, db = np.empty(w.shape, self.dtype), np.empty(self.n_filter, self.dtype)
        _conv.backward(
            windows,
            self.relu,
            self.pool,
            self.tile,
            dout.reshape(-1),
            self._out.reshape(-1) if self.relu else np.empty(0, self.dtype),
            self._out_last,
            self._places(dout.size),
            self._buffer("padded", padded_size),
            self._wild(windows.n_images),
            w.reshape(-1),
            self._buffer("back", packed_size),
            self._buffer("scratch", scratch_size, np.uint8),
            self._buffer("partial", partial_size),
            dw.reshape(-1),
            db,
            dx.reshape(-1),
            self._last,
        )
        return dx, dw, db

    def _wild(self, n_images: int) -> Array:
        """Return room for whether each image must be computed directly; none without tiles."""
        return self._buffer("wild", n_images if self.tile else 0, np.uint8)

    def _windows_of(self, n_images: int) -> Windows:
        if n_images != self.windows.n_images:
            self.windows = self.windows._replace(n_images=n_images)
        return self.windows

    def _sizes(self, windows: Windows) -> tuple[int, int, int, int, int, int]:
        return _conv.buffer_sizes(self.dtype.itemsize, windows, self.n_filter, self.relu, self.pool, self.tile)


class NormEngine(Buffers):
    """The compiled batch normalization with its buffers; optionally with ReLU and max-pooling in one pass.

    Images are (N, H, W, C) inside; rows of features are images of one pixel.

    Parameters
    ----------
    dtype : numpy dtype
        float32 or float64.
    relu : bool
    pool : int
        Side of the pooling windows, their stride as well; 1 for none.
    """

    def __init__(self, dtype: np.dtype[Any], relu: bool = False, pool: int = 1) -> None:
        super().__init__(dtype, relu, pool)
        nothing: Array = np.empty(0, dtype)
        self._z = self._mean = self._out = nothing
        self._out_last = False

    def keep(self, z: Array) -> Array:
        """Return a copy of the images `z` in a buffer, channels last in memory."""
        kept = self._buffer("z", z.size).reshape(z.shape)
        kept[...] = z
        return kept

    def moments(self, z: Array) -> tuple[Array, Array]:
        """Return the mean and the sum of squares about it of each image and channel, both of shape (N, C)."""
        mean, squares = np.empty((2, z.shape[0], z.shape[3]), self.dtype)
        _norm.moments(z, mean, squares)
        return mean, squares

    def forward(self, z: Array, mean: Array, scale: Array, shift: Array, out_last: bool = False) -> Array:
        """Return (z - mean) * scale + shift, rectified and pooled as the engine is; `z` is kept for the way back.

        A result with channels last is the engine's own buffer, overwritten by the next call.
        """
        n, height, width, channels = z.shape
        out = self._result(n, channels, height, width, out_last)
        _norm.forward(z, mean, scale, shift, self.relu, self.pool, out.reshape(-1), out_last, self._places(out.size))
        self._z, self._mean, self._out, self._out_last = z, mean, out, out_last
        return out

    def gradient(self, dout: Array) -> tuple[Array, Array]:
        """Return the gradient g of the normalized images, a buffer like z, and sums over all pixels, in float64.

        The sums, of shape (2, C), are of g and of g * (z - mean).
        """
        z = self._z
        g = self._buffer("g", z.size).reshape(z.shape)
        sums = np.empty((len(z), 2, z.shape[3]), self.dtype)
        places = self._places(dout.size)
        _norm.gradient(
            z,
            self._mean,
            self.relu,
            self.pool,
            dout.reshape(-1),
            self._out.reshape(-1),
            self._out_last,
            places,
            g,
            sums,
        )
        return g, sums.sum(axis=0, dtype=np.float64)

    def through(self, scale: Array, offset: Array, slope: Array) -> Array:
        """Return scale * (g - offset - (z - mean) * slope) in the place of `gradient`'s g."""
        g = self._buffer("g", self._z.size).reshape(self._z.shape)
        _norm.through(self._z, self._mean, scale, offset, slope, g)
        return g


def dense_forward(x: Array, w: Array, b: Array) -> Array:
    """Return x @ w + b for x (N, inputs), w (inputs, outputs), b (outputs,), all C-contiguous and of one dtype.

    Each number is summed in the order of the inputs: the same bits for a row alone and in a batch, and for any number
    of threads.
    """
    out = np.empty((len(x), w.shape[1]), w.dtype)
    _multiply(x, False, w, b, out, False)
    return out


def dense_backward(dout: Array, x: Array, w: Array, *, need_dx: bool = True) -> tuple[Array, Array, Array]:
    """Return the gradients (dx, dw, db) of `dense_forward`; without `need_dx`, dx is empty."""
    dw = np.empty(w.shape, w.dtype)
    if len(x) == 0:
        dw[...] = 0
        return np.empty(x.shape if need_dx else 0, w.dtype), dw, np.zeros(w.shape[1], w.dtype)
    no_bias: Array = np.empty(0, w.dtype)
    _multiply(x, True, dout, no_bias, dw, False)
    dx = np.empty(x.shape if need_dx else 0, w.dtype)
    if need_dx:
        _multiply(w, False, dout.T, no_bias, dx, True)  # w @ dout.T, stored the other way round
    return dx, dw, dout.sum(axis=0)


def _multiply(a: Array, a_transposed: bool, b: Array, bias: Array, c: Array, c_transposed: bool) -> None:
    """c = a @ b + bias; see `_matmul.multiply`."""
    n_terms, n_columns = b.shape
    b = np.ascontiguousarray(b)
    n_rows = a.shape[1] if a_transposed else a.shape[0]
    _matmul.multiply(
        n_rows, n_columns, n_terms, a.reshape(-1), a_transposed, b.reshape(-1), bias, c.reshape(-1), c_transposed
    )
