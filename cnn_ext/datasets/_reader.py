"""Reading a data file from start to end without trusting it.

The formats above this file ask for bytes; here stand the rules they share. Only regular files are opened, and opening
never waits. A name that ends in .gz or .tgz means gzip, and no other does. `capacity` bounds what a file can hold
before it is read, so that a length field can be refused before memory is taken for it. Damage is a DataFormatError
with the path and the offset; an error of the operating system (no such file, no permission) stays what it is.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from .._files import open_regular
from .._files import path_name as path_name
from ..errors import DataFormatError

# One chunk of copying: large enough to be quick, small beside any data set.
CHUNK = 1 << 20
# Deflate's best case: a 258-byte match costs at least two bits.
DEFLATE_RATIO = 1032
GZIP_MAGIC = b"\x1f\x8b"


class DataReader:
    """A stream of bytes with a name, an offset, and an upper bound on its length.

    Parameters
    ----------
    stream : IO[bytes]
        Open for reading; never sought.
    name : str
        What messages call it, usually the path.
    capacity : int
        The most bytes the stream can give.
    """

    def __init__(self, stream: IO[bytes], name: str, capacity: int) -> None:
        self._stream = stream
        self.name = name
        self.capacity = capacity
        self.offset = 0

    def error(self, message: str) -> DataFormatError:
        """Return (not raise) a DataFormatError that names this file."""
        return DataFormatError(f"{self.name}: {message}")

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; fewer only at the end."""
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.error(f"damaged gzip data after byte {self.offset} of its content: {error}") from error
        self.offset += len(data)
        return data

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes, or raise DataFormatError, before taking memory if they cannot be there."""
        start = self.offset
        if size > self.capacity - start:
            raise self.error(f"{size} bytes expected at byte {start}, past the end of the file")
        data = self.read(size)
        if len(data) < size:
            raise self.error(f"{size} bytes expected at byte {start}, the file ends after {len(data)}")
        return data

    def fill(self, buffer: memoryview) -> int:
        """Read into `buffer` until it is full or the stream ends; return how many bytes came."""
        filled = 0
        while filled < len(buffer):
            data = self.read(min(CHUNK, len(buffer) - filled))
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def rest(self, limit: int, what: str) -> bytes:
        """Return all that is left, or raise DataFormatError where that is more than `limit` bytes."""
        content = io.BytesIO()  # grown as the bytes come: a reader asked for `limit` bytes would take them at once
        while data := self.read(CHUNK):
            if content.tell() + len(data) > limit:
                raise self.error(f"more than {limit} bytes, too many for {what}")
            content.write(data)
        return content.getvalue()

    def skip_to_end(self) -> int:
        """Read and drop the rest (which is what checks a gzip file's sum); return how many bytes it was."""
        start = self.offset
        while self.read(CHUNK):
            pass
        return self.offset - start

    def skip(self, size: int) -> None:
        """Read and drop `size` bytes, or raise DataFormatError where the stream ends before."""
        end = self.offset + size
        while self.offset < end:
            if not self.read(min(CHUNK, end - self.offset)):
                raise self.error(f"the file ends at byte {self.offset}, {end} or more expected")


@contextmanager
def open_data(path: str | os.PathLike[str], sha256: str | None = None) -> Iterator[DataReader]:
    """Open a regular file, gunzipping it if its name says so, and give a DataReader at its first byte.

    Raises
    ------
    DTypeError
        `path` is neither a str nor an os.PathLike.
    OSError
        The operating system refuses: FileNotFoundError, IsADirectoryError, PermissionError.
    DataFormatError
        Not a regular file, empty, not gzip in spite of its name, or not of the SHA-256 sum that was asked for.
    """
    name = path_name(path)
    with open_regular(name, DataFormatError) as (file, size):
        if size == 0:
            raise DataFormatError(f"{name}: empty file")
        if sha256 is not None:
            _check_sha256(file, name, sha256)
        if not name.endswith((".gz", ".tgz")):
            yield DataReader(file, name, size)
            return
        start = file.read(len(GZIP_MAGIC))
        if start != GZIP_MAGIC:
            raise DataFormatError(f"{name}: not gzip (starts with {start!r})")
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as content:
            yield DataReader(cast(IO[bytes], content), name, size * DEFLATE_RATIO)


def _check_sha256(file: IO[bytes], name: str, expected: str) -> None:
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != expected:
        raise DataFormatError(f"{name}: SHA-256 is {found}, expected {expected}")
    file.seek(0)
