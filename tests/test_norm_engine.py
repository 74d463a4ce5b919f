"""The compiled batch normalization is NumPy's to the bit: products and sums are rounded one by one, in one order."""

import numpy as np
import pytest

from cnn_ext.engine import NormEngine


def sum_of_pixels(values):
    """Sum (N, H, W, C) over the pixels of each image as the kernels do: pixel i to sum i % 4."""
    sums = np.zeros((4, len(values), values.shape[3]), values.dtype)
    for i, pixel in enumerate(values.reshape(len(values), -1, values.shape[3]).swapaxes(0, 1)):
        sums[i % 4] += pixel
    return (sums[0] + sums[1]) + (sums[2] + sums[3])


def moments(z):
    first = z[:, :1, :1]
    mean = first[:, 0, 0] + sum_of_pixels(z - first) / z.dtype.type(z.shape[1] * z.shape[2])
    return mean, sum_of_pixels((z - mean[:, None, None]) ** 2)


def forward_and_gradient(y, dout, relu, pool):
    """Return the result for normalized images, with channels last as all here, and the gradient of `y`."""
    n, height, width, channels = y.shape
    h_out, w_out = height // pool, width // pool
    windows = y[:, : h_out * pool, : w_out * pool].reshape(n, h_out, pool, w_out, pool, channels)
    windows = windows.transpose(0, 1, 3, 5, 2, 4).reshape(n, h_out, w_out, channels, pool * pool)
    winner = windows.argmax(axis=-1, keepdims=True)  # the first of the largest, a NaN over all
    out = np.take_along_axis(windows, winner, axis=-1)[..., 0]
    off = (out <= 0) & relu  # not for a NaN: its gradient goes through
    dwindows, g = np.zeros_like(windows), np.zeros_like(y)
    np.put_along_axis(dwindows, winner, np.where(off, 0, dout)[..., None], axis=-1)
    dwindows = dwindows.reshape(n, h_out, w_out, channels, pool, pool).transpose(0, 1, 4, 2, 5, 3)
    g[:, : h_out * pool, : w_out * pool] = dwindows.reshape(n, h_out * pool, w_out * pool, channels)
    return np.where(off, 0, out), g


@pytest.mark.parametrize("out_last", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("height", "width", "pool"), [(1, 1, 1), (5, 7, 1), (6, 8, 2), (5, 7, 2), (4, 5, 3), (17, 31, 15), (17, 33, 16)]
)
@pytest.mark.parametrize("channels", [1, 3, 8, 13, 32, 37])  # whole vectors, parts of one, both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_is_numpys_to_the_bit(dtype, channels, height, width, pool, relu, out_last, rng):
    z = rng.standard_normal((2, height, width, channels)).astype(dtype)
    mean, scale, shift, offset, slope = rng.standard_normal((5, channels)).astype(dtype)
    dout = rng.standard_normal((2, height // pool, width // pool, channels)).astype(dtype)
    z[0, ::2, ::3, ::2], dout[rng.random(dout.shape) < 0.2] = 0.5, -0.0  # two that win at once, and zeros with a sign
    for array in (z, dout):
        array[(rng.random(array.shape) < 0.1) & (np.arange(channels) % 2 == 1)] = np.nan  # and sums without
    y = (z - mean) * scale + shift
    out, g = forward_and_gradient(y, dout, relu, pool)
    order = (0, 1, 2, 3) if out_last else (0, 3, 1, 2)

    engine = NormEngine(np.dtype(dtype), relu, pool)
    for got, wanted in zip(engine.moments(z), moments(z), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(engine.forward(z, mean, scale, shift, out_last), out.transpose(order))
    engine._buffer("g", z.size)[...] = np.nan  # each number is written
    got, sums = engine.gradient(np.ascontiguousarray(dout.transpose(order)))
    assert got.tobytes() == g.tobytes()
    wanted = np.stack([sum_of_pixels(g), sum_of_pixels(g * (z - mean))], axis=1)
    np.testing.assert_array_equal(sums, wanted.sum(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(engine.through(scale, offset, slope), scale * (g - offset - (z - mean) * slope))


@pytest.mark.parametrize("pool", [0, 17])
def test_windows_whose_places_no_byte_holds_are_refused(pool, rng):
    z, row = rng.random((1, 34, 34, 1), np.float32), np.ones(1, np.float32)
    engine = NormEngine(np.dtype(np.float32), pool=17)
    engine.pool = pool
    with pytest.raises((ValueError, ZeroDivisionError), match=r"pool must be in|by zero"):
        engine.forward(z, row, row, row)
