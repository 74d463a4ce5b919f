"""CSV tables: labels and pixels as Kaggle has MNIST, files and labels; and rows that are neither."""

import gzip
import re

import numpy as np
import pytest

from cnn_ext import DataFormatError, NeuralNet, load_data, train_mnist
from cnn_ext.datasets import load_image_csv

SQUARE = ",".join(f"pixel{n}" for n in range(4))


def write(path, *lines, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode() if data is None else data)
    return path


def rows(data):
    parts = [data.training, data.test]
    images = np.concatenate([np.rint(images[:] * 255).astype(int).reshape(len(images), -1) for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return sorted((data.classes[label], *image) for label, image in zip(labels.tolist(), images.tolist()))


PIXELS = [(str(n % 2), n, 0, 255, 7) for n in range(10)]
LINES = [",".join(map(str, row)) for row in PIXELS]


@pytest.mark.parametrize(
    "lines",
    [
        [f"label,{SQUARE}", *LINES],
        LINES,
        [f"{SQUARE},Class", *(",".join([*line.split(",")[1:], line[0]]) for line in LINES)],
        ["label,0,1,2,3", *LINES],
        [f'"label",{SQUARE}\r', *(f'"{line[0]}"{line[1:]}\r' for line in LINES), "", ""],
        [f"\ufefflabel,{SQUARE}", *LINES],
    ],
    ids=["names", "no names", "label last", "numbers as names", "quoted, as Windows ends lines", "byte order mark"],
)
def test_pixels(lines, tmp_path):
    data = load_image_csv(write(tmp_path / "a.csv", *lines))
    assert rows(data) == sorted(PIXELS)
    assert data.form.shape == (1, 2, 2) and data.classes == ["0", "1"]
    assert sorted(data.test[1].tolist()) == [0, 1]  # a fifth of five each
    zipped = write(tmp_path / "a.csv.gz", data=gzip.compress("\n".join(lines).encode()))
    assert rows(load_data(zipped)) == sorted(PIXELS)


def test_colour_and_the_form_of_digits(tmp_path):
    lines = [",".join(["x" if n % 2 else "y", *map(str, range(n, n + 12))]) for n in range(4)]
    data = load_image_csv(write(tmp_path / "a.csv", *lines))
    assert data.form.shape == (3, 2, 2) and data.form.preparation == "middle"
    assert rows(data)[0] == ("x", *range(1, 13))
    digits = [",".join([str(n % 2), *["0"] * 784]) for n in range(4)]
    assert load_image_csv(write(tmp_path / "b.csv", *digits)).form.preparation == "digit"


def test_numbers_are_sorted_as_numbers(tmp_path):
    lines = [f"{label},{n}" + ",0,0,0" for label in (10, 9, 100, "007") for n in (1, 2)]
    data = load_image_csv(write(tmp_path / "a.csv", *lines))
    assert data.classes == ["7", "9", "10", "100"]
    assert sorted(data.training[1].tolist()) == [0, 1, 2, 3]
    assert load_image_csv(tmp_path / "a.csv", classes=["100", "10", "9", "8", "7"]).classes[3] == "8"
    with pytest.raises(DataFormatError, match="class '7' is none of the model's: 9, 10, 100"):
        load_image_csv(tmp_path / "a.csv", classes=["9", "10", "100"])


BAD = {
    "empty": ([""], "empty file"),
    "blank": (["", " , "], "no rows"),
    "names only": ([f"label,{SQUARE}"], "no rows below the names"),
    "a word": ([*LINES, "1,0,0,x,0"], "line 11, column 4: an int from 0 to 255 expected, got 'x'"),
    "a gap": ([*LINES, "1,0,0,,0"], "line 11, column 4: an int from 0 to 255 expected, got ''"),
    "too bright": ([f"label,{SQUARE}", *LINES, "1,256,0,0,0"], "line 12, column 2: .* got '256'"),
    "too dark": ([*LINES, "1,0,0,0,-1"], "line 11, column 5: .* got '-1'"),
    "a fraction": ([*LINES, "1,0,0,0.5,1"], "line 11, column 4: .* got '0.5'"),
    "a short row": ([*LINES, "1,0,0"], "line 11: 3 columns, expected 5"),
    "a long row": ([*LINES[:3], "", "1,0,0,0,0,0"], "line 5: 6 columns, expected 5"),
    "no label": ([*LINES, " ,0,0,0,0"], "line 11: no label"),
    "an escape sequence": ([*LINES, "\x1b[2J,0,0,0,0"], "line 11: no label"),
    "five pixels": (["1,0,0,0,0,0"], "line 1: 5 pixels, neither a square number nor three times one"),
    "one class": ([line for line in LINES if line[0] == "1"], r"one class only \('1'\)"),
    "one example": ([*LINES, "2,0,0,0,0"], "class '2' has one example"),
    "one column": (["1", "2"], "line 1: one column"),
    "a number as a file": (["5,0", "3,1"], "line 1: columns file and label expected"),
    "files without labels": (["id,file,size", "1,a.png,3"], "line 1: a column of files, but none of labels"),
    "an open quote": ([*LINES, '"1,0,0,0,0'], "line 11: not CSV text: unexpected end of data"),
    "a file without a name": (["file,label", "a.png,cat", ",cat"], "line 3: no name of a file"),
    "a row of one": (["file,label", "a.png,cat", "b.png"], "line 3: 1 columns, expected a file and a label"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_tables(what, tmp_path):
    lines, message = BAD[what]
    path = write(tmp_path / "a.csv", *lines)
    with pytest.raises(DataFormatError, match=f"^{re.escape(str(path))}: .*{message}|{message}"):
        load_image_csv(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"\xff\xfe1\0,\0", "line 1: not CSV text: .*utf-8"),
        ("a.csv", b"1," + b"0" * (1 << 22), "line 1: not CSV text: a line of more than 4,194,304 characters"),
        ("a.csv", b"1," + b"0" * 200_000, "line 1: not CSV text: field larger than field limit"),
        ("a.csv.gz", b"1,2,3", "not gzip"),
        ("a.csv.gz", gzip.compress(b"1,0,0,0,0\n" * 9999)[:-20], "damaged gzip data"),
    ],
    ids=["UTF-16", "no end of line", "a long number", "no gzip", "truncated gzip"],
)
def test_files_that_are_no_tables(name, data, message, tmp_path):
    with pytest.raises(DataFormatError, match=message):
        load_image_csv(write(tmp_path / name, data=data))


def test_pixels_are_no_pictures(tmp_path):
    path = write(tmp_path / "a.csv", *LINES)
    with pytest.raises(ValueError, match="holds pixels: size, channels, preparation and broken are for pictures"):
        load_image_csv(path, size=8)


@pytest.fixture
def table(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    lines = []
    for number in range(10):
        name = f"of my own/{number} ü, x.png"
        (tmp_path / "of my own").mkdir(exist_ok=True)
        Image.new("L", (9, 9), 20 * number).save(tmp_path / name)
        lines.append(f'"{name}",{"odd" if number % 2 else "even"}')
    return lines


@pytest.mark.parametrize("names", ["file,label", None, "Label,Path", "id,image,split,class"])
def test_files_and_labels(names, table, tmp_path):
    cells = [line.rsplit(",", 1) for line in table]
    lines = table
    if names == "Label,Path":
        lines = [f"{label},{file}" for file, label in cells]
    elif names is not None and "split" in names:
        lines = [f"7,{file},train,{label}" for file, label in cells]
    path = write(tmp_path / "table.csv", *([] if names is None else [names]), *lines)
    data = load_data(path, size=1, channels=1)
    assert rows(data) == sorted(("odd" if n % 2 else "even", 20 * n) for n in range(10))
    assert len(data.test[1]) == 2 and load_data(path).form.shape == (1, 9, 9)


def test_broken_files_of_a_table(table, tmp_path):
    path = write(tmp_path / "table.csv", *table, "nowhere.png,odd")
    with pytest.raises(DataFormatError, match=r"1 of 11 pictures cannot be read: .*nowhere\.png"):
        load_data(path)
    with pytest.warns(RuntimeWarning, match="left out: 1 of 11"):
        assert len(load_data(path, broken="skip").training[1]) == 8


def test_the_command_line(tmp_path, rng, capsys):
    lines = [",".join([str(n % 3), *map(str, rng.integers(0, 256, 64))]) for n in range(30)]
    path, model = str(write(tmp_path / "a.csv", *lines)), str(tmp_path / "net")
    assert train_mnist.main(["--data", path, "--recipe", "fast", "--batch-size", "8", "--output", model]) == 0
    assert "images: 24 to train on, 6 to test on; 8 x 8 pixels, grey; 3 classes: 0, 1, 2" in capsys.readouterr().out
    assert NeuralNet.load(model).notes["classes"] == ["0", "1", "2"]
    assert train_mnist.main(["--data", path, "--evaluate", model, "--quiet"]) == 0
    assert train_mnist.main(["--data", path, "--grey"]) == 2
    assert "--grey is for pictures" in capsys.readouterr().err
    write(tmp_path / "a.csv", *lines, "1,2,3")
    assert train_mnist.main(["--data", path, "--recipe", "fast"]) == 65
    assert "a.csv: line 31: 3 columns, expected 65" in capsys.readouterr().err
