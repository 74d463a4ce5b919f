"""Layers: what they compute, what they keep, and what they refuse."""

import numpy as np
import pytest

from cnn_ext import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    DTypeError,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    ReLU,
    ShapeError,
    Sigmoid,
    Standardize,
    Tanh,
    reference,
)
from cnn_ext.datasets.scaled_images import ScaledImages
from cnn_ext.layers import LAYER_TYPES

MAKE = {
    "BatchNorm": lambda: BatchNorm((2, 4, 6)),
    "Conv": lambda: Conv((2, 4, 6), 3, 3, 2, 1, 1, rng=0),
    "Dropout": lambda: Dropout(0.5, rng=0),
    "Flatten": Flatten,
    "FullyConnected": lambda: FullyConnected(4, 3, rng=0),
    "Maxpool": lambda: Maxpool((2, 4, 6), 2, 2),
    "AvgPool": lambda: AvgPool((2, 4, 6), 2, 2),
    "GlobalAvgPool": lambda: GlobalAvgPool((2, 4, 6)),
    "ReLU": ReLU,
    "Sigmoid": Sigmoid,
    "Standardize": lambda: Standardize((2, 4, 6), (0.5, 0.25), 0.75),
    "Tanh": Tanh,
}
ALL = pytest.mark.parametrize("name", MAKE)


def input_for(name, rng, dtype=np.float32):
    return rng.standard_normal((5, 4) if name == "FullyConnected" else (5, 2, 4, 6)).astype(dtype)


def test_the_table_is_whole():
    assert MAKE.keys() == LAYER_TYPES.keys()


@ALL
def test_a_layer_can_be_made_anew_from_its_config(name):
    layer = MAKE[name]()
    like = LAYER_TYPES[name](**layer.config())
    assert like.config() == layer.config()
    shapes = {key: array.shape for key, array in layer.state().items()}
    assert LAYER_TYPES[name].state_shapes(layer.config()) == shapes
    assert repr(layer).startswith(f"{name}(")


@ALL
def test_shapes_and_dtypes(name, rng):
    layer, X = MAKE[name](), input_for(name, rng)
    out = layer.forward(X)
    assert out.shape == (5, *layer.output_shape(X.shape[1:]))
    dX, grads = layer.backward(np.ones_like(out))
    assert (dX.shape, dX.dtype) == (X.shape, np.float32)
    assert [(g.shape, g.dtype) for g in grads] == [(p.shape, p.dtype) for p in layer.params]
    assert out.dtype == np.float32 and out.flags.c_contiguous and dX.flags.c_contiguous


@ALL
def test_nothing_given_is_changed_or_given_back(name, rng):
    layer, X = MAKE[name](), input_for(name, rng)
    before = X.copy()
    X.flags.writeable = False
    out = layer.forward(X)
    dout = np.ones_like(out)
    dout.flags.writeable = False
    layer.backward(dout)
    np.testing.assert_array_equal(X, before)
    if name not in ("Flatten", "Dropout"):
        assert not np.shares_memory(layer.forward(X, training=False), X)


@pytest.mark.parametrize("name", [*MAKE, "BatchNorm of features"])
def test_results_belong_to_the_caller(name, rng):
    layer, shape = (MAKE[name](), input_for(name, rng).shape) if name in MAKE else (BatchNorm(3), (5, 3))
    results = []
    for _ in range(2):
        out = layer.forward(rng.standard_normal(shape).astype(np.float32))
        dX, grads = layer.backward(rng.standard_normal(out.shape).astype(np.float32))
        results.append([out, dX, *grads])
        if len(results) == 1:
            kept = [array.copy() for array in results[0]]
    for array, before in zip(results[0], kept, strict=True):
        np.testing.assert_array_equal(array, before)


@ALL
def test_backward_needs_a_training_forward(name, rng):
    layer, X = MAKE[name](), input_for(name, rng)
    with pytest.raises(RuntimeError, match=r"backward\(\) called before forward\(\)"):
        layer.backward(X)
    out = layer.forward(X)
    layer.forward(X, training=False)
    with pytest.raises(RuntimeError, match=r"backward\(\) called before forward\(\)"):
        layer.backward(out)


@ALL
def test_inference_keeps_no_arrays(name, rng):
    layer, X = MAKE[name](), input_for(name, rng)
    layer.forward(X)
    layer.forward(X, training=False)
    kept = [value for key, value in vars(layer).items() if isinstance(value, np.ndarray)]
    assert not kept


@ALL
def test_gradient_of_another_shape_is_refused(name, rng):
    layer, X = MAKE[name](), input_for(name, rng)
    out = layer.forward(X)
    with pytest.raises(ShapeError, match=r"dout \(6, .*\) does not match last forward output \(5, "):
        layer.backward(np.ones((6, *out.shape[1:]), np.float32))
    with pytest.raises(DTypeError, match="dout must be float32 or float64"):
        layer.backward(np.ones(out.shape, np.int32))


@ALL
def test_integers_are_refused_with_a_hint(name):
    X = np.ones((5, 4) if name == "FullyConnected" else (5, 2, 4, 6), np.uint8)
    with pytest.raises(DTypeError, match=r"X must be float32 or float64, got uint8: scale it first"):
        MAKE[name]().forward(X)


@ALL
def test_no_images(name):
    X = np.ones((0, 4) if name == "FullyConnected" else (0, 2, 4, 6), np.float32)
    assert len(MAKE[name]().forward(X, training=False)) == 0


def test_conv_is_the_sum_it_says(rng):
    conv = Conv((2, 5, 4), 3, 3, 2, 2, 1, dtype=np.float64, rng=rng)
    conv.b = rng.standard_normal(3)
    X = rng.standard_normal((2, 2, 5, 4))
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = conv.forward(X)
    assert out.shape == (2, *conv.out_dim) == (2, 3, 3, 3)
    for n, k, y, x in np.ndindex(*out.shape):
        window = padded[n, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 2]
        # 18 products in another order: within a few units in the last place
        assert out[n, k, y, x] == pytest.approx((window * conv.W[k]).sum() + conv.b[k], rel=1e-13, abs=1e-13)


def test_conv_keeps_a_copy_of_its_input(rng):
    conv = Conv((1, 4, 4), 2, 3, 3, 1, 1, rng=0)
    X = rng.standard_normal((2, 1, 4, 4)).astype(np.float32)
    dout = np.ones_like(conv.forward(X))
    _, (dW, _) = conv.backward(dout)
    conv.forward(X)
    X[...] = 7
    np.testing.assert_array_equal(conv.backward(dout)[1][0], dW)


def test_maxpool_is_its_kernel(rng):
    X = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
    pool = Maxpool((3, 5, 7), 2, 2)
    expected, argmax = reference.maxpool_forward(X, 2, 2)
    np.testing.assert_array_equal(pool.forward(X), expected)
    np.testing.assert_array_equal(
        pool.backward(expected)[0], reference.maxpool_backward(expected, argmax, X.shape, 2, 2)
    )


def test_attributes_and_params_stay_in_step(rng):
    layer = FullyConnected(3, 2, rng=0)
    X = np.ones((1, 3), np.float32)
    mine = np.full((3, 2), 2.0)
    layer.W = mine
    assert layer.params[0] is layer.W and layer.W.dtype == np.float32
    assert layer.forward(X).tolist() == [[6, 6]]
    layer.W *= 2
    assert layer.forward(X).tolist() == [[12, 12]]
    assert (mine == 2).all()
    layer.params[1] = np.array([1, 2], np.float32)
    assert layer.b.tolist() == [1, 2] and layer.forward(X).tolist() == [[13, 14]]
    with pytest.raises(ShapeError, match=r"FullyConnected.W must have shape \(3, 2\), got \(2, 3\)"):
        layer.W = np.zeros((2, 3))
    with pytest.raises(DTypeError, match=r"FullyConnected\.b must be an array of real numbers"):
        layer.b = np.array(["a", "b"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_and_seed_of_weights(dtype):
    a, b, c = (Conv((1, 28, 28), 200, 5, 5, 1, 0, dtype=dtype, rng=seed) for seed in (1, 1, 2))
    assert a.W.dtype == a.b.dtype == dtype
    assert (a.W == b.W).all() and not (a.W == c.W).all()
    assert a.W.std() == pytest.approx(np.sqrt(2 / 25), rel=0.05)  # He; 5000 draws: one standard error is 1 %
    assert not a.b.any()


def test_generator_is_handed_on():
    generator = np.random.default_rng(1)
    assert not (
        Conv((1, 3, 3), 1, 3, 3, 1, 0, rng=generator).W == Conv((1, 3, 3), 1, 3, 3, 1, 0, rng=generator).W
    ).all()


def test_activations_without_overflow():
    X = np.array([[-1e4, -1.0, 0.0, 1.0, 1e4, np.nan]], np.float32)
    assert np.isnan(ReLU().forward(X)[0, -1])
    assert ReLU().forward(X)[0, :-1].tolist() == [0, 0, 0, 1, 10000]
    sigmoid = Sigmoid()
    np.testing.assert_allclose(sigmoid.forward(X)[0, :-1], [0, 1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1], rtol=1e-6)
    assert np.isfinite(sigmoid.backward(np.ones_like(X))[0][0, :-1]).all()


def test_relu_passes_no_gradient_at_zero():
    relu = ReLU()
    relu.forward(np.array([-1.0, 0.0, 2.0]))
    assert relu.backward(np.array([3.0, 4.0, 5.0]))[0].tolist() == [0, 0, 5]


def test_dropout_keeps_the_mean_and_the_dtype():
    X = np.ones((100, 100), np.float32)
    out = Dropout(0.8, rng=0).forward(X)
    assert out.dtype == np.float32
    assert set(np.unique(out)) == {np.float32(0), np.float32(1.25)}
    assert out.mean() == pytest.approx(1, abs=0.025)  # five standard errors: 5 * sqrt(0.25 / 10000)
    assert (Dropout(0.8, rng=0).forward(X, training=False) == X).all()
    assert (Dropout(1.0, rng=0).forward(X) == X).all()
    assert Dropout(0.5, rng=0).forward(X.astype(np.float64)).dtype == np.float64


def test_dropout_of_channels():
    X = np.ones((100, 50, 3, 2), np.float32)
    layer = Dropout(0.8, per_channel=True, rng=0)
    out = layer.forward(X)
    assert (out == out[:, :, :1, :1]).all()  # a channel stays or goes as a whole
    assert set(np.unique(out)) == {np.float32(0), np.float32(1.25)}
    assert out.mean() == pytest.approx(1, abs=0.036)  # five standard errors: 5 * sqrt(0.25 / 5000)
    assert 0 < (out[:, 0, 0, 0] > 0).sum() < 100 and 0 < (out[0, :, 0, 0] > 0).sum() < 50
    np.testing.assert_array_equal(layer.backward(X)[0], out)
    assert (layer.forward(X, training=False) == X).all()


def test_dropout_of_numbers_draws_what_it_did(rng):
    X = rng.standard_normal((5, 4)).astype(np.float32)
    kept = np.random.default_rng(7).random(X.shape, np.float32) < 0.6
    assert Dropout(0.6, rng=7).forward(X).tobytes() == (X * (kept * np.float32(1 / 0.6))).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.3), ([0.1, 0.2], [0.3, 4]), (0, np.float32([2, 3]))])
def test_standardize_is_the_preprocessing(mean, std, dtype, layout, rng):
    X = rng.random((5, 2, 4, 6)).astype(dtype)
    layer = Standardize((2, 4, 6), mean, std)
    m, s = (np.broadcast_to(np.asarray(value, dtype), 2)[:, np.newaxis, np.newaxis] for value in (mean, std))
    out = layer.forward(layout(X))
    assert out.tobytes() == ((X - m) / s).tobytes() and out.dtype == dtype
    assert layer.backward(layout(X))[0].tobytes() == (X / s).tobytes()
    assert layer.params == layer.buffers == []


@pytest.mark.parametrize("as_bytes", [False, True])
def test_standardize_measures_images(as_bytes, rng):
    pixels = rng.integers(0, 256, (600, 3, 4, 5), np.uint8)
    pixels[:, 1] //= 4
    X = pixels.astype(np.float32) / np.float32(255)
    layer = Standardize.fit(ScaledImages(pixels) if as_bytes else X)
    exact = X.astype(np.float64)
    # float64 sums of 12,000 numbers
    np.testing.assert_allclose(layer.mean, exact.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(layer.std, exact.std(axis=(0, 2, 3)), rtol=1e-13)
    out = layer.forward(exact)
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, rtol=1e-12)


def test_standardize_needs_images_that_differ():
    X = np.full((300, 2, 3, 3), np.float32(0.1))
    X[7, 0] = 1
    with pytest.raises(ValueError, match=r"std\[1\] must be in \(1e-38, 1e38\), got 0.0"):
        Standardize.fit(X)
    X[8, 1, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"mean\[1\] must be in \(-1e38, 1e38\), got inf"):
        Standardize.fit(X)
    with pytest.raises(ShapeError, match=r"X must be a batch of images \(N, C, H, W\), got shape \(0, 1, 2, 2\)"):
        Standardize.fit(np.zeros((0, 1, 2, 2)))
    with pytest.raises(ShapeError, match="X must be a batch of images"):
        Standardize.fit(np.zeros((5, 4)))
    with pytest.raises(DTypeError, match="X must be float32 or float64, got uint8: scale it first"):
        Standardize.fit(np.zeros((5, 1, 2, 2), np.uint8))


def test_batch_norm_in_training_and_inference(rng):
    X = (3 + 2 * rng.standard_normal((20, 2, 4, 6))).astype(np.float32)
    norm = BatchNorm((2, 4, 6), momentum=0.25)
    norm.gamma, norm.beta = [2.0, 3.0], [-1.0, 1.0]
    out = norm.forward(X)
    # float32: mean and spread come out to a few units in the seventh digit
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), [-1, 1], atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), [2, 3], rtol=1e-4)
    mean, var = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_mean, 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.75 + 0.25 * var, rtol=1e-5)
    norm.running_mean, norm.running_var = mean, X.var(axis=(0, 2, 3))
    np.testing.assert_allclose(norm.forward(X, training=False), out, atol=1e-5)


def test_batch_norm_of_a_constant_feature(rng):
    X = rng.standard_normal((7, 3)).astype(np.float32)
    X[:, 1] = 0.1
    norm = BatchNorm(3)
    norm.beta = [0.5, 0.25, 0.125]
    out = norm.forward(X)
    assert (out[:, 1] == 0.25).all()
    assert np.isfinite(norm.backward(out)[0]).all()


def test_batch_norm_needs_two_values(rng):
    with pytest.raises(ValueError, match=r"need more than 1 value per feature when training, got \(1, 784\)"):
        BatchNorm(784).forward(np.zeros((1, 784), np.float32))
    with pytest.raises(ShapeError, match="at least 2 images"):
        BatchNorm(3).forward(np.zeros((0, 3), np.float32))
    assert BatchNorm((1, 2, 2)).forward(np.zeros((1, 1, 2, 2), np.float32)).shape == (1, 1, 2, 2)


BAD = [
    (lambda: Conv((1, 28), 3, 3, 3, 1, 1), ShapeError, r"X_dim must be a tuple \(C, H, W\)"),
    (lambda: Conv((0, 28, 28), 3, 3, 3, 1, 1), ValueError, r"X_dim\[0\] must be >= 1, got 0"),
    (lambda: Conv((1, 28, 28), 0, 3, 3, 1, 1), ValueError, "n_filter must be >= 1, got 0"),
    (lambda: Conv((1, 28, 28), 3, 0, 3, 1, 1), ValueError, "h_filter must be >= 1, got 0"),
    (lambda: Conv((1, 28, 28), 3, 3, 3, 0, 1), ValueError, "stride must be >= 1, got 0"),
    (lambda: Conv((1, 28, 28), 3, 3, 3, 1, 1.0), DTypeError, "padding must be an int, got float"),
    (lambda: Conv((1, 2, 2), 3, 5, 5, 1, 1), ShapeError, r"kernel \(5 x 5\) larger than padded input \(4 x 4\)"),
    (lambda: Conv((1, 4, 4), 3, 3, 3, 1, 1, dtype=np.int32), DTypeError, "dtype must be float32 or float64, got int32"),
    (lambda: Conv((1, 4, 4), 3, 3, 3, 1, 1, rng="seed"), DTypeError, "rng must be a numpy.random.Generator"),
    (lambda: Conv((1, 4, 4), 3, 3, 3, 1, 1, rng=-1), ValueError, "rng must be a seed >= 0, got -1"),
    (lambda: Maxpool((1, 4, 4), 5, 1), ShapeError, "larger than padded input"),
    (lambda: AvgPool((1, 4, 4), 5, 1), ShapeError, "larger than padded input"),
    (lambda: AvgPool((1, 4, 4), 2, 0), ValueError, "stride must be >= 1, got 0"),
    (lambda: AvgPool((1, 4, 4), 2, 2).forward(np.zeros((2, 1, 4, 5))), ShapeError, "AvgPool expects images of shape"),
    (lambda: GlobalAvgPool((4, 4)), ShapeError, "X_dim"),
    (lambda: GlobalAvgPool((1, 4, 4)).forward(np.zeros((2, 1, 4, 5))), ShapeError, "GlobalAvgPool expects images"),
    (lambda: Maxpool((1, 4, 4), 0, 1), ValueError, "size must be >= 1, got 0"),
    (lambda: FullyConnected(0, 3), ValueError, "in_size must be >= 1, got 0"),
    (lambda: FullyConnected(3, True), DTypeError, "out_size must be an int, got bool"),
    (lambda: Dropout(0), ValueError, r"prob must be in \(0, 1\], got 0"),
    (lambda: Dropout(1.5), ValueError, r"prob must be in \(0, 1\], got 1.5"),
    (lambda: Dropout(float("nan")), ValueError, r"prob must be in \(0, 1\], got nan"),
    (lambda: Dropout("0.5"), DTypeError, "prob must be a number, got str"),
    (lambda: Dropout(0.5, 1), DTypeError, "per_channel must be a bool, got int"),
    (lambda: Dropout(0.5, True).forward(np.zeros((2, 3))), ShapeError, "Dropout per channel expects images"),
    (lambda: Standardize((1, 4), 0, 1), ShapeError, "X_dim must be a tuple"),
    (lambda: Standardize((2, 4, 4), 0, 0), ValueError, r"std must be in \(1e-38, 1e38\), got 0.0"),
    (lambda: Standardize((2, 4, 4), 0, [1, -1]), ValueError, r"std\[1\] must be in \(1e-38, 1e38\), got -1.0"),
    (lambda: Standardize((2, 4, 4), 0, np.inf), ValueError, "std must be in .*, got inf"),
    (lambda: Standardize((2, 4, 4), np.nan, 1), ValueError, r"mean must be in \(-1e38, 1e38\), got nan"),
    (lambda: Standardize((2, 4, 4), [1, 2, 3], 1), ShapeError, "mean must be one number or one for each of 2 channels"),
    (lambda: Standardize((2, 4, 4), "0.1", 1), DTypeError, "mean must be a number, got str"),
    (lambda: Standardize((2, 4, 4), [[1], [2]], 1), DTypeError, r"mean\[0\] must be a number, got list"),
    (
        lambda: Standardize((2, 4, 4), 0, 1).forward(np.zeros((3, 2, 4, 5))),
        ShapeError,
        r"Standardize expects images of shape \(N, \*\(2, 4, 4\)\), got \(3, 2, 4, 5\)",
    ),
    (lambda: BatchNorm(3, eps=0), ValueError, r"eps must be in \(0, inf\), got 0"),
    (lambda: BatchNorm(3, eps=float("nan")), ValueError, "eps must be in"),
    (lambda: BatchNorm(3, momentum=1.5), ValueError, r"momentum must be in \[0, 1\], got 1.5"),
    (lambda: BatchNorm(0), ValueError, "X_dim must be >= 1, got 0"),
    (lambda: setattr(BatchNorm(3), "running_mean", np.zeros(2)), ShapeError, r"running_mean must have shape \(3,\)"),
    (lambda: setattr(BatchNorm(3), "eps", -1), ValueError, "eps must be in"),
    (
        lambda: Conv((1, 4, 4), 1, 3, 3, 1, 1).forward(np.zeros((2, 3, 4, 4))),
        ShapeError,
        "Conv expects 1 input channel, got 3",
    ),
    (
        lambda: Conv((1, 4, 4), 1, 3, 3, 1, 1).forward(np.zeros((2, 1, 5, 4))),
        ShapeError,
        r"Conv expects images of shape \(1, 4, 4\)",
    ),
    (lambda: Conv((1, 4, 4), 1, 3, 3, 1, 1).forward(np.zeros((1, 4, 4))), ShapeError, r"X must be 4-D \(N, C, H, W\)"),
    (lambda: FullyConnected(4, 2).forward(np.zeros((2, 5))), ShapeError, r"expects X of shape \(N, 4\), got \(2, 5\)"),
    (lambda: Maxpool((1, 4, 4), 2, 2).forward(np.zeros((2, 1, 4, 5))), ShapeError, "Maxpool expects images of shape"),
    (lambda: BatchNorm(4).forward(np.zeros((2, 5))), ShapeError, r"BatchNorm expects X of shape \(N, \*\(4,\)\)"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_two_values_are_enough_to_normalize():
    out = BatchNorm(2, dtype=np.float64).forward(np.array([[0.0, 5.0], [2.0, 5.0]]))
    np.testing.assert_allclose(out, [[-1, 0], [1, 0]], atol=1e-5)  # eps in the square root
