"""The report of a run: one whole, valid, escaped HTML file, for any classes and images."""

import base64
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from cnn_ext import (
    SGD,
    Conv,
    DTypeError,
    Flatten,
    FullyConnected,
    History,
    NeuralNet,
    ReLU,
    ShapeError,
    fit,
    train_mnist,
)
from cnn_ext.report import write_report

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")

HOSTILE = "<script>alert('x')</script>&\"\x00 $\\frac{$ 七"
VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """What a test asks of a page; raises where tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.tags, self.words = [], [], [], [], set(), []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [
            attrs[name] for name in ("href", "xlink:href", "src", "action", "data", "srcset") if name in attrs
        ]
        self.links += [link for value in attrs.values() for link in re.findall(r"url\((.*?)\)", value or "")]
        if tag == "img":
            assert attrs["alt"]
            self.images.append(base64.b64decode(attrs["src"].partition("base64,")[2]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def small_net(shape, n_classes):
    conv = Conv(shape, 4, 3, 3, 1, 1, rng=0)
    return NeuralNet([conv, ReLU(), Flatten(), FullyConnected(4 * shape[1] * shape[2], n_classes, rng=0)])


def read(path):
    page = Page(path.read_text("utf-8"))
    for link in page.links:  # nothing from outside
        assert link.startswith(("#", "data:image/png;base64,")), link
        assert not link.startswith("#") or link[1:] in page.ids
    assert "script" not in page.tags
    return page


def test_a_run_of_three_epochs(tmp_path, rng):
    X = rng.random((60, 1, 9, 7), np.float32)
    y = rng.integers(0, 3, 60)
    net = small_net((1, 9, 7), 3)
    net.notes["classes"] = ["cat", "dog", "eel"]
    history = fit(net, X, y, optimizer=SGD(0.01), epochs=3, batch_size=20, rng=0, validation=(X, y))
    notes = {"recipe": {"lr": 0.01, "augment": []}, "seed": 3, "command": "python -m x"}
    write_report(tmp_path / "r.html", net, history, X, y, notes=notes, tested="held-back")
    page, wrong = read(tmp_path / "r.html"), net.predict(X) != y
    assert (
        f"{1 - wrong.mean():.2%} of the held-back images right" in page.text
        and f"{wrong.sum()} of 60 wrong" in page.text
    )
    for words in (
        "training, with penalty",
        "3 epochs; after the last: loss",
        "recipe, lr 0.01",
        "recipe, augment []",
        "seed 3",
        "python -m x",
        "processor",
        "0 Conv 4 x 9 x 7 40",
        "4 of 3 × 3 over 1 channel",
    ):
        assert words in page.text, words
    assert page.tags >= {"svg", "img", "table"}
    assert len(page.images) == min(wrong.sum(), 24) + 1
    # The worst comes first: the one whose class got the least probability.
    of_truth = np.where(wrong, net.predict_proba(X)[np.arange(60), y], 2)
    first = re.search(r"own class ([0-9.]+)%; image (\d+)", page.text)
    assert int(first[2]) == of_truth.argmin() and float(first[1]) == pytest.approx(100 * of_truth.min(), abs=0.06)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (y, net.predict(X)), 1)
    shown = Counter(re.findall(r">(\d+)</text>", (tmp_path / "r.html").read_text("utf-8")))
    assert Counter(map(str, matrix[matrix > 0])) <= shown


@pytest.mark.parametrize(("shape", "n_classes"), [((3, 8, 8), 2), ((1, 1, 30), 25), ((2, 6, 6), 120)])
def test_other_images_and_many_classes(tmp_path, rng, shape, n_classes):
    X = rng.normal(size=(40, *shape)).astype(np.float32)  # also beyond [0, 1]
    write_report(tmp_path / "r.html", small_net(shape, n_classes), [], X, rng.integers(0, n_classes, 40))
    page = read(tmp_path / "r.html")
    assert "No epoch was recorded." in page.text and "Nothing was noted." in page.text
    assert all(image.startswith(b"\x89PNG") for image in page.images) and len(page.images) > 1


def test_rows_rather_than_images(tmp_path, rng):
    for size, shown in ((9, 1), (10, 0)):
        net = NeuralNet([FullyConnected(size, 2, rng=0)])
        X = rng.random((1, size), np.float32)
        write_report(tmp_path / "r.html", net, History(), X, 1 - net.predict(X))
        page = read(tmp_path / "r.html")
        assert len(page.images) == shown and "The network has no convolution." in page.text


def test_a_network_without_mistakes(tmp_path, rng):
    net = small_net((1, 5, 5), 2)
    X = rng.random((5, 1, 5, 5), np.float32)
    write_report(tmp_path / "r.html", net, [{"epoch": 1, "loss": float("nan")}], X, net.predict(X))
    page = read(tmp_path / "r.html")
    assert "There are none." in page.text and "No image is taken for another class." in page.text


def test_all_text_is_escaped(tmp_path, rng):
    net = small_net((1, 5, 5), 2)
    net.notes["classes"] = [HOSTILE, "b" * 200]
    X = rng.random((8, 1, 5, 5), np.float32)
    history = [{"epoch": 1, "loss": 1.0, "validation_loss": 1.0, HOSTILE: 0.5}]
    write_report(
        tmp_path / "r.html",
        net,
        history,
        X,
        1 - net.predict(X),
        notes={HOSTILE: {HOSTILE: HOSTILE}, "x": object},
        tested=HOSTILE,
    )
    page = read(tmp_path / "r.html")
    assert "<script>alert('x')</script>&\"  $\\frac{$ 七" in " ".join(page.words)
    assert "\0" not in (tmp_path / "r.html").read_text("utf-8")


def test_what_does_not_fit_leaves_the_old_file(tmp_path, rng):
    net, path = small_net((1, 5, 5), 2), tmp_path / "r.html"
    path.write_text("old")
    X, y = rng.random((4, 1, 5, 5), np.float32), np.array([0, 1, 0, 1])
    for changes, error, message in (
        ({"X": X[:0], "y": y[:0]}, ShapeError, "X holds no images to report on"),
        ({"y": y[:3]}, ShapeError, r"y must have shape \(4,\), got \(3,\)"),
        ({"y": y + 1}, ValueError, r"label 2 at row 1 outside \[0, 2\)"),
        ({"X": X[:, :, 1:]}, ShapeError, "Conv expects"),
        ({"notes": [1]}, DTypeError, "notes must be a dict, got list"),
        ({"tested": 3}, DTypeError, "tested must be a str, got int"),
    ):
        with pytest.raises(error, match=message):
            write_report(**{"path": path, "net": net, "history": [], "X": X, "y": y, **changes})
    with pytest.raises(IsADirectoryError):
        write_report(tmp_path, net, [], X, y)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["r.html"]


SMALL = ["--epochs", "1", "--train-size", "100", "--test-size", "50", "--quiet"]


def test_the_flag(tmp_path, capfd):
    path = tmp_path / "r.html"
    assert train_mnist.main([*SMALL, "--report", str(path), "--output", str(tmp_path / "net")]) == 0
    page = read(path)
    assert "of the test images right" in page.text
    assert "command python -m cnn_ext.train_mnist --epochs 1 --train-size 100 --test-size 50" in page.text  # no paths
    assert NeuralNet.load(tmp_path / "net").notes["command"].endswith("--test-size 50")
    assert capfd.readouterr() == ("", "")
    assert train_mnist.main([*SMALL, "--report", str(path), "--log", str(path)]) == 2
    assert "--log and --report name the same file" in capfd.readouterr().err
    assert train_mnist.main([*SMALL, "--report", str(tmp_path / "no" / "r.html")]) == 73
    assert "--report cannot be written" in capfd.readouterr().err


def test_without_matplotlib_it_ends_before_it_trains(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from cnn_ext.train_mnist import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--report", str(tmp_path / "r.html"), "--log", str(tmp_path / "log")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith("): pip install 'cnn_ext[plot]'\n") and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
