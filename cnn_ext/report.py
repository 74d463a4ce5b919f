"""A training run as one HTML file: curves, confusion matrix, worst mistakes, filters, and all that made the run.

The pictures are part of the file, drawn by Matplotlib (extra `plot`) with the page's own colour of text, so that they
show on a light ground, on a dark one and on paper.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from . import _report_pictures as pictures
from ._class_names import class_names
from ._files import write_atomically
from ._machine import describe_machine
from ._report_pictures import check_matplotlib
from ._types import Array
from .batches import as_indexable
from .errors import DTypeError, ShapeError
from .loss import check_labels
from .network import NeuralNet

__all__ = ["check_matplotlib", "write_report"]

N_MISTAKES = 24


def write_report(
    path: str | os.PathLike[str],
    net: NeuralNet,
    history: Sequence[Mapping[str, Any]],
    X: Any,
    y: Array,
    *,
    notes: Mapping[str, Any] | None = None,
    tested: str = "validation",
) -> None:
    """Write what a run came to as one HTML file at exactly `path`, which needs nothing else to be shown.

    It holds the curves of the history, and for images X the confusion matrix and the worst mistakes; the filters of the
    first convolution, the layers, the notes, and the machine.

    Parameters
    ----------
    path : path
        Replaced as a whole or not at all.
    net : NeuralNet
        `net.notes["classes"]`, where it is a list of names, tells what the classes are called.
    history : History or sequence of dict
        What `fit` returned; may be empty.
    X : array, shape (N, C, H, W) or what the first layer takes
        Images that the network did not learn from, at least one, in the form in which it takes them.
    y : array of int, shape (N,)
        Their classes.
    notes : dict, optional
        What made the run, such as its recipe and command; `net.notes` if None.
    tested : str
        What X are called.

    Raises
    ------
    ImportError
        Matplotlib is not installed: it comes with the extra `plot`.
    ShapeError, DTypeError, ValueError
        Images, labels or notes that do not fit.
    OSError
        The file cannot be written; what was there before is as it was.
    """
    check_matplotlib()
    X = as_indexable("X", X)
    if len(X) == 0:
        raise ShapeError("X holds no images to report on")
    notes = net.notes if notes is None else notes
    for name, value, kind in (("notes", notes, Mapping), ("tested", tested, str)):
        if not isinstance(value, kind):
            raise DTypeError(f"{name} must be a {'dict' if kind is Mapping else 'str'}, got {type(value).__name__}")
    probabilities = net.predict_proba(X)
    n_classes = probabilities.shape[1]
    y = check_labels(y, len(X), n_classes)
    names = [pictures.printable(name) for name in class_names(net, n_classes)]
    tested = pictures.printable(tested)
    guesses = probabilities.argmax(axis=1)
    n_wrong = int(np.count_nonzero(guesses != y))
    accuracy = f"{1 - n_wrong / len(y):.2%} of the {tested} images right"
    sections = [
        f"<p class=lead><strong>{_text(accuracy)}</strong>, {n_wrong:,} of {len(y):,} wrong</p>",
        _section("Curves", _curves(history, tested)),
        _section("Which class is taken for which", _confusion(y, guesses, names)),
        _section("The worst mistakes", _mistakes(X, y, probabilities, names)),
        _section("Filters of the first convolution", _filters(net)),
        _section("The network", f"<div class=wide>{net._repr_html_()}</div>"),
        _section("The run", _table(_flat(notes))),
        _section("The machine", _table(_flat(describe_machine()))),
    ]
    page = files("cnn_ext").joinpath("report.html").read_text("utf-8")
    page = page.replace("<!-- title -->", _text(accuracy)).replace("<!-- sections -->", "\n".join(sections))
    write_atomically(path, [page.encode("utf-8")])


def _curves(history: Sequence[Mapping[str, Any]], tested: str) -> str:
    if not history:
        return "<p>No epoch was recorded.</p>"
    last = ", ".join(
        f"{name.replace('validation', tested).replace('_', ' ')} {value:.4g}"
        for name, value in history[-1].items()
        if isinstance(value, float)
    )
    epochs = f"{len(history)} {'epoch' if len(history) == 1 else 'epochs'}"
    shown = f"<div class=curves>{''.join(pictures.curves(history, tested))}</div>"
    return _figure(shown, f"{epochs}; after the last: {last}")


def _confusion(y: Array, guesses: Array, names: Sequence[str]) -> str:
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (y, guesses), 1)
    wrong = [(int(counts[pair]), pair) for pair in zip(*np.nonzero(counts)) if pair[0] != pair[1]]
    most = sorted(wrong, key=lambda item: (-item[0], item[1]))[:3]
    told = "; ".join(f"{names[true]} taken for {names[guess]}: {count:,}" for count, (true, guess) in most)
    return _figure(pictures.confusion(counts, names), told or "No image is taken for another class.")


def _mistakes(X: Any, y: Array, probabilities: Array, names: Sequence[str]) -> str:
    """Return the images whose class got the least probability among those that were read wrongly."""
    guesses, of_truth = probabilities.argmax(axis=1), probabilities[np.arange(len(y)), y]
    wrong = np.flatnonzero(guesses != y)
    if len(wrong) == 0:
        return "<p>There are none.</p>"
    worst = wrong[np.argsort(of_truth[wrong], kind="stable")][:N_MISTAKES]
    shown = []
    for index, image in zip(worst, X[worst]):
        truth, guess = names[int(y[index])], names[int(guesses[index])]
        told = f"image {index}: {truth} taken for {guess}"
        picture = pictures.image(image, told)
        caption = (
            f"<b>{_text(truth)}</b>, taken for <b>{_text(guess)}</b> at {probabilities[index, guesses[index]]:.0%}; "
            f"own class {of_truth[index]:.1%}; image {index}"
        )
        shown.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    return f"<div class=images>{''.join(shown)}</div>"


def _filters(net: NeuralNet) -> str:
    weights = next((layer.params[0] for layer in net.layers if layer.params and layer.params[0].ndim == 4), None)
    if weights is None:
        return "<p>The network has no convolution.</p>"
    count, channels, height, width = weights.shape
    told = f"{count} of {height} × {width} over {channels} {'channel' if channels == 1 else 'channels'}: "
    return _figure(
        f"<div class=filters>{pictures.filters(weights, told)}</div>",
        told + "orange above zero, blue below, each to its own scale",
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Give names and values as text, with those of a dict inside each by itself."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}, ")
        elif isinstance(value, str):
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str, ensure_ascii=False)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th scope=row>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table class=facts>{cells}</table>" if cells else "<p>Nothing was noted.</p>"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>"


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{_text(caption)}</figcaption></figure>"


def _text(text: str) -> str:
    return html.escape(pictures.printable(text))
