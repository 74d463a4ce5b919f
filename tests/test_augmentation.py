"""Transforms: each against its closed form or a twin made of NumPy, its draws, its description, and bad input."""

import dataclasses
import json

import numpy as np
import pytest

from cnn_ext import DTypeError, ShapeError, reference
from cnn_ext.augmentation import (
    TRANSFORM_TYPES,
    Compose,
    Cutout,
    ElasticDistortion,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    Transform,
    from_config,
)

TRANSFORMS = [
    RandomAffine(15, 2.5, 0.15, 10, 0.25),
    ElasticDistortion(20, 4),
    RandomErasing(0.7, fill=0.5),
    Cutout(5, 0.5),
    RandomCrop(3, fill=-1),
    RandomFlip(),
    Compose([RandomAffine(rotation=10), ElasticDistortion(8, 2), RandomFlip(0.3), Cutout(3)]),
    Compose(()),
]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERY = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
NUMBERED = np.arange(1.0, 1 + 3000 * 30).reshape(3000, 1, 5, 6)  # every pixel tells where it comes from


def test_every_transform_is_tested_below():
    assert {type(t) for t in TRANSFORMS} == set(TRANSFORM_TYPES.values())


@EVERY
@DTYPES
def test_a_call_gives_a_new_array_and_writes_to_nothing(transform, dtype, rng):
    X = rng.standard_normal((6, 3, 12, 10)).astype(dtype)
    X.flags.writeable = False
    out = transform(X, rng)
    assert out.shape == X.shape and out.dtype == X.dtype and out.flags.c_contiguous
    assert not np.shares_memory(out, X)
    assert transform(X[:0], rng).shape == (0, 3, 12, 10)


@EVERY
def test_memory_layout_does_not_matter(transform, layout, rng):
    X = rng.standard_normal((4, 2, 9, 8)).astype(np.float32)
    out = transform(layout(X), 3)
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, transform(X, 3), strict=True)


@EVERY
def test_the_seed_alone_decides(transform, rng):
    X = rng.standard_normal((8, 1, 10, 11)).astype(np.float32)
    assert transform(X, 1).tobytes() == transform(X, np.random.default_rng(1)).tobytes()
    assert transform(X, 1).tobytes() != transform(X, 2).tobytes() or transform == Compose(())


@pytest.mark.parametrize(
    "transform", [t for t in TRANSFORMS if "Elastic" not in repr(t)], ids=lambda t: type(t).__name__
)
def test_draws_depend_on_neither_the_dtype_nor_the_channels(transform, rng):
    X = rng.integers(0, 2, (8, 1, 10, 11)).astype(np.float64)
    out = transform(X, 1)
    # Bilinear between 0 and 1, at places that differ by rounding: a few ulp of 11. (Elastic fields have the images' dtype.)
    np.testing.assert_allclose(transform(X.astype(np.float32), 1), out, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(transform(np.repeat(X, 3, 1), 1), np.repeat(out, 3, 1))


@EVERY
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_become_a_number(transform, value, rng):
    marked = transform(np.full((4, 1, 8, 8), 7.0), 1)  # 7 is none of the fills
    out = transform(np.full((4, 1, 8, 8), value), 1)
    np.testing.assert_array_equal(np.isfinite(out[marked == 7]), False)
    assert (marked == 7).any()


@EVERY
def test_a_description_survives_json(transform, rng):
    config = json.loads(json.dumps(transform.config()))
    assert config["type"] == type(transform).__name__
    made = from_config(config)
    assert made == transform and hash(made) == hash(transform)
    assert eval(repr(transform)) == transform


@EVERY
def test_transforms_are_immutable(transform):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(transform, dataclasses.fields(transform)[0].name, 1)


@EVERY
def test_bad_images(transform):
    for X, error, message in [
        (np.zeros((4, 8, 8)), ShapeError, "X must be 4-D"),
        (np.zeros((4, 1, 0, 8)), ShapeError, r"X must have shape \(N, C, H, W\)"),
        (np.zeros((4, 1, 8, 8), np.uint8), DTypeError, "X must be float32 or float64, got uint8"),
        ([[[[0.0]]]], DTypeError, "X must be a numpy.ndarray, got list"),
    ]:
        with pytest.raises(error, match=message):
            transform(X, 1)
    with pytest.raises(DTypeError, match="rng must be a"):
        transform(np.zeros((1, 1, 8, 8)), "1")


def test_affine_without_ranges_changes_no_bit(rng):
    X = rng.standard_normal((3, 2, 8, 9)).astype(np.float32)
    assert RandomAffine()(X, rng).tobytes() == X.tobytes()


@DTYPES
def test_affine_equals_the_composed_maps(dtype, rng):
    X = rng.standard_normal((20, 2, 28, 20)).astype(dtype)
    angle, factor, lean, down, right = np.random.default_rng(5).uniform(-1, 1, (20, 5)).T
    matrices = []
    for i in range(20):
        a = np.radians(30 * angle[i])
        shear = np.array([[1, 0, 0], [np.tan(np.radians(10 * lean[i])), 1, 0], [0, 0, 1]])
        scale = np.diag([1 + 0.2 * factor[i], 1 + 0.2 * factor[i], 1])
        # Counter-clockwise to the eye: the pixel on the right (column > 0) rises (row < 0).
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        shift = np.array([[1, 0, 3 * down[i]], [0, 1, 3 * right[i]], [0, 0, 1]])
        matrices.append(np.linalg.inv(shift @ turn @ scale @ shear)[:2])
    expected = reference.warp_affine(X, np.array(matrices), 0.5)
    out = RandomAffine(30, 3, 0.2, 10, fill=0.5)(X, np.random.default_rng(5))
    # The matrices differ by rounding, places by a few ulp of 28, numbers by that times their differences (< 10).
    np.testing.assert_allclose(out, expected, rtol=0, atol=2000 * np.finfo(dtype).eps, strict=True)


@pytest.mark.slow
def test_affine_fills_its_ranges():
    # A ramp tells what was sampled: of (row, column) in the middle, the matrix row that leads to it.
    n = 41
    ramp = np.indices((n, n)).astype(float) - n // 2
    X = np.repeat(ramp[None], 4000, 0)
    m, rng = n // 2, np.random.default_rng(11)
    shifts = RandomAffine(translation=6)(X, rng)[:, :, m, m]
    assert abs(shifts).max() <= 6 and (abs(shifts).max(0) > 5.95).all()
    # Uniform: variance 6**2 / 3 = 12; its estimate from 4000 draws has a standard deviation of 0.17.
    np.testing.assert_allclose(shifts.var(0), 12, atol=0.8)
    out = RandomAffine(rotation=20)(X, rng)
    degrees = np.degrees(np.arctan2(out[:, 0, m, m + 1], out[:, 1, m, m + 1]))
    assert 19.9 < degrees.max() <= 20 + 1e-9 and -20 - 1e-9 <= degrees.min() < -19.9
    factors = 1 / RandomAffine(scale=0.3)(X, rng)[:, 0, m + 1, m]
    assert 0.7 - 1e-9 <= factors.min() < 0.701 and 1.299 < factors.max() <= 1.3 + 1e-9
    leaning = RandomAffine(shear=20)(X, rng)[:, 1, m + 1, m]
    assert abs(leaning).max() <= np.tan(np.radians(20)) + 1e-9 and leaning.min() < -0.36 < 0.36 < leaning.max()


@DTYPES
def test_elastic_equals_its_twin_to_the_bit(dtype, rng):
    X = rng.standard_normal((5, 2, 28, 20)).astype(dtype)
    field = 2 * np.random.default_rng(3).random((5, 2, 28, 20), dtype) - 1
    expected = reference.warp_flow(X, dtype(7.5) * reference.gaussian_blur(field, 2.5), 0.5)
    np.testing.assert_array_equal(ElasticDistortion(7.5, 2.5, 0.5)(X, np.random.default_rng(3)), expected, strict=True)


def test_elastic_shifts_by_as_much_as_it_says():
    X = np.repeat(np.indices((61, 61)).astype(float)[None], 50, 0)
    out = ElasticDistortion(30, 4)(X, 7)
    shifts = (out - X)[:, :, 20:41, 20:41]
    # 50 fields of about 5 independent numbers squared, 2 directions: the estimate is good to 3 %.
    np.testing.assert_allclose(shifts.std(), 0.163 * 30 / 4, rtol=0.1)
    np.testing.assert_array_equal(ElasticDistortion(0, 4)(X, 7), X)
    assert (ElasticDistortion(1e308, 0.1, fill=-1)(np.full((1, 1, 2, 2), 5, np.float32), 7) == -1).all()


def erased_boxes(transform, X=NUMBERED, seed=9):
    """Return the rows, columns and share of what was erased in each image, which must be a full rectangle."""
    out = transform(X, seed)
    erased = (out != X)[:, 0]
    assert (out[:, 0][erased] == transform.fill).all()
    rows, columns = erased.any(2), erased.any(1)
    np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None, :])
    for inside in (rows, columns):  # one stretch each
        assert (np.diff(np.pad(inside.astype(int), ((0, 0), (1, 1)))) > 0).sum(1).max() <= 1
    return rows, columns, erased.mean((1, 2))


def test_erasing_covers_what_it_says():
    X = np.ones((4000, 1, 40, 40))
    rows, columns, share = erased_boxes(RandomErasing(0.25, (0.05, 0.2), (0.5, 2.0)), X)
    chosen = share > 0
    assert abs(chosen.mean() - 0.25) < 0.03  # 4 standard deviations of 0.007
    height, width, share = rows.sum(1)[chosen], columns.sum(1)[chosen], share[chosen]
    # Sides are rounded to whole pixels: by half of one in 9.
    assert 0.045 < share.min() < 0.06 and 0.19 < share.max() < 0.22
    assert 0.45 < (height / width).min() < 0.6 and 1.7 < (height / width).max() < 2.25
    assert abs(np.log(height / width).mean()) < 0.06  # 0.013 * 4
    assert rows[:, 0].any() and rows[:, -1].any() and columns[:, 0].any() and columns[:, -1].any()


def test_erasing_extremes():
    assert erased_boxes(RandomErasing(0))[2].max() == 0
    assert erased_boxes(RandomErasing(1, (1, 1), (6 / 5, 6 / 5)))[2].min() > 0.8
    # As wide as it must be, but not wider than the image; at least one pixel.
    rows, columns, _ = erased_boxes(RandomErasing(1, (0.5, 0.5), (1e-9, 1e-9)))
    assert (rows.sum(1) == 1).all() and columns.all()
    rows, columns, _ = erased_boxes(RandomErasing(1, (1e-9, 1e-9), (1, 1)))
    assert (rows.sum(1) == 1).all() and (columns.sum(1) == 1).all()
    assert (rows.sum(0) > 500).all() and (columns.sum(0) > 400).all()  # of 3000: 600 and 500 each, +-22


@pytest.mark.parametrize("size", [1, 2, 3, 4, 20])
def test_cutout_is_a_square_around_any_pixel(size):
    rows, columns, _ = erased_boxes(Cutout(size, fill=-1))
    for inside, side in ((rows, 5), (columns, 6)):
        possible = {
            tuple(p - size // 2 <= i < p - size // 2 + size for i in range(side))
            for p in range(side)  # the middle pixel
        }
        assert {tuple(row) for row in inside.tolist()} == possible
    share = erased_boxes(Cutout(2, 0.3))[2]
    assert abs((share > 0).mean() - 0.3) < 0.034  # 4 standard deviations


def test_crop_is_a_shift_by_whole_pixels():
    out = RandomCrop(2, fill=-1)(NUMBERED, 4)
    padded = np.pad(NUMBERED, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=-1)
    counts = np.zeros((5, 5), int)
    for i in range(len(out)):
        fits = [(t, l) for t in range(5) for l in range(5) if (padded[i, 0, t : t + 5, l : l + 6] == out[i, 0]).all()]  # noqa: E741
        assert len(fits) == 1
        counts[fits[0]] += 1
    assert abs(counts - 120).max() < 45  # 4 standard deviations of 11
    assert RandomCrop(0)(NUMBERED, 4).tobytes() == NUMBERED.tobytes()


def test_flip_mirrors_left_to_right():
    out = RandomFlip(0.3)(NUMBERED, 4)
    flipped = (out != NUMBERED).any((1, 2, 3))
    np.testing.assert_array_equal(out[flipped], NUMBERED[flipped, :, :, ::-1])
    assert abs(flipped.mean() - 0.3) < 0.034  # 4 standard deviations
    assert RandomFlip(0)(NUMBERED, 4).tobytes() == NUMBERED.tobytes()
    assert RandomFlip(1)(NUMBERED, 4).tobytes() == NUMBERED[..., ::-1].tobytes()


def test_compose_applies_in_order_from_one_generator(rng):
    X = rng.standard_normal((4, 1, 9, 9))
    generator = np.random.default_rng(2)
    expected = Cutout(3)(RandomFlip()(X, generator), generator)
    assert Compose([RandomFlip(), Cutout(3)])(X, 2).tobytes() == expected.tobytes()


def test_compose_is_flat():
    a, b, c = RandomFlip(), Cutout(2), RandomCrop(1)
    assert Compose([a, Compose((b, Compose([c])))]).transforms == (a, b, c)


@dataclasses.dataclass(frozen=True)
class Darker(Transform):
    def _apply(self, X, rng):
        return X / 2


def test_a_transform_of_ones_own(rng):
    X = rng.standard_normal((2, 1, 3, 3))
    composed = Compose([Darker(), RandomFlip(1)])
    np.testing.assert_array_equal(composed(X, rng), X[..., ::-1] / 2)
    with pytest.raises(ValueError, match="got 'Darker'"):
        from_config(composed.config())


BAD_FIELDS = [
    (RandomAffine, {"rotation": 181}, ValueError, r"rotation must be in \[0, 180\], got 181.0"),
    (RandomAffine, {"rotation": -1}, ValueError, "rotation must be in"),
    (RandomAffine, {"rotation": np.nan}, ValueError, "rotation must be in"),
    (RandomAffine, {"rotation": "15"}, DTypeError, "rotation must be a number, got str"),
    (RandomAffine, {"translation": np.inf}, ValueError, r"translation must be in \[0, inf\), got inf"),
    (RandomAffine, {"scale": 1.0}, ValueError, r"scale must be in \[0, 1\), got 1.0"),
    (RandomAffine, {"scale": -0.1}, ValueError, "scale must be in"),
    (RandomAffine, {"shear": 90}, ValueError, r"shear must be in \[0, 90\), got 90.0"),
    (RandomAffine, {"fill": np.nan}, ValueError, "fill must be in"),
    (RandomAffine, {"fill": 1e39}, ValueError, r"fill must be in \(-3.4e38, 3.4e38\), got 1e\+39"),
    (ElasticDistortion, {"alpha": 1, "sigma": 4, "fill": -1e39}, ValueError, "fill must be in"),
    (RandomErasing, {"fill": 1e39}, ValueError, "fill must be in"),
    (Cutout, {"size": 2, "fill": 1e39}, ValueError, "fill must be in"),
    (RandomCrop, {"padding": 2, "fill": 1e39}, ValueError, "fill must be in"),
    (ElasticDistortion, {"alpha": -1, "sigma": 4}, ValueError, r"alpha must be in \[0, inf\)"),
    (ElasticDistortion, {"alpha": 1, "sigma": 0}, ValueError, r"sigma must be in \(0, 1000\]"),
    (RandomErasing, {"probability": 1.5}, ValueError, r"probability must be in \[0, 1\]"),
    (RandomErasing, {"area": (0, 0.5)}, ValueError, r"area\[0\] must be in \(0, 1\], got 0"),
    (RandomErasing, {"area": (0.5, 0.2)}, ValueError, r"area must be \(lowest, highest\), got \(0.5, 0.2\)"),
    (RandomErasing, {"area": 0.2}, DTypeError, r"area must be a tuple \(lowest, highest\), got 0.2"),
    (RandomErasing, {"aspect": (0.3, np.inf)}, ValueError, r"aspect\[1\] must be in \(0, inf\)"),
    (RandomErasing, {"aspect": (1, 2, 3)}, DTypeError, "aspect must be a tuple"),
    (Cutout, {"size": 0}, ValueError, "size must be >= 1, got 0"),
    (Cutout, {"size": 2.0}, DTypeError, "size must be an int, got float"),
    (RandomCrop, {"padding": -1}, ValueError, "padding must be >= 0, got -1"),
    (RandomCrop, {"padding": 2**22 + 1}, ValueError, "padding must be <= 4194304"),
    (RandomFlip, {"probability": True}, DTypeError, "probability must be a number, got bool"),
    (
        Compose,
        {"transforms": RandomFlip()},
        DTypeError,
        "transforms must be a list or tuple of transforms, got RandomFlip",
    ),
    (Compose, {"transforms": [RandomFlip(), None]}, DTypeError, r"transforms\[1\] must be a Transform, got NoneType"),
]


@pytest.mark.parametrize(("kind", "values", "error", "message"), BAD_FIELDS)
def test_bad_fields(kind, values, error, message):
    with pytest.raises(error, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (None, DTypeError, "config must be a dict, got NoneType"),
        ({}, ValueError, "must be one of Compose, Cutout, .*RandomFlip, got None"),
        ({"type": "Blur"}, ValueError, "must be one of Compose, Cutout, .*RandomFlip, got 'Blur'"),
        ({"type": ["Cutout"]}, ValueError, r"got \['Cutout'\]"),
        ({"type": "Cutout"}, ValueError, "Cutout needs size"),
        (
            {"type": "Cutout", "size": 3, "side": 3, 1: 2},
            ValueError,
            "Cutout has no 1, side: its fields are size, prob",
        ),
        ({"type": "Cutout", "size": -3}, ValueError, "size must be >= 1"),
        ({"type": "Compose", "transforms": 3}, DTypeError, "transforms must be a list or tuple"),
        ({"type": "Compose", "transforms": [3]}, DTypeError, "config must be a dict, got int"),
    ],
    ids=str,
)
def test_bad_descriptions(config, error, message):
    with pytest.raises(error, match=message):
        from_config(config)
