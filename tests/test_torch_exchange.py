"""Weights to and from PyTorch, without PyTorch; where it is installed, the same network in both."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from cnn_ext import (
    AvgPool,
    BatchNorm,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    Conv,
    Dropout,
    DTypeError,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    NeuralNet,
    ReLU,
    Sigmoid,
    Standardize,
    Tanh,
)
from cnn_ext.exchange.torch_state import NAMES
from cnn_ext.layers import LAYER_TYPES

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
"""Of the largest output: the sums run in another order, with Winograd's method for the 3 x 3 filters."""


def randomized(layers, rng):
    """Give all arrays numbers that no two share, as after training."""
    for layer in layers:
        for name, array in layer.state().items():
            values = rng.uniform(0.5, 2, array.shape) if name in ("gamma", "running_var") else None
            setattr(layer, name, rng.normal(0, 0.2, array.shape) if values is None else values)
    return NeuralNet(layers)


def network(rng, dtype=np.float32):
    """Every layer; a dense layer behind images of several channels that are not square."""
    conv = Conv((3, 14, 11), 8, 3, 3, 1, 1, dtype=dtype)
    pool = Maxpool(conv.out_dim, 2, 2)
    second = Conv(pool.out_dim, 5, 2, 3, 2, 1, dtype=dtype)
    average = AvgPool(second.out_dim, 2, 1)
    layers = [
        Standardize((3, 14, 11), (0.1, 0.2, 0.3), 0.5),
        *(conv, BatchNorm(conv.out_dim, dtype=dtype), ReLU(), pool, Dropout(0.7), second, Tanh(), average, Flatten()),
        FullyConnected(int(np.prod(average.out_dim)), 9, dtype=dtype),
        *(BatchNorm(9, dtype=dtype), Sigmoid(), FullyConnected(9, 4, dtype=dtype)),
    ]
    return randomized(layers, rng)


def global_network(rng):
    conv = Conv((2, 9, 9), 6, 5, 5, 1, 2)
    return randomized([conv, ReLU(), GlobalAvgPool(conv.out_dim), FullyConnected(6, 3)], rng)


def in_torch(net):
    """Return an nn.Sequential of the same layers, with weights of its own."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Scaled(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.numbers = [
                torch.tensor(numbers, dtype=torch.float64).reshape(-1, 1, 1) for numbers in (layer.mean, layer.std)
            ]

        def forward(self, x):
            mean, std = self.numbers
            return (x - mean.to(x.dtype)) / std.to(x.dtype)

    makers = {
        Conv: lambda c: nn.Conv2d(c.X_dim[0], c.n_filter, (c.h_filter, c.w_filter), c.stride, c.padding),
        FullyConnected: lambda d: nn.Linear(d.in_size, d.out_size),
        BatchNorm: lambda b: nn.BatchNorm2d(b.X_dim[0]) if isinstance(b.X_dim, tuple) else nn.BatchNorm1d(b.X_dim),
        Maxpool: lambda p: nn.MaxPool2d(p.size, p.stride),
        AvgPool: lambda p: nn.AvgPool2d(p.size, p.stride),
        GlobalAvgPool: lambda p: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Dropout: lambda d: nn.Dropout(1 - d.prob),
        Standardize: Scaled,
        **{ours: lambda _, name=ours.__name__: getattr(nn, name)() for ours in (ReLU, Sigmoid, Tanh, Flatten)},
    }
    model = nn.Sequential(*(makers[type(layer)](layer) for layer in net.layers)).eval()
    return model.double() if net.dtype == np.float64 else model


def outputs_of(model, X):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.from_numpy(X)).numpy()


def assert_same(got, wanted):
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[wanted.dtype.type] * np.abs(wanted).max())


CASES = {
    "every layer": network,
    "every layer, float64": lambda rng: network(rng, np.float64),
    "global average": global_network,
}


@pytest.fixture(params=CASES)
def net(request, rng):
    return CASES[request.param](rng)


def images_for(net, rng):
    return rng.random((7, *net.layers[0].input_shape)).astype(net.dtype)


def test_torch_takes_our_weights_and_gives_our_outputs(net, rng):
    torch = pytest.importorskip("torch")
    model = in_torch(net)
    state = {name: torch.from_numpy(array) for name, array in net.to_torch_state_dict().items()}
    assert {k: v.dtype for k, v in state.items()} == {k: v.dtype for k, v in model.state_dict().items()}
    model.load_state_dict(state, strict=True)
    X = images_for(net, rng)
    assert_same(outputs_of(model, X), net.forward(X, training=False))


def test_we_take_torchs_weights_and_give_its_outputs(net, rng):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    model = in_torch(net).train()
    X = images_for(net, rng)
    model(torch.from_numpy(X))  # moves the running statistics, and the counter
    model.eval()
    net.load_torch_state_dict(model.state_dict())
    assert_same(net.forward(X, training=False), outputs_of(model, X))


def test_a_safetensors_file_that_torch_has_written(tmp_path, rng):
    pytest.importorskip("torch")
    from safetensors.torch import save_file

    net = network(rng)
    model = in_torch(net)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    net.load_torch_state_dict(tmp_path / "model.safetensors")
    X = images_for(net, rng)
    assert_same(net.forward(X, training=False), outputs_of(model, X))


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_the_same_to_the_bit(case, rng, tmp_path):
    net = CASES[case](rng)
    state = net.to_torch_state_dict()
    safetensors.numpy.save_file(state, tmp_path / "state.safetensors")
    for given in (state, str(tmp_path / "state.safetensors")):
        other = CASES[case](rng)
        assert snapshot(other) != snapshot(net)
        other.load_torch_state_dict(given)
        assert snapshot(other) == snapshot(net)
    arrays = [array for layer in net.layers for array in layer.state().values()]
    assert not any(np.shares_memory(array, other) for array in arrays for other in state.values())


def test_names_and_layout(rng):
    state = network(rng).to_torch_state_dict()
    shapes = {name: array.shape for name, array in state.items()}
    assert shapes["1.weight"] == (8, 3, 3, 3) and shapes["10.weight"] == (9, 30) and shapes["13.bias"] == (4,)
    assert shapes["2.num_batches_tracked"] == () and state["2.num_batches_tracked"].dtype == np.int64
    assert all(type(array) is np.ndarray and array.flags.c_contiguous for array in state.values())


def test_every_layer_with_arrays_has_names(rng):
    with_arrays = {type(layer) for layer in network(rng).layers if layer.state()}
    assert with_arrays == set(NAMES)
    assert {type(layer) for layer in network(rng).layers} | {GlobalAvgPool} == set(LAYER_TYPES.values())


def snapshot(net):
    return [array.tobytes() for layer in net.layers for array in layer.state().values()]


def changed(state, **changes):
    return {**state, **{name.replace("_", ".", 1): value for name, value in changes.items()}}


BAD = {
    "a missing one": (lambda s: {k: v for k, v in s.items() if k != "1.bias"}, "missing: 1.bias; unexpected: none"),
    "one too many": (lambda s: changed(s, conv_weight=0), "missing: none; unexpected: conv.weight"),
    "not turned": (
        lambda s: changed(s, **{"13_weight": s["13.weight"].T}),
        r"13.weight must be float32 \(4, 9\), got float32 \(9, 4\)",
    ),
    "too precise": (
        lambda s: changed(s, **{"13_bias": s["13.bias"].astype(float)}),
        "13.bias must be float32 .* got float64",
    ),
    "integers": (lambda s: changed(s, **{"13_bias": np.zeros(4, np.int16)}), "got int16"),
    "NaN": (
        lambda s: changed(s, **{"13_bias": np.array([0, np.nan, np.inf, 0], np.float32)}),
        "13.bias has 2 non-finite values",
    ),
    "a variance": (lambda s: changed(s, **{"11_running_var": -s["11.running_var"]}), "running_var < 0"),
    "a counter": (
        lambda s: changed(s, **{"11_num_batches_tracked": np.zeros(3, np.int64)}),
        "num_batches_tracked must be int64",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_changes_nothing(bad, rng, tmp_path):
    change, message = BAD[bad]
    net = network(rng)
    before = snapshot(net)
    other = network(rng)
    state = {name: np.asarray(array) for name, array in change(other.to_torch_state_dict()).items()}
    with pytest.raises(CheckpointMismatchError, match=message):
        net.load_torch_state_dict(state)
    path = tmp_path / "bad.safetensors"
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, path)
    with pytest.raises(CheckpointError):
        net.load_torch_state_dict(path)
    assert snapshot(net) == before


def test_narrower_floats_and_no_counter_are_taken(rng):
    net = network(rng, np.float64)
    state = {k: v.astype(np.float16) for k, v in network(rng).to_torch_state_dict().items() if "num" not in k}
    net.load_torch_state_dict(state)
    np.testing.assert_array_equal(net.layers[-1].W, state["13.weight"].T)
    assert net.layers[-1].W.dtype == np.float64


def test_files_that_are_none(rng, tmp_path):
    net = network(rng)
    (tmp_path / "text").write_text("hello, world")
    with pytest.raises(CheckpointCorruptError, match="not a safetensors file"):
        net.load_torch_state_dict(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        net.load_torch_state_dict(tmp_path / "absent")
    with pytest.raises(DTypeError, match="state must be a dict of arrays or the path of a file, got list"):
        net.load_torch_state_dict([])


def test_layers_of_ones_own_are_refused_by_name(registered_layer):
    class Mine(ReLU):
        pass

    net = NeuralNet([FullyConnected(3, 2), Mine()])
    with pytest.raises(DTypeError, match=r"layer 1 \(Mine\) is not one of cnn_ext's layers"):
        net.to_torch_state_dict()
    with pytest.raises(DTypeError, match=r"layer 1 \(Mine\) is not one of cnn_ext's layers"):
        net.load_torch_state_dict({})
    with pytest.raises(DTypeError, match=r"layer 0 \(Shift\) is not one of cnn_ext's layers"):
        NeuralNet([registered_layer]).to_torch_state_dict()


def test_needs_no_torch():
    code = """
import sys, cnn_ext
net = cnn_ext.NeuralNet(cnn_ext.make_mnist_cnn((1, 8, 8), 3))
net.load_torch_state_dict(net.to_torch_state_dict())
print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
