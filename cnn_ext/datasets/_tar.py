"""The members of a tar archive, one after the other, in a stream that is not trusted.

Not `tarfile`, which takes the extensions of the format at their word: long names and PAX records of any size are read
into memory, and some releases of Python take quadratic time over the records, or never end. Here an extension is a
member like any other, and passed over; names are those of the plain header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ._reader import CHUNK, DataReader

BLOCK = 512
MAX_MEMBERS = 1000
FILE_TYPES = (b"0", b"\0")


class Member(NamedTuple):
    """What the header of a member says."""

    name: str
    size: int
    is_file: bool


def tar_members(reader: DataReader, max_bytes: int) -> Iterator[Member]:
    """Give each member with the reader at its first byte; what the caller leaves of it is passed over.

    Afterwards the stream is at its end, so that gzip has compared its sum.

    Raises
    ------
    DataFormatError
        A header that is none, a size that is none, an archive that ends early, is larger than `max_bytes` or has
        more than MAX_MEMBERS members.
    """
    count = 0
    while any(header := reader.take(BLOCK)):
        start, count = reader.offset, count + 1
        if count > MAX_MEMBERS:
            raise reader.error(f"a tar archive of more than {MAX_MEMBERS} members")
        if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise reader.error(f"not a sound tar archive: the header at byte {start - BLOCK} has a wrong sum")
        size = _octal(header[124:136])
        if size is None or start + size > max_bytes:
            raise reader.error(f"not a sound tar archive: the header at byte {start - BLOCK} declares {size} bytes")
        name = header[:100].split(b"\0", 1)[0].decode("latin-1")
        yield Member(name, size, header[156:157] in FILE_TYPES)
        reader.skip(start + size + -size % BLOCK - reader.offset)
    while reader.read(CHUNK):
        if reader.offset > max_bytes:
            raise reader.error(f"not a sound tar archive: more than {max_bytes} bytes")


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None
