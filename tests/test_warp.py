"""Resampling and blur: against their NumPy twins to the bit, closed forms, and arguments that do not fit."""

import numpy as np
import pytest

from cnn_ext import DTypeError, ShapeError, kernels, reference

MODULES = pytest.mark.parametrize("module", [kernels, reference])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# More than the 64 pixels that are placed at once, one pixel, several channels, no image.
SHAPES = pytest.mark.parametrize(
    "shape", [(5, 1, 28, 28), (3, 3, 7, 130), (2, 2, 1, 1), (4, 1, 9, 2), (0, 1, 3, 3)], ids=str
)

IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])


def turned(degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[[cos, sin, 0], [-sin, cos, 0]]])


@SHAPES
@DTYPES
def test_warps_equal_their_twins_to_the_bit(shape, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    matrix = rng.standard_normal((shape[0], 2, 3)) * [1, 1, 4]
    expected = reference.warp_affine(x, matrix, 0.25)
    np.testing.assert_array_equal(kernels.warp_affine(x, matrix, 0.25), expected, strict=True)
    flow = (4 * rng.standard_normal((shape[0], 2, *shape[2:]))).astype(dtype)
    expected = reference.warp_flow(x, flow, -0.5)
    np.testing.assert_array_equal(kernels.warp_flow(x, flow, -0.5), expected, strict=True)


@SHAPES
@DTYPES
@pytest.mark.parametrize("sigma", [1e-3, 0.6, 4, 40.0])
def test_blur_equals_its_twin_to_the_bit(shape, dtype, sigma, rng):
    x = rng.standard_normal(shape).astype(dtype)
    expected = reference.gaussian_blur(x, sigma)
    np.testing.assert_array_equal(kernels.gaussian_blur(x, sigma), expected, strict=True)


def test_memory_layout_does_not_matter(layout, rng):
    x, matrix = rng.standard_normal((2, 3, 6, 5)).astype(np.float32), rng.standard_normal((2, 2, 3))
    flow = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    for kernel, *arguments in [
        (kernels.warp_affine, x, matrix),
        (kernels.warp_flow, x, flow),
        (kernels.gaussian_blur, x),
    ]:
        given = [layout(a) for a in arguments]
        before = [a.tobytes() for a in given]
        rest = (1.5,) if kernel is kernels.gaussian_blur else ()
        np.testing.assert_array_equal(kernel(*given, *rest), kernel(*arguments, *rest), strict=True)
        assert [a.tobytes() for a in given] == before


@MODULES
@DTYPES
def test_whole_steps_change_no_bit(module, dtype, rng):
    # -0.0, NaN and infinity included, which sums with a weight of 0 would not survive.
    x = rng.standard_normal((2, 2, 7, 10)).astype(dtype)
    x[0, 0, 2, 3:6] = [-0.0, np.nan, np.inf]
    assert module.warp_affine(x, np.repeat(IDENTITY, 2, 0), 9).tobytes() == x.tobytes()
    assert module.warp_flow(x, np.zeros((2, 2, 7, 10), dtype), 9).tobytes() == x.tobytes()
    moved = np.full_like(x, 9)
    moved[:, :, :-2, 3:] = x[:, :, 2:, :-3]
    step = np.repeat(IDENTITY + np.array([[0, 0, 2], [0, 0, -3]]), 2, 0)
    assert module.warp_affine(x, step, 9).tobytes() == moved.tobytes()
    flow = np.zeros((2, 2, 7, 10), dtype)
    flow[:, 0], flow[:, 1] = 2, -3
    assert module.warp_flow(x, flow, 9).tobytes() == moved.tobytes()


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, -1)])
def test_quarter_turns(degrees, turns, rng):
    x = rng.standard_normal((1, 2, 9, 9))
    # cos(90 degrees) is 6e-17 in float64: places are off by 1e-15 pixels, numbers by that times their differences (< 8).
    np.testing.assert_allclose(kernels.warp_affine(x, turned(degrees)), np.rot90(x, turns, (2, 3)), rtol=0, atol=2e-14)


@DTYPES
def test_a_linear_ramp_stays_linear_inside(dtype):
    n = 21
    rows, columns = (np.indices((n, n)) - (n - 1) / 2).astype(dtype)
    x = (2 * rows - 3 * columns + 5)[None, None]
    matrix = np.array([[[0.5, 0.3, 1.2], [-0.4, 0.6, -0.7]]])
    at_rows, at_columns = (m[0] * rows + m[1] * columns + m[2] for m in matrix[0])
    inside = np.maximum(abs(at_rows), abs(at_columns)) <= (n - 1) / 2
    assert inside.sum() > 300 and not inside.all()
    # Places to 2 ulp of 22, times the slope of 5, and three roundings of numbers up to 55.
    tolerance = 40 * 22 * np.finfo(dtype).eps
    ramp = 2 * at_rows - 3 * at_columns + 5
    np.testing.assert_allclose(kernels.warp_affine(x, matrix)[0, 0][inside], ramp[inside], rtol=0, atol=tolerance)


@MODULES
def test_a_pixel_half_outside_blends_with_the_fill(module):
    x = np.full((1, 1, 2, 3), 8.0)
    flow = np.zeros((1, 2, 2, 3))
    flow[0, 1] = [[-0.25, 0.0, 0.5], [-1.0, 0.5, 1.0]]
    assert module.warp_flow(x, flow, 4).tolist() == [[[[7, 8, 6], [4, 8, 4]]]]
    flow[0, 0, 0] = -0.5
    assert module.warp_flow(x, flow, 4)[0, 0, 0].tolist() == [5.5, 6, 5]


@MODULES
def test_a_constant_image_stays_constant(module, rng):
    x = np.full((1, 1, 8, 8), np.float32(0.1))
    flow = rng.uniform(-9, 9, (1, 2, 8, 8)).astype(np.float32)
    assert (module.warp_flow(x, flow, x[0, 0, 0, 0]) == x).all()


@MODULES
@DTYPES
@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**31), 2.0**63])
def test_places_far_away_are_outside(module, dtype, place):
    x = np.ones((1, 1, 3, 3), dtype)
    for axis in (0, 1):
        flow = np.zeros((1, 2, 3, 3), dtype)
        flow[0, axis, 1, 1] = place
        assert (module.warp_flow(x, flow, 5) == [[1, 1, 1], [1, 5, 1], [1, 1, 1]]).all()
        for column in range(3):
            matrix = IDENTITY.copy()
            matrix[0, axis, column] = place
            # The first pixel: in the middle row and column, `place` would be multiplied by 0.
            assert module.warp_affine(x, matrix, 5)[0, 0, 0, 0] == 5


def test_a_matrix_beyond_the_range_of_float32_leads_outside():
    x = np.ones((1, 1, 3, 3), np.float32)
    assert (kernels.warp_affine(x, IDENTITY + 1e300, 5) == 5).all()


@MODULES
def test_nan_goes_only_where_it_is_sampled(module):
    x = np.zeros((1, 1, 4, 5))
    x[0, 0, 1, 2] = np.nan
    flow = np.zeros((1, 2, 4, 5))
    flow[:, 1] = 0.5
    assert np.argwhere(np.isnan(module.warp_flow(x, flow)[0, 0])).tolist() == [[1, 1], [1, 2]]


@MODULES
def test_an_image_alone_and_in_a_batch_has_the_same_bits(module, rng):
    x, matrix = rng.standard_normal((6, 2, 11, 12)).astype(np.float32), rng.standard_normal((6, 2, 3))
    alone = [module.warp_affine(x[i : i + 1], matrix[i : i + 1]) for i in range(6)]
    np.testing.assert_array_equal(module.warp_affine(x, matrix), np.concatenate(alone), strict=True)


@MODULES
def test_blur_of_a_single_pixel_is_the_gaussian(module):
    x = np.zeros((1, 1, 31, 31))
    x[0, 0, 15, 15] = 1
    i = np.arange(-8, 9)  # 4 sigma
    weights = np.exp(-(i**2) / 8)
    expected = np.zeros((31, 31))
    expected[7:24, 7:24] = np.outer(weights, weights) / weights.sum() ** 2
    np.testing.assert_allclose(module.gaussian_blur(x, 2)[0, 0], expected, rtol=1e-14)  # a few roundings


def test_blur_of_no_images_takes_no_room():
    """Scratch for one plane of this size would be 64 TiB."""
    assert kernels.gaussian_blur(np.empty((0, 1, 2**22, 2**22), np.float32), 1.0).shape == (0, 1, 2**22, 2**22)


@MODULES
def test_blur_keeps_a_constant_inside_and_fades_at_the_border(module):
    blurred = module.gaussian_blur(np.ones((1, 1, 20, 20)), 1)[0, 0]
    np.testing.assert_allclose(blurred[4:-4, 4:-4], 1, rtol=1e-15 * 10)  # nine additions, twice
    np.testing.assert_allclose(blurred[0, 4:-4], 0.5 + 0.5 / sum(np.exp(-(np.arange(-4, 5) ** 2) / 2)), rtol=1e-14)


X, FLOW = np.zeros((2, 1, 4, 5), np.float32), np.zeros((2, 2, 4, 5), np.float32)
MATRIX = np.repeat(IDENTITY, 2, 0)
BAD = [
    ("warp_affine", (X[0], MATRIX), ShapeError, "x must be 4-D"),
    ("warp_affine", (X[:, :, :0], MATRIX), ShapeError, r"x must have shape \(N, C, H, W\) with C >= 1"),
    ("warp_affine", (X.astype(np.float16), MATRIX), DTypeError, "x must be float32 or float64, got float16"),
    ("warp_affine", (X.tolist(), MATRIX), DTypeError, "x must be a numpy.ndarray, got list"),
    ("warp_affine", (np.broadcast_to(X[:, :, :1, :1], (2, 1, 1, 2**22 + 1)), MATRIX), ShapeError, r"in \[1, 4194304\]"),
    ("warp_affine", (X, MATRIX[:1]), ShapeError, r"matrix must have shape \(2, 2, 3\), got \(1, 2, 3\)"),
    ("warp_affine", (X, MATRIX.astype(int)), DTypeError, "matrix must be float32 or float64, got int64"),
    (
        "warp_affine",
        (X.astype(float), MATRIX.astype(np.float32)),
        DTypeError,
        "matrix must have the dtype of x, float64",
    ),
    ("warp_affine", (X, MATRIX, np.nan), ValueError, "fill must be in"),
    ("warp_affine", (X, MATRIX, 3.5e38), ValueError, "fill must be in"),
    ("warp_affine", (X, MATRIX, "0"), DTypeError, "fill must be a number, got str"),
    ("warp_flow", (X, FLOW[:, :1]), ShapeError, r"flow must have shape \(2, 2, 4, 5\), got \(2, 1, 4, 5\)"),
    ("warp_flow", (X, FLOW[0]), ShapeError, "flow must be 4-D"),
    ("warp_flow", (X, FLOW.astype(float)), DTypeError, "flow must have the dtype of x, float32, got float64"),
    ("warp_flow", (X, FLOW, np.inf), ValueError, "fill must be in"),
    ("gaussian_blur", (X[0], 1.0), ShapeError, "x must be 4-D"),
    ("gaussian_blur", (X, 0.0), ValueError, r"sigma must be in \(0, 1000\], got 0.0"),
    ("gaussian_blur", (X, np.nan), ValueError, "sigma must be in"),
    ("gaussian_blur", (X, True), DTypeError, "sigma must be a number, got bool"),
]


@MODULES
@pytest.mark.parametrize(("name", "arguments", "error", "message"), BAD)
def test_bad_arguments(module, name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(module, name)(*arguments)
