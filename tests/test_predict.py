"""python -m cnn_ext.predict: digits brought to MNIST's form, one's own classes, and all that can be wrong."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cnn_ext import Flatten, FullyConnected, NeuralNet, load_mnist, load_pretrained, predict
from cnn_ext.digits import digit_form

pytestmark = pytest.mark.slow

Image = pytest.importorskip("PIL.Image")
COMMAND = [sys.executable, "-m", "cnn_ext.predict"]


@pytest.fixture(scope="module")
def digits():
    _, (X, y) = load_mnist(None, 0, 80)
    return X, y


def as_bytes(x):
    return np.rint(255 * x[0]).astype(np.uint8)


def drawn(x, rng):
    """A digit as a large dark picture on light paper, anywhere, with some grain."""
    side = int(rng.integers(60, 300))
    digit = Image.fromarray(as_bytes(x)).resize((side, side), Image.Resampling.BICUBIC)
    width, height = (side + int(extra) for extra in rng.integers(0, 300, 2))
    ink = Image.new("L", (width, height))
    ink.paste(digit, (int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))))
    paper, tone = rng.integers(150, 256), rng.integers(0, 90)
    grey = paper + (tone - float(paper)) * np.asarray(ink) / 255 + rng.normal(0, 2, (height, width))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def test_digits_of_mnist_stay_what_they_are(digits):
    X, _ = digits
    for x in X[:50]:
        image, changes = digit_form(Image.fromarray(as_bytes(x)))
        assert np.abs(image.astype(float) / 255 - x).mean() < 0.02  # a pixel's shift of the whole: 0.05 and more
        assert len(changes) == 1 and changes[0].startswith("ink of ") and changes[0].endswith("in 28 x 28")


def test_large_dark_digits_anywhere_are_read_as_well_as_the_small_ones(digits, rng):
    X, _ = digits
    net = load_pretrained("mnist-best")
    forms = [digit_form(drawn(x, rng)) for x in X]
    assert all(changes[0] == "inverted" for _, changes in forms)
    found = net.predict(np.stack([image for image, _ in forms]).astype(np.float32) / 255)
    assert np.count_nonzero(found != net.predict(X)) <= 1  # of 1,000, one or two fall on the other side


def shaded(image, rng):
    light = np.linspace(0.7, 1, image.width)
    return Image.fromarray((np.asarray(image) * light).astype(np.uint8))


def with_specks(image, rng):
    pixels = np.array(image)
    for _ in range(5):
        pixels[rng.integers(image.height), rng.integers(image.width)] = 20
    return Image.fromarray(pixels)


@pytest.mark.parametrize("spoil", [shaded, with_specks])
def test_shading_and_specks_are_not_taken_for_ink(spoil, digits, rng):
    X, y = digits[0][:50], digits[1][:50]
    images = np.stack([digit_form(spoil(drawn(x, rng), rng))[0] for x in X])
    found = load_pretrained("mnist-best").predict(images.astype(np.float32) / 255)
    assert np.count_nonzero(found != y) <= 1  # without this care 7 of 50 and more


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (3000, 2)])
@pytest.mark.parametrize("ink", [False, True])
def test_pictures_of_hardly_any_pixels(shape, ink):
    grey = np.full(shape, 250, np.uint8)
    grey[shape[0] // 2, shape[1] // 2] = 0 if ink else 250
    image, changes = digit_form(Image.fromarray(grey))
    assert image.shape == (1, 28, 28) and image.dtype == np.uint8
    assert ("no ink" in changes) == (not image.any())


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (90, 40), (60, 120)])
def test_the_form(paper, ink):
    """A bar of 10 x 40 at a known place: 5 x 20, its centre of mass in the middle."""
    grey = np.full((90, 120), paper, np.uint8)
    grey[30:70, 80:90] = ink
    image, changes = digit_form(Image.fromarray(grey))
    expected = np.zeros((1, 28, 28), np.uint8)
    expected[0, 4:24, 12:17] = 255
    np.testing.assert_array_equal(image > 127, expected > 0)
    assert np.abs(image.astype(int) - expected).max() < 40  # the edges are a little grey
    assert changes == [*(["inverted"] if ink < paper else []), "ink of 10 x 40 at (80, 30) in 120 x 90"]


@pytest.mark.parametrize("grain", [0, 3])
def test_an_empty_picture_is_said_to_be_so(grain, rng):
    grey = np.clip(rng.normal(200, grain, (200, 300)), 0, 255).astype(np.uint8)
    image, changes = digit_form(Image.fromarray(grey))
    assert changes == ["no ink"] and not image.any()


@pytest.fixture
def pictures(digits, tmp_path, rng):
    """Three digits, a picture without any, and a file that is no picture."""
    X, y = digits
    folder = tmp_path / "my scans ü"
    folder.mkdir()
    for number in range(3):
        drawn(X[number], rng).save(folder / f"{number} is {y[number]}.png")
    Image.new("RGB", (50, 40), "ivory").save(folder / "empty.png")
    return folder


def test_a_table(pictures, capsys):
    assert predict.main([str(pictures), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, digit in enumerate((7, 2, 1)):
        place = lines[number].removeprefix(str(pictures / f"{number} is {digit}.png"))
        assert place.split()[0] == str(digit) and "  inverted; ink of " in place and place.count("%") == 2
    assert lines[3].startswith(str(pictures / "empty.png")) and lines[3].endswith("made grey; no ink")
    assert len({line.index("i") for line in (line.split("%")[-1] for line in lines[:3])}) == 1


def test_json_and_csv(pictures, capsys):
    assert predict.main([str(pictures), "--format", "json", "--top", "10"]) == 0
    items = json.loads(capsys.readouterr().out)
    assert [item["top"][0]["class"] for item in items[:3]] == ["7", "2", "1"]
    assert sum(best["probability"] for best in items[0]["top"]) == pytest.approx(1, abs=1e-5)
    assert items[3] == {"picture": str(pictures / "empty.png"), "top": [], "preparation": ["made grey", "no ink"]}
    assert predict.main([str(pictures), "--format", "csv", "--top", "1"]) == 0
    names, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert names == ["picture", "class1", "probability1", "preparation"]
    assert [row[1] for row in rows] == ["7", "2", "1", ""]
    assert float(rows[0][2]) == items[0]["top"][0]["probability"]


def test_patterns_files_and_the_standard_input(pictures, capsys, digits):
    one = pictures / "0 is 7.png"
    assert predict.main([str(one), str(pictures / "?? is ?.png").replace("??", "[12]"), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    one.rename(pictures / "[0] is 7.png")  # a name that is a pattern, too
    assert predict.main([str(pictures / "[0] is 7.png"), "--format", "csv"]) == 0
    assert "[0] is 7.png,7," in capsys.readouterr().out
    data = (pictures / "[0] is 7.png").read_bytes()
    result = subprocess.run([*COMMAND, "-", "--model", "mnist-small"], input=data, capture_output=True)
    assert result.returncode == 0 and result.stdout.split()[:2] == [b"-", b"7"]


def test_a_broken_picture_does_not_keep_the_others_back(pictures, capsys):
    (pictures / "1.png").write_bytes(b"no picture")
    assert predict.main([str(pictures), str(pictures / "gone.png")]) == 65
    out, error = capsys.readouterr()
    assert out.count("\n") == 4
    first, second = error.splitlines()
    assert first == f"predict: bad picture: {pictures / '1.png'}: not a picture (starts with b'no pictu')"
    assert second.startswith("predict: a picture cannot be read: [Errno 2]")


def network(tmp_path, shape=(3, 4, 6), **notes):
    net = NeuralNet([Flatten(), FullyConnected(int(np.prod(shape)), 2, rng=0)])
    net.layers[1].W[...] = 0
    net.layers[1].W[0, 1] = 9  # the second class: red in the upper left corner
    path = tmp_path / "net"
    net.save(path, notes=notes)
    return str(path)


IMAGES = {"size": [4, 6], "channels": 3, "preparation": "middle"}


def test_scores_that_are_not_finite_do_not_keep_the_other_pictures_back(tmp_path, capsys):
    path = network(tmp_path, classes=["blue", "red"], images=IMAGES)
    net = NeuralNet.load(path)
    net.layers[1].W[-1] = 3e38  # of the last pixel: its blue, with the next weight, is beyond float32
    net.layers[1].W[-2] = 3e38
    net.save(path)
    for name, colour in [("dark", (0, 0, 0)), ("light", (255, 255, 255))]:
        Image.new("RGB", (6, 4), colour).save(tmp_path / f"{name}.png")
    assert predict.main(["--model", path, *(str(tmp_path / f"{name}.png") for name in ("light", "dark"))]) == 65
    out, error = capsys.readouterr()
    assert out.count("\n") == 1 and out.startswith(str(tmp_path / "dark.png"))
    assert error == f"predict: --model: the network's scores for {tmp_path / 'light.png'} are not finite\n"


def test_classes_and_preparation_of_one_s_own(tmp_path, capsys):
    model = network(tmp_path, classes=["blue sky", "red\x1b[2J"], images=IMAGES)
    Image.new("RGB", (60, 60), "red").save(tmp_path / "r.png")
    Image.new("RGBA", (6, 4), "blue").save(tmp_path / "b.png")
    assert predict.main(["--model", model, str(tmp_path / "r.png"), str(tmp_path / "b.png"), "--top", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(r"red\x1b[2J 100.0%  middle of 60 x 60; scaled to 6 x 4") and "\x1b" not in first
    assert second.endswith("blue sky 50.0%")


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({}, "images of shape (72,), (channels, height, width) expected"),
        ({"images": 3}, "images must be a dict of size, channels and preparation, got 3"),
        ({"images": {**IMAGES, "size": [4, 10**9]}}, "images['size'] must be <= 4096, got 1000000000"),
        ({"images": {**IMAGES, "channels": 2}}, "images['channels'] must be 1 (grey) or 3 (colour), got 2"),
        ({"images": {**IMAGES, "preparation": "x"}}, "must be one of digit, middle, got 'x'"),
        ({"images": {**IMAGES, "preparation": "digit"}}, "a digit in MNIST's form is of shape (1, 28, 28)"),
        ({"images": {**IMAGES, "size": [4, 4]}}, "expects X of shape (N, 72), got (1, 48)"),
        ({"images": IMAGES, "classes": ["a"]}, "1 classes in its notes, but 2 outputs"),
        ({"images": IMAGES, "classes": [1, 2]}, "classes must be a list of names, got [1, 2]"),
    ],
)
def test_notes_that_tell_something_else(notes, message, tmp_path, capsys):
    Image.new("RGB", (6, 4)).save(tmp_path / "x.png")
    assert predict.main(["--model", network(tmp_path, **notes), str(tmp_path / "x.png")]) == 65
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: PICTURE"),
        (["x.png", "--top", "0"], 2, "argument --top: an int in [1, inf) expected, got '0'"),
        (["x.png", "--format", "xml"], 2, "argument --format: invalid choice: 'xml'"),
        (["x.png", "--model", "nowhere"], 66, "--model: neither a file nor one of mnist-best, mnist-small: [Errno 2]"),
        (["x.png", "--model", "x.png"], 65, "--model: x.png"),
        (["gone.png"], 66, "No such file or directory: 'gone.png'"),
        (["*.jpg"], 66, "*.jpg: no picture is called like that"),
        (["d.png"], 66, "d.png: no pictures in it"),
        (["x.png"], 65, "x.png: empty file"),
        *([(["pipe"], 65, "pipe: not a regular file")] if hasattr(os, "mkfifo") else []),
    ],
)
def test_failures_are_one_line_and_a_code(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "d.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    found = predict.main(arguments)
    error = capsys.readouterr().err
    assert (found, error.count("\n")) == (code, 1)
    assert error.startswith("predict: ") and message in error


def test_without_pillow(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert predict.main(["x.png"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("predict: PICTURE: reading pictures needs Pillow (") and error.count("\n") == 1
    assert error.endswith("): pip install 'cnn_ext[image]'\n")
