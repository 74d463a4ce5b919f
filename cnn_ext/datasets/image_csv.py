"""Images in a CSV file: a label and the pixels in each row, as Kaggle has MNIST, or a picture's file and its label.

    label,pixel0,pixel1,...     pixels are ints from 0 to 255, a square number of them, or three times one: red, green
    5,0,0,...                   and blue planes one after the other; the line of names may be missing
    file,label
    cats/1.jpg,cat              from where the CSV file lies; other columns may stand beside

A fifth of each class is held out. The classes are the labels that occur, sorted: by number if all are numbers.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataFormatError
from ..image_form import ImageForm
from ._reader import DataReader, open_data
from .held_out import hold_out
from .image_data import ImageData, chosen_classes, part_of
from .mnist import PathLike
from .pictures import is_picture, read_pictures

LABELS = ("label", "class", "target", "category")
FILES = ("file", "filename", "file_name", "path", "image", "picture")
"""What the columns may be called, in small letters."""
MAX_BYTES = 1 << 32
MAX_LINE = 1 << 22
"""Characters of a line: 512 x 512 pixels in colour take 3 million."""


class _Columns(NamedTuple):
    """Where a row has its label and its file; no file where it has pixels."""

    label: int
    file: int | None


def load_image_csv(
    path: PathLike,
    *,
    size: Any = None,
    channels: Any = None,
    preparation: str = "middle",
    broken: str = "raise",
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Read images from a CSV file, gzipped if its name ends in .gz.

    Parameters
    ----------
    path : path
        Of rows that hold a label and pixels, or the path of a picture, from the CSV file's own folder, and a label.
    size, channels, preparation, broken, classes
        See `load_image_folder`; all but the last are for pictures only.

    Returns
    -------
    ImageData

    Raises
    ------
    OSError
        The file cannot be opened.
    DataFormatError
        A bad row, by the number of its line; broken pictures; fewer than two classes.
    ValueError
        `size`, `channels`, `preparation` or `broken` for a table of pixels.
    ImportError
        Pictures, and Pillow is missing.
    """
    with open_data(path) as reader:
        name = reader.name
        rows = _rows_of(reader)
        first = next(rows, None)
        if first is None:
            raise DataFormatError(f"{name}: no rows")
        columns, is_header = _columns_of(name, *first)
        if is_header:
            first = next(rows, None)
            if first is None:
                raise DataFormatError(f"{name}: no rows below the names of the columns")
        everything = _followed(first, rows)
        if columns.file is None:
            if (size, channels, preparation, broken) != (None, None, "middle", "raise"):
                raise ValueError(f"{name} holds pixels: size, channels, preparation and broken are for pictures")
            images, labels = _pixels_of(name, everything, columns.label)
            kept = list(range(len(labels)))
            form = ImageForm.of(images.shape[1:])
            keys = list(map(str, kept))
        else:
            keys, labels = _files_of(name, everything, columns.label, columns.file)
            paths = [os.path.join(os.path.dirname(name), key) for key in keys]
            images, kept, form = read_pictures(paths, size, channels, broken, preparation)
    names = chosen_classes(_sorted({labels[index] for index in kept}), classes, name)
    place = {label: number for number, label in enumerate(names)}
    numbers = np.array([place[labels[index]] for index in kept], np.int64)
    training, test = hold_out([keys[index] for index in kept], numbers, names, name)
    parts = [part_of(images, numbers, chosen) for chosen in (training, test, [])]
    return ImageData(parts[0], parts[1], parts[2], names, form)


def holds_pictures(path: PathLike) -> bool:
    """Return whether a CSV file names pictures, rather than holding pixels. For the errors see `load_image_csv`."""
    with open_data(path) as reader:
        first = next(_rows_of(reader), None)
        return first is not None and _columns_of(reader.name, *first)[0].file is not None


class _Stream(io.RawIOBase):
    """The bytes of a reader as a stream for the csv module, at most `MAX_BYTES` of them."""

    def __init__(self, reader: DataReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        if self._reader.offset > MAX_BYTES:
            raise self._reader.error(f"more than the {MAX_BYTES:,} bytes allowed")
        buffer[: len(data)] = data
        return len(data)


def _lines_of(reader: DataReader) -> Iterator[str]:
    text = io.TextIOWrapper(io.BufferedReader(_Stream(reader), 1 << 16), "utf-8-sig", newline="")
    while line := text.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise DataFormatError(f"a line of more than {MAX_LINE:,} characters")
        yield line


def _rows_of(reader: DataReader) -> Iterator[tuple[int, list[str]]]:
    """Give the number of the line and the cells of each row that is not empty."""
    import csv  # not on import, like all that few need

    rows = csv.reader(_lines_of(reader), strict=True)
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, row
    except (csv.Error, UnicodeDecodeError, DataFormatError) as error:
        text = str(error).removeprefix(f"{reader.name}: ")
        line = rows.line_num + (0 if isinstance(error, csv.Error) else 1)  # the others come before a line is counted
        raise DataFormatError(f"{reader.name}: line {line}: not CSV text: {text}") from error


def _followed(first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _columns_of(name: str, line: int, row: list[str]) -> tuple[_Columns, bool]:
    """Return where label and file are, and whether the row holds the names of the columns, by the first row."""
    names = [cell.strip().lower() for cell in row]
    label = next((names.index(known) for known in LABELS if known in names), None)
    file = next((names.index(known) for known in FILES if known in names), None)
    if label is not None and (file is not None or len(row) > 2):
        return _Columns(label, file), True
    if len(row) == 2:
        if label is None and (file is not None or _is_number(row[0])):
            raise DataFormatError(f"{name}: line {line}: columns file and label expected, got {row!r:.80}")
        if label is None:
            return (_Columns(0, 1) if is_picture(row[1]) and not is_picture(row[0]) else _Columns(1, 0)), False
        return _Columns(label, 1 - label), True
    if len(row) < 2:
        raise DataFormatError(f"{name}: line {line}: one column, a label and pixels or a file and a label expected")
    if file is not None:
        raise DataFormatError(f"{name}: line {line}: a column of files, but none of labels ({', '.join(LABELS)})")
    return _Columns(0, None), not any(map(_is_number, row[1:]))


def _pixels_of(
    name: str, rows: Iterator[tuple[int, list[str]]], label: int
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[str]]:
    pixels = bytearray()
    labels: list[str] = []
    n_cells, shape = 0, (0, 0, 0)
    for line, row in rows:
        if not labels:
            n_cells, shape = len(row), _shape_of(name, line, len(row) - 1)
        if len(row) != n_cells:
            raise DataFormatError(f"{name}: line {line}: {len(row)} columns, expected {n_cells}")
        labels.append(_label_of(name, line, row[label]))
        cells = row[:label] + row[label + 1 :]
        try:
            pixels += bytes(map(int, cells))
        except ValueError as error:
            column, cell = next((at, cell) for at, cell in enumerate(row) if at != label and not _is_pixel(cell))
            found = f"an int from 0 to 255 expected, got {cell!r:.40}"
            raise DataFormatError(f"{name}: line {line}, column {column + 1}: {found}") from error
    return np.frombuffer(pixels, np.uint8).reshape(-1, *shape), labels


def _shape_of(name: str, line: int, n: int) -> tuple[int, int, int]:
    for channels in (1, 3):
        side = math.isqrt(n // channels)
        if channels * side * side == n:
            return channels, side, side
    raise DataFormatError(f"{name}: line {line}: {n} pixels, neither a square number nor three times one")


def _files_of(name: str, rows: Iterator[tuple[int, list[str]]], label: int, file: int) -> tuple[list[str], list[str]]:
    files, labels = [], []
    for line, row in rows:
        if len(row) <= max(label, file):
            raise DataFormatError(f"{name}: line {line}: {len(row)} columns, expected a file and a label")
        if not row[file].strip() or "\0" in row[file]:
            raise DataFormatError(f"{name}: line {line}: no name of a file: {row[file]!r:.40}")
        files.append(row[file])
        labels.append(_label_of(name, line, row[label]))
    return files, labels


def _label_of(name: str, line: int, cell: str) -> str:
    label = cell.strip()
    if not label or not label.isprintable():
        raise DataFormatError(f"{name}: line {line}: no label: {cell!r:.40}")
    return str(int(label)) if _is_number(label) else label


def _sorted(labels: set[str]) -> list[str]:
    return sorted(labels, key=int) if all(map(_is_number, labels)) else sorted(labels)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", cell) is not None


def _is_pixel(cell: str) -> bool:
    return _is_number(cell) and 0 <= int(cell) <= 255
