"""The pictures of a report, as pieces of HTML: curves and matrix as SVG, images and filters as PNG."""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._extras import missing_extra
from ._types import Array

INK = "#010203"
"""A colour that nothing else has; in the page it becomes the colour of its text."""
BLUE, ORANGE = (0.20, 0.47, 0.86), (0.90, 0.49, 0.13)  # told apart without colour vision, and on either ground
SMALL_MATRIX = 20  # classes up to which the counts are written into the cells

LONGEST_NAME = 16  # characters of a class's name beside the matrix


def check_matplotlib() -> None:
    """Raise an ImportError that tells what to run, where Matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise missing_extra("a report", "plot", error) from error


def printable(text: str) -> str:
    """Return the text with a space for each character that a page may not hold, or that is not to be seen."""
    return "".join(character if character.isprintable() else " " for character in text)


def curves(history: Sequence[Mapping[str, Any]], tested: str) -> list[str]:
    """Return two pictures: losses by epoch, and accuracies by epoch."""
    accuracies = (
        ("running_accuracy", "training, while learning", BLUE, ":"),
        ("train_accuracy", "training", BLUE, "-"),
        ("validation_accuracy", tested, ORANGE, "-"),
    )
    return [
        _curve(
            history, "loss", (("loss", "training, with penalty", BLUE, "-"), ("validation_loss", tested, ORANGE, "-"))
        ),
        _curve(history, "accuracy, %", accuracies, scale=100.0),
    ]


def _curve(history: Sequence[Mapping[str, Any]], title: str, lines: Sequence[Any], scale: float = 1.0) -> str:
    figure = _new_figure(4, 3)
    axes = figure.subplots()
    for name, label, colour, style in lines:
        values = [record.get(name) for record in history]
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
        if np.isfinite(numbers).any():
            epochs = [record.get("epoch", number) for number, record in enumerate(history, 1)]
            marker = "o" if len(history) < 30 else ""
            axes.plot(epochs, scale * numbers, style, marker=marker, markersize=3, color=colour, label=label)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25, color=INK)
    if axes.lines:
        for text in axes.legend(fontsize=8, framealpha=0, labelcolor=INK).get_texts():
            text.set_parse_math(False)
    return _as_svg(figure, title.split(",")[0], f"{title} by epoch")


def confusion(counts: Array, names: Sequence[str]) -> str:
    """Return the matrix of counts, truth by guess: right ones in blue, wrong ones in orange."""
    n = len(names)
    small = n <= SMALL_MATRIX
    side = min(max(3.5, 0.5 * n + 1), 7.5)
    figure = _new_figure(side, side)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = np.zeros((n, n, 4))
    cells[..., :3] = np.where(np.eye(n, dtype=bool)[..., np.newaxis], BLUE, ORANGE)
    # A few mistakes among thousands must be seen: their shade grows with the fourth root of their share.
    cells[..., 3] = np.where(np.eye(n, dtype=bool), 0.6 * share, 0.9 * share**0.25)
    axes.imshow(cells, interpolation="nearest")
    if small:
        names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
        for truth, guess in zip(*np.nonzero(counts)):
            axes.text(guess, truth, f"{counts[truth, guess]}", ha="center", va="center", fontsize=8, color=INK)
        rotation = 0 if max(map(len, names)) <= 3 else 60
        axes.set_xticks(range(n), labels=names, rotation=rotation, parse_math=False)
        axes.set_yticks(range(n), labels=names, parse_math=False)
    axes.set(xlabel="taken for", ylabel="truth")
    return _as_svg(figure, "confusion", "How often each class is taken for which")


def image(pixels: Array, alt: str) -> str:
    """Return an image (C, H, W), grey or colour; a row of a square number of pixels counts as grey."""
    pixels = np.asarray(pixels, np.float64)
    if pixels.ndim == 1 and round(pixels.size**0.5) ** 2 == pixels.size:
        pixels = pixels.reshape(1, round(pixels.size**0.5), -1)
    if pixels.ndim != 3:
        return f"<p>({html.escape(alt)})</p>"
    if len(pixels) != 3:
        pixels = np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
    low, high = min(0.0, float(pixels.min())), max(1.0, float(pixels.max()))
    return _as_png(np.moveaxis((pixels - low) / (high - low), 0, -1), alt)


def filters(weights: Array, alt: str) -> str:
    """Return filters (n, C, h, w) in a grid, one row of small pictures a channel where there are several."""
    count, channels, height, width = weights.shape
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.divide(weights, largest, out=np.zeros(weights.shape), where=largest > 0)
    columns = min(count, 8)
    rows = -(-count // columns)
    mosaic = np.zeros((rows * (channels * height + 1) - 1, columns * (width + 1) - 1, 4))
    for number, one in enumerate(scaled):
        top, left = number // columns * (channels * height + 1), number % columns * (width + 1)
        tile = mosaic[top : top + channels * height, left : left + width]
        stacked = one.reshape(channels * height, width)
        tile[..., :3] = np.where(stacked[..., np.newaxis] > 0, ORANGE, BLUE)
        tile[..., 3] = 0.08 + 0.92 * np.abs(stacked)  # zero is not quite the ground, so that the tile's edge is seen
    return _as_png(mosaic, alt)


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # not pyplot, which opens a display and keeps every figure

    return Figure(figsize=(width, height), layout="constrained")


def _as_svg(figure: Any, name: str, title: str) -> str:
    """Return a figure as an SVG element, with text as text, in the page's colour, and ids of its own."""
    import matplotlib

    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.tick_params(colors=INK, labelsize=8)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(INK)
    out = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "svg.image_inline": True, "text.usetex": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # missing in Matplotlib's font: the page is shown in the reader's
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def _as_png(pixels: Array, alt: str) -> str:
    """Return pixels (H, W, 3 or 4) in [0, 1] as an image element."""
    from matplotlib.image import imsave

    out = io.BytesIO()
    imsave(out, np.rint(pixels * 255).astype(np.uint8), format="png", metadata={"Software": "cnn_ext"})
    data = base64.b64encode(out.getvalue()).decode("ascii")
    size = f'width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
    return f'<img {size} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
