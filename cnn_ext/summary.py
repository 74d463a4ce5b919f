"""The table that `NeuralNet.summary` prints, and that notebooks show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ._types import Shape

N_LEFT = 2
"""Columns that stand to the left; those after them are numbers."""


def summary_table(layers: Sequence[Any], shapes: Sequence[Shape | None]) -> str:
    """Return one line a layer: its output for one image, its parameters, and the bytes of both.

    Parameters
    ----------
    layers : sequence of layers
    shapes : sequence of tuple of int or None
        Shape of each layer's output for one image; None where it is not known.
    """
    rows = _rows(layers, shapes)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < N_LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary_html(layers: Sequence[Any], shapes: Sequence[Shape | None]) -> str:
    """Return the same as an HTML table, in the colours of the page around it."""
    head, *rows, total = _rows(layers, shapes)
    body = "".join(_html_row(row, "td") for row in rows)
    return (
        f"<table><thead>{_html_row(head, 'th')}</thead><tbody>{body}</tbody>"
        f"<tfoot>{_html_row(total, 'th')}</tfoot></table>"
    )


def _html_row(cells: Sequence[str], tag: str) -> str:
    import html  # not on import, like all that few need

    sides = ["left"] * N_LEFT + ["right"] * (len(cells) - N_LEFT)
    row = [f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for side, cell in zip(sides, cells)]
    return f"<tr>{''.join(row)}</tr>"


def _rows(layers: Sequence[Any], shapes: Sequence[Shape | None]) -> list[tuple[str, ...]]:
    """Return the table's cells: its head, a row a layer, and the total."""
    rows: list[tuple[str, ...]] = [("layer", "output", "parameters", "weights", "output/image")]
    total_count = total_bytes = 0
    itemsize = next((param.itemsize for layer in layers for param in layer.params), 4)
    for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
        count = sum(param.size for param in layer.params)
        n_bytes = sum(param.nbytes for param in layer.params)
        output_bytes = "?" if shape is None else format_bytes(math.prod(shape) * itemsize)
        shown_shape = "?" if shape is None else " x ".join(map(str, shape))
        rows.append((f"{index} {type(layer).__name__}", shown_shape, f"{count:,}", format_bytes(n_bytes), output_bytes))
        total_count += count
        total_bytes += n_bytes
    rows.append(("total", "", f"{total_count:,}", format_bytes(total_bytes), ""))
    return rows


def format_bytes(count: int) -> str:
    """Return a size as people read it: 0 B, 1.6 KiB, 735.0 KiB, 2.4 MiB."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
