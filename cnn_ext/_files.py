"""Files handled with care: opened without waiting, and replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import DTypeError

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
STALE_SECONDS = 3600.0
"""The age from which a temporary file is one that a killed process has left behind."""
CANNOT_FLUSH = (errno.EACCES, errno.EINVAL, errno.ENOTSUP)
"""What opening and flushing a folder ends in where one may not read it, or the file system knows no such thing."""


def path_name(path: Any) -> str:
    """Return `path` as a string, or raise DTypeError."""
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError(f"path must be a str or os.PathLike, got {type(path).__name__}")
    return os.fsdecode(path)


@contextmanager
def open_regular(path: str | os.PathLike[str], otherwise: type[Exception]) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file for reading, and give it with its size; of anything else `otherwise` is raised at once.

    Raises
    ------
    OSError
        The operating system refuses: FileNotFoundError, IsADirectoryError, PermissionError.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise otherwise(f"{os.fspath(path)}: not a regular file")
        yield file, status.st_size


def _open_without_waiting(path: str, flags: int) -> int:
    """Open like os.open, except that a pipe without a writer does not block (Windows has no such flag)."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Replace the file at `path` by one that holds `chunks`.

    Written to a temporary file beside it, flushed to the disk, then renamed. A link is followed, an existing file's
    permissions are kept.

    Raises
    ------
    DTypeError
        `path` is neither a str nor an os.PathLike.
    OSError
        Any step failed: the temporary file is gone, the old file as it was (or, where only the last step failed,
        the new file is in place and may not outlast a power cut). Also where `path` is something other than a
        regular file.
    """
    target, mode = _target_of(path_name(path))
    temporary = _beside(target)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "wb") as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was never made, or it is already the target
        if isinstance(error, OSError):
            raise _named(error, path) from error
        raise
    try:
        _keep_names(os.path.dirname(target))
    except OSError as error:
        raise _named(error, path) from error


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder that outlasts a power cut, with those above it, unless it is there."""
    path = Path(folder).absolute()
    new = [each for each in (path, *path.parents) if not each.exists()]
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(folder)) from error
    for each in new:
        _keep_names(each.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing `path` would meet, as far as it can be known; leaves nothing behind."""
    target, _ = _target_of(path_name(path))
    probe = _beside(target)
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.unlink(probe)
    except OSError as error:
        raise _named(error, path) from error


def remove_stale(folder: str | os.PathLike[str]) -> int:
    """Remove the temporary files that killed processes have left in the folder; return how many."""
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if TEMPORARY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                    os.unlink(entry.path)
                    removed += 1
            except OSError:
                pass  # another process was quicker, or it is not ours to remove
    return removed


def _target_of(path: str | os.PathLike[str]) -> tuple[str, int | None]:
    """Return the file that `path` names or, by links, leads to, and its permissions, None where there is nothing."""
    try:
        try:
            # Strictly: an error on the way, taken for the end of the links, would have a link replaced by the file.
            target = os.path.realpath(path, strict=True)
        except FileNotFoundError:
            target = os.path.realpath(path)
        return target, _mode_of(target)
    except OSError as error:
        raise _named(error, path) from error


def _beside(target: str) -> str:
    """Return a new name in the folder of `target`, short enough wherever the target's own name is."""
    return os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.tmp")


def _mode_of(target: str) -> int | None:
    """Return the permissions of a regular file, None where there is nothing."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", target)
    return stat.S_IMODE(status.st_mode)


def _named(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """Return the same error about the path that the caller knows, not about the temporary file."""
    return type(error)(error.errno, error.strerror or str(error), os.fspath(path))


def _keep_names(folder: str | os.PathLike[str]) -> None:
    """Make new names in a folder outlast a power cut, where the system can."""
    try:
        _flush_folder(folder)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise


def _flush_folder(folder: str | os.PathLike[str]) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
