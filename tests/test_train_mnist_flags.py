"""The command line's settings: each reaches the recipe; validation, early stopping, and networks to evaluate."""

import json
import re
import struct
from dataclasses import fields

import numpy as np
import pytest

import cnn_ext
from cnn_ext import BatchNorm, Flatten, FullyConnected, NeuralNet, _data, train_mnist
from cnn_ext._flags import chosen_recipe, make_parser
from cnn_ext.augmentation import Cutout, RandomAffine, RandomErasing, RandomFlip
from cnn_ext.pretrained import PRETRAINED
from cnn_ext.recipes import RECIPES, Recipe
from cnn_ext.train_mnist import command

pytestmark = pytest.mark.slow

SMALL = ["--epochs", "1", "--train-size", "300", "--test-size", "100", "--quiet"]

OVERRIDES = [  # a recipe, flags, the field they set, its value
    ("series", ["--model", "best"], "model", "best"),
    ("series", ["--standardize"], "standardize", True),
    ("best", ["--no-standardize"], "standardize", False),
    ("series", ["--augment", "RandomFlip"], "augment", (RandomFlip(),)),
    ("best", ["--augment", "none"], "augment", ()),
    (
        "series",
        ["--augment", "RandomAffine:rotation=10,translation=2, scale=1e-1", "Cutout:size=4"],
        "augment",
        (RandomAffine(rotation=10, translation=2, scale=0.1), Cutout(4)),
    ),
    (
        "series",
        ["--augment", "RandomErasing:area=(0.1, 0.2),fill=-1"],
        "augment",
        (RandomErasing(area=(0.1, 0.2), fill=-1),),
    ),
    ("series", ["--optimizer", "adamw", "--lr", "0.1"], "optimizer", "adamw"),
    ("series", ["--lr", "0.25"], "lr", 0.25),
    ("series", ["--momentum", "0"], "momentum", 0.0),
    ("series", ["--l2", "0"], "l2", 0.0),
    ("series", ["--schedule", "linear"], "schedule", "linear"),
    ("series", ["--warmup-steps", "0"], "warmup_steps", 0),
    ("series", ["--epochs", "3"], "epochs", 3),
    ("series", ["--batch-size", "1"], "batch_size", 1),
    ("series", ["--train-size", "77"], "train_size", 77),
    ("series", ["--label-smoothing", "0.1"], "label_smoothing", 0.1),
    ("series", ["--max-norm", "2.5"], "max_norm", 2.5),
    ("series", ["--max-norm", "none"], "max_norm", None),
    ("series", ["--average", "0"], "average", 0.0),
    ("best", ["--average", "none"], "average", None),
    ("series", ["--test-last-only"], "test_last_only", True),
    ("best", ["--no-test-last-only"], "test_last_only", False),
]


@pytest.mark.parametrize(("recipe", "flags", "field", "value"), OVERRIDES, ids=str)
def test_a_flag_sets_its_field_alone(recipe, flags, field, value):
    chosen = chosen_recipe(make_parser().parse_args(["--recipe", recipe, *flags]))
    expected = {f.name: getattr(RECIPES[recipe], f.name) for f in fields(Recipe)} | {field: value}
    assert {f.name: getattr(chosen, f.name) for f in fields(Recipe)} == expected
    assert type(getattr(chosen, field)) is type(value)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_does_not_take_over_the_rate_of_sgd(name):
    def lr(*flags):
        return chosen_recipe(make_parser().parse_args(["--recipe", "best", *flags])).lr

    assert lr("--optimizer", name) == 0.001
    assert lr("--optimizer", name, "--lr", "0.1") == lr("--optimizer", "sgd") == RECIPES["best"].lr == 0.1


def test_every_field_has_its_flag():
    assert {field for _, _, field, _ in OVERRIDES} == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Blur", "RandomAffine, RandomCrop, RandomErasing, RandomFlip expected, got 'Blur'"),
        ("RandomAffine:turn=1", "RandomAffine has no turn: its fields are rotation, translation"),
        ("RandomAffine:scale=1", "'RandomAffine:scale=1': scale must be in [0, 1), got 1"),
        ("RandomAffine:scale='1'", "scale must be a number, got str"),
        ("ElasticDistortion:alpha=3", "ElasticDistortion needs sigma"),
        ("RandomAffine:scale", "'RandomAffine:scale': name=value, separated by commas, expected"),
        ("RandomAffine:scale=big", "name=value, separated by commas, expected, a value being a number or some in"),
        ("RandomAffine:scale=0.1) or f(", "name=value, separated by commas, expected"),
        ("RandomAffine:scale=0.1)(rotation=5", "name=value, separated by commas, expected"),
        ("RandomAffine:scale=__import__('os')", "name=value, separated by commas, expected"),
        ("RandomAffine:scale=" + 500 * "(", "name=value, separated by commas, expected"),
        ("RandomAffine:scale=" + 9999 * "-" + "1", "name=value, separated by commas, expected"),
    ],
    ids=range(12),
)
def test_bad_changes_to_images(text, message, capsys):
    assert train_mnist.main(["--augment", text]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_mnist: argument --augment: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("name", RECIPES)
def test_without_flags_it_is_the_recipe(name):
    assert chosen_recipe(make_parser().parse_args(["--recipe", name])) == RECIPES[name]


def test_the_command_in_the_notes_leaves_out_what_decides_nothing():
    words = "--seed 1 --output a --log=b --quiet --threads 2 --output= --lr=0.1 --data x".split()
    assert command(words) == "python -m cnn_ext.train_mnist --seed 1 --lr=0.1 --data x"
    assert command(["--data", "my folder"]) == "python -m cnn_ext.train_mnist --data 'my folder'"


def logged(path):
    settings, *epochs = map(json.loads, path.read_text().splitlines())
    return settings["run"], epochs


def test_a_recipe_with_every_kind_of_setting_runs_and_is_kept(tmp_path):
    output, log = str(tmp_path / "net"), tmp_path / "log"
    flags = (
        "--recipe fast --model mnist --augment RandomErasing:area=(0.1,0.2) --optimizer adamw --lr 0.001 --max-norm 1"
    )
    assert train_mnist.main([*flags.split(), *SMALL, "--seed", "5", "--output", output, "--log", str(log)]) == 0
    run, epochs = logged(log)
    net = NeuralNet.load(output)
    assert net.notes["recipe"] == run["recipe"] and net.notes["seed"] == 5
    assert run["recipe"]["augment"] == [RandomErasing(area=(0.1, 0.2)).config()]
    names = ["epoch", "loss", "running_accuracy", "test_loss", "test_accuracy", "seconds", "images_per_second"]
    assert list(epochs[0]) == names
    _, test = cnn_ext.load_mnist(None, 0, 100)
    assert net.notes["test_accuracy"] == epochs[0]["test_accuracy"] == net.evaluate(*test)[1]


class Untouchable:
    """Images that one may count but not see."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getattr__(self, name):
        raise AssertionError(f"the test images were asked for {name}")

    def __getitem__(self, index):
        raise AssertionError("the test images were looked at")


@pytest.fixture
def hidden_test_images(monkeypatch):
    def load_hidden(*arguments, **settings):
        data = cnn_ext.datasets.load_data(*arguments, **settings)
        n = len(data.test[1])
        return data._replace(test=(Untouchable(n), Untouchable(n)))

    monkeypatch.setattr(_data, "load_data", load_hidden)


def last_training_images(n):
    (X, y), _, _ = cnn_ext.datasets.mnist_parts(None, 60_000, 0)
    return X[-n:], y[-n:]


def test_validation_is_on_the_last_images_and_the_test_images_are_not_seen(tmp_path, capsys, hidden_test_images):
    output, log = str(tmp_path / "net"), tmp_path / "log"
    arguments = ["--epochs", "2", "--train-size", "300", "--validation-size", "150", "--output", output]
    assert train_mnist.main([*arguments, "--log", str(log)]) == 0
    _, epochs = logged(log)
    net = NeuralNet.load(output)
    accuracy = net.evaluate(*last_training_images(150))[1]
    assert [("validation_accuracy" in epoch, "test_accuracy" in epoch) for epoch in epochs] == [(True, False)] * 2
    assert epochs[1]["validation_accuracy"] == net.notes["validation_accuracy"] == accuracy
    assert "test_accuracy" not in net.notes
    first, _, last = capsys.readouterr().out.splitlines()
    assert f"validation {epochs[0]['validation_accuracy']:.2%}" in first
    assert last.startswith(f"validation accuracy {accuracy:.2%} after")


def test_training_images_are_the_first(tmp_path, monkeypatch):
    """The rest of the 60,000 after the validation images are gone, or as many as were asked for."""
    sizes = []

    def train(recipe, X, y, **_):
        sizes.append((recipe.train_size, X.shape, len(y)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Recipe, "train", train)
    for arguments in (["--train-size", "300"], ["--recipe", "best", "--validation-size", "9000"]):
        assert train_mnist.main(arguments) == 130
    assert sizes == [(n, (n, 1, 28, 28), n) for n in (300, 51_000)]


@pytest.mark.parametrize("recipe", ["series", "fast"])  # the second would test after the last epoch alone
def test_early_stopping_keeps_and_reports_the_best(recipe, tmp_path, capsys, hidden_test_images):
    output, log = str(tmp_path / "net"), tmp_path / "log"
    arguments = ["--recipe", recipe, "--epochs", "30", "--train-size", "150", "--batch-size", "10", "--lr", "0.03"]
    stopping = ["--validation-size", "100", "--early-stopping", "1"]
    assert train_mnist.main([*arguments, *stopping, "--output", output, "--log", str(log)]) == 0
    run, epochs = logged(log)
    accuracies = [epoch["validation_accuracy"] for epoch in epochs]
    assert run["recipe"]["test_last_only"] is False
    assert len(epochs) < 30 and accuracies[-1] <= accuracies[-2] == max(accuracies)
    net = NeuralNet.load(output)
    assert net.notes["validation_accuracy"] == net.evaluate(*last_training_images(100))[1] == max(accuracies)
    assert f"validation accuracy {max(accuracies):.2%} after" in capsys.readouterr().out


@pytest.fixture
def trained(tmp_path):
    path = tmp_path / "net"
    assert train_mnist.main([*SMALL, "--output", str(path)]) == 0
    return path


def test_evaluate_a_file(trained, capsys):
    assert train_mnist.main(["--evaluate", str(trained), "--test-size", "100", "--train-size", "5"]) == 0
    accuracy = NeuralNet.load(trained).notes["test_accuracy"]
    out = capsys.readouterr().out
    assert re.fullmatch(
        rf"test accuracy {accuracy:.2%}: {round(100 - 100 * accuracy)} of 100 images wrong, in [\d.]+ s\n", out
    )
    assert train_mnist.main(["--evaluate", str(trained), "--test-size", "100", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def one_line(capsys):
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and error.startswith("train_mnist: ")
    return error


def test_evaluate_a_damaged_file(trained, capsys):
    data = bytearray(trained.read_bytes())
    data[-1] ^= 1
    for damaged in (data, data[:1000], b""):
        trained.write_bytes(damaged)
        assert train_mnist.main(["--evaluate", str(trained)]) == 65
        assert f"--evaluate: {trained}" in one_line(capsys)


def overflowing():
    net = NeuralNet([Flatten(), FullyConnected(784, 10)])
    net.layers[1].W = np.full((784, 10), 1e38)
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeuralNet([Flatten(), FullyConnected(100, 10)]), r"expects X of shape \(N, 100\), got \(100, 784\)"),
        (lambda: NeuralNet([BatchNorm((3, 28, 28)), Flatten(), FullyConnected(2352, 10)]), r"\(N, \*\(3, 28, 28\)\)"),
        (lambda: NeuralNet([Flatten(), FullyConnected(784, 3)]), r"label \d at row 0 outside \[0, 3\)"),
        (overflowing, "non-finite score"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.filterwarnings("ignore:invalid value")
def test_evaluate_a_network_for_something_else(make, message, tmp_path, capsys):
    make().save(tmp_path / "net")
    assert train_mnist.main(["--evaluate", str(tmp_path / "net"), "--test-size", "100"]) == 65
    assert re.search(rf"the images do not fit the network: .*{message}", one_line(capsys))


@pytest.mark.parametrize("name", PRETRAINED)
def test_evaluate_a_network_of_the_package(name, capsys):
    assert train_mnist.main(["--evaluate", name]) == 0
    accuracy = cnn_ext.load_pretrained(name).notes["test_accuracy"]
    # A number or two may fall on the other side of a rounding with another instruction set.
    found = re.match(r"test accuracy .*: ([\d,]+) of 10,000 images wrong", capsys.readouterr().out)
    assert int(found[1]) == pytest.approx(round(10_000 * (1 - accuracy)), abs=2)


def write_idx_folder(folder, images):
    labels = np.arange(len(images), dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return str(folder)


def test_images_of_another_size(tmp_path, rng, capsys):
    folder = write_idx_folder(tmp_path, rng.integers(0, 256, (30, 12, 10), np.uint8))
    assert train_mnist.main(["--data", folder, "--recipe", "fast", "--quiet", "--output", f"{folder}/net"]) == 0
    assert train_mnist.main(["--data", folder, "--evaluate", f"{folder}/net", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("images", "message"), [((30, 3, 3), "too small for this network"), ((30, 28, 28), "std")])
def test_images_that_do_not_fit_the_recipe(images, message, tmp_path, capsys):
    """Too small for the network, or all black."""
    folder = write_idx_folder(tmp_path, np.zeros(images, np.uint8))
    assert train_mnist.main(["--data", folder, "--recipe", "fast"]) == 65
    error = one_line(capsys)
    assert "the images do not fit the recipe: " in error and message in error
