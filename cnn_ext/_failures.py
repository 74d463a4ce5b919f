"""Command lines: how flags are read, and how a program fails, by one line and an exit code that tells the kind."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ._checks import is_inside
from .errors import printable

DIVERGED, USAGE, BAD_DATA, NO_DATA, NO_OUTPUT, IO_ERROR, INTERRUPTED, TERMINATED = 1, 2, 65, 66, 73, 74, 130, 143
LONGEST = 10**18
"""From here on ints are refused: what is counted must fit into a machine word."""


def exit_code(program: str, run: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Return what `run` returns, or the code of the Failure or Ctrl-C that ended it, told in one line."""
    try:
        return run()
    except (Failure, KeyboardInterrupt) as error:
        return told(program, error, interrupted)


def told(program: str, error: Failure | KeyboardInterrupt, interrupted: str) -> int:
    """Tell in one line what ended the program; return its exit code."""
    if isinstance(error, KeyboardInterrupt):
        error = Failure(INTERRUPTED, interrupted)
    behind_echo = "\n" if error.code == INTERRUPTED and sys.stderr.isatty() else ""  # a terminal shows ^C
    print(f"{behind_echo}{program}: {printable(str(error))}", file=sys.stderr)
    return error.code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the known word which is nearest, if one is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    return f", did you mean {near[0]}?" if near else ""


class Parser(argparse.ArgumentParser):
    """A parser to which a bad flag is a Failure, told with the flag that was meant where one is near."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hint = did_you_mean(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return known

    def error(self, message: str) -> NoReturn:
        raise Failure(USAGE, f"{message} (--help lists the flags)")


class Number:
    """A type for argparse: an int or float inside an interval, written as in mathematics."""

    def __init__(self, kind: type[int] | type[float], interval: str) -> None:
        self.kind, self.interval = kind, interval

    def __call__(self, text: str) -> int | float:
        try:
            value = self.kind(text)
        except ValueError:
            value = float("nan")
        if self.kind is int and value >= LONGEST:
            raise argparse.ArgumentTypeError(f"an int of at most 18 digits expected, got {text!r}")
        if not is_inside(value, self.interval):
            wanted = "an int" if self.kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{wanted} in {self.interval} expected, got {text!r}")
        return value


class Failure(Exception):
    """An error that ends the program: one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class failing:
    """Turn an exception of the given kind inside the block into a Failure."""

    def __init__(self, code: int, kind: type[Exception] | tuple[type[Exception], ...], what: str) -> None:
        self.code, self.kind, self.what = code, kind, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, self.kind):
            raise Failure(self.code, f"{self.what}: {error}") from error
