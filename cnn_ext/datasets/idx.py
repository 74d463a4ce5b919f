"""IDX, the format MNIST is published in.

A file is two zero bytes, a byte for the type, a byte for the number of axes, each axis as a big-endian uint32, then
the elements in C order, big-endian. The first four bytes together are its "magic": 2051 for images, 2049 for labels.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from .._types import Array
from ..errors import DataFormatError
from ._reader import GZIP_MAGIC, DataReader, open_data

IMAGE_MAGIC = 0x0803
LABEL_MAGIC = 0x0801
KINDS = {IMAGE_MAGIC: "image file", LABEL_MAGIC: "label file"}

# The type byte -> the dtype of the elements as they lie in the file.
ELEMENT_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# NumPy's own limit before version 2 (now 64); no IDX file in the wild has more than four axes.
MAX_AXES = 32


def read_idx(
    path: str | os.PathLike[str],
    *,
    magic: int | None = None,
    sha256: str | None = None,
    max_bytes: int = 1 << 31,
) -> Array:
    """Read one IDX file.

    Parameters
    ----------
    path : str or os.PathLike
        A file whose name ends in .gz is gunzipped, any other is read as it is.
    magic : int, optional
        The magic number to insist on: `IMAGE_MAGIC` or `LABEL_MAGIC`.
    sha256 : str, optional
        The SHA-256 sum to insist on, of the file as it lies on disk, in hexadecimal.
    max_bytes : int
        The most bytes of elements to accept.

    Returns
    -------
    numpy.ndarray
        New, writable, C-contiguous, in native byte order, of one of the six element types of the format.

    Raises
    ------
    OSError
        The file cannot be opened: FileNotFoundError, IsADirectoryError, PermissionError.
    DataFormatError
        Anything is wrong with what the file holds. The sizes in the header are checked, against `max_bytes` and
        against what a file of this size can hold, before memory is taken for them.

    Notes
    -----
    Format: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats".
    """
    with open_data(path, sha256) as reader:
        shape, dtype = _read_header(reader, magic)
        start = reader.offset
        expected = math.prod(shape) * dtype.itemsize
        # NumPy refuses an array of no elements, too, whose other axes multiply to more than it can count.
        if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:
            raise reader.error(f"header declares {shape}, {expected} bytes, more than the {max_bytes} allowed")
        if expected > reader.capacity - start:
            raise _wrong_length(reader, start, expected, str(reader.skip_to_end()))
        array = np.empty(shape, dtype)
        found = reader.fill(array.reshape(-1).view(np.uint8).data)
        if found < expected:
            raise _wrong_length(reader, start, expected, str(found))
        # Asking for one byte more also makes gzip compare its checksum.
        if reader.read(1):
            raise _wrong_length(reader, start, expected, f"at least {expected + 1}")
        name = reader.name
    if dtype.kind == "f":
        _check_finite(array, name)
    native = dtype.newbyteorder("=")
    return array if dtype == native else array.byteswap(inplace=True).view(native)


def _read_header(reader: DataReader, wanted: int | None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype that the header declares."""
    start = _read_header_part(reader, 4)
    magic = int.from_bytes(start, "big")
    if wanted is not None and magic != wanted and magic in KINDS:
        raise reader.error(f"this is {_kind(magic)}; {KINDS[wanted]} ({wanted}) expected")
    if start[:2] == GZIP_MAGIC:
        raise reader.error("gzip data in a file whose name does not end in .gz")
    if start[:2] != b"\0\0" or start[2] not in ELEMENT_DTYPES or not 1 <= start[3] <= MAX_AXES:
        raise reader.error(f"not an IDX file (starts with {start!r})")
    if wanted is not None and magic != wanted:
        raise reader.error(f"this is an IDX file of magic {magic}; {KINDS[wanted]} ({wanted}) expected")
    sizes = _read_header_part(reader, 4 * start[3])
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    return shape, np.dtype(ELEMENT_DTYPES[start[2]])


def _kind(magic: int) -> str:
    return f"{'an' if magic == IMAGE_MAGIC else 'a'} {KINDS[magic]} (magic {magic})"


def _read_header_part(reader: DataReader, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise reader.error(f"header ends at byte {reader.offset}")
    return data


def _wrong_length(reader: DataReader, start: int, expected: int, found: str) -> DataFormatError:
    return reader.error(f"expected {expected} bytes, got {found} (data starts at byte {start})")


def _check_finite(array: Array, name: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        flat = finite.reshape(-1)
        count, first = flat.size - np.count_nonzero(flat), int(np.argmin(flat))
        raise DataFormatError(f"{name}: {count} elements are NaN or infinite, the first at index {first}")
