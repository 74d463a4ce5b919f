"""How the command line fails: one line, and an exit code that tells what kind of failure it was."""

from __future__ import annotations

from typing import Any

DIVERGED, USAGE, BAD_DATA, NO_DATA, NO_OUTPUT, IO_ERROR, INTERRUPTED, TERMINATED = 1, 2, 65, 66, 73, 74, 130, 143


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
