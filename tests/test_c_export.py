"""Networks as C: compiled with every warning an error, and run on the same images."""

import ctypes
import shutil
import subprocess

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
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    Sigmoid,
    Standardize,
    Tanh,
    load_mnist,
    load_pretrained,
    make_mnist_cnn,
)
from cnn_ext.exchange.c_source import CALLS
from cnn_ext.layers import LAYER_TYPES

COMPILER = shutil.which("cc")
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no cc")


def net_of(layers, rng):
    for layer in layers:
        for name, array in layer.state().items():
            positive = name in ("gamma", "running_var")
            setattr(layer, name, rng.uniform(0.5, 2, array.shape) if positive else rng.normal(0, 0.2, array.shape))
    return NeuralNet(layers)


def all_layers(rng, dtype=np.float32):
    conv = Conv((3, 14, 11), 8, 3, 3, 1, 1, dtype=dtype)
    pool = Maxpool(conv.out_dim, 2, 2)
    second = Conv(pool.out_dim, 5, 2, 3, 2, 1, dtype=dtype)
    average = AvgPool(second.out_dim, 2, 1)
    return net_of(
        [
            Standardize((3, 14, 11), (0.1, 0.2, 0.3), 0.5),
            *(conv, pool, BatchNorm(pool.out_dim, dtype=dtype), ReLU(), Dropout(0.7), second, Tanh(), average),
            *(Flatten(), FullyConnected(30, 9, dtype=dtype), BatchNorm(9, dtype=dtype), Sigmoid()),
            FullyConnected(9, 4, dtype=dtype),
        ],
        rng,
    )


def global_average(rng):
    conv = Conv((2, 12, 9), 6, 5, 5, 3, 4)
    pool = Maxpool(conv.out_dim, 3, 1)
    return net_of(
        [ReLU(), conv, BatchNorm(conv.out_dim), ReLU(), pool, GlobalAvgPool(pool.out_dim), FullyConnected(6, 3)], rng
    )


NETWORKS = {
    "the series": lambda rng: net_of(make_mnist_cnn((1, 12, 12), 10), rng),
    "all layers": all_layers,
    "all layers, float64": lambda rng: all_layers(rng, np.float64),
    "global average": global_average,
    "dense": lambda rng: net_of([Flatten(), Dropout(), FullyConnected(12, 5), ReLU(), FullyConnected(5, 3)], rng),
    "in place alone": lambda rng: net_of([Flatten(), BatchNorm(7), Tanh()], rng),
    "one class": lambda rng: net_of([FullyConnected(4, 1)], rng),
    "images laid out at the end": lambda rng: net_of([Conv((2, 4, 5), 3, 1, 1, 1, 0), Flatten(), ReLU()], rng),
}


def compiled(net, folder, prefix="cnn"):
    """Return functions for the scores and the classes of images, of the net's C."""
    source, library = folder / "net.c", folder / "net.so"
    net.to_c(source, prefix=prefix)
    subprocess.run([COMPILER, *FLAGS, "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
    loaded = ctypes.CDLL(library)
    scores_of, predict = getattr(loaded, f"{prefix}_scores"), getattr(loaded, f"{prefix}_predict")
    n_scores = net.shapes()[-1]

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    def scores(X):
        out = np.full((len(X), *n_scores), np.nan, net.dtype)
        for image, row in zip(np.ascontiguousarray(X), out):
            scores_of(pointer(image), pointer(row))
        return out

    return scores, lambda X: np.array([predict(pointer(image)) for image in np.ascontiguousarray(X)])


def images_for(net, rng, n=6):
    shape = next(layer.input_shape for layer in net.layers if layer.input_shape)
    return rng.standard_normal((n, *shape)).astype(net.dtype)


def assert_close(got, wanted):
    """Sums in another order than ours, and ours by Winograd's method: errors of some 1e-6 (docs/kernels.md)."""
    tolerance = 1e-5 if wanted.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", NETWORKS)
def test_c_gives_the_networks_outputs(name, rng, tmp_path):
    net = NETWORKS[name](rng)
    X = images_for(net, rng)
    before = X.copy()
    scores, predict = compiled(net, tmp_path)
    wanted = net.forward(X, training=False)
    assert_close(scores(X), wanted)
    assert_close(scores(X), wanted)  # nothing is left in the buffers
    np.testing.assert_array_equal(predict(X), scores(X).argmax(axis=1))
    np.testing.assert_array_equal(X, before)


@needs_compiler
def test_the_trained_network_on_digits(tmp_path):
    net = load_pretrained("mnist-small")
    scores, predict = compiled(net, tmp_path, prefix="digits")
    X = np.asarray(load_mnist(None, 0, 200)[1][0])
    assert_close(scores(X), net.forward(X, training=False))
    np.testing.assert_array_equal(predict(X), net.predict(X))
    text = (tmp_path / "net.c").read_text()
    assert "#include" not in text and text.count("BatchNorm(") == 3 and max(map(len, text.splitlines())) < 180


@needs_compiler
def test_nan_and_infinity_go_where_ours_go(rng, tmp_path):
    net = all_layers(rng)
    X = images_for(net, rng, 5)
    X[1, 0, 3, 3], X[2, 1, 0, 0], X[3] = np.nan, np.inf, -1e30
    scores, predict = compiled(net, tmp_path)
    with np.errstate(all="ignore"):
        wanted = net.forward(X, training=False)
        np.testing.assert_array_equal(np.isnan(scores(X)[1]), np.isnan(wanted[1]))
        np.testing.assert_array_equal(predict(X)[[0, 1, 3, 4]], wanted.argmax(axis=1)[[0, 1, 3, 4]])
    assert np.isnan(wanted[1]).any()


@needs_compiler
def test_two_networks_in_one_program(rng, tmp_path):
    for name in ("one", "two"):
        NETWORKS["dense"](rng).to_c(tmp_path / f"{name}.c", prefix=name)
    (tmp_path / "main.c").write_text(
        '#include "one.c"\n#include "two.c"\n'
        "int main(void) { float x[one_n_inputs] = {0}; return one_predict(x) * 16 + two_predict(x) > 255; }\n"
    )
    subprocess.run([COMPILER, *FLAGS, "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    assert subprocess.run([tmp_path / "main"]).returncode == 0
    objects = [tmp_path / "one.o"]
    subprocess.run([COMPILER, *FLAGS, "-c", "-o", objects[0], tmp_path / "one.c"], check=True)
    names = subprocess.run(["nm", "-g", "--undefined-only", objects[0]], capture_output=True, text=True).stdout.split()
    assert not {"malloc", "calloc", "free"} & set(names)


def test_a_norm_whose_eps_is_below_its_precision(tmp_path):
    """As in the network it is not rounded to 0, by which a channel that never varies would be divided."""
    norm = BatchNorm((1, 8, 8), eps=1e-50)
    norm.buffers[1] = np.zeros(1, np.float32)
    NeuralNet([norm, Flatten(), FullyConnected(64, 2, rng=0)]).to_c(tmp_path / "net.c")
    assert (tmp_path / "net.c").stat().st_size > 1000


def test_every_number_is_exact(tmp_path):
    net = NeuralNet([FullyConnected(3, 3)])
    numbers = [0.1, -0.0, 1e-45, 3.4028235e38, 1.1754944e-38, 1 / 3, -1, 65504, 2**-24]
    net.layers[0].W = np.reshape(numbers, (3, 3))
    net.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    body = text[text.index("cnn_layer0_w[9] = {") :].split("{")[1].split("}")[0]
    read = [float.fromhex(number.strip().rstrip("f")) for number in body.split(",")]
    np.testing.assert_array_equal(np.array(read, np.float32).view(np.uint32), net.layers[0].W.ravel().view(np.uint32))


def test_the_same_network_gives_the_same_file(rng, tmp_path):
    net = all_layers(rng)
    before = [array.tobytes() for layer in net.layers for array in layer.state().values()]
    net.to_c(tmp_path / "a.c")
    net.to_c(str(tmp_path / "b.c"))
    assert (tmp_path / "a.c").read_bytes() == (tmp_path / "b.c").read_bytes()
    assert [array.tobytes() for layer in net.layers for array in layer.state().values()] == before


@pytest.mark.parametrize("prefix", ["", "1net", "_net", "my-net", "net;", "größe", "a b", "x\n", 3, None])
def test_prefixes_are_identifiers(prefix, tmp_path):
    with pytest.raises(ValueError, match="prefix must be a C identifier that begins with a letter"):
        NeuralNet([FullyConnected(3, 3)]).to_c(tmp_path / "net.c", prefix=prefix)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_the_file(rng, registered_layer, tmp_path):
    class Mine(ReLU):
        pass

    path = tmp_path / "net.c"
    path.write_text("before")
    with pytest.raises(DTypeError, match=r"layer 1 \(Mine\) is not one of cnn_ext's layers and cannot be written as C"):
        NeuralNet([FullyConnected(3, 2), Mine()]).to_c(path)
    with pytest.raises(
        DTypeError, match=r"layer 0 \(Shift\) is not one of cnn_ext's layers and cannot be written as C"
    ):
        NeuralNet([registered_layer]).to_c(path)
    with pytest.raises(DTypeError, match="only networks of one precision can be written as C"):
        NeuralNet([FullyConnected(3, 2), FullyConnected(2, 2, dtype=np.float64)]).to_c(path)
    net = NeuralNet([FullyConnected(3, 2)])
    net.layers[0].b = [np.nan, 0]
    with pytest.raises(NonFiniteError, match=r"layers\.0\.b has 1 non-finite values"):
        net.to_c(path)
    with pytest.raises(ShapeError, match=r"one row of scores an image, got \(2, 5, 5\)"):
        NeuralNet([Conv((1, 5, 5), 2, 3, 3, 1, 1)]).to_c(path)
    with pytest.raises(ShapeError, match="at most 2147483647 numbers an image, got one of 2304000000"):
        pool = Maxpool((1, 48000, 48000), 2, 2)
        NeuralNet([pool, GlobalAvgPool(pool.out_dim)]).to_c(path)
    with pytest.raises(ValueError, match="first layers take inputs of any shape"):
        NeuralNet([ReLU()]).to_c(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_every_layer_is_in_the_table():
    assert set(CALLS) == set(LAYER_TYPES.values())
