"""The exceptions of cnn_ext: one base class, and each also the built-in exception a caller would expect."""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class CnnExtError(Exception):
    """Base class of every exception defined by cnn_ext."""


class ShapeError(CnnExtError, ValueError):
    """An array or a geometry has the wrong shape or size."""


class DTypeError(CnnExtError, TypeError):
    """An argument has the wrong type, or an array the wrong dtype."""


class DataFormatError(CnnExtError, ValueError):
    """A data file is not what it should be; the message names the path and what was found."""


class UnsafePickleError(DataFormatError):
    """A pickle asks for something other than plain arrays; nothing of it was executed."""


class CheckpointError(CnnExtError, RuntimeError):
    """A weights or checkpoint file cannot be used."""


class CheckpointCorruptError(CheckpointError):
    """A weights or checkpoint file is damaged: truncated, altered or not of this format."""


class CheckpointMismatchError(CheckpointError):
    """A weights or checkpoint file is sound but belongs to something else."""


class NonFiniteError(CnnExtError, ArithmeticError):
    """A NaN or an infinity where only finite numbers make sense; the message names the place."""


def released(error: E) -> E:
    """Return an error that is to be kept, without its frames: they would keep all that the functions held."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor."""
    return text if text.isprintable() else repr(text)[1:-1]


def shown(text: object) -> str:
    """Return text that came from a file as a message may hold it: of bounded length, and nothing a terminal obeys."""
    text = str(text)
    short = text if len(text) <= 200 else f"{text[:200]}..."
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")
