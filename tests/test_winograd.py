"""Winograd's convolution: against its twin, the direct sums, and its own claims about rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn_ext
from cnn_ext import Conv, DTypeError, Maxpool, ReLU, ShapeError, kernels, reference
from cnn_ext._windows import check_winograd, winograd_tile
from cnn_ext.engine import ConvEngine
from cnn_ext.fusion import Block, find_steps

# (N, C, H, W), K, side, padding
GEOMETRIES = [
    ((7, 16, 14, 14), 32, 5, 2),
    ((3, 16, 28, 28), 16, 3, 1),
    ((2, 17, 9, 13), 33, 3, 0),
    ((1, 8, 6, 7), 8, 5, 0),
    ((12, 64, 7, 7), 64, 3, 1),
    ((5, 9, 11, 8), 10, 5, 4),
    ((13, 1, 3, 4), 1, 3, 2),
    ((2, 40, 5, 5), 3, 5, 2),
    ((3, 70, 5, 6), 67, 3, 1),  # enough weights to be packed by all threads
    ((0, 2, 4, 4), 3, 3, 1),
]


def make(shape, k, side, dtype, rng):
    arrays = rng.standard_normal(shape), rng.standard_normal((k, shape[1], side, side)), rng.standard_normal(k)
    return [array.astype(dtype) for array in arrays]


@pytest.fixture
def restore_threads():
    before = cnn_ext.get_num_threads()
    yield
    cnn_ext.set_num_threads(before)


def bounds(monkeypatch, dout, x, w, b, padding):
    """Bounds of the rounding errors of out, dx, dw and db: (terms of the longest sum + 60) * u * what the method gives for
    absolute values throughout. Each value on the way is a sum of such terms, and passes through at most 60 more roundings:
    four transforms of up to six terms, products and sums included, in two dimensions."""
    matrices = reference.winograd_matrices
    absolute = [np.abs(a).astype(np.float64) for a in (dout, x, w, b)]
    with monkeypatch.context() as patch:
        patch.setattr(reference, "winograd_matrices", lambda *n: tuple(np.abs(m) for m in matrices(*n)))
        sizes = [
            reference.winograd_conv2d_forward(*absolute[1:], padding),
            *reference.winograd_conv2d_backward(*absolute[:3], padding),
        ]
    terms = x.shape[1], w.shape[0], dout[:, 0].size, dout[:, 0].size
    unit = np.finfo(x.dtype).eps / 2
    return [(n + 60) * unit * size + np.finfo(x.dtype).tiny for n, size in zip(terms, sizes)]


def all_of(module, dout, x, w, b, padding):
    return [
        module.winograd_conv2d_forward(x, w, b, padding),
        *module.winograd_conv2d_backward(dout, x, w, padding),
    ]


def directly(module, dout, x, w, b, padding):
    return [module.conv2d_forward(x, w, b, padding, 1), *module.conv2d_backward(dout, x, w, padding, 1)]


def check(shape, k, side, padding, dtype, rng, monkeypatch):
    x, w, b = make(shape, k, side, dtype, rng)
    height, width = (size + 2 * padding - side + 1 for size in shape[2:])
    dout = rng.standard_normal((shape[0], k, height, width)).astype(dtype)
    exact = directly(reference, *(a.astype(np.float64) for a in (dout, x, w, b)), padding)
    limits = bounds(monkeypatch, dout, x, w, b, padding)
    for module in (kernels, reference):
        for got, wanted, limit in zip(all_of(module, dout, x, w, b, padding), exact, limits, strict=True):
            assert got.dtype == dtype and got.shape == wanted.shape and got.flags.c_contiguous
            assert (np.abs(got - wanted) <= 2 * limit).all()  # in float64 `exact` is rounded as well


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_kernels_and_twins_equal_the_direct_sums(geometry, dtype, rng, monkeypatch):
    check(*geometry, dtype, rng, monkeypatch)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_kernels_and_twins_equal_the_direct_sums_for_any_geometry(data):
    side = data.draw(st.sampled_from([3, 5]))
    padding = data.draw(st.integers(0, side - 1))
    smallest = max(1, side - 2 * padding)
    sides = [data.draw(st.integers(smallest, 13)) for _ in range(2)]
    shape = (data.draw(st.integers(0, 6)), data.draw(st.integers(1, 20)), *sides)
    with pytest.MonkeyPatch.context() as patch:
        check(shape, data.draw(st.integers(1, 19)), side, padding, np.float32, np.random.default_rng(0), patch)


@pytest.mark.parametrize(("side", "error"), [(3, 6e-7), (5, 2.4e-6)])
def test_errors_are_as_documented(side, error, rng):
    """Root mean squares, for one seed; with room for a processor without FMA."""
    x, w, b = make((4, 32, 14, 14), 32, side, np.float32, rng)
    dout = rng.standard_normal((4, 32, 14, 14)).astype(np.float32)
    exact = directly(reference, *(a.astype(np.float64) for a in (dout, x, w, b)), side // 2)
    for got, wanted in list(zip(all_of(kernels, dout, x, w, b, side // 2), exact))[:3]:
        assert np.sqrt(np.square(got - wanted).mean()) <= 1.5 * error * wanted.std()


def test_matrices_are_those_of_correlation(rng):
    for n_results, n_taps in ((4, 3), (4, 5), (3, 4), (5, 4)):
        A, B, G = reference.winograd_matrices(n_results, n_taps)
        d, g = rng.standard_normal(n_results + n_taps - 1), rng.standard_normal(n_taps)
        np.testing.assert_allclose(A.T @ ((G @ g) * (B.T @ d)), np.correlate(d, g), rtol=0, atol=1e-13)


def test_memory_layout_does_not_matter(layout, rng):
    x, w, b = make((3, 9, 8, 7), 10, 3, np.float32, rng)
    dout = rng.standard_normal((3, 10, 8, 7)).astype(np.float32)
    expected = all_of(kernels, dout, x, w, b, 1)
    for got, wanted in zip(all_of(kernels, *map(layout, (dout, x, w, b)), 1), expected):
        np.testing.assert_array_equal(got, wanted, strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_an_image_that_is_not_tame_is_computed_directly_and_spoils_no_other(value, rng):
    x, w, b = make((11, 9, 8, 7), 10, 3, np.float32, rng)
    dout = rng.standard_normal((11, 10, 8, 7)).astype(np.float32)
    tame = all_of(kernels, dout, x, w, b, 1)
    x[3, 2, 4, 4] = dout[5, 1, 0, 0] = value
    wild, direct = all_of(kernels, dout, x, w, b, 1), directly(kernels, dout, x, w, b, 1)
    assert wild[0][3].tobytes() == direct[0][3].tobytes()
    assert wild[1][3].tobytes() == direct[1][3].tobytes() and wild[1][5].tobytes() == direct[1][5].tobytes()
    others = np.delete(np.arange(11), [3, 5])
    assert wild[0][others].tobytes() == tame[0][others].tobytes()
    assert wild[1][others].tobytes() == tame[1][others].tobytes()
    for got, wanted in zip(wild[2:], direct[2:]):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_filters_that_are_not_tame_are_computed_directly(value, rng):
    x, w, b = make((3, 9, 8, 7), 10, 5, np.float32, rng)
    dout = rng.standard_normal((3, 10, 8, 7)).astype(np.float32)
    w[4, 3, 2, 1] = value
    for got, wanted in zip(all_of(kernels, dout, x, w, b, 2), directly(kernels, dout, x, w, b, 2)):
        np.testing.assert_array_equal(got, wanted)


def engine_for(x, w, padding):
    windows = check_winograd(x, w, padding)
    return ConvEngine(windows, len(w), w.dtype, tile=winograd_tile(windows))


def bits(arrays):
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_a_way_back_knows_which_images_are_not_tame_from_the_way_forward(value, side, rng):
    x, w, b = make((11, 9, 8, 7), 10, side, np.float32, rng)
    dout, wild_dout = rng.standard_normal((2, 11, 10, 8, 7)).astype(np.float32)
    wild_dout[4, 3, 7, 6] = value
    x[7, 8, 0, 0] = value
    engine = engine_for(x, w, side // 2)
    engine.forward(x, w, b, training=True)
    expected = kernels.winograd_conv2d_backward(dout, x, w, side // 2)
    assert bits(engine.backward(dout, w)) == bits(expected)
    wild = engine.backward(wild_dout, w)
    direct = kernels.conv2d_backward(wild_dout, x, w, side // 2, 1)
    for image in (4, 7):
        assert wild[0][image].tobytes() == direct[0][image].tobytes()
    assert bits(engine.backward(wild_dout, w, need_dx=False)[1:]) == bits(wild[1:])
    assert bits(engine.backward(dout, w)) == bits(expected)  # image 4 has a tame gradient again
    engine.forward(np.abs(x[::-1]), w, b, training=False)
    engine.forward(x[:5], w, b, training=True)  # none of these is wild
    assert bits(engine.backward(dout[:5], w)) == bits(kernels.winograd_conv2d_backward(dout[:5], x[:5], w, side // 2))


def test_filters_that_were_not_tame_on_the_way_forward_alone(rng):
    x, w, b = make((11, 9, 8, 7), 10, 3, np.float32, rng)
    dout = rng.standard_normal((11, 10, 8, 7)).astype(np.float32)
    x[3, 2, 4, 4] = np.inf
    engine, wild = engine_for(x, w, 1), w.copy()
    wild[4, 3, 2, 1] = np.nan
    engine.forward(x, wild, b, training=True)
    assert bits(engine.backward(dout, w)) == bits(kernels.winograd_conv2d_backward(dout, x, w, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("side", [3, 5])
def test_the_same_bits_for_any_number_of_threads(side, dtype, rng, restore_threads):
    """With weights enough to be packed by all of them, by tiles and directly."""
    x, w, b = make((6, 70, 5, 6), 67, side, dtype, rng)
    dout = rng.standard_normal((6, 67, 5, 6)).astype(dtype)
    x[2, 1, 1, 1] = dout[3, 2, 2, 2] = np.inf
    found = []
    for threads in (1, 2, 3):
        cnn_ext.set_num_threads(threads)
        found.append(bits(all_of(kernels, dout, x, w, b, side // 2) + directly(kernels, dout, x, w, b, side // 2)))
    assert found[0] == found[1] == found[2]


def test_an_image_alone_and_in_a_batch_gives_the_same_bits(rng):
    x, w, b = make((23, 9, 10, 6), 10, 3, np.float32, rng)
    out = kernels.winograd_conv2d_forward(x, w, b, 1)
    for i in range(23):
        assert kernels.winograd_conv2d_forward(x[i : i + 1], w, b, 1).tobytes() == out[i].tobytes()


X, W, B = np.zeros((2, 3, 5, 5), np.float32), np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], W, B, 1), ShapeError, "x must be 4-D"),
        ((X, W[..., :2], B, 1), ShapeError, "w must hold filters of 3 x 3 or 5 x 5, got 3 x 2"),
        ((X, np.zeros((4, 3, 1, 1), np.float32), B, 0), ShapeError, "got 1 x 1"),
        ((X, W, B[:3], 1), ShapeError, "b must have shape"),
        ((X, W, B, 3), ValueError, "padding must be < 3, the filters' side, got 3"),
        ((X, W, B, -1), ValueError, "padding must be >= 0"),
        ((X, W, B.astype(float), 1), DTypeError, "b must have the dtype of w"),
    ],
)
def test_bad_arguments(module, arguments, error, message):
    with pytest.raises(error, match=message):
        module.winograd_conv2d_forward(*arguments)


def test_bad_gradient():
    with pytest.raises(ShapeError, match="dout must have shape"):
        kernels.winograd_conv2d_backward(X, X, W, 1)


@pytest.mark.parametrize(
    ("arguments", "tile"),
    [
        (((16, 14, 14), 32, 5, 5, 1, 2), 8),
        (((16, 14, 14), 32, 3, 3, 1, 1), 6),
        (((16, 3, 3), 32, 3, 3, 1, 1), 6),
        (((16, 2, 2), 32, 3, 3, 1, 1), 0),  # the tile would be mostly outside
        (((3, 14, 14), 32, 3, 3, 1, 1), 0),  # few channels
        (((16, 14, 14), 32, 3, 3, 2, 1), 0),
        (((16, 14, 14), 32, 3, 5, 1, 1), 0),
        (((16, 14, 14), 32, 3, 3, 1, 3), 0),
    ],
)
def test_the_layer_chooses_by_its_shape(arguments, tile, rng):
    conv = Conv(*arguments, rng=0)
    assert conv.tile == tile
    X = rng.standard_normal((3, *arguments[0])).astype(np.float32)
    stride, padding = arguments[4:]
    if tile:
        expected = kernels.winograd_conv2d_forward(X, conv.W, conv.b, padding)
    else:
        expected = kernels.conv2d_forward(X, conv.W, conv.b, padding, stride)
    np.testing.assert_array_equal(conv.forward(X), expected)


@pytest.mark.parametrize(
    ("side", "pool", "in_one"), [(3, 2, True), (3, 4, True), (3, 3, False), (5, 2, True), (5, 3, False)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_tiles_give_what_the_layers_give(side, pool, in_one, dtype, rng):
    conv = Conv((9, 13, 11), 17, side, side, 1, side // 2, dtype=dtype, rng=0)
    layers = [conv, ReLU(), Maxpool(conv.out_dim, pool, pool)]
    steps = find_steps(layers)
    assert conv.tile > 0 and isinstance(steps[0], Block) and (len(steps) == 1) == in_one
    X = rng.standard_normal((7, 9, 13, 11)).astype(dtype)
    fused, single = X, X
    for step in steps:
        fused = step.forward(fused, True)
    for layer in layers:
        single = layer.forward(single)
    assert fused.tobytes() == single.tobytes()
    if not in_one:
        return
    for step in steps:
        step.forward(X, True)
    dout = rng.standard_normal(fused.shape).astype(dtype)
    dX, (_, _, grads) = steps[0].backward(dout, need_dX=True)
    for layer in layers:
        X = layer.forward(X)
    for layer in reversed(layers):
        dout, single_grads = layer.backward(dout)
    for got, wanted in zip([dX, *grads], [dout, *single_grads], strict=True):
        # The block goes back through lists, the layers through tiles: other sums of the same terms.
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e5 * np.finfo(dtype).eps)
