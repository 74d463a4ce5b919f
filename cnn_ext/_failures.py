"""How the command line fails: one line, and an exit code that tells what kind of failure it was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

DIVERGED, USAGE, BAD_DATA, NO_DATA, NO_OUTPUT, IO_ERROR, INTERRUPTED, TERMINATED = 1, 2, 65, 66, 73, 74, 130, 143


def exit_code(program: str, run: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Return what `run` returns, or the code of the Failure or Ctrl-C that ended it, told in one line."""
    try:
        return run()
    except (Failure, KeyboardInterrupt) as error:
        return told(program, error, interrupted)


def told(program: str, error: Failure | KeyboardInterrupt, interrupted: str) -> int:
    """Tell in one line what ended the program; return its exit code."""
    if isinstance(error, Failure):
        print(f"{program}: {error}", file=sys.stderr)
        return error.code
    print(f"\n{program}: {interrupted}", file=sys.stderr)
    return INTERRUPTED


class Parser(argparse.ArgumentParser):
    """A parser to which a bad flag is a Failure."""

    def error(self, message: str) -> NoReturn:
        raise Failure(USAGE, f"{message} (--help lists the flags)")


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
