"""Bad input to what trains: optimizers, schedules, batches, augmentation, `fit`; nothing may be changed by it."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest

import cnn_ext
from cnn_ext import (
    RECIPES,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    CrossEntropy,
    DTypeError,
    EarlyStopping,
    FullyConnected,
    NeuralNet,
    NonFiniteError,
    Recipe,
    RMSProp,
    ShapeError,
    WeightAverage,
    clip_gradients,
    fit,
    get_minibatches,
    lr_find,
    schedules,
)
from cnn_ext.augmentation import (
    Compose,
    Cutout,
    ElasticDistortion,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    from_config,
)

NAN, INF = float("nan"), float("inf")
NO_INTS = [
    (None, DTypeError, "must be an int, got NoneType"),
    ("3", DTypeError, "must be an int, got str"),
    (True, DTypeError, "must be an int, got bool"),
    (3.0, DTypeError, "must be an int, got float"),
    ([3], DTypeError, "must be an int, got list"),
    (-1, ValueError, "must be >= [0-3], got -1"),
    (10**400, ValueError, "must be <= .*, got an int of 1329 bits"),
]
NO_REALS = [
    (None, DTypeError, "must be a number, got NoneType"),
    ("0.1", DTypeError, "must be a number, got str"),
    (True, DTypeError, "must be a number, got bool"),
    ([0.1], DTypeError, "must be a number, got list"),
    (1j, DTypeError, "must be a number, got complex"),
    (NAN, ValueError, "must be in .*, got nan"),
    (INF, ValueError, "must be in .*, got inf"),
    (10**400, ValueError, "must be in .*, got an int beyond the range of a float"),
]
NEGATIVE = (-1, ValueError, "must be in .*, got -1")
NO_BOOLS = [(value, DTypeError, "must be a bool, got") for value in (None, "no", 1, 0.0, [])]
NO_RNGS = [(1.5, DTypeError, "must be a numpy.random.Generator"), (-1, ValueError, "must be a seed >= 0, got -1")]
POSITIVE, SHARE = (
    [*NO_REALS, NEGATIVE, (0, ValueError, "must be in")],
    [*NO_REALS, NEGATIVE, (1, ValueError, "must be")],
)
REAL, NOT_NEGATIVE = NO_REALS, [*NO_REALS, NEGATIVE]

NO_RANGES = [
    (None, DTypeError, "must be a tuple"),
    (0.5, DTypeError, "must be a tuple"),
    ((0.1,), DTypeError, "must be a tuple"),
    ((0.1, "0.2"), DTypeError, "must be a number, got str"),
    ((NAN, 0.2), ValueError, "must be in"),
    ((0.2, 0.1), ValueError, r"must be \(lowest, highest\), got"),
    ((0, 1), ValueError, "must be in"),
]
NO_NAMES = [(value, ValueError, "must be one of") for value in (None, 1, "x", [])]

FAST = {field.name: getattr(RECIPES["fast"], field.name) for field in fields(Recipe)}
ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8}
# A constructor, its arguments as they should be, and what each is replaced by.
SETTINGS = [
    (SGD, {"lr": 0.1, "momentum": 0.9}, {"lr": POSITIVE, "momentum": SHARE, "nesterov": NO_BOOLS}),
    (AdaGrad, {}, {"lr": POSITIVE, "eps": POSITIVE}),
    (RMSProp, {}, {"lr": POSITIVE, "decay": SHARE, "eps": POSITIVE}),
    (Adam, ADAM, {"lr": POSITIVE, "beta1": SHARE, "beta2": SHARE, "eps": POSITIVE}),
    (AdamW, ADAM, {"weight_decay": NOT_NEGATIVE}),
    (schedules.cosine, {"total_steps": 10}, {"total_steps": NO_INTS, "warmup_steps": NO_INTS}),
    (schedules.linear, {"total_steps": 10}, {"total_steps": NO_INTS, "end_factor": [*REAL, NEGATIVE]}),
    (schedules.step_decay, {"every_steps": 3}, {"every_steps": NO_INTS, "gamma": POSITIVE}),
    (schedules.exponential, {}, {"gamma": POSITIVE}),
    (
        schedules.one_cycle,
        {"total_steps": 10},
        {"total_steps": NO_INTS, "peak_at": POSITIVE, "start_factor": [*REAL, NEGATIVE], "end_factor": REAL}
        | {"annealing": [(value, ValueError, "must be 'cosine' or 'linear', got") for value in (None, 1, "cubic", [])]},
    ),
    (
        schedules.warmup,
        {"schedule": schedules.constant(), "warmup_steps": 3},
        {"schedule": [(value, DTypeError, "must be callable, got") for value in (None, 1.0, "cosine")]}
        | {"warmup_steps": NO_INTS},
    ),
    (EarlyStopping, {}, {"patience": NO_INTS, "minimum_change": NOT_NEGATIVE}),
    (
        EarlyStopping,
        {},
        {"monitor": [(None, DTypeError, "must be a str"), (3, DTypeError, "must be a str"), ("f1", ValueError, "ends in")]},
    ),
    (RandomAffine, {}, dict.fromkeys(("rotation", "translation", "scale", "shear"), NOT_NEGATIVE) | {"fill": REAL}),
    (ElasticDistortion, {"alpha": 1, "sigma": 1}, {"alpha": NOT_NEGATIVE, "sigma": POSITIVE, "fill": REAL}),
    (RandomErasing, {}, {"probability": NOT_NEGATIVE, "fill": REAL}),
    (
        RandomErasing,
        {},
        {"area": NO_RANGES, "aspect": NO_RANGES},
    ),
    (Cutout, {"size": 3}, {"size": [*NO_INTS, (2**31, ValueError, "must be <= 4194304")], "probability": NOT_NEGATIVE}),
    (RandomCrop, {"padding": 2}, {"padding": NO_INTS, "fill": REAL}),
    (RandomFlip, {}, {"probability": NOT_NEGATIVE}),
    (
        Compose,
        {},
        {
            "transforms": [
                (None, DTypeError, "must be a list or tuple of transforms, got NoneType"),
                (RandomFlip(), DTypeError, "must be a list or tuple of transforms, got RandomFlip"),
                ([RandomFlip], DTypeError, r"transforms\[0\] must be a Transform, got"),
                ([None], DTypeError, r"transforms\[0\] must be a Transform, got NoneType"),
            ]
        },
    ),
    (
        from_config,
        {},
        {
            "config": [
                (None, DTypeError, "config must be a dict"),
                ({}, ValueError, "type of a transform must be one of"),
                ({"type": ["RandomFlip"]}, ValueError, "type of a transform must be one of"),
                ({"type": "RandomFlip", "p": 1}, ValueError, "RandomFlip has no p"),
                ({"type": "Compose", "transforms": [{"type": "Compose"}]}, ValueError, "Compose needs transforms"),
            ]
        },
    ),
    (
        Recipe,
        FAST,
        dict.fromkeys(("model", "optimizer", "schedule"), NO_NAMES)
        | dict.fromkeys(("standardize", "test_last_only"), NO_BOOLS)
        | dict.fromkeys(("warmup_steps", "epochs", "batch_size", "train_size"), NO_INTS)
        | {"lr": POSITIVE, "momentum": SHARE, "l2": NOT_NEGATIVE, "label_smoothing": SHARE}
        | {"max_norm": POSITIVE[1:], "average": SHARE[1:]}
        | {
            "augment": [
                (None, DTypeError, "must be of type tuple, got NoneType"),
                (RandomFlip(), DTypeError, "must be of type tuple, got RandomFlip"),
                ((RandomFlip(), "flip"), DTypeError, r"augment\[1\] must be of type Transform, got str"),
            ]
        },
    ),
    (cnn_ext.set_num_threads, {}, {"n": [*NO_INTS, (0, ValueError, "must be >= 1"), (257, ValueError, "must be <= 256")]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "good", "name", "rows"),
    [
        pytest.param(make, good, name, rows, id=f"{make.__name__}-{name}")
        for make, good, replaced in SETTINGS
        for name, rows in replaced.items()
    ],
)
def test_settings_replaced(make, good, name, rows):
    threads = cnn_ext.get_num_threads()
    for value, error, message in rows:
        with pytest.raises(error, match=message if name in message else rf"{name}\S* {message}|{message}") as caught:
            make(**{**good, name: value})
        assert name in str(caught.value) or name == "config"
    assert cnn_ext.get_num_threads() == threads


OPTIMIZERS = [lambda: SGD(0.1), lambda: SGD(0.1, 0.9, True), AdaGrad, RMSProp, Adam, AdamW]
PARAMS = [np.ones((2, 3), np.float32), np.ones(3, np.float32)]
GRADS = [np.full((2, 3), 0.5, np.float32), np.full(3, 0.5, np.float32)]


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


# What is done to (params, grads), the exception, its message.
BAD_STEPS = [
    (lambda p, g: (None, g), DTypeError, "params must be a list or tuple, got NoneType"),
    (lambda p, g: (p[0].sum(), g), DTypeError, "params must be a list or tuple, got float32"),
    (lambda p, g: (p, 1.0), DTypeError, "grads must be a list or tuple, got float"),
    (lambda p, g: (p, g[:1]), ValueError, "grads must have one array for each of the 2 params, got 1"),
    (lambda p, g: (p, []), ValueError, "grads must have one array for each of the 2 params, got 0"),
    (lambda p, g: ([p[0], None], g), DTypeError, "b must be a numpy.ndarray, got NoneType"),
    (lambda p, g: ([p[0], p[1].tolist()], g), DTypeError, "b must be a numpy.ndarray, got list"),
    (lambda p, g: ([p[0], p[1].astype(int)], g), DTypeError, "b must be float32 or float64, got int64"),
    (lambda p, g: ([p[0], p[1].astype(complex)], g), DTypeError, "b must be float32 or float64, got complex128"),
    (lambda p, g: ([p[0], p[1].astype(np.float16)], g), DTypeError, "b must be float32 or float64, got float16"),
    (lambda p, g: ([p[0], np.ma.masked_array(p[1])], g), DTypeError, "b must be a plain numpy.ndarray"),
    (lambda p, g: ([p[0], frozen(p[1])], g), ValueError, "b is read-only and cannot be trained"),
    (lambda p, g: (p, p), ValueError, "a and its gradient share memory"),
    (lambda p, g: (p, [g[0], p[1]]), ValueError, "b and its gradient share memory"),
    (lambda p, g: (p, [g[0], None]), DTypeError, "grad of b must be a numpy.ndarray, got NoneType"),
    (lambda p, g: (p, [g[0], g[1].astype(int)]), DTypeError, "grad of b must be float32 or float64, got int64"),
    (lambda p, g: (p, [g[0], g[1].astype(complex)]), DTypeError, "grad of b must be float32 or float64, got complex128"),
    (lambda p, g: (p, [g[0], g[1].astype(object)]), DTypeError, "grad of b must be float32 or float64, got object"),
    (lambda p, g: (p, [g[0].T, g[1]]), ShapeError, r"grad of a must have shape \(2, 3\), got \(3, 2\)"),
    (lambda p, g: (p, [g[0], g[1] * np.float32(NAN)]), NonFiniteError, r"step \d: grad of b has 3 non-finite values"),
    (lambda p, g: (p, [g[0] * np.float32(INF), g[1]]), NonFiniteError, r"step \d: grad of a has 6 non-finite values"),
]  # fmt: skip
BAD_FIRST_STEPS = [
    (lambda p, g: ([p[0], p[0][0]], g), ValueError, "a and b share memory"),
    (lambda p, g: ([p[1], p[1]], [g[1], g[1]]), ValueError, "a and b share memory"),
    (lambda p, g: ([p[1][::2], p[1][:2]], [g[1][::2], g[1][:2]]), ValueError, "a and b share memory"),
]
BAD_FACTORS = [*NO_REALS, NEGATIVE, (1e300, NonFiniteError, "the rate .* is beyond the range of float32")]


@pytest.mark.parametrize("make", OPTIMIZERS, ids="SGD Nesterov AdaGrad RMSProp Adam AdamW".split())
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_step_that_is_refused_changes_nothing(make, steps_before, refuses):
    optimizer, params, grads = make(), copy.deepcopy(PARAMS), copy.deepcopy(GRADS)
    for _ in range(steps_before):
        optimizer.step(params, grads)

    def everything():
        return [array.tobytes() for part in (params, grads, *optimizer.state.values()) for array in part]

    before = everything()
    for spoil, error, message in [*BAD_STEPS, *(BAD_FIRST_STEPS if steps_before == 0 else [])]:
        refuses(error, message, optimizer.step, *spoil(params, grads), names=["a", "b"])
    for lr, error, message in POSITIVE:
        refuses(error, f"lr {message}", setattr, optimizer, "lr", lr)
    for factor, error, message in BAD_FACTORS:
        refuses(error, message, optimizer.step, params, grads, factor=factor)
    for names in ("a", ["a"], ["a", "b", "c"], 3):
        refuses(
            (ValueError, DTypeError),
            "names must (have one name for each|be a list)",
            optimizer.step,
            params,
            grads,
            names=names,
        )
    assert everything() == before and optimizer.steps == steps_before
    fresh, expected = make(), copy.deepcopy(PARAMS)
    for _ in range(steps_before + 1):
        fresh.step(expected, grads)
    optimizer.step(params, grads)
    for param, wanted in zip(params, expected, strict=True):
        np.testing.assert_array_equal(param, wanted)


BOTH = np.ones(6, np.float32)
# What is clipped and to what, the exception, its message.
BAD_CLIPPING = [
    (None, 1.0, DTypeError, "grads must be a list or tuple, got NoneType"),
    (1.0, 1.0, DTypeError, "grads must be a list or tuple, got float"),
    ([None], 1.0, DTypeError, r"grads\[0\] must be a numpy.ndarray, got NoneType"),
    ([GRADS[0], [1.0]], 1.0, DTypeError, r"grads\[1\] must be a numpy.ndarray, got list"),
    ([GRADS[0].astype(int)], 1.0, DTypeError, r"grads\[0\] must be float32 or float64, got int64"),
    ([GRADS[0], frozen(GRADS[1])], 1.0, ValueError, r"grads\[1\] is read-only and cannot be scaled"),
    ([BOTH[:4], BOTH[2:]], 1.0, ValueError, r"grads\[0\] and grads\[1\] share memory"),
    *((GRADS, value, error, f"max_norm {message}") for value, error, message in POSITIVE),
]


@pytest.mark.parametrize(("grads", "max_norm", "error", "message"), BAD_CLIPPING)
def test_clipping_that_is_refused_changes_nothing(grads, max_norm, error, message, refuses):
    refuses(error, message, clip_gradients, grads, max_norm)


def test_gradients_from_a_generator_are_clipped():
    grads = copy.deepcopy(GRADS)
    norm = clip_gradients((grad for grad in grads), 0.5)
    assert norm == pytest.approx(1.5)  # nine numbers of 0.5
    np.testing.assert_allclose(np.concatenate([grad.ravel() for grad in grads]), 0.5 / 3, rtol=1e-6)


X, Y = np.linspace(-1, 1, 120, dtype=np.float32).reshape(40, 3), np.arange(40) % 4
BAD_BATCHES = [
    ({"X": None}, ShapeError, "X must hold an entry an image, got a single object"),
    ({"X": 3}, ShapeError, "X must hold an entry an image"),
    ({"X": np.ma.masked_array(X)}, DTypeError, "X must be a plain numpy.ndarray"),
    ({"X": [[1.0], [1.0, 2.0]]}, ShapeError, "X must be an array, got a list that makes none"),
    ({"y": None}, ShapeError, "y must hold an entry an image"),
    ({"y": Y[:39]}, ShapeError, "X and y must have the same length, got 40 and 39"),
    ({"sample_weight": np.ones(39)}, ShapeError, r"sample_weight must have shape \(40,\), got \(39,\)"),
    ({"sample_weight": 1.0}, ShapeError, r"sample_weight must have shape \(40,\), got \(\)"),
    *(({"minibatch_size": v}, error, f"minibatch_size {message}") for v, error, message in NO_INTS),
    *(({"shuffle": v}, error, f"shuffle {message}") for v, error, message in NO_BOOLS),
    *(({"rng": v}, error, f"rng {message}") for v, error, message in NO_RNGS),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD_BATCHES)
def test_batches(changes, error, message, refuses):
    refuses(error, message, get_minibatches, **{"X": X, "y": Y, "minibatch_size": 8, **changes})


IMAGES = np.ones((2, 1, 6, 6), np.float32)
TRANSFORMS = [
    RandomAffine(5, 1, 0.1, 5), ElasticDistortion(1, 1), RandomErasing(), Cutout(3), RandomCrop(2), RandomFlip(),
    Compose([RandomFlip()]), Compose([]),
]  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_images_to_augment(transform, refuses):
    for bad, error, message in [
        (None, DTypeError, "X must be a numpy.ndarray, got NoneType"),
        (IMAGES.tolist(), DTypeError, "X must be a numpy.ndarray, got list"),
        (IMAGES.astype(np.uint8), DTypeError, "X must be float32 or float64, got uint8"),
        (IMAGES.astype(object), DTypeError, "X must be float32 or float64, got object"),
        (np.ma.masked_array(IMAGES), DTypeError, "X must be a plain numpy.ndarray"),
        (IMAGES[0], ShapeError, "X must be 4-D"),
        (IMAGES[:, :0], ShapeError, "X must have shape"),
    ]:
        refuses(error, message, transform, bad, 0)
    for rng, error, message in NO_RNGS:
        refuses(error, f"rng {message}", transform, IMAGES, rng)


class Trainable:
    """A network with running statistics, and the arguments that `fit` takes."""

    def __init__(self):
        self.net = NeuralNet([FullyConnected(3, 8, rng=0), BatchNorm(8), FullyConnected(8, 4, rng=1)], CrossEntropy())
        self.optimizer = SGD(0.1, 0.9)
        fit(self.net, X, Y, optimizer=self.optimizer, epochs=1, batch_size=8, rng=0)

    def arguments(self):
        return {"net": self.net, "X": X, "y": Y, "optimizer": self.optimizer, "batch_size": 8, "rng": 0}

    def state(self):
        arrays = [*(a for layer in self.net.layers for a in (*layer.params, *layer.buffers))]
        return [a.tobytes() for a in [*arrays, *self.optimizer.state["velocity"]]], self.optimizer.steps


@pytest.fixture(scope="module")
def trainable():
    return Trainable()


def last(value):
    """Labels that are right but for the last, which an epoch would come to at its end."""
    return np.concatenate([Y[:-1], np.array([value], Y.dtype)])


BAD_DATA = [
    ({"net": None}, DTypeError, "net must be of type NeuralNet, got NoneType"),
    ({"net": [FullyConnected(3, 4)]}, DTypeError, "net must be of type NeuralNet, got list"),
    ({"optimizer": None}, DTypeError, "optimizer must be of type Optimizer, got NoneType"),
    ({"optimizer": SGD}, DTypeError, "optimizer must be of type Optimizer, got "),
    ({"optimizer": 0.1}, DTypeError, "optimizer must be of type Optimizer, got float"),
    ({"X": None}, ShapeError, "X must hold an entry an image"),
    ({"X": X[:0], "y": Y[:0]}, ShapeError, "X holds no images"),
    ({"X": X[:39]}, ShapeError, "X and y must have the same length, got 39 and 40"),
    ({"X": X[:, :2]}, ShapeError, r"X holds inputs of shape \(2,\): layer 0 \(FullyConnected\) takes \(3,\)"),
    ({"X": X.astype(int)}, DTypeError, "X must be float32 or float64, got int64: scale it first"),
    ({"X": np.ma.masked_array(X)}, DTypeError, "X must be a plain numpy.ndarray"),
    ({"y": None}, ShapeError, "y must hold an entry an image"),
    ({"y": Y.astype(float)}, DTypeError, "y must be integer labels, got dtype float64"),
    ({"y": Y[:, None]}, ShapeError, r"y must have shape \(40,\), got \(40, 1\): give y.ravel\(\)"),
    ({"y": np.eye(40, 4)}, DTypeError, "y must be integer labels, got dtype float64: give class numbers"),
    ({"y": np.eye(40, 4, dtype=int)}, ShapeError, r"y must have shape \(40,\), got \(40, 4\): give class numbers"),
    ({"y": last(-1)}, ValueError, "label -1 at row 39 outside"),
    ({"y": last(4)}, ValueError, r"label 4 at row 39 outside \[0, 4\)"),
    *(({"batch_size": v}, error, f"batch_size {message}") for v, error, message in NO_INTS),
    *(({"rng": v}, error, f"rng {message}") for v, error, message in NO_RNGS),
]
BAD_RUNS = [
    *BAD_DATA,
    *(({"epochs": v}, error, f"epochs {message}") for v, error, message in NO_INTS),
    *(({"max_norm": v}, error, f"max_norm {message}") for v, error, message in POSITIVE[1:]),
    *(({"average": v}, error, f"average {message}") for v, error, message in SHARE[1:]),
    ({"schedule": 0.1}, DTypeError, "schedule must be callable, got float"),
    ({"schedule": lambda step: None}, DTypeError, "factor must be a number, got NoneType"),
    ({"schedule": lambda step: NAN}, ValueError, r"factor must be in \[0, inf\), got nan"),
    ({"parallel": 3}, DTypeError, "parallel must be of type DataParallel, got int"),
    ({"callbacks": None}, DTypeError, "callbacks must be of type Sequence, got NoneType"),
    ({"callbacks": Callback()}, DTypeError, "callbacks must be of type Sequence, got Callback"),
    ({"callbacks": [Callback(), print]}, DTypeError, r"callbacks\[1\] must be of type Callback, got"),
    ({"validation": X}, DTypeError, r"validation must be a tuple \(X, y\), got ndarray"),
    ({"validation": (X,)}, DTypeError, r"validation must be a tuple \(X, y\), got tuple"),
    ({"validation": (X, Y[:39])}, ShapeError, "validation: X and y must have the same length, got 40 and 39"),
    ({"validation": (X, last(4))}, ValueError, "validation: label 4 at row 39 outside"),
    ({"validation": (X[:, :2], Y)}, ShapeError, r"validation: X holds inputs of shape \(2,\): layer 0"),
    ({"validation": (X[:0], Y[:0])}, ShapeError, "validation: X holds no images"),
    ({"validation": (X.astype(np.uint8), Y)}, DTypeError, "validation: X must be float32 or float64, got uint8"),
    ({"validate_last_only": "no"}, DTypeError, "validate_last_only must be a bool, got str"),
    ({"augment": 3}, DTypeError, "augment must be callable"),
    ({"sample_weight": np.ones(39)}, ShapeError, r"sample_weight must have shape \(40,\), got \(39,\)"),
    ({"sample_weight": last(-1)}, ValueError, r"sample_weight must be in \[0, inf\), got -1.0 at 39"),
    ({"sample_weight": [*Y[:-1], NAN]}, ValueError, "sample_weight must be in .*, got nan at 39"),
    ({"sample_weight": ["a"] * 40}, DTypeError, "sample_weight must be an array of real numbers"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD_RUNS)
def test_a_run_that_is_refused_changes_nothing(trainable, changes, error, message, refuses):
    before = trainable.state()
    refuses(error, message, fit, **{**trainable.arguments(), "epochs": 1, **changes})
    assert trainable.state() == before


BAD_RANGES = [
    *BAD_DATA,
    *(({"steps": v}, error, f"steps {message}") for v, error, message in NO_INTS),
    ({"steps": 1}, ValueError, "steps must be >= 2, got 1"),
    ({"steps": 2**31}, ValueError, "steps must be <= 1000000"),
    *(({"lowest": v}, error, f"lowest {message}") for v, error, message in POSITIVE),
    *(({"highest": v}, error, f"highest {message}") for v, error, message in POSITIVE),
    ({"lowest": 1.0, "highest": 1.0}, ValueError, "lowest must be below highest"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD_RANGES)
def test_a_range_test_that_is_refused_changes_nothing(trainable, changes, error, message, refuses):
    before = trainable.state()
    refuses(error, message, lr_find, **{**trainable.arguments(), "steps": 3, **changes})
    assert trainable.state() == before


SOLVERS = [cnn_ext.sgd, cnn_ext.sgd_momentum, cnn_ext.adagrad, cnn_ext.rmsprop, cnn_ext.adam]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.__name__)
def test_a_solver_that_is_refused_changes_nothing(solver, trainable, refuses):
    before = trainable.state()
    good = {"nnet": trainable.net, "X_train": X, "y_train": Y, "minibatch_size": 8, "epoch": 1, "learning_rate": 0.1}
    for changes, error, message in [
        ({"nnet": None}, DTypeError, "net must be of type NeuralNet"),
        ({"X_train": 3}, ShapeError, "X must hold an entry an image"),
        ({"y_train": Y[:9]}, ShapeError, "X and y must have the same length"),
        ({"y_train": last(10)}, ValueError, "label 10 at row 39"),
        ({"minibatch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"epoch": 1.0}, DTypeError, "epochs must be an int, got float"),
        ({"learning_rate": "0.1"}, DTypeError, "lr must be a number, got str"),
        ({"learning_rate": 0}, ValueError, "lr must be in"),
        ({"verbose": "no"}, DTypeError, "verbose must be a bool, got str"),
        ({"X_test": X}, ValueError, "X_test and y_test must be given together"),
        ({"X_test": X, "y_test": Y[:9]}, ShapeError, "X and y must have the same length"),
        ({"rng": "0"}, DTypeError, "rng must be a numpy.random.Generator"),
    ]:
        refuses(error, message, solver, **{**good, **changes})
    assert trainable.state() == before


def test_averages_and_recipes_in_use(trainable):
    small = replace(RECIPES["fast"], epochs=1, batch_size=2)
    images, labels = np.zeros((4, 1, 28, 28), np.float32), np.arange(4)
    for call, error, message in [
        (lambda: WeightAverage(None, 0.9), DTypeError, "net must be a NeuralNet, got NoneType"),
        *((lambda v=v: WeightAverage(trainable.net, v), error, f"decay {m}") for v, error, m in SHARE),
        (lambda: small.train(None, labels, num_class=10), ShapeError, "X must hold an entry an image"),
        (lambda: small.train(images, None, num_class=10), ShapeError, "y must hold an entry an image"),
        (lambda: small.train(images, labels, num_class=0), ValueError, "must be >= 1, got 0"),
        (lambda: small.train(images, labels, num_class=10, seed=-1), ValueError, "seed must be >= 0, got -1"),
        (lambda: small.train(images, labels, num_class=10, seed="0"), DTypeError, "seed must be an int, got str"),
        (lambda: small.train(images, labels, num_class=10, seed=None), DTypeError, "seed must be an int, got NoneType"),
        (lambda: cnn_ext.load_pretrained(None), ValueError, "name must be one of mnist-best, mnist-small, got None"),
        (lambda: cnn_ext.load_pretrained("../mnist-best"), ValueError, "name must be one of"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_run_that_meets_a_nan_leaves_everything_as_the_step_before(trainable):
    """The statistics of the step that failed are gone with it."""
    poisoned, watch, seen = X.copy(), Callback(), []
    poisoned[17] = NAN
    watch.on_step = lambda run: seen.append(trainable.state())
    told = r"step \d: scores has a non-finite score at row .*; NaN or infinity in 1 of the batch's 8 images"
    with pytest.raises(NonFiniteError, match=told):
        fit(**{**trainable.arguments(), "X": poisoned}, epochs=1, callbacks=[watch])
    assert trainable.state() == (seen or [trainable.state()])[-1]
    assert all(np.isfinite(array).all() for array in trainable.net.layers[1].buffers)


def test_the_velocity_lives_from_epoch_to_epoch_and_from_run_to_run():
    def trained(*epochs):
        start, rng = Trainable(), np.random.default_rng(3)
        for n in epochs:
            fit(**{**start.arguments(), "rng": rng}, epochs=n)
        return start.state()

    assert trained(1, 1, 1) == trained(3)
