"""Bad input to layers, the loss, networks and what is made of them: refused by name, and nothing changed."""

import tracemalloc

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    AvgPool,
    BatchNorm,
    Conv,
    CrossEntropy,
    Dropout,
    DTypeError,
    Ensemble,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Maxpool,
    NeuralNet,
    NonFiniteError,
    ReLU,
    ShapeError,
    Sigmoid,
    SoftmaxLoss,
    Standardize,
    Tanh,
    View,
    accuracy,
    delta_l1_regularization,
    delta_l2_regularization,
    fold_batch_norm,
    l1_regularization,
    l2_regularization,
    make_best_cnn,
    make_cifar10_cnn,
    make_mnist_cnn,
    make_small_cnn,
    one_hot_encode,
    shifted_views,
    softmax,
)

NAN, INF = float("nan"), float("inf")
IMAGES = np.linspace(-1, 1, 4 * 2 * 6 * 6, dtype=np.float32).reshape(4, 2, 6, 6)
ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([1, 2, 3, 4])

LAYERS = {
    "AvgPool": (lambda: AvgPool((2, 6, 6), 2, 2), IMAGES),
    "BatchNorm": (lambda: BatchNorm((2, 6, 6)), IMAGES),
    "BatchNorm of features": (lambda: BatchNorm(3), ROWS),
    "Conv": (lambda: Conv((2, 6, 6), 3, 3, 3, 1, 1, rng=0), IMAGES),
    "Dropout": (lambda: Dropout(0.5, rng=0), IMAGES),
    "Dropout of channels": (lambda: Dropout(0.5, True, rng=0), IMAGES),
    "Flatten": (Flatten, IMAGES),
    "FullyConnected": (lambda: FullyConnected(3, 2, rng=0), ROWS),
    "GlobalAvgPool": (lambda: GlobalAvgPool((2, 6, 6)), IMAGES),
    "Maxpool": (lambda: Maxpool((2, 6, 6), 2, 2), IMAGES),
    "ReLU": (ReLU, IMAGES),
    "Sigmoid": (Sigmoid, IMAGES),
    "Standardize": (lambda: Standardize((2, 6, 6), 0, 1), IMAGES),
    "Tanh": (Tanh, IMAGES),
}
ANY_SHAPE = {"Dropout", "ReLU", "Sigmoid", "Tanh"}

# What an array is replaced by; layers take what becomes a float array (lists, buffers), and nothing else.
BAD_ARRAYS = [
    (lambda a: None, DTypeError, "{name} must be float32 or float64, got object"),
    (lambda a: object(), DTypeError, "{name} must be float32 or float64, got object"),
    (lambda a: "text", DTypeError, "{name} must be float32 or float64, got <U4"),
    (lambda a: b"bytes", DTypeError, "{name} must be float32 or float64, got .?S5"),
    (lambda a: {}, DTypeError, "{name} must be float32 or float64, got object"),
    (lambda a: [[1.0, 2.0], [3.0]], ShapeError, "{name} must be an array, got a list that makes none"),
    (lambda a: True, DTypeError, "{name} must be float32 or float64, got bool"),
    (lambda a: 3, DTypeError, "{name} must be float32 or float64, got int64: scale it first"),
    (lambda a: a.astype(np.uint8), DTypeError, "{name} must be float32 or float64, got uint8: scale it first"),
    (lambda a: a.astype(np.float16), DTypeError, "{name} must be float32 or float64, got float16"),
    (lambda a: a.astype(np.longdouble), DTypeError, "{name} must be float32 or float64, got "),
    (lambda a: a.astype(complex), DTypeError, "{name} must be float32 or float64, got complex128"),
    (lambda a: a.astype(object), DTypeError, "{name} must be float32 or float64, got object"),
    (lambda a: np.zeros(a.shape, [("a", "f4")]), DTypeError, "{name} must be float32 or float64, got "),
    (lambda a: np.ma.masked_array(a), DTypeError, "{name} must be a plain numpy.ndarray, got a masked array"),
]
BAD_SHAPES = [lambda a: a[..., :-1], lambda a: a[0], lambda a: a[None], lambda a: np.float32(1), lambda a: a[:, :0]]


def state_of(layer):
    return [array.tobytes() for array in (*layer.params, *layer.buffers)]


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_or_a_gradient_replaced(name, refuses):
    make, good = LAYERS[name]
    layer = make()
    dout = np.ones_like(layer.forward(good))
    expected, before = [np.array(part) for part in (layer.backward(dout)[0], *layer.backward(dout)[1])], state_of(layer)
    bad_shapes = [] if name in ANY_SHAPE else BAD_SHAPES[3:4] if name == "Flatten" else BAD_SHAPES
    if name == "Dropout of channels":
        bad_shapes = BAD_SHAPES[1:4]
    for replace, error, message in [*BAD_ARRAYS, *((shape, ShapeError, "expects|must be 4-D") for shape in bad_shapes)]:
        for training in (True, False):
            refuses(error, message.format(name="X"), layer.forward, replace(good), training=training)
    rows = [
        *BAD_ARRAYS,
        *((shape, ShapeError, r"dout \(.*\) does not match last forward output") for shape in BAD_SHAPES),
    ]
    for replace, error, message in rows:
        refuses(error, message.format(name="dout"), layer.backward, replace(dout))
    # The layer is as it was, down to the pass that it can go back from.
    assert state_of(layer) == before
    dX, grads = layer.backward(dout)
    for array, same in zip([dX, *grads], expected, strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("name", LAYERS)
def test_memory_layout_does_not_matter(name, layout):
    make, good = LAYERS[name]
    results = []
    for change in (np.copy, layout):
        layer = make()
        out = layer.forward(change(good))
        dX, grads = layer.backward(change(np.linspace(-1, 1, out.size, dtype=np.float32).reshape(out.shape)))
        results.append([out, dX, *grads])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("name", ["Conv", "FullyConnected", "BatchNorm"])
def test_parameters_and_statistics_replaced(name, refuses):
    layer = LAYERS[name][0]()
    before = state_of(layer)
    for attribute in (*layer.param_names, *layer.buffer_names):
        array = getattr(layer, attribute)
        for value, error, message in [
            (None, DTypeError, "must be an array of real numbers, got object"),
            ("W", DTypeError, "must be an array of real numbers, got <U1"),
            ([[1.0], [1.0, 2.0]], ShapeError, "must be an array, got a list that makes none"),
            (array.astype(complex), DTypeError, "must be an array of real numbers, got complex128"),
            (array.astype(bool), DTypeError, "must be an array of real numbers, got bool"),
            (np.ma.masked_array(array), DTypeError, "must be a plain numpy.ndarray"),
            (np.concatenate([array, array]), ShapeError, "must have shape"),
            (array[..., :0], ShapeError, "must have shape"),
            (1.0, ShapeError, "must have shape"),
        ]:
            refuses(error, rf"{name}\.{attribute} {message}", setattr, layer, attribute, value)
    assert state_of(layer) == before
    layer.params[0] = np.ones(7, np.float32)  # past the attribute, into the list
    with pytest.raises(ValueError, match=r"params hold|broadcast"):
        layer.forward(LAYERS[name][1])


SIZES = [
    (None, DTypeError, "must be an int, got NoneType"),
    ("3", DTypeError, "must be an int, got str"),
    (True, DTypeError, "must be an int, got bool"),
    (3.0, DTypeError, "must be an int, got float"),
    (-1, ValueError, "must be >= [01], got -1"),
    (2**63, ValueError, "must be <= 9223372036854775807, got 9223372036854775808"),
]
DIMS = [
    (None, ShapeError, "X_dim must be a tuple"),
    ((1, 28), ShapeError, "X_dim must be a tuple"),
    ("128", ShapeError, "X_dim must be a tuple"),
    ((2, 6.0, 6), DTypeError, r"X_dim\[1\] must be an int, got float"),
    ((2, 6, 0), ValueError, r"X_dim\[2\] must be >= 1, got 0"),
    ((2, 2**31, 2**31), ShapeError, r"X_dim \(.*\) makes more numbers than can be counted"),
]
FLOATS = [
    (None, DTypeError, "must be a number, got NoneType"),
    ("0.5", DTypeError, "must be a number, got str"),
    (True, DTypeError, "must be a number, got bool"),
    (1j, DTypeError, "must be a number, got complex"),
    (np.array([0.5]), DTypeError, "must be a number, got ndarray"),
    (NAN, ValueError, "must be in .*, got nan"),
    (INF, ValueError, "must be in .*, got inf"),
    (-1, ValueError, "must be in .*, got -1"),
]
DTYPES = [
    (value, DTypeError, "dtype must be float32 or float64, got ")
    for value in (None, "f2", int, "object", "x", complex, 3)
]
RNGS = [
    (1.5, DTypeError, "rng must be a numpy.random.Generator, an int or None, got float"),
    (True, DTypeError, "rng must be a numpy.random.Generator"),
    (np.random.RandomState(0), DTypeError, "rng must be a numpy.random.Generator"),
    (-1, ValueError, "rng must be a seed >= 0, got -1"),
]
BOOLS = [(value, DTypeError, "must be a bool, got") for value in (None, "no", 1, 0.0, [])]

CONV = {"X_dim": (2, 6, 6), "n_filter": 3, "h_filter": 3, "w_filter": 3, "stride": 1, "padding": 1}
WINDOW = {"X_dim": (2, 6, 6), "size": 2, "stride": 2}
MODEL = {"X_dim": (1, 28, 28), "num_class": 10}
# A constructor, its arguments as they should be, and what each of some arguments is replaced by.
CONSTRUCTORS = [
    (
        Conv,
        CONV,
        {"X_dim": DIMS, **dict.fromkeys([*CONV][1:], SIZES), "dtype": DTYPES, "rng": RNGS},
    ),
    (FullyConnected, {"in_size": 3, "out_size": 2}, {"in_size": SIZES, "out_size": SIZES, "dtype": DTYPES, "rng": RNGS}),
    (BatchNorm, {"X_dim": (2, 6, 6)}, {"X_dim": DIMS[3:], "momentum": FLOATS, "eps": FLOATS, "dtype": DTYPES}),
    (BatchNorm, {"X_dim": 3}, {"X_dim": [(value, error, f"X_dim {message}") for value, error, message in SIZES]}),
    (Maxpool, WINDOW, {"X_dim": DIMS, "size": SIZES, "stride": SIZES}),
    (AvgPool, WINDOW, {"X_dim": DIMS, "size": SIZES, "stride": SIZES}),
    (GlobalAvgPool, {"X_dim": (2, 6, 6)}, {"X_dim": DIMS}),
    (Dropout, {}, {"prob": [*FLOATS, (0, ValueError, "must be in"), (1.5, ValueError, "must be in")], "dtype": DTYPES}),
    (Dropout, {}, {"per_channel": BOOLS, "rng": RNGS}),
    (Standardize, {"X_dim": (2, 6, 6), "mean": 0, "std": 1}, {"X_dim": DIMS, "mean": FLOATS[:4], "std": FLOATS[:4]}),
    *((make, MODEL, {"X_dim": DIMS, "num_class": SIZES, "dtype": DTYPES, "rng": RNGS}) for make in (
        make_mnist_cnn, make_cifar10_cnn, make_small_cnn, make_best_cnn,
    )),
    (CrossEntropy, {}, {"label_smoothing": FLOATS}),
    (View, {}, {**dict.fromkeys(("rotation", "down", "right", "fill"), FLOATS[:7]), "scale": FLOATS, "flip": BOOLS}),
    (shifted_views, {}, {"pixels": FLOATS[:7]}),
    (NeuralNet, {"layers": [ReLU()]}, {"l2": FLOATS}),
    (one_hot_encode, {"y": [1]}, {"num_class": [*SIZES, (0, ValueError, "must be >= 1")]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "good", "name", "rows"),
    [
        pytest.param(make, good, name, rows, id=f"{make.__name__}-{name}")
        for make, good, replaced in CONSTRUCTORS
        for name, rows in replaced.items()
    ],
)
def test_settings_replaced(make, good, name, rows):
    for value, error, message in rows:
        if message.startswith("must be an int") and name == "num_class" and make is not one_hot_encode:
            message = "out_size " + message  # the last layer's
        with pytest.raises(error, match=message if name in message or name == "num_class" else f"{name} .*{message}"):
            make(**{**good, name: value})


def net(loss=SoftmaxLoss):
    conv = Conv((2, 6, 6), 3, 3, 3, 1, 1, rng=0)
    layers = [conv, BatchNorm((3, 6, 6)), ReLU(), Maxpool((3, 6, 6), 2, 2), Flatten(), FullyConnected(27, 10, rng=0)]
    return NeuralNet(layers, loss)


NET, WEIGHTED = net(), net(CrossEntropy())
SCORES = np.linspace(-1, 1, 40, dtype=np.float32).reshape(4, 10)
BAD_LABELS = [
    (None, "y must be integer labels, got dtype object"),
    ("1234", "y must be integer labels, got dtype"),
    (LABELS.astype(float), "y must be integer labels, got dtype float64"),
    (LABELS.astype(bool), "y must be integer labels, got dtype bool"),
    (LABELS.astype(object), "y must be integer labels, got dtype object"),
    (np.ma.masked_array(LABELS), "y must be a plain numpy.ndarray, got a masked array"),
    ([[1], [2, 3], 4, 5], "y must be an array, got a list that makes none"),
    (LABELS[:3], "must have (shape|the same length)"),
    (np.eye(4, 10, dtype=int), r"y must have shape \(4,\), got \(4, 10\): give class numbers"),
    ([1, 2, -1, 4], "label -1 at row 2 outside"),
    ([1, 2, 3, 10], r"label 10 at row 3 outside \[0, 10\)"),
    (np.array([2**63, 0, 0, 0], np.uint64), "label 9223372036854775808 at row 0 outside"),
]
BAD_WEIGHTS = [
    ("heavy", DTypeError, "sample_weight must be an array of real numbers"),
    ([1, 1, 1], ShapeError, r"sample_weight must have shape \(4,\), got \(3,\)"),
    (1.0, ShapeError, r"sample_weight must have shape \(4,\), got \(\)"),
    ([1, 1, -1, 1], ValueError, r"sample_weight must be in \[0, inf\), got -1.0 at 2"),
    ([1, 1, NAN, 1], ValueError, "sample_weight must be in .*, got nan at 2"),
    ([1, 1, 1j, 1], DTypeError, "sample_weight must be an array of real numbers"),
    ([1e308, 1e308, 1, 1], ValueError, "must add up to a finite number"),
]
TAKE_LABELS = {
    "SoftmaxLoss": lambda y: SoftmaxLoss(SCORES, y),
    "CrossEntropy": lambda y: CrossEntropy(0.1)(SCORES, y),
    "train_step": lambda y: NET.train_step(IMAGES, y),
    "evaluate": lambda y: NET.evaluate(IMAGES, y),
    "Ensemble.evaluate": lambda y: Ensemble([NET], [View()]).evaluate(IMAGES, y),
}


@pytest.mark.parametrize("taker", TAKE_LABELS)
def test_labels_replaced(taker, refuses):
    before = [state_of(layer) for layer in NET.layers]
    for y, message in BAD_LABELS:
        refuses((ValueError, DTypeError), message, TAKE_LABELS[taker], y)
    assert [state_of(layer) for layer in NET.layers] == before  # the running statistics too


def test_weights_replaced(refuses):
    before = [state_of(layer) for layer in WEIGHTED.layers]
    for weights, error, message in BAD_WEIGHTS:
        refuses(error, message, CrossEntropy(), SCORES, LABELS, weights)
        refuses(error, message, WEIGHTED.train_step, IMAGES, LABELS, weights)
    assert [state_of(layer) for layer in WEIGHTED.layers] == before


class Own(ReLU):
    """A layer of one's own, with what it says are its parameters."""

    def __init__(self, params):
        super().__init__()
        self.params = params


# What is done, the exception, its message.
OTHERS = [
    (lambda: NeuralNet(None), DTypeError, "layers must be a list or tuple, got NoneType"),
    (lambda: NeuralNet(ReLU()), DTypeError, "layers must be a list or tuple, got ReLU"),
    (lambda: NeuralNet("ReLU"), DTypeError, "layers must be a list or tuple, got str"),
    (lambda: NeuralNet([]), ValueError, "layers must hold at least one layer"),
    (lambda: NeuralNet([ReLU(), None]), DTypeError, r"layers\[1\] must be a layer, with params, .* got NoneType"),
    (lambda: NeuralNet([ReLU]), DTypeError, r"layers\[0\] must be a layer, got the class ReLU: call it"),
    (lambda: NeuralNet([ReLU()], "softmax"), DTypeError, "loss_func must be callable, got str"),
    (lambda: NeuralNet([ReLU()], None), DTypeError, "loss_func must be callable, got NoneType"),
    (lambda: NeuralNet([FullyConnected(4, 3), FullyConnected(4, 3)]), ShapeError, "layer 1 .* takes inputs of shape"),
    (lambda: NET.predict(None), ShapeError, "X must hold an entry an image, got a single object"),
    (lambda: NET.predict_proba(1.0), ShapeError, "X must hold an entry an image"),
    (lambda: NET.evaluate(None, LABELS), ShapeError, "X must hold an entry an image"),
    (lambda: NET.evaluate(IMAGES[:0], LABELS[:0]), ShapeError, "X holds no images"),
    (lambda: NET.predict(IMAGES[:, :1]), ShapeError, "Conv expects 2 input channels, got 1"),
    (lambda: NET.predict(IMAGES.astype(np.uint8)), DTypeError, "X must be float32 or float64, got uint8: scale it first"),
    (lambda: NeuralNet([ReLU()]).predict(IMAGES), ShapeError, r"the last layer must give \(4, classes\) .*, got \(4, 2"),
    (lambda: NeuralNet([ReLU()]).predict(np.ones(3, np.float32)), ShapeError, r"the last layer must give \(3, classes\)"),
    (lambda: NeuralNet([Own(3)]), DTypeError, r"layers\[0\].params must be a list of numpy.ndarray, got 3"),
    (lambda: NeuralNet([Own([3])]), DTypeError, r"layers\[0\].params must be a list of numpy.ndarray, got \[3\]"),
    (lambda: setattr(net(), "l2", "0.1"), DTypeError, "l2 must be a number, got str"),
    (lambda: setattr(net(), "l2", NAN), ValueError, r"l2 must be in \[0, inf\), got nan"),
    (lambda: setattr(BatchNorm(2), "running_var", [1, -1]), ValueError, r"running_var must be >= 0, got -1"),
    (lambda: net().backward(SCORES), RuntimeError, r"backward\(\) called before forward\(\)"),
    (lambda: Ensemble(None), DTypeError, "nets must be a list or tuple, got NoneType"),
    (lambda: Ensemble(NET), DTypeError, "nets must be a list or tuple, got NeuralNet"),
    (lambda: Ensemble([]), ValueError, "nets must hold at least one network"),
    (lambda: Ensemble([NET, 3]), DTypeError, r"nets\[1\] must be of type NeuralNet, got int"),
    (lambda: Ensemble([NET], [3]), DTypeError, r"views\[0\] must be callable, got int"),
    (lambda: Ensemble([NET], View()), DTypeError, "views must be a list or tuple, got View"),
    (lambda: Ensemble([NET]).predict(3), ShapeError, "X must hold an entry an image"),
    (lambda: Ensemble([NET]).evaluate(IMAGES * np.float32(NAN), LABELS), NonFiniteError, "image 0 has no most probable class"),
    (lambda: View()(None), DTypeError, "X must be a numpy.ndarray, got NoneType"),
    (lambda: View(flip=True)(np.float32(1)), DTypeError, "X must be a numpy.ndarray"),
    (lambda: View(flip=True)(IMAGES[0]), ShapeError, "X must be 4-D"),
    (lambda: fold_batch_norm(None), DTypeError, "net must be of type NeuralNet, got NoneType"),
    (lambda: fold_batch_norm([ReLU()]), DTypeError, "net must be of type NeuralNet, got list"),
    (lambda: softmax(SCORES[0]), ShapeError, "x must be 2-D"),
    (lambda: softmax(None), DTypeError, "x must be float32 or float64, got object"),
    (lambda: SoftmaxLoss(SCORES * np.float32(INF), LABELS), NonFiniteError, "out has a non-finite score at row 0"),
    (lambda: SoftmaxLoss(SCORES[:0], LABELS[:0]), ShapeError, "out has no rows"),
    (lambda: SoftmaxLoss(SCORES[:, :0], LABELS), ShapeError, "out has no columns"),
    (lambda: CrossEntropy(class_weight=np.ones(9))(SCORES, LABELS), ShapeError, "class_weight has 9 weights"),
    (lambda: CrossEntropy(class_weight=np.ones(10)).total_weight([10]), ValueError, "label 10 at row 0 outside"),
    (lambda: CrossEntropy(class_weight=np.ones(10)).total_weight(None), DTypeError, "y must be integer labels"),
    (lambda: CrossEntropy().total_weight(3.5), DTypeError, "y must be integer labels"),
    (lambda: accuracy(np.eye(2), np.eye(2)), ShapeError, r"y_true must be 1-D \(N,\), got 2-D .*: give class numbers"),
    (lambda: accuracy([1, 2], [1]), ShapeError, r"y_pred must have the shape of y_true \(2,\), got \(1,\)"),
    (lambda: accuracy(None, None), ShapeError, "y_true must be 1-D"),
    (lambda: accuracy([[1], [1, 2]], [1, 2]), ShapeError, "y_true must be an array"),
    (lambda: l2_regularization(None), DTypeError, "layers must be a list or tuple, got NoneType"),
    (lambda: l1_regularization(FullyConnected(2, 2)), DTypeError, "layers must be a list or tuple, got FullyConnected"),
    (lambda: l2_regularization([], "0.1"), DTypeError, "lam must be a number, got str"),
    (lambda: l1_regularization([], -1), ValueError, r"lam must be in \[0, inf\), got -1"),
    (lambda: delta_l2_regularization([ReLU()], None), DTypeError, "grads must be a list or tuple, got NoneType"),
    (lambda: delta_l1_regularization([ReLU()], [[], []]), ValueError, "grads must have one entry for each of the 1 layers"),
    (lambda: Standardize.fit(None), ShapeError, "X must be a batch of images"),
    (lambda: Standardize.fit(IMAGES.astype(int)), DTypeError, "X must be float32 or float64"),
    (lambda: FullyConnected(2**40, 2**40), ShapeError, "makes more numbers than can be counted"),
    (lambda: BatchNorm(2**62), ShapeError, "makes more numbers than can be counted"),
    (lambda: one_hot_encode([1], 2**61), ShapeError, "makes more numbers than can be counted"),
    (lambda: one_hot_encode(["a"], 2), DTypeError, "y must hold integers"),
    (lambda: one_hot_encode([[1], [1, 0]], 2), ShapeError, "y must be an array"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), OTHERS, ids=range(len(OTHERS)))
def test_other_ways_to_be_wrong(make, error, message):
    before = [state_of(layer) for layer in NET.layers]
    with pytest.raises(error, match=message):
        make()
    assert [state_of(layer) for layer in NET.layers] == before


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_step_that_fails_leaves_the_running_statistics(value):
    network = net()
    before = [state_of(layer) for layer in network.layers]
    with pytest.raises(NonFiniteError, match="out has a non-finite score at row 0"), np.errstate(all="ignore"):
        network.train_step(np.full_like(IMAGES, value), LABELS)
    assert [state_of(layer) for layer in network.layers] == before
    network.train_step(IMAGES, LABELS)
    assert [state_of(layer) for layer in network.layers] != before


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_weight_that_is_not_finite_propagates(value):
    network = net()
    network.layers[0].W[0, 0, 0, 0] = value
    with np.errstate(all="ignore"):
        conv = network.layers[0].forward(IMAGES)
    assert not np.isfinite(conv[:, 0]).all() and np.isfinite(conv[:, 1:]).all()


def test_batch_norm_before_any_training():
    layer = BatchNorm((2, 6, 6))
    np.testing.assert_array_equal(layer.forward(IMAGES, training=False), IMAGES / np.sqrt(np.float32(1 + 1e-5)))


def test_dropout_is_never_active_in_prediction():
    layers = [Flatten(), Dropout(0.1, rng=0), FullyConnected(72, 10, rng=0)]
    network, without = NeuralNet(layers), NeuralNet([layers[0], layers[2]])
    for _ in range(3):
        np.testing.assert_array_equal(network.predict_proba(IMAGES), without.predict_proba(IMAGES))
        network.forward(IMAGES)


def test_prediction_on_many_images_takes_no_more_memory_than_a_chunk():
    network = NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=0))
    X = np.broadcast_to(np.float32(0.5), (10_000, 1, 28, 28))
    tracemalloc.start()
    try:
        assert network.predict(X).shape == (10_000,)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20  # all 10,000 images through the first layer would be 125 MB
    assert kept < 8 << 20 and cnn_ext.network.INFERENCE_CHUNK <= 256
