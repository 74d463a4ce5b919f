"""One thread at a time, for what keeps numbers from one call to the next."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


class Turn:
    """Lets one thread in at a time, as often as it likes; others get an error at once. A copy is a new one.

    Use it as ``with turn: ...``.

    Parameters
    ----------
    what : str
        What it guards, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(f"this {self.what} is in use by another thread: give each thread a copy of its own")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turn], tuple[str]]:
        return Turn, (self.what,)


def in_turn(method: Method) -> Method:
    """Have a method hold its object's `_turn`."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._turn:
            return method(self, *args, **kwargs)

    return guarded  # type: ignore[return-value]
