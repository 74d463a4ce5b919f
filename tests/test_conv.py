"""The direct convolution and its fusion: against the NumPy twins, each other, and every instruction set there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnn_ext
from cnn_ext import (
    BatchNorm,
    Conv,
    DTypeError,
    Flatten,
    FullyConnected,
    Maxpool,
    NeuralNet,
    ReLU,
    ShapeError,
    kernels,
    reference,
)
from cnn_ext.engine import ConvEngine
from cnn_ext.fusion import Block, find_steps

# (N, C, H, W), K, h_filter, w_filter, padding, stride
GEOMETRIES = [
    ((2, 3, 7, 5), 4, 3, 2, 1, 2),
    ((3, 1, 28, 28), 16, 5, 5, 2, 1),
    ((7, 16, 14, 14), 32, 5, 5, 2, 1),
    ((2, 17, 6, 8), 33, 3, 3, 1, 1),
    ((2, 2, 9, 8), 5, 1, 1, 0, 1),
    ((6, 5, 9, 7), 9, 2, 4, 3, 3),
    ((1, 8, 5, 5), 8, 5, 5, 0, 1),
    ((11, 1, 4, 9), 1, 1, 9, 0, 1),
    ((2, 32, 4, 4), 17, 3, 3, 1, 1),
    ((3, 45, 5, 4), 67, 3, 3, 1, 1),  # enough weights to be packed by all threads
    ((0, 2, 4, 4), 3, 3, 3, 1, 1),
]


def make(shape, k, h, w, dtype, rng):
    arrays = rng.standard_normal(shape), rng.standard_normal((k, shape[1], h, w)), rng.standard_normal(k)
    return [array.astype(dtype) for array in arrays]


def assert_within_rounding(got, function, *arguments):
    """|got - exact| <= 2 K u * (the same sum of absolute values): the bound for K products, added in any order.

    `function` is the twin; its sums have as many terms as it takes to turn ones into its results.
    """
    exact = function(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments))
    sizes = function(*(np.abs(a).astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments))
    terms = function(*(np.ones(a.shape) if isinstance(a, np.ndarray) else a for a in arguments))
    unit = np.finfo(got[0].dtype).eps / 2
    for g, e, size, n in zip(got, exact, sizes, terms, strict=True):
        assert g.shape == e.shape and g.flags.c_contiguous
        assert (np.abs(g - e) <= 2 * (n + 1) * unit * size + np.finfo(g.dtype).tiny).all()


def forward_twin(x, w, b, padding, stride):
    return (reference.conv2d_forward(x, w, b, padding, stride),)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_both_ways_equal_their_twins(geometry, dtype, rng):
    shape, k, h, w_, padding, stride = geometry
    x, w, b = make(shape, k, h, w_, dtype, rng)
    out = kernels.conv2d_forward(x, w, b, padding, stride)
    assert out.dtype == dtype
    assert_within_rounding([out], forward_twin, x, w, b, padding, stride)
    dout = rng.standard_normal(out.shape).astype(dtype)
    got = kernels.conv2d_backward(dout, x, w, padding, stride)
    assert_within_rounding(got, reference.conv2d_backward, dout, x, w, padding, stride)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_both_ways_equal_their_twins_for_any_geometry(data):
    small = st.integers(1, 7)
    shape = (data.draw(st.integers(0, 6)), data.draw(st.integers(1, 10)), data.draw(small), data.draw(small))
    padding, stride = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    h, w_ = (data.draw(st.integers(1, side + 2 * padding)) for side in shape[2:])
    x, w, b = make(shape, data.draw(st.integers(1, 19)), h, w_, np.float32, np.random.default_rng(0))
    x, w, b = (np.round(4 * a) for a in (x, w, b))  # small integers: every sum is exact
    out = kernels.conv2d_forward(x, w, b, padding, stride)
    np.testing.assert_array_equal(out, reference.conv2d_forward(x, w, b, padding, stride), strict=True)
    for got, wanted in zip(
        kernels.conv2d_backward(out, x, w, padding, stride), reference.conv2d_backward(out, x, w, padding, stride)
    ):
        np.testing.assert_array_equal(got, wanted, strict=True)


STRIDES = [6, 2**31, 2**62, sys.maxsize - 1, sys.maxsize]
"""From longer than the padded image to what no product of sizes holds."""


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(
    ("shape", "side", "padding"), [((1, 2, 1, 1), 1, 0), ((3, 2, 4, 2), 3, 1), ((2, 1, 5, 3), 2, 0)]
)
def test_strides_beyond_the_image_leave_one_window(shape, side, padding, stride, rng):
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (shape, (3, shape[1], side, side), 3))
    out = kernels.conv2d_forward(x, w, b, padding, stride)
    assert out.shape[2:] == (1, 1)
    # At most 18 products, all of them near 1: sums in another order differ by some units of 6e-8.
    np.testing.assert_allclose(out, reference.conv2d_forward(x, w, b, padding, stride), rtol=1e-5, atol=1e-5)
    ours, theirs = (module.conv2d_backward(out, x, w, padding, stride) for module in (kernels, reference))
    for array, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-5)


def test_memory_layout_does_not_matter(layout, rng):
    x, w, b = make((3, 2, 6, 5), 4, 3, 2, np.float32, rng)
    out = kernels.conv2d_forward(x, w, b, 1, 1)
    np.testing.assert_array_equal(kernels.conv2d_forward(layout(x), layout(w), layout(b), 1, 1), out, strict=True)
    for got, wanted in zip(
        kernels.conv2d_backward(layout(out), layout(x), layout(w), 1, 1), kernels.conv2d_backward(out, x, w, 1, 1)
    ):
        np.testing.assert_array_equal(got, wanted, strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_passes_through(value, rng):
    x, w, b = make((2, 2, 5, 5), 3, 3, 3, np.float32, rng)
    x[0, 1, 2, 2] = value
    w[1, 0, 0, 0] = value
    dout = rng.standard_normal((2, 3, 5, 5)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        expected = [reference.conv2d_forward(x, w, b, 1, 1), *reference.conv2d_backward(dout, x, w, 1, 1)]
    got = [kernels.conv2d_forward(x, w, b, 1, 1), *kernels.conv2d_backward(dout, x, w, 1, 1)]
    for g, e in zip(got[:3], expected[:3]):
        np.testing.assert_array_equal(np.isnan(g), np.isnan(e))
        np.testing.assert_array_equal(np.isinf(g), np.isinf(e))


def test_an_image_alone_and_in_a_batch_gives_the_same_bits(rng):
    x, w, b = make((23, 3, 9, 8), 10, 3, 3, np.float32, rng)
    out = kernels.conv2d_forward(x, w, b, 1, 1)
    assert all(kernels.conv2d_forward(x[i : i + 1], w, b, 1, 1).tobytes() == out[i].tobytes() for i in range(23))


X, W, B = np.zeros((2, 3, 5, 5), np.float32), np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)
BAD = [
    ((X[0], W, B, 1, 1), ShapeError, "x must be 4-D"),
    ((X, W[0], B, 1, 1), ShapeError, "w must be 4-D"),
    ((X, W[:, :2], B, 1, 1), ShapeError, "w must have the 3 channels of x"),
    ((X, W[:0], B[:0], 1, 1), ShapeError, "at least one filter"),
    ((X, W[:, :, :0], B, 1, 1), ValueError, "h_filter must be >= 1, got 0"),
    ((X, W, B[:3], 1, 1), ShapeError, r"b must have shape \(4,\), got \(3,\)"),
    ((X, W, B[:, None], 1, 1), ShapeError, "b must be 1-D"),
    ((X, W.astype(float), B, 1, 1), DTypeError, "x must have the dtype of w, float64, got float32"),
    ((X, W, B.astype(float), 1, 1), DTypeError, "b must have the dtype of w"),
    ((X.astype(int), W, B, 1, 1), DTypeError, "x must be float32 or float64"),
    ((X, W, B, -1, 1), ValueError, "padding must be >= 0"),
    ((X, W, B, 1, 0), ValueError, "stride must be >= 1"),
    ((X, W, B, (1, 1), 1), DTypeError, "padding must be an int, got tuple"),
    ((X[:, :, :2, :2], W, B, 0, 1), ShapeError, r"kernel \(3 x 3\) larger than padded input \(2 x 2\)"),
]


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_arguments(module, arguments, error, message):
    with pytest.raises(error, match=message):
        module.conv2d_forward(*arguments)


@pytest.mark.parametrize(
    ("dout", "error"), [(X, ShapeError), (np.zeros((2, 4, 5, 5)), DTypeError), (None, DTypeError), (X[0], ShapeError)]
)
def test_bad_gradient(dout, error):
    with pytest.raises(error, match="dout must"):
        kernels.conv2d_backward(dout, X, W, 1, 1)


def layers_of(dtype=np.float32, pool=2, side=(9, 8), filters=(5, 11)):
    conv = Conv((2, *side), filters[0], 3, 3, 1, 1, dtype=dtype, rng=0)
    pool1 = Maxpool(conv.out_dim, pool, pool)
    conv2 = Conv(pool1.out_dim, filters[1], 2, 3, 1, 1, dtype=dtype, rng=1)
    pool2 = Maxpool(conv2.out_dim, 2, 2)
    dense = FullyConnected(int(np.prod(pool2.out_dim)), 3, dtype=dtype, rng=2)
    return [conv, ReLU(), pool1, conv2, ReLU(), pool2, Flatten(), dense]


def one_by_one(layers, X, y):
    for layer in layers:
        X = layer.forward(X)
    loss, dout = cnn_ext.SoftmaxLoss(X, y)
    grads = []
    for layer in reversed(layers):
        dout, layer_grads = layer.backward(dout)
        grads.append(layer_grads)
    return X, loss, grads


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-4), (np.float64, 1e-12)])
def test_blocks_give_what_the_layers_give(dtype, rtol, pool, rng):
    layers = layers_of(dtype, pool)
    net = NeuralNet(layers, l2=0)
    assert [type(step) for step in find_steps(layers)] == [Block, Block, Flatten, FullyConnected]
    X, y = rng.standard_normal((13, 2, 9, 8)).astype(dtype), rng.integers(0, 3, 13)
    out, _, expected = one_by_one(layers, X, y)
    assert net.forward(X).tobytes() == out.tobytes()
    _, grads = net.train_step(X, y)
    for got, wanted in zip(grads, expected, strict=True):
        for g, w in zip(got, wanted, strict=True):
            # other orders of sums over all images and pixels
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * np.abs(w).max())


@pytest.mark.parametrize("pool", [15, 16])
def test_the_largest_windows_run_in_one_with_the_convolution(pool, rng):
    conv = Conv((2, 34, 33), 5, 2, 3, 1, 1, rng=0)
    layers = [conv, ReLU(), Maxpool(conv.out_dim, pool, pool)]
    assert len(find_steps(layers)) == 1
    X = rng.standard_normal((3, 2, 34, 33)).astype(np.float32)
    net, out = NeuralNet(layers, l2=0), X
    for layer in layers:
        out = layer.forward(out)
    dout = rng.standard_normal(out.shape).astype(np.float32)
    back = dout
    for layer in reversed(layers):
        back, grads = layer.backward(back)
    assert net.forward(X).tobytes() == out.tobytes()
    for got, wanted in zip(net.backward(dout)[-1], grads, strict=True):
        # other orders of sums over all images and pixels
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_larger_windows_run_by_themselves():
    conv = Conv((2, 34, 33), 5, 2, 3, 1, 1, rng=0)
    layers = [conv, ReLU(), Maxpool(conv.out_dim, 17, 17)]
    assert [len(getattr(step, "layers", [step])) for step in find_steps(layers)] == [2, 1]
    windows = conv.windows
    with pytest.raises(ValueError, match=r"pool must be in \[1, 16\], got 17"):
        ConvEngine(windows, 5, np.dtype(np.float32), pool=17).forward(
            np.zeros((1, 2, 34, 33), np.float32), *conv.weights(), training=True
        )


def blocks_of(layers):
    """The types of each step, those of a block in brackets."""

    def types(step):
        return [type(layer) for layer in step.layers] if isinstance(step, Block) else type(getattr(step, "layer", step))

    return [types(step) for step in find_steps(layers)]


def test_blocks_only_where_nothing_else_could_be_meant():
    class MyReLU(ReLU):
        pass

    class MyConv(Conv):
        pass

    conv, relu, pool = layers_of()[:3]
    norm = BatchNorm(conv.out_dim)
    assert blocks_of([relu, conv, norm, relu, pool, relu]) == [ReLU, [Conv, BatchNorm, ReLU, Maxpool], ReLU]
    assert blocks_of([conv, norm, norm, relu]) == [[Conv, BatchNorm], BatchNorm, ReLU]
    assert blocks_of([conv, norm, conv, relu, conv]) == [[Conv, BatchNorm], [Conv, ReLU], [Conv]]
    assert blocks_of([conv, MyReLU(), pool]) == [[Conv], MyReLU, Maxpool]
    assert blocks_of([conv, relu, Maxpool(conv.out_dim, 3, 2)]) == [[Conv, ReLU], Maxpool]  # its windows overlap
    assert blocks_of([conv, relu, Maxpool(conv.out_dim, 1, 1)]) == [[Conv, ReLU], Maxpool]
    assert blocks_of([conv, norm, pool]) == [[Conv, BatchNorm, Maxpool]]
    assert blocks_of([conv, pool, relu, relu]) == [[Conv, Maxpool, ReLU], ReLU]
    assert blocks_of([conv, pool, BatchNorm(pool.out_dim), relu]) == [[Conv, Maxpool, BatchNorm, ReLU]]
    assert blocks_of([conv, pool, norm, relu]) == [[Conv, Maxpool], BatchNorm, ReLU]
    assert blocks_of([conv, relu, norm, norm]) == [[Conv, ReLU, BatchNorm], BatchNorm]
    assert blocks_of([conv, BatchNorm(conv.out_dim, dtype=np.float64)]) == [[Conv], BatchNorm]
    assert blocks_of([MyConv((2, 9, 8), 5, 3, 3, 1, 1), relu, pool]) == [MyConv, ReLU, Maxpool]


BEFORE_A_NORM = ["cp", "cpr", "cpb", "crb", "cbpr", "spbr", "cpbrcpbr", "crpbrp", "cpbcrpc"]


def chain_of(kinds, dtype, channels=3):
    """A network of the layers that the letters name: c, s convolution (stride 2), b, r, p (2 x 2), t (tanh)."""
    dim, layers = (channels, 12, 11), []
    for index, kind in enumerate(kinds):
        if kind in "cs":
            stride = 1 if kind == "c" else 2
            layers.append(Conv(dim, (5, 8, 18, 20)[index % 4], 3, 3, stride, 1, dtype=dtype, rng=index))
        else:
            make = {"b": BatchNorm, "r": ReLU, "p": Maxpool, "t": cnn_ext.Tanh}[kind]
            layers.append(
                make(*{"b": (dim,), "p": (dim, 2, 2)}.get(kind, ()), **({"dtype": dtype} if kind == "b" else {}))
            )
        dim = getattr(layers[-1], "out_dim", dim)
    return [*layers, Flatten(), FullyConnected(int(np.prod(dim)), 3, dtype=dtype, rng=9)]


@pytest.mark.parametrize(
    "kinds", ["c", "cr", "ct", "cb", "cbr", "cbrp", "sbr", "srcr", "cbcbrpcr", "crpsbrp", "rcbrpc", *BEFORE_A_NORM]
)
@pytest.mark.parametrize("channels", [1, 3])  # the way back of a first layer with one is another
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-4), (np.float64, 1e-11)])
def test_any_block_gives_what_the_layers_give(kinds, dtype, rtol, channels, rng):
    net, layers = NeuralNet(chain_of(kinds, dtype, channels), l2=0), chain_of(kinds, dtype, channels)
    X, y = rng.standard_normal((7, channels, 12, 11)).astype(dtype), rng.integers(0, 3, 7)
    out, _, expected = one_by_one(layers, X, y)
    assert net.forward(X).tobytes() == out.tobytes()
    _, grads = net.train_step(X, y)
    scale = max(np.abs(w).max() for wanted in expected for w in wanted)
    for got, wanted in zip(grads, expected, strict=True):
        for g, w in zip(got, wanted, strict=True):
            # Other orders of sums over all images and pixels; a bias before a normalization has gradient 0 but for them.
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * scale)
    before = net.forward(X, training=False)
    for layer, other in zip(net.layers, layers, strict=True):
        for name, value in layer.state().items():
            other.state()[name][...] = value
    for layer in layers:
        X = layer.forward(X, training=False)
    if "b" in kinds:  # in inference a norm is folded into the convolution's weights: rounded in another place
        eps = 5e-6 if dtype is np.float32 else 2e-14  # of the largest; see test_folding.py
        np.testing.assert_allclose(before, X, rtol=0, atol=eps * np.abs(X).max())
    else:
        assert before.tobytes() == X.tobytes()


def test_after_a_block_the_layers_say_that_they_have_nothing_to_go_back_from(rng):
    net = NeuralNet(layers_of())
    X, y = rng.standard_normal((4, 2, 9, 8)).astype(np.float32), np.zeros(4, int)
    net.train_step(X, y)
    with pytest.raises(RuntimeError, match="backward"):
        net.layers[0].backward(np.zeros((4, 5, 9, 8), np.float32))
    out, _, expected = one_by_one(net.layers, X, y)
    grads = net.backward(cnn_ext.SoftmaxLoss(out, y)[1])  # the layers went forward by themselves: so goes the way back
    np.testing.assert_array_equal(grads[-1][0], expected[-1][0])
    net.predict(X)
    with pytest.raises(RuntimeError, match=r"backward\(\) called before forward\(\)"):
        net.backward(out)


def test_layers_may_be_exchanged_between_steps(rng):
    net = NeuralNet(layers_of())
    X, y = rng.standard_normal((4, 2, 9, 8)).astype(np.float32), np.zeros(4, int)
    net.train_step(X, y)
    net.layers[1] = cnn_ext.Tanh()
    net.train_step(X, y)
    assert blocks_of(net.layers)[:2] == [[Conv], cnn_ext.Tanh]


def test_results_belong_to_the_caller(rng):
    net = NeuralNet(layers_of()[:6])
    X, other = rng.standard_normal((2, 3, 2, 9, 8)).astype(np.float32)
    first = net.forward(X)
    kept = first.copy()
    net.forward(other)
    np.testing.assert_array_equal(first, kept)


TRAIN = """
import hashlib, json, sys
import numpy as np
import cnn_ext
from cnn_ext import *
rng = np.random.default_rng(0)
X, y = rng.random((333, 1, 28, 28), np.float32), rng.integers(0, 10, 333)
hashes = {}
for threads in map(int, sys.argv[1:]):
    set_num_threads(threads)
    conv, relu, pool, conv2, relu2, pool2 = make_mnist_cnn((1, 28, 28), 10, rng=0)[:6]
    conv3 = Conv(pool2.out_dim, 20, 3, 3, stride=2, padding=1, rng=1)
    conv4 = Conv(conv3.out_dim, 24, 3, 3, stride=1, padding=1, rng=2)
    layers = [conv, relu, pool, conv2, BatchNorm(conv2.out_dim), relu2, pool2, conv3, ReLU(), conv4, Flatten()]
    net = NeuralNet([*layers, FullyConnected(384, 10, rng=2)])
    fit(net, X, y, optimizer=SGD(0.05, 0.9, True), epochs=2, batch_size=32, rng=0)
    digest = hashlib.sha256(b"".join(p.tobytes() for p in net.named_params().values())).hexdigest()
    hashes[threads] = digest
print(json.dumps([cnn_ext.kernels.INSTRUCTION_SET, hashes]))
"""


def train_under(simd, *threads):
    environment = {**os.environ, "CNN_EXT_SIMD": simd, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, *map(str, threads)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("simd", ["baseline", "avx2", ""])
def test_the_same_bits_for_any_number_of_threads(simd):
    result = train_under(simd, 1, 2, 3, 5)
    if f"asks for {simd}, which this processor" in result.stderr:
        pytest.skip(f"no {simd} here")
    name, hashes = json.loads(result.stdout)
    assert not simd or name == simd
    assert len(hashes) == 4 and len(set(hashes.values())) == 1


@pytest.mark.slow
def test_the_same_bits_for_every_set_that_multiplies_and_adds_in_one():
    trained = {simd: train_under(simd, 2) for simd in ("avx2", "avx512")}
    for simd, result in trained.items():
        assert result.returncode == 0 or f"asks for {simd}, which this processor" in result.stderr
    hashes = [json.loads(result.stdout)[1]["2"] for result in trained.values() if result.returncode == 0]
    if len(hashes) < 2:
        pytest.skip("there is but one such set here")
    assert hashes[0] == hashes[1]


def test_unknown_instruction_set():
    assert "CNN_EXT_SIMD must be one of avx512, avx2, baseline, got 'sse9'" in train_under("sse9", 1).stderr


@pytest.mark.slow
@pytest.mark.parametrize("simd", ["baseline", "avx2"])
def test_every_set_agrees_with_its_twins(simd):
    """These tests once more, where that set is all there is."""
    if os.environ.get("CNN_EXT_SIMD"):
        pytest.skip("this is the second time")
    environment = {**os.environ, "CNN_EXT_SIMD": simd}
    files = [__file__, str(Path(__file__).with_name("test_winograd.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "twins or block or tame"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if f"asks for {simd}, which this processor" in result.stdout + result.stderr:
        pytest.skip(f"no {simd} here")
    assert result.returncode == 0, result.stdout
