"""One thread at a time, for what keeps numbers from one call to the next."""

from __future__ import annotations

import threading
from types import TracebackType


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
