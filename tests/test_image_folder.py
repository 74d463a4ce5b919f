"""Folders of pictures: divided or not, sizes and channels, what is passed over, what is refused; and the command line."""

import os
import re
import shutil
import sys

import numpy as np
import pytest

from cnn_ext import DataFormatError, Flatten, FullyConnected, NeuralNet, load_data, train_mnist
from cnn_ext.datasets import load_image_folder

Image = pytest.importorskip("PIL.Image")
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as POSIX has them")


def save(path, tone=0, size=(12, 10), mode="RGB"):
    """A picture of one tone, (tone, tone, tone) or tone; dots of noise would be the same to these tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, tone if mode == "L" else (tone, 0, 255 - tone))
    image.putpixel(
        (size[0] // 2, 0), 255 if mode == "L" else (255, 255, 255)
    )  # a channel that is the same everywhere has no std
    image.save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes of 5, 6 and 7 pictures; their tones are their numbers, 100 apart from class to class."""
    root = tmp_path / "my photos ü"
    for label, name in enumerate(("ant", "bee", "cat")):
        for number in range(5 + label):
            save(root / name / f"{name} {number}.png", 100 * label + number)
    return root


def tones(part):
    images, labels = part
    return sorted(zip(labels.tolist(), np.rint(images[:][:, 0, 5, 5] * 255).astype(int).tolist()))


def test_a_fifth_of_each_class_is_held_out(folder):
    data = load_image_folder(folder)
    assert data.classes == ["ant", "bee", "cat"]
    assert data.form.config() == {"size": [10, 10], "channels": 3, "preparation": "middle"}
    training, test = tones(data.training), tones(data.test)
    assert [label for label, _ in test] == [0, 1, 2]
    assert len(data.validation[1]) == 0
    assert sorted(training + test) == [(label, 100 * label + n) for label in range(3) for n in range(5 + label)]
    again = load_data(str(folder))
    assert tones(again.test) == test
    np.testing.assert_array_equal(again.training[0][:], data.training[0][:])


def test_the_parts_follow_from_the_names_alone(folder, tmp_path):
    """Elsewhere, written in another order, with one picture more: no other picture changes its side."""
    before = tones(load_image_folder(folder).test)
    other = tmp_path / "other"
    for path in sorted(folder.rglob("*.png"), reverse=True):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.parent.name)
    save(other / "ant" / "new.png", 50)
    after = tones(load_image_folder(other).test)
    assert set(after) - {(0, 50)} <= set(before)
    assert len(after) == 3


def test_training_images_are_mixed(tmp_path):
    for name in "ab":
        for number in range(40):
            save(tmp_path / name / f"{number}.png", number)
    labels = load_image_folder(tmp_path).training[1]
    assert 16 <= (labels[:32] == 0).sum() + 8 <= 32  # in order of classes it would be 32 + 8


@pytest.mark.parametrize(
    ("names", "test", "validation"),
    [
        (("train", "val"), "val", None),
        (("Training", "valid"), "valid", None),
        (("train", "validation"), "validation", None),
        (("train", "test"), "test", None),
        (("train", "val", "test"), "test", "val"),
    ],
)
def test_a_divided_folder(names, test, validation, tmp_path):
    for number, name in enumerate(names):
        for label in "ab":
            save(tmp_path / name / label / "sub folder" / "x.PNG", 100 * number)
    data = load_image_folder(tmp_path)
    assert data.classes == ["a", "b"]
    assert tones(data.training) == [(0, 0), (1, 0)]
    assert tones(data.test) == [(label, 100 * names.index(test)) for label in (0, 1)]
    expected = [] if validation is None else [(label, 100 * names.index(validation)) for label in (0, 1)]
    assert tones(data.validation) == expected
    if validation is not None:
        with pytest.raises(ValueError, match="has validation images of its own"):
            load_data(tmp_path, num_validation=1)


def test_train_alone_is_divided_and_a_class_may_be_called_train(folder, tmp_path):
    (tmp_path / "whole").mkdir()
    shutil.move(folder, tmp_path / "whole" / "train")
    assert len(load_image_folder(tmp_path / "whole").test[1]) == 3
    (tmp_path / "whole" / "train" / "ant").rename(tmp_path / "whole" / "train" / "train")
    assert load_image_folder(tmp_path / "whole" / "train").classes == ["bee", "cat", "train"]


def test_size_and_channels(tmp_path):
    sides = {"a": [(20, 40), (200, 90), (30, 30)], "b": [(25, 25), (300, 300)]}
    for name, sizes in sides.items():
        for number, size in enumerate(sizes):
            save(tmp_path / name / f"{number}.png", 9, size, "L")
    assert load_image_folder(tmp_path).form.shape == (1, 30, 30)  # the median of 20, 90, 30, 25 and 300
    assert load_image_folder(tmp_path, size=(8, 16), channels=3).training[0].shape[1:] == (3, 8, 16)
    save(tmp_path / "b" / "colour.png", 9, (400, 400))
    for number in range(4):
        save(tmp_path / "b" / f"large{number}.png", 9, (400, 400), "L")
    assert load_image_folder(tmp_path).form.shape == (3, 64, 64)
    assert load_image_folder(tmp_path, channels=1).form.shape == (1, 64, 64)


def test_hidden_files_go_unsaid_and_others_are_named(folder):
    save(folder / ".hidden" / "x.png")
    save(folder / "__MACOSX" / "x.png")
    save(folder / "ant" / "._x.png")
    (folder / "readme.txt").write_text("beside the classes")
    assert load_image_folder(folder).classes == ["ant", "bee", "cat"]
    (folder / "bee" / "IMG_1.heic").write_text("?")
    with pytest.warns(RuntimeWarning, match=r"no pictures by their names: 1, such as .*IMG_1\.heic"):
        load_image_folder(folder)


def break_some(folder, n):
    for number in range(n):
        (folder / "bee" / f"broken {number}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no JPEG")


@pytest.mark.parametrize("settings", [{}, {"size": 8, "channels": 3}])  # found by their headers, and when decoded
def test_broken_pictures_are_named(folder, settings):
    break_some(folder, 7)
    with pytest.raises(
        DataFormatError, match=r"7 of 25 pictures cannot be read: .*broken 0\.jpg: .*; and 2 more"
    ) as error:
        load_image_folder(folder, **settings)
    assert str(error.value).count(".jpg: ") == 5
    with pytest.warns(RuntimeWarning, match="left out: 7 of 25 pictures cannot be read: "):
        data = load_image_folder(folder, broken="skip", **settings)
    assert len(data.training[1]) + len(data.test[1]) == 18
    with pytest.raises(ValueError, match="broken must be one of raise, skip, got 'no'"):
        load_image_folder(folder, broken="no")


@posix
def test_what_is_no_file_is_broken(folder):
    os.mkfifo(folder / "bee" / "pipe.png")
    os.symlink("nowhere", folder / "bee" / "dangling.png")
    (folder / "bee" / "folder.png").mkdir()
    with pytest.raises(DataFormatError, match=r"2 of 20 .*dangling\.png.*; .*pipe\.png: not a regular file"):
        load_image_folder(folder)


def test_a_class_of_which_nothing_can_be_read(folder):
    for path in (folder / "bee").iterdir():
        path.write_bytes(b"broken")
    with pytest.warns(RuntimeWarning, match="left out: 6 of 18"):
        with pytest.raises(DataFormatError, match="class 'bee': none of its pictures can be read"):
            load_image_folder(folder, broken="skip")
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataFormatError, match="18 of 18 pictures cannot be read"):
        load_image_folder(folder, broken="skip")


@posix
def test_links(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("ant", "bee"):
        (tmp_path / "linked" / name).symlink_to(folder / name)
    assert load_image_folder(tmp_path / "linked").classes == ["ant", "bee"]
    (tmp_path / "linked" / "circle").symlink_to("..")
    with pytest.raises(DataFormatError, match="circle: a link to a folder that it lies in"):
        load_image_folder(tmp_path / "linked")
    (folder / "cat" / "deeper").symlink_to(folder / "cat")
    with pytest.raises(DataFormatError, match="deeper: a link to a folder, which is not followed here"):
        load_image_folder(folder)


def only(folder, *names):
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path)


CASES = {
    "one class": (lambda root: only(root, "ant"), r"one class only \('ant'\), two are needed"),
    "no pictures": (lambda root: (root / "dog").mkdir(), "class 'dog' has no pictures"),
    "one picture": (lambda root: save(root / "dog" / "x.png"), "class 'dog' has one example"),
    "test only": (lambda root: save(root / "test" / "ant" / "x.png"), "test/ is there, but no train/"),
}


@pytest.mark.parametrize("case", CASES)
def test_folders_that_are_refused(case, folder):
    change, message = CASES[case]
    change(folder)
    with pytest.raises(DataFormatError, match=message):
        load_image_folder(folder)


def test_a_class_that_is_not_trained_on(tmp_path):
    for name in ("train/a", "train/b", "val/a", "val/c"):
        save(tmp_path / name / "x.png")
    with pytest.raises(DataFormatError, match=r"val: class 'c' is not in .*train"):
        load_image_folder(tmp_path)


def test_labels_count_a_model_s_classes(folder):
    data = load_image_folder(folder, classes=["cat", "dog", "bee", "ant"])
    assert data.classes == ["cat", "dog", "bee", "ant"]
    assert sorted(data.test[1].tolist()) == [0, 2, 3]
    with pytest.raises(DataFormatError, match="class 'cat' is none of the model's: ant, bee"):
        load_image_folder(folder, classes=["ant", "bee"])


FAST = ["--recipe", "fast", "--batch-size", "4", "--quiet"]


def test_trained_and_evaluated_on_the_command_line(folder, tmp_path, capsys):
    model = tmp_path / "net"
    arguments = ["--data", str(folder), "--image-size", "16", "--grey", "--output", str(model)]
    assert train_mnist.main([*FAST[:-1], *arguments]) == 0
    assert capsys.readouterr().out.startswith(
        "images: 15 to train on, 3 to test on; 16 x 16 pixels, grey; 3 classes: ant, bee, cat\n"
    )
    net = NeuralNet.load(model)
    assert net.notes["classes"] == ["ant", "bee", "cat"]
    assert net.notes["images"] == {"size": [16, 16], "channels": 1, "preparation": "middle"}
    assert train_mnist.main(["--data", str(folder), "--evaluate", str(model)]) == 0
    accuracy = net.notes["test_accuracy"]
    assert capsys.readouterr().out.startswith(
        f"test accuracy {accuracy:.2%}: {round(3 - 3 * accuracy)} of 3 images wrong"
    )
    (folder / "cat").rename(folder / "dog")
    assert train_mnist.main(["--data", str(folder), "--evaluate", str(model)]) == 65
    assert "class 'dog' is none of the model's: ant, bee, cat" in capsys.readouterr().err


@pytest.mark.parametrize("stopping", [[], ["--early-stopping", "3"]])
def test_validation_pictures_of_their_own_are_watched(stopping, tmp_path, capsys):
    for part in ("train", "val", "test"):
        for label, name in enumerate("ab"):
            for number in range(4):
                save(tmp_path / part / name / f"{number}.png", 60 * label + number)
    arguments = ["--data", str(tmp_path), *FAST[:-1], *stopping, "--output", str(tmp_path / "net")]
    assert train_mnist.main(arguments) == 0
    assert re.search(r"^validation accuracy [\d.]+% after", capsys.readouterr().out, re.M)
    assert "validation_accuracy" in NeuralNet.load(tmp_path / "net").notes
    assert train_mnist.main([*arguments, "--validation-size", "2"]) == 2
    assert "has validation images of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--image-size", "32"], 2, "--image-size is for pictures"),
        (["--grey"], 2, "--grey is for pictures"),
        (["--skip-broken"], 2, "--skip-broken is for pictures"),
        (["--image-size", "0"], 2, "argument --image-size: an int in [1, 1024] expected, got '0'"),
        (["--data", "photos", "--train-size", "16"], 2, "--train-size asks for 16 images, only 15 are there"),
        (["--data", "photos", "--evaluate", "mnist-best", "--grey"], 2, "--image-size and --grey are for training"),
        (["--data", "photos", "--evaluate", "mnist-best"], 65, "class 'ant' is none of the model's: 0, 1, 2"),
        (["--evaluate", "ants"], 65, "without --data: the package's MNIST: its classes are 0, 1, 2"),
        (["--data", "photos/ant"], 65, "photos/ant: pictures, but no folders of them"),
        (["--data", "broken"], 65, "--data: 1 of 4 pictures cannot be read: broken"),
        (["--data", "empty"], 66, "neither a folder of pictures for each class nor train-images-idx3-ubyte.gz"),
        (["--data", "photos", "--image-size", "3", "--recipe", "fast"], 65, "the images do not fit the recipe"),
    ],
)
def test_failures_are_one_line_and_a_code(arguments, code, message, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder.rename("photos")
    for name in ("a/1", "a/2", "b/1", "b/2"):
        save(tmp_path / "broken" / f"{name}.png")
    (tmp_path / "broken" / "a" / "1.png").write_bytes(b"?")
    (tmp_path / "empty").mkdir()
    NeuralNet([Flatten(), FullyConnected(784, 2)]).save(tmp_path / "ants", notes={"classes": ["ant", "bee"]})
    found = train_mnist.main([*arguments, "--quiet"])
    error = capsys.readouterr().err
    assert (found, error.count("\n")) == (code, 1)
    assert message in error.replace(os.sep, "/")


def test_left_out_pictures_are_told_in_one_line(folder, capsys):
    break_some(folder, 1)
    assert train_mnist.main(["--data", str(folder), "--skip-broken", *FAST]) == 0
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert re.match(r"train_mnist: left out: 1 of 19 pictures cannot be read: .*broken 0\.jpg", error)


def test_without_pillow(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert train_mnist.main(["--data", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_mnist: --data: reading pictures needs Pillow (") and error.count("\n") == 1
    assert error.endswith("): pip install 'cnn_ext[image]'\n")
