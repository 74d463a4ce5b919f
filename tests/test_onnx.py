"""Networks to and from ONNX: written only when another program gives the same numbers, read only when understood."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

import cnn_ext
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
    NonFiniteError,
    ReLU,
    ShapeError,
    Sigmoid,
    Standardize,
    Tanh,
    load_mnist,
    load_pretrained,
    softmax,
)

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT


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
            *(
                conv,
                BatchNorm(conv.out_dim, 0.3, 1e-4, dtype=dtype),
                ReLU(),
                pool,
                Dropout(0.7),
                second,
                Tanh(),
                average,
            ),
            *(Flatten(), FullyConnected(30, 9, dtype=dtype), BatchNorm(9, dtype=dtype), Sigmoid()),
            FullyConnected(9, 4, dtype=dtype),
        ],
        rng,
    )


def global_average(rng):
    conv = Conv((2, 12, 9), 6, 5, 5, 3, 4)
    return net_of([conv, ReLU(), Maxpool(conv.out_dim, 3, 1), GlobalAvgPool((6, 4, 3)), FullyConnected(6, 3)], rng)


NETWORKS = {
    "all layers": all_layers,
    "all layers, float64": lambda rng: all_layers(rng, np.float64),
    "global average": global_average,
    "dense": lambda rng: net_of([FullyConnected(5, 4), ReLU(), FullyConnected(4, 2)], rng),
    "pixels scaled by their numbers": lambda rng: net_of(
        [Standardize((1, 4, 4), 128.0, 64.0), Flatten(), FullyConnected(16, 3)], rng
    ),
    "images out": lambda rng: net_of([ReLU(), Conv((1, 5, 5), 2, 3, 3, 1, 1)], rng),
    "dropout first and last": lambda rng: net_of([Dropout(), FullyConnected(3, 2), Dropout()], rng),
}


@pytest.fixture(params=NETWORKS)
def net(request, rng):
    return NETWORKS[request.param](rng)


def images_for(net, rng, n=5):
    shape = next(layer.input_shape for layer in net.layers if layer.input_shape)
    return rng.random((n, *shape)).astype(net.dtype)


def run(path, X):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": X})[0]


def assert_close(got, wanted):
    """Float32 sums in another order, and by Winograd's method: the bound that `to_onnx` holds itself to."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_onnxruntime_gives_the_networks_outputs(net, rng, tmp_path):
    path = tmp_path / "net.onnx"
    net.to_onnx(path, dtype=np.float32)
    X = images_for(net, rng).astype(np.float32)
    assert_close(run(path, X), net.forward(X, training=False))


def test_there_and_back(net, rng, tmp_path):
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    back = NeuralNet.from_onnx(path)
    kept = [layer for layer in net.layers if not isinstance(layer, Dropout)]
    assert [repr(layer) for layer in back.layers] == [repr(layer) for layer in kept]
    X = images_for(net, rng)
    np.testing.assert_array_equal(back.forward(X, training=False), net.forward(X, training=False))
    assert back.dtype == net.dtype


def test_the_form_of_the_file(rng, tmp_path):
    path, again = tmp_path / "net.onnx", tmp_path / "again.onnx"
    net = all_layers(rng)
    net.to_onnx(path)
    net.to_onnx(again)
    assert path.read_bytes() == again.read_bytes()
    model = onnx.load(path)
    assert model.ir_version == 8 and [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    (given,), (result,) = model.graph.input, model.graph.output
    sizes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (given, result)]
    assert (given.name, result.name) == ("input", "scores") and sizes == [["N", 3, 14, 11], ["N", 4]]
    assert [node.op_type for node in model.graph.node][:3] == ["Sub", "Div", "Conv"]
    assert len(list(tmp_path.iterdir())) == 2


def test_probabilities(rng, tmp_path):
    net = all_layers(rng)
    net.to_onnx(tmp_path / "net.onnx", output="probabilities")
    X = images_for(net, rng)
    assert_close(run(tmp_path / "net.onnx", X), net.predict_proba(X))
    np.testing.assert_array_equal(NeuralNet.from_onnx(tmp_path / "net.onnx").predict_proba(X), net.predict_proba(X))
    assert onnx.load(tmp_path / "net.onnx").graph.output[0].name == "probabilities"
    with pytest.raises(ValueError, match="output must be one of scores, probabilities, got 'classes'"):
        net.to_onnx(tmp_path / "other.onnx", output="classes")
    with pytest.raises(ShapeError, match="one row an image"):
        NETWORKS["images out"](rng).to_onnx(tmp_path / "other.onnx", output="probabilities")


def test_the_trained_network_on_digits(tmp_path):
    net = load_pretrained("mnist-small")
    net.to_onnx(tmp_path / "net.onnx")
    (X, _) = load_mnist(None, 0, 300)[1]
    X = np.asarray(X)
    scores = run(tmp_path / "net.onnx", X)
    assert_close(scores, net.forward(X, training=False))
    np.testing.assert_array_equal(scores.argmax(axis=1), net.predict(X))


def test_the_shape_of_an_input_is_told_or_given(rng, tmp_path):
    net = net_of([Flatten(), FullyConnected(12, 3)], rng)
    path = tmp_path / "net.onnx"
    with pytest.raises(
        ValueError, match="input_shape must be given: the network's first layers take inputs of any shape"
    ):
        net.to_onnx(path)
    net.to_onnx(path, input_shape=(3, 2, 2))
    X = rng.random((2, 3, 2, 2)).astype(np.float32)
    assert_close(run(path, X), net.forward(X, training=False))
    before = path.read_bytes()
    for given, message in {(3, 2, 3): "takes inputs of shape", 12: "must be a tuple", (): "must be a tuple"}.items():
        with pytest.raises(ShapeError, match=message):
            net.to_onnx(path, input_shape=given)
    with pytest.raises(ValueError, match=r"input_shape\[1\] must be >= 1, got 0"):
        net.to_onnx(path, input_shape=(3, 0, 2))
    with pytest.raises(ShapeError, match=r"input_shape must be \(2, 12, 9\), as the network's layers tell"):
        global_average(rng).to_onnx(path, input_shape=(2, 9, 12))
    assert path.read_bytes() == before


def test_nothing_is_written_that_is_not_right(rng, registered_layer, tmp_path, monkeypatch):
    class Mine(ReLU):
        pass

    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    with pytest.raises(
        DTypeError, match=r"layer 1 \(Mine\) is not one of cnn_ext's layers and cannot be written as ONNX"
    ):
        NeuralNet([FullyConnected(3, 2), Mine()]).to_onnx(path)
    with pytest.raises(DTypeError, match=r"layer 0 \(Shift\) is not one of cnn_ext's layers"):
        NeuralNet([registered_layer]).to_onnx(path, input_shape=(3,))
    with pytest.raises(DTypeError, match=r"layers.0.W is float32, layers.1.W float64"):
        NeuralNet([FullyConnected(3, 2), FullyConnected(2, 2, dtype=np.float64)]).to_onnx(path)
    net = global_average(rng)
    net.layers[-1].b = [0, np.nan, np.inf]
    with pytest.raises(NonFiniteError, match=r"layers\.4\.b has 2 non-finite values"):
        net.to_onnx(path)
    # A wrong translation is found by running it.
    from cnn_ext.exchange import onnx_writer

    monkeypatch.setitem(onnx_writer.NODES, ReLU, lambda layer, add: add("Sigmoid"))
    with pytest.raises(RuntimeError, match=r"the ONNX model differs from the network by .*: nothing was written"):
        global_average(rng).to_onnx(path)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(IsADirectoryError):
        global_average(rng).to_onnx(tmp_path)


def test_every_layer_is_in_the_table():
    from cnn_ext.exchange.onnx_writer import NODES
    from cnn_ext.layers import LAYER_TYPES

    assert set(NODES) == set(LAYER_TYPES.values())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_one_line_with_the_command(missing, tmp_path):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import cnn_ext
cnn_ext.NeuralNet([cnn_ext.FullyConnected(3, 2)]).to_onnx("net.onnx")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: ONNX needs onnx and onnxruntime (import of {missing} halted")
    assert last.endswith("): pip install 'cnn_ext[onnx]'")
    assert list(tmp_path.iterdir()) == []


# Reading files of others.


def model_of(nodes, arrays=None, shape=("N", 2, 6, 6), outputs=("y",), opset=17, element=FLOAT, **keywords):
    """Return a model of these nodes, from 'x' to 'y', without asking whether it is right."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info(name, element, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **keywords)


def read(model, tmp_path):
    path = tmp_path / "given.onnx"
    path.write_bytes(model.SerializeToString())
    return NeuralNet.from_onnx(path)


def node(op, *arrays, **attributes):
    return helper.make_node(op, ["x", *arrays], ["y"], **attributes)


def chain(*steps):
    """Return nodes one after the other: each an operator, the names of its arrays, and its settings."""
    names = ["x", *(f"t{index}" for index in range(len(steps) - 1)), "y"]
    return [
        helper.make_node(op, [before, *arrays], [after], **settings)
        for (op, arrays, settings), before, after in zip(steps, names, names[1:])
    ]


def floats(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


FORMS = {
    "matmul and add": (chain(("MatMul", ["W"], {}), ("Add", ["b"], {})), {"W": floats(4, 3), "b": floats(3)}, ("N", 4)),
    "no bias": (chain(("Gemm", ["W"], {"transB": 1})), {"W": floats(3, 4)}, ("N", 4)),
    "a bias of two axes": (chain(("Gemm", ["W", "b"], {})), {"W": floats(4, 3), "b": floats(1, 3)}, ("N", 4)),
    "a batch that is fixed": (
        chain(("Reshape", ["s"], {}), ("Gemm", ["W"], {})),
        {"s": np.array([2, 72]), "W": floats(72, 3)},
        (2, 2, 6, 6),
    ),
    "reshape to the rest": (
        chain(("Reshape", ["s"], {}), ("Relu", [], {})),
        {"s": np.array([0, -1])},
        ("N", 2, 6, 6),
    ),
    "mean": (chain(("ReduceMean", [], {"axes": [-1, 2], "keepdims": 0})), {}, ("N", 2, 6, 6)),
    "mean, then flat": (
        chain(("ReduceMean", [], {"axes": [2, 3]}), ("Identity", [], {}), ("Flatten", [], {})),
        {},
        ("N", 2, 6, 6),
    ),
    "division alone": (chain(("Div", ["s"], {}), ("Flatten", [], {})), {"s": np.float32(255)}, ("N", 2, 6, 6)),
    "subtraction alone": (
        chain(("Sub", ["m"], {}), ("Flatten", [], {})),
        {"m": floats(1, 2, 1, 1)},
        ("N", 2, 6, 6),
    ),
    "dropout": (chain(("Dropout", ["r"], {}), ("Relu", [], {})), {"r": np.float32(0.25)}, ("N", 5)),
    "as PyTorch writes it": (
        chain(("ReduceMean", ["a"], {"noop_with_empty_axes": 0}), ("Reshape", ["s"], {"allowzero": 1})),
        {"a": np.array([-1, -2]), "s": np.array([-1, 2])},
        ("N", 2, 6, 6),
    ),
    "defaults": (
        chain(("Conv", ["W"], {}), ("MaxPool", [], {"kernel_shape": [2, 2]})),
        {"W": floats(3, 2, 2, 1)},
        ("N", 2, 6, 6),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_same(form, rng, tmp_path):
    nodes, arrays, shape = FORMS[form]
    model = model_of(nodes, arrays, shape, opset=18 if "a" in arrays else 17)  # where the axes became an array
    net = read(model, tmp_path)
    X = rng.random((2, *shape[1:])).astype(np.float32)
    model.ir_version = 8
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_close(net.forward(X, training=False), session.run(None, {"x": X})[0])


def test_arrays_by_nodes_and_by_lists(tmp_path):
    W = floats(4, 3)
    constant = helper.make_node(
        "Constant", [], ["C"], value=helper.make_tensor("v", FLOAT, W.shape, W.ravel().tolist())
    )
    alias = helper.make_node("Identity", ["C"], ["W"])
    net = read(model_of([constant, alias, node("MatMul", "W")], shape=("N", 4)), tmp_path)
    np.testing.assert_array_equal(net.layers[0].W, W)


def batch_norm(var=(1.0, 1.0), **settings):
    ones = np.ones(2, np.float32)
    arrays = {"s": ones, "b": ones, "m": ones, "v": np.array(var, np.float32)}
    return model_of([node("BatchNormalization", "s", "b", "m", "v", **settings)], arrays)


def external():
    model = model_of([node("MatMul", "W")], {"W": floats(4, 3)}, ("N", 4))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "/etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")
    return model


def forged(dims):
    model = model_of([node("MatMul", "W")], {"W": floats(4, 3)}, ("N", 4))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model


def with_function():
    model = model_of([node("Relu")])
    model.functions.append(helper.make_function("d", "f", ["x"], ["y"], [node("Relu")], [helper.make_opsetid("", 17)]))
    return model


def loop():
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "body", [], [])
    return model_of([node("If", then_branch=body, else_branch=body)])


CONV = {"W": floats(3, 2, 3, 3)}
ADD = helper.make_node("Add", ["x", "x"], ["y"])
REFUSED = {
    "another operator": (
        lambda: model_of([node("Gelu")]),
        r"operator 0 \(Gelu\) is not one that is read: Add, AveragePool",
    ),
    "of others": (lambda: model_of([node("Relu", domain="com.evil")]), r"com.evil.Relu\) is not one of ONNX's own"),
    "a branch": (loop, "has the setting .*_branch, of a kind that is not read"),
    "functions": (with_function, "functions of its own"),
    "too new": (lambda: model_of([node("Relu")], opset=999), "opset 999; 9 to "),
    "too old": (lambda: model_of([node("Relu")], opset=8), "opset 8; 9 to "),
    "another file": (external, "the array 'W' lies in another file, which is not read"),
    "not a chain": (lambda: model_of([ADD]), "takes 'x', which is no array of the file"),
    "a fork": (
        lambda: model_of([helper.make_node("Relu", ["x"], ["t"]), node("Tanh")]),
        r"operator 1 \(Tanh\) takes \['x'\], not 't'",
    ),
    "two outputs": (lambda: model_of([node("Relu")], outputs=("y", "z")), "1 inputs and 2 outputs"),
    "an output from the middle": (
        lambda: model_of(chain(("Relu", [], {}), ("Relu", [], {})), outputs=("t0",)),
        "output is 't0', the last operator's 'y'",
    ),
    "no size": (lambda: model_of([node("Relu")], shape=("N", 2, "H", 6)), r"shape \(N, 2, H, 6\)"),
    "half": (lambda: model_of([node("Relu")], element=onnx.TensorProto.FLOAT16), "element type 10, not FLOAT"),
    "half weights": (lambda: model_of([node("MatMul", "W")], {"W": np.ones((4, 3), np.float16)}), "element type 10"),
    "NaN": (lambda: model_of([node("Sub", "m")], {"m": np.float32("nan")}), "the array 'm' has 1 non-finite values"),
    "uneven padding": (
        lambda: model_of([node("Conv", "W", pads=[0, 1, 0, 1])], CONV),
        r"pads \[0, 1, 0, 1\]: only 4 equal",
    ),
    "negative padding": (lambda: model_of([node("Conv", "W", pads=[-1] * 4)], CONV), "padding must be >= 0, got -1"),
    "huge padding": (lambda: model_of([node("Conv", "W", pads=[2**62] * 4)], CONV), "more numbers than can be counted"),
    "strides": (lambda: model_of([node("Conv", "W", strides=[1, 2])], CONV), r"strides \[1, 2\]: only 2 equal"),
    "dilation": (lambda: model_of([node("Conv", "W", dilations=[2, 2])], CONV), r"with dilations \[2, 2\]"),
    "groups": (lambda: model_of([node("Conv", "W", group=2)], {"W": floats(2, 1, 3, 3)}), "3x6|nx2xnxn"),
    "same": (lambda: model_of([node("Conv", "W", auto_pad="SAME_UPPER")], CONV), "with auto_pad 'SAME_UPPER'"),
    "a filter too large": (
        lambda: model_of([node("Conv", "W")], {"W": floats(1, 2, 7, 7)}),
        "larger than padded input",
    ),
    "no filter": (lambda: model_of([node("Conv", "W")], {"W": floats(0, 2, 3, 3)}), "takes an array of floats"),
    "a window of none": (lambda: model_of([node("MaxPool")]), "size must be >= 1, got 0"),
    "ceilings": (lambda: model_of([node("MaxPool", kernel_shape=[2, 2], ceil_mode=1)]), "with ceil_mode 1"),
    "padded pooling": (
        lambda: model_of([node("AveragePool", kernel_shape=[2, 2], pads=[1] * 4)]),
        r"with pads \[1, 1, 1, 1\]",
    ),
    "an unknown setting": (lambda: model_of([node("Relu", alpha=0.1)]), "has the setting alpha, which is not read"),
    "a setting of another type": (lambda: batch_norm(epsilon="tiny"), "eps must be a number, got str"),
    "training": (lambda: batch_norm(training_mode=1), "with training_mode 1"),
    "a negative variance": (lambda: batch_norm(var=(1.0, -1.0)), "has a negative variance"),
    "flat from elsewhere": (lambda: model_of([node("Flatten", axis=2)]), "with axis 2"),
    "another shape": (lambda: model_of([node("Reshape", "s")], {"s": np.array([-1, 36])}), r"to \[-1, 36\]"),
    "images for rows": (
        lambda: model_of([node("MatMul", "W")], {"W": floats(72, 3)}),
        "rows of 72, but what comes has shape",
    ),
    "rows for images": (
        lambda: model_of([node("Conv", "W")], CONV, ("N", 4)),
        "takes images, but what comes has shape",
    ),
    "a bias alone": (lambda: model_of([node("Add", "b")], {"b": floats(2)}), "stands not behind a MatMul"),
    "softmax inside": (
        lambda: model_of(chain(("Softmax", [], {}), ("Relu", [], {})), shape=("N", 3)),
        "at the end alone",
    ),
    "an average for itself": (lambda: model_of([node("GlobalAveragePool")]), "nothing flattens"),
    "an average and more": (
        lambda: model_of(chain(("GlobalAveragePool", [], {}), ("Relu", [], {}))),
        "stands behind a global average",
    ),
    "dropped out": (
        lambda: model_of([node("Dropout", "r", "t")], {"r": np.float32(0.5), "t": np.array([1])}),
        "drops out in inference",
    ),
    "a weight a pixel": (lambda: model_of([node("Sub", "m")], {"m": floats(2, 6, 6)}), "one number, or one a channel"),
    "five axes": (lambda: forged([1, 1, 1, 4, 3]), "up to four axes"),
    "negative sizes": (lambda: forged([-1, 3]), "up to four axes"),
}
CORRUPT = {
    "huge sizes": (lambda: forged([2**62, 2**62]), r"of shape .* has 48 bytes"),
    "more than there is": (lambda: forged([4, 4]), "has 48 bytes, 0 numbers"),
    "no graph": (lambda: onnx.ModelProto(), "it holds no graph"),
    "two versions": (
        lambda: (lambda m: (m.opset_import.append(helper.make_opsetid("ai.onnx", 3)), m)[1])(model_of([node("Relu")])),
        "names 2 versions",
    ),
    "twice": (
        lambda: model_of(
            [helper.make_node("Constant", [], ["W"], value=numpy_helper.from_array(floats(2))), node("Sub", "W")],
            {"W": floats(2)},
        ),
        "'W' is defined twice",
    ),
    "the input again": (
        lambda: model_of([helper.make_node("Relu", ["x"], ["x"])]),
        "gives 'x', which is there already",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_named(case, tmp_path):
    make, message = REFUSED[case]
    with pytest.raises(CheckpointMismatchError, match=message) as caught:
        read(make(), tmp_path)
    assert "given.onnx: " in str(caught.value)


@pytest.mark.parametrize("case", CORRUPT)
def test_what_contradicts_itself(case, tmp_path):
    make, message = CORRUPT[case]
    with pytest.raises(CheckpointCorruptError, match=message):
        read(make(), tmp_path)


def test_damaged_files_end_in_one_family_of_errors(rng, tmp_path):
    net = net_of([Conv((1, 4, 4), 2, 3, 3, 1, 1), ReLU(), Flatten(), FullyConnected(32, 2)], rng)
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    content = path.read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 7)]
    for place in rng.integers(len(content), size=400):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    n_refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            NeuralNet.from_onnx(path)  # a flipped bit of a weight is a sound file
        except CheckpointError:
            n_refused += 1
    assert n_refused >= len(damaged) // 3


def test_files_that_are_none(tmp_path):
    (tmp_path / "text").write_text("<html>" * 100)
    with pytest.raises(CheckpointCorruptError, match="text is not an ONNX file"):
        NeuralNet.from_onnx(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        NeuralNet.from_onnx(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        NeuralNet.from_onnx(tmp_path)


def test_the_size_of_a_file_is_bounded(tmp_path, monkeypatch):
    from cnn_ext.exchange import onnx_file

    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate(onnx_file.LARGEST_FILE + 1)  # takes no room
    with pytest.raises(CheckpointMismatchError, match="more than the 1073741824 that are read"):
        NeuralNet.from_onnx(path)
    monkeypatch.setattr(onnx_file, "MOST_NODES", 3)
    with pytest.raises(CheckpointMismatchError, match="has 4 operators, more than the 3"):
        read(model_of(chain(*[("Relu", [], {})] * 4)), tmp_path)


def test_what_pytorch_exports(rng, tmp_path):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Identity()),
        *(nn.Conv2d(4, 6, 3, 2, bias=False), nn.Tanh(), nn.AvgPool2d(2, 1), nn.Sigmoid(), nn.Flatten()),
        *(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3, bias=False), nn.Softmax(1)),
    ).eval()
    X = rng.random((2, 2, 17, 17)).astype(np.float32)
    path = tmp_path / "torch.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(model, (torch.from_numpy(X),), path, dynamo=False)
    net = NeuralNet.from_onnx(path)
    with torch.no_grad():
        assert_close(net.predict_proba(X), model(torch.from_numpy(X)).numpy())
    assert softmax(net.forward(X, training=False)).shape == (2, 3)


def test_import_takes_no_onnx_along():
    code = "import sys, cnn_ext; cnn_ext.NeuralNet; print([n for n in sys.modules if 'onnx' in n or 'exchange.' in n])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", cnn_ext.__file__
