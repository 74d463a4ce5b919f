"""Networks as files, beyond the round trip: what cannot be saved, and forged files that must not become memory or code."""

import sys
import tracemalloc

import numpy as np
import pytest

from cnn_ext import (
    BatchNorm,
    CheckpointError,
    CheckpointMismatchError,
    Conv,
    CrossEntropy,
    Dropout,
    DTypeError,
    Flatten,
    FullyConnected,
    NeuralNet,
    ReLU,
    SoftmaxLoss,
    Standardize,
    fold_batch_norm,
)
from cnn_ext.layers import LAYER_TYPES
from cnn_ext.model_file import read_model, write_model

HUGE, PAST_FLOATS = 10**9, 10**400
NO_NETWORK = "describes no network"


class OwnConv(Conv):
    """The same sums, but a class that a file cannot name."""


def net_of_rows():
    return NeuralNet([FullyConnected(3, 4, rng=0), BatchNorm(4), ReLU(), FullyConnected(4, 2, rng=1)], l2=0)


def test_running_statistics_of_rows_come_back(tmp_path, rng):
    net, X = net_of_rows(), rng.random((50, 3), np.float32)
    net.train_step(X, rng.integers(0, 2, 50))
    net.save(tmp_path / "m")
    loaded = NeuralNet.load(tmp_path / "m")
    for name in ("running_mean", "running_var"):
        before, after = (getattr(n.layers[1], name) for n in (net, loaded))
        assert after.tobytes() == before.tobytes() != getattr(BatchNorm(4), name).tobytes()
    assert loaded.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


def test_a_loaded_network_trains_like_the_saved_one(tmp_path, rng):
    net, X, y = net_of_rows(), rng.random((50, 3), np.float32), rng.integers(0, 2, 50)
    net.save(tmp_path / "m")
    loaded = NeuralNet.load(tmp_path / "m")
    net.l2 = loaded.l2 = np.float32(0.5)
    net.save(tmp_path / "m")  # a number NumPy made is a number
    assert NeuralNet.load(tmp_path / "m").l2 == 0.5
    (loss, grads), (loaded_loss, loaded_grads) = net.train_step(X, y), loaded.train_step(X, y)
    assert loss == loaded_loss
    for layer, loaded_layer in zip(grads, loaded_grads, strict=True):
        assert [g.tobytes() for g in layer] == [g.tobytes() for g in loaded_layer]
    for param in (param for params in loaded.params for param in params):
        param -= 1  # an optimizer writes to it


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1), CrossEntropy(0.1, [1 / 3, 2])])
def test_a_loss_with_settings_comes_back(tmp_path, loss, rng):
    net = net_of_rows()
    net.loss_func = loss
    net.save(tmp_path / "m")
    loaded = NeuralNet.load(tmp_path / "m")
    assert type(loaded.loss_func) is CrossEntropy and loaded.loss_func.config() == loss.config()
    X, y = rng.random((50, 3), np.float32), rng.integers(0, 2, 50)
    assert loaded.train_step(X, y)[0] == net.train_step(X, y)[0]
    assert NeuralNet.load(tmp_path / "m", loss_func=SoftmaxLoss).loss_func is SoftmaxLoss
    # A reader that knows the name alone finds it where it always was, and asks for the loss.
    assert read_model(tmp_path / "m").architecture["loss_func"] == "CrossEntropy"


def net_of_images():
    conv = Conv((2, 4, 4), 3, 3, 3, 1, 1, rng=0)
    layers = [Standardize((2, 4, 4), [0.1, 1 / 3], 0.3), conv, BatchNorm(conv.out_dim), ReLU()]
    return NeuralNet([*layers, Dropout(0.8, per_channel=True), Flatten(), FullyConnected(48, 2, rng=1)])


def test_preprocessing_comes_back(tmp_path, rng):
    net, X = net_of_images(), rng.random((5, 2, 4, 4), np.float32)
    net.save(tmp_path / "m")
    loaded = NeuralNet.load(tmp_path / "m")
    assert repr(loaded) == repr(net) and loaded.layers[0].config() == net.layers[0].config()
    assert loaded.layers[4].per_channel is True
    assert loaded.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


@pytest.mark.parametrize(
    ("change", "index", "message"),
    [
        ({"std": 0}, 0, "std must be in"),
        ({"std": [1, -1]}, 0, r"std\[1\] must be in"),
        ({"std": PAST_FLOATS}, 0, "std must be in"),
        ({"std": None}, 0, "std must be a number, got NoneType"),
        ({"mean": [1, 2, 3]}, 0, "mean must be one number or one for each of 2 channels, got 3"),
        ({"mean": {"0": 1}}, 0, "mean must be a number, got dict"),
        ({"X_dim": [2, 4]}, 0, NO_NETWORK),
        ({"X_dim": [2, HUGE, HUGE]}, 0, "more numbers than can be counted"),
        ({"per_channel": 1}, 4, "per_channel must be a bool, got int"),
    ],
)
def test_forged_preprocessing(tmp_path, change, index, message):
    forge(tmp_path / "m", lambda architecture, _: architecture["layers"][index].update(change), net_of_images())
    refused(tmp_path / "m", message)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_precision_in_the_file_only(tmp_path, dtype, rng):
    net = NeuralNet([FullyConnected(30, 40, dtype=dtype, rng=0), BatchNorm(40, dtype=dtype)])
    X = rng.standard_normal((50, 30)).astype(dtype)
    net.train_step(X, rng.integers(0, 40, 50))
    net.save(tmp_path / "m")
    net.save(tmp_path / "half", storage_dtype=np.float16)
    loaded = NeuralNet.load(tmp_path / "half")
    assert repr(loaded) == repr(net)
    for layer, like in zip(net.layers, loaded.layers, strict=True):
        for name, array in layer.state().items():
            rounded = array.astype(np.float16).astype(dtype)
            np.testing.assert_array_equal(getattr(like, name), rounded, strict=True)
            setattr(layer, name, rounded)
    assert loaded.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    numbers = sum(array.size for layer in net.layers for array in layer.state().values())
    saved = (tmp_path / "m").stat().st_size - (tmp_path / "half").stat().st_size
    assert saved == pytest.approx(numbers * (np.dtype(dtype).itemsize - 2), abs=40)  # the header has one key more
    loaded.save(tmp_path / "again", storage_dtype=np.float16)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "half").read_bytes()


def test_half_precision_where_it_cannot_be(tmp_path):
    net = net_of_rows()
    net.save(tmp_path / "m")
    old = (tmp_path / "m").read_bytes()
    net.layers[3].W[1, 1] = 1e5
    with pytest.raises(ValueError, match=r"layers\.3\.W holds 100000\.0, beyond the range of float16"):
        net.save(tmp_path / "m", storage_dtype=np.float16)
    with pytest.raises(DTypeError, match="storage_dtype must be float16 or None, got float32"):
        net.save(tmp_path / "m", storage_dtype=np.float32)
    assert (tmp_path / "m").read_bytes() == old


@pytest.mark.parametrize(
    ("said", "stored", "message"),
    [
        (None, np.float16, "layers.0.W must be float32"),
        ("float16", None, "layers.0.W must be float16"),
        ("float32", None, NO_NETWORK),
        (None, "said as null", NO_NETWORK),
        (["float16"], np.float16, NO_NETWORK),
        ({}, np.float16, NO_NETWORK),
    ],
)
def test_a_forged_precision(tmp_path, said, stored, message):
    net_of_rows().save(tmp_path / "m")
    model = read_model(tmp_path / "m")
    if said is not None or stored == "said as null":
        model.architecture["storage_dtype"] = said
    write_model(tmp_path / "m", model.architecture, model.tensors, np.float16 if stored is np.float16 else None)
    refused(tmp_path / "m", message)


def test_a_size_forged_in_a_file_of_half_precision(tmp_path):
    net_of_rows().save(tmp_path / "m", storage_dtype=np.float16)
    model = read_model(tmp_path / "m")
    model.architecture["layers"][0]["in_size"] = HUGE
    write_model(
        tmp_path / "m", model.architecture, {n: t.astype(np.float32) for n, t in model.tensors.items()}, np.float16
    )
    refused(tmp_path / "m", "layers.0.W must be float16")


NOTES = {
    "recipe": "two blocks, Ä",
    "accuracy": 0.9935,
    "seeds": [0, 1],
    "more": {"epochs": 20, "amp": None, "ok": True},
}


def test_notes_come_back_and_go_along(tmp_path):
    net = net_of_rows()
    assert net.notes == {}
    net.save(tmp_path / "bare")
    assert NeuralNet.load(tmp_path / "bare").notes == {}
    assert "notes" not in read_model(tmp_path / "bare").architecture
    net.save(tmp_path / "m", notes=NOTES)
    loaded = NeuralNet.load(tmp_path / "m")
    assert loaded.notes == NOTES and net.notes == {}
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    loaded.notes["more"]["epochs"] = 21
    assert fold_batch_norm(loaded).notes == loaded.notes
    loaded.save(tmp_path / "again")
    assert NeuralNet.load(tmp_path / "again").notes["more"]["epochs"] == 21
    loaded.save(tmp_path / "again", notes={})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "bare").read_bytes()


class Circle(dict):
    def __init__(self):
        super().__init__(itself=self)


@pytest.mark.parametrize(
    ("notes", "error", "message"),
    [
        ([], DTypeError, "notes must be a dict, got list"),
        ("text", DTypeError, "notes must be a dict, got str"),
        ({"lr": np.float32(1)}, DTypeError, "notes must hold what JSON can: .*float32"),
        ({"when": {1, 2}}, DTypeError, "notes must hold what JSON can: .*set"),
        ({(1, 2): 3}, DTypeError, "notes must hold what JSON can"),
        ({"loss": float("nan")}, ValueError, "notes must hold what JSON can"),
        ({"loss": [float("inf")]}, ValueError, "notes must hold what JSON can"),
        ({"n": 10**5000}, ValueError, "notes must hold what JSON can"),
        ({1: "a", "1": "b"}, ValueError, "notes must hold what JSON can: a key is given twice"),
        (Circle(), ValueError, "notes must hold what JSON can: Circular"),
        ({1: "a"}, ValueError, "with text as keys"),
        ({"shape": (1, 28)}, ValueError, "lists for tuples"),
    ],
)
def test_notes_that_are_not_json(tmp_path, notes, error, message):
    with pytest.raises(error, match=message):
        net_of_rows().save(tmp_path / "m", notes=notes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("notes", [None, [], "text", 5])
def test_forged_notes(tmp_path, notes):
    forge(tmp_path / "m", lambda architecture, _: architecture.update(notes=notes))
    refused(tmp_path / "m", "notes must be a dict")


def test_files_of_the_first_version(tmp_path):
    """What it wrote: the loss by its name, and no more keys than these."""
    layer = {"type": "FullyConnected", "in_size": 2, "out_size": 1, "dtype": "float32"}
    dropout = {"type": "Dropout", "prob": 0.5, "dtype": "float32"}
    tensors = {"layers.1.W": np.ones((2, 1), np.float32), "layers.1.b": np.zeros(1, np.float32)}
    write_model(tmp_path / "m", {"layers": [dropout, layer], "l2": 0.001, "loss_func": "SoftmaxLoss"}, tensors)
    net = NeuralNet.load(tmp_path / "m")
    assert net.loss_func is SoftmaxLoss and net.layers[0].per_channel is False
    assert net.predict_proba(np.ones((1, 2), np.float32)).tolist() == [[1]]
    net.save(tmp_path / "again")
    assert read_model(tmp_path / "again").architecture.keys() == {"layers", "l2", "loss_func"}


def test_layers_that_were_put_into_the_table(registered_layer, tmp_path):
    registered_layer.b = np.array([1, 2, 3], np.float32)
    net = NeuralNet([FullyConnected(4, 3, rng=0), registered_layer])
    net.save(tmp_path / "m")
    again = NeuralNet.load(tmp_path / "m")
    assert type(again.layers[1]) is type(registered_layer)
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(again.predict_proba(x), net.predict_proba(x))


def without_a_dtype(cls):
    cls.config_names = ("n",)


def of_another_size(cls):
    cls.state_shapes = classmethod(lambda cls, config: {"b": (config["n"] + 1,)})


def of_no_size(cls):
    del cls.state_shapes


def with_a_misspelt_setting(cls):
    cls.config_names = ("m", "dtype")


@pytest.mark.parametrize("change", [without_a_dtype, of_another_size, of_no_size, with_a_misspelt_setting])
def test_what_could_not_be_loaded_is_not_saved(registered_layer, tmp_path, change):
    change(type(registered_layer))
    with pytest.raises(DTypeError, match=r"layer 1 \(Shift\) cannot be saved: "):
        NeuralNet([FullyConnected(4, 3, rng=0), registered_layer]).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_is_not_in_the_table_is_named(registered_layer, tmp_path):
    NeuralNet([FullyConnected(4, 3, rng=0), registered_layer]).save(tmp_path / "m")
    del LAYER_TYPES["Shift"]
    with pytest.raises(CheckpointMismatchError, match=r"layer 1 is a 'Shift', which is not in .*LAYER_TYPES: put your"):
        NeuralNet.load(tmp_path / "m")


def half_precision(net):
    net.layers[0].params[0] = net.layers[0].W.astype(np.float16)


def penalty_as_text(net):
    net.__dict__["l2"] = "0.1"  # past the check of the attribute


def own_layer(net):
    net.layers[2] = OwnConv((1, 3, 3), 1, 1, 1, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (half_precision, r"tensors\['layers.0.W'\] must be float32 or float64, got float16"),
        (penalty_as_text, "l2 must be a number, got str"),
        (own_layer, r"layer 2 \(OwnConv\) is not one of cnn_ext's layers"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(tmp_path, change, message):
    net = net_of_rows()
    net.save(tmp_path / "m")
    old = (tmp_path / "m").read_bytes()
    change(net)
    with pytest.raises(DTypeError, match=message):
        net.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


FORGED = [
    ({"in_size": HUGE}, 0, "layers.0.W must be"),
    ({"in_size": PAST_FLOATS}, 0, "layers.0.W must be"),
    ({"in_size": -3}, 0, "layers.0.W must be"),
    ({"in_size": 3.0}, 0, NO_NETWORK),
    ({"in_size": "3"}, 0, "layers.0.W must be"),
    ({"dtype": "f4,f4"}, 0, NO_NETWORK),
    ({"dtype": "(2,3"}, 0, NO_NETWORK),
    ({"dtype": "a"}, 0, NO_NETWORK),
    ({"rng": 5}, 0, "FullyConnected has no rng"),
    ({"eps": PAST_FLOATS}, 1, "eps must be in"),
    ({"dtype": "float64"}, 0, "layers.0.W must be float64"),
    ({"X_dim": True}, 1, "layers.1.gamma must be"),
    ({"X_dim": {"0": 4}}, 1, NO_NETWORK),
    ({"X_dim": None}, 1, NO_NETWORK),
    ({"X_dim": [4, HUGE, HUGE]}, 1, NO_NETWORK),
    ({"momentum": "0.1"}, 1, NO_NETWORK),
    ({"eps": 0}, 1, NO_NETWORK),
    ({"type": None}, 2, NO_NETWORK),
    ({"type": ["ReLU"]}, 2, NO_NETWORK),
    ({"type": "Layer"}, 2, NO_NETWORK),
    ({"type": "__class__"}, 2, NO_NETWORK),
    ({"type": "Maxpool", "X_dim": [HUGE] * 3, "size": 2, "stride": 2}, 2, NO_NETWORK),
    ({"type": "Dropout", "prob": 0.5, "dtype": "float32", "seed": 1}, 2, NO_NETWORK),
]


def forge(path, change, net=None):
    (net or net_of_rows()).save(path)
    model = read_model(path)
    change(model.architecture, model.tensors)
    write_model(path, model.architecture, model.tensors)


def refused(path, message):
    """The file is refused, by the message, and hardly any memory is taken for it."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointMismatchError, match=message):
            NeuralNet.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20  # measured: 16 kB at most; a forged size that got through would take gigabytes


@pytest.fixture(scope="module", autouse=True)
def first_use(tmp_path_factory):
    """Import what a first save and load import, so that no test counts it."""
    path = tmp_path_factory.mktemp("first") / "m"
    net_of_rows().save(path)
    NeuralNet.load(path)


@pytest.mark.parametrize(("change", "index", "message"), FORGED)
def test_a_forged_layer(tmp_path, change, index, message):
    forge(tmp_path / "m", lambda architecture, _: architecture["layers"][index].update(change))
    refused(tmp_path / "m", message)


@pytest.mark.parametrize("layers", [None, 5, "ReLU", {"0": "ReLU"}, [5], [None], [["ReLU"]], [{}]])
def test_a_forged_list_of_layers(tmp_path, layers):
    forge(tmp_path / "m", lambda architecture, _: architecture.update(layers=layers))
    refused(tmp_path / "m", NO_NETWORK)


def test_no_layers_and_layers_in_another_order(tmp_path):
    forge(tmp_path / "m", lambda architecture, tensors: (architecture.update(layers=[]), tensors.clear()))
    refused(tmp_path / "m", "at least one layer")
    forge(tmp_path / "m", lambda architecture, _: architecture["layers"].reverse())
    refused(tmp_path / "m", "missing: layers.2.beta, .*; unexpected: layers.1.beta, ")


def test_sizes_and_tensors_that_agree_on_nonsense(tmp_path):
    """Forged alike in both places, so that comparing them finds nothing."""

    def no_rows(architecture, tensors):
        architecture["layers"][0]["in_size"] = 0
        tensors["layers.0.W"] = np.zeros((0, 4), np.float32)

    def no_fit(architecture, tensors):
        architecture["layers"][3]["in_size"] = 5
        tensors["layers.3.W"] = np.zeros((5, 2), np.float32)

    for change, message in [(no_rows, "in_size must be >= 1, got 0"), (no_fit, r"shape \(5,\), but .* gives \(4,\)")]:
        forge(tmp_path / "m", change)
        refused(tmp_path / "m", message)


def smoothed(**settings):
    return {"loss_func": "CrossEntropy", "loss_config": settings}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"l2": "0"}, CheckpointMismatchError, "l2 must be a number"),
        ({"l2": PAST_FLOATS}, CheckpointMismatchError, "l2 must be in"),
        ({"l2": True}, CheckpointMismatchError, "l2 must be a number"),
        ({"loss_func": ["SoftmaxLoss"]}, CheckpointError, "give it as loss_func"),
        ({"loss_func": "os.system"}, CheckpointError, "saved with the loss 'os.system': give it"),
        ({"loss_func": "CrossEntropy"}, CheckpointError, "saved with the loss 'CrossEntropy': give it"),
        ({"loss_config": {}}, CheckpointMismatchError, "a loss_config belongs to CrossEntropy, not to 'SoftmaxLoss'"),
        (smoothed(label_smoothing=1), CheckpointMismatchError, "label_smoothing must be in"),
        (smoothed(label_smoothing="0.1"), CheckpointMismatchError, "label_smoothing must be a number"),
        (smoothed(class_weight=[1, -1]), CheckpointMismatchError, "class_weight must be in"),
        (smoothed(class_weight=[PAST_FLOATS, 1]), CheckpointMismatchError, "class_weight must be an array"),
        (smoothed(class_weight=[[1], [1, 2]]), CheckpointMismatchError, NO_NETWORK),
        (smoothed(class_weight={"0": 1}), CheckpointMismatchError, "class_weight must be an array"),
        (smoothed(temperature=2), CheckpointMismatchError, "unexpected keyword argument 'temperature'"),
        ({"loss_func": "CrossEntropy", "loss_config": [0.1]}, CheckpointMismatchError, NO_NETWORK),
        ({"loss_func": "CrossEntropy", "loss_config": None}, CheckpointMismatchError, NO_NETWORK),
    ],
)
def test_a_forged_penalty_or_loss(tmp_path, change, error, message):
    forge(tmp_path / "m", lambda architecture, _: architecture.update(change))
    with pytest.raises(error, match=message):
        NeuralNet.load(tmp_path / "m")


def test_all_tensors_that_do_not_match_are_named(tmp_path):
    def rename(_, tensors):
        for name in ("W", "b"):
            tensors[f"fc2.{name}"] = tensors.pop(f"layers.3.{name}")

    forge(tmp_path / "m", rename)
    refused(tmp_path / "m", "missing: layers.3.W, layers.3.b; unexpected: fc2.W, fc2.b")


@pytest.mark.parametrize(
    ("value", "message"), [(-1, "running_var < 0"), (np.nan, "non-finite"), (np.inf, "non-finite")]
)
def test_variances_that_cannot_be(tmp_path, value, message):
    forge(tmp_path / "m", lambda _, tensors: tensors["layers.1.running_var"].__setitem__(2, value))
    refused(tmp_path / "m", message)
    if value < 0:  # allowed NaN and infinity do not allow this
        with pytest.raises(CheckpointMismatchError, match=message):
            NeuralNet.load(tmp_path / "m", allow_nonfinite=True)


@pytest.mark.parametrize("dtype", ["1", "f4", "<f4", "(2,)f4", "float16", None, 1, ["float32"]])
def test_a_layers_dtype_is_a_name_that_is_compared_and_not_parsed(tmp_path, dtype):
    """Found by fuzzing: NumPy reads the text of a dtype with Python's own parser."""
    NeuralNet([Dropout(0.5), FullyConnected(2, 2)]).save(tmp_path / "m")
    model = read_model(tmp_path / "m")
    model.architecture["layers"][0]["dtype"] = dtype
    write_model(tmp_path / "m", model.architecture, model.tensors)
    parsed, watching = [], [True]
    sys.addaudithook(lambda event, _: parsed.append(event) if watching and event == "compile" else None)
    with pytest.raises(CheckpointMismatchError, match="describes no network"):
        NeuralNet.load(tmp_path / "m")
    watching.clear()
    assert parsed == []
