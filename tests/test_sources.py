"""One function for all that --data may name: which kind it is, its classes, and the parts."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from cnn_ext import DataFormatError, NeuralNet, load_data, load_mnist, train_mnist
from cnn_ext.datasets import ScaledImages
from cnn_ext.datasets.cifar10 import BATCHES, CLASSES
from cnn_ext.datasets.sources import kind_of


@pytest.fixture
def cifar(tmp_path, rng):
    """Six batches of four made-up images, in a folder and in an archive; and the images of the test batch."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for number, name in enumerate(BATCHES):
            images = rng.integers(0, 256, (4, 3072), np.uint8)
            content = pickle.dumps({"data": images, "labels": [number, 9, 0, 1]}, protocol=2)
            (folder / name).write_bytes(content)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return tmp_path, images.reshape(4, 3, 32, 32)


def test_mnist():
    data = load_data(num_training=7, num_test=5, num_validation=3)
    (X, y), (X_test, y_test) = load_mnist(None, 7, 5)
    np.testing.assert_array_equal(data.training[0][:], X)
    np.testing.assert_array_equal(data.training[1], y)
    np.testing.assert_array_equal(data.test[0][:], X_test)
    np.testing.assert_array_equal(data.test[1], y_test)
    assert len(data.validation[1]) == 3
    assert isinstance(data.training[0], ScaledImages)
    assert data.classes == [str(digit) for digit in range(10)]
    assert data.form.config() == {"size": [28, 28], "channels": 1, "preparation": "digit"}
    assert len(load_data(classes=data.classes).training[1]) == 60_000
    with pytest.raises(DataFormatError, match=r"its classes are 0, 1, .*, not the model's"):
        load_data(classes=["cat", "dog"])
    with pytest.raises(
        ValueError,
        match=r"^the package's MNIST holds no pictures: size, channels, preparation and broken are for those",
    ):
        load_data(size=8)


@pytest.mark.parametrize("where", ["", "cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_cifar10(where, cifar):
    root, images = cifar
    assert kind_of(root / where) == "cifar10"
    data = load_data(root / where, num_validation=2)
    assert data.classes == CLASSES and data.form.shape == (3, 32, 32)
    assert [len(part[1]) for part in data[:3]] == [18, 4, 2]
    np.testing.assert_array_equal(data.test[0].images, images)
    assert data.test[1].tolist() == [5, 9, 0, 1]


def test_cifar10_on_the_command_line(cifar, capsys):
    root, _ = cifar
    model = str(root / "net")
    arguments = "--recipe best --epochs 1 --batch-size 8 --augment RandomCrop:padding=4 RandomFlip --output".split()
    assert train_mnist.main(["--data", str(root / "cifar-10-batches-py"), *arguments, model]) == 0
    assert (
        "images: 20 to train on, 4 to test on; 32 x 32 pixels, colour; 10 classes: airplane" in capsys.readouterr().out
    )
    notes = NeuralNet.load(model).notes
    assert notes["classes"] == CLASSES
    assert notes["images"] == {"size": [32, 32], "channels": 3, "preparation": "middle"}
    assert train_mnist.main(["--data", str(root / "cifar-10-python.tar.gz"), "--evaluate", model, "--quiet"]) == 0
    assert train_mnist.main(["--evaluate", model]) == 65
    assert "its classes are 0, 1" in capsys.readouterr().err


def test_a_network_of_mnist_is_tested_on_photos_of_digits(tmp_path, capsys):
    """It knows no names but numbers, and has each picture brought to MNIST's form."""
    Image = pytest.importorskip("PIL.Image")
    _, (X, y) = load_mnist(None, 0, 40)
    for number, (x, label) in enumerate(zip(X, y)):
        folder = tmp_path / str(label)
        folder.mkdir(exist_ok=True)
        for turn in range(2):  # so that no class has one picture alone
            paper = np.full((60, 90), 230, np.uint8)
            paper[20:48, 30 : 30 + 28] -= np.rint(200 * x[0]).astype(np.uint8)
            Image.fromarray(paper).save(folder / f"{number} {turn}.png")
    assert train_mnist.main(["--data", str(tmp_path), "--evaluate", "mnist-best"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("test accuracy 100.00%: 0 of "), out


def test_a_form_that_digits_do_not_have(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match=r"a digit in MNIST's form is of shape \(1, 28, 28\), not \(1, 9, 9\)"):
        load_data(tmp_path, preparation="digit")
    with pytest.raises(ValueError, match=r"preparation.* must be one of digit, middle, got .whole.$"):
        load_data(tmp_path, preparation="whole")


@pytest.mark.parametrize("content", [b"no data at all", b"\x89PNG\r\n\x1a\n", b"{}"])
def test_a_file_of_another_kind_is_told_what_there_could_be(content, tmp_path):
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=r"data.txt: none of the data that can be read: a folder of pictures"):
        load_data(path)
