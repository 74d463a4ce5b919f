"""One thread at a time, for what keeps numbers from one call to the next."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ._compiled import _threads

Method = TypeVar("Method", bound=Callable[..., Any])
Turn = _threads.Turn


def in_turn(method: Method) -> Method:
    """Have a method run in its object's `_turn`."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._turn.call(method, self, *args, **kwargs)

    return guarded  # type: ignore[return-value]
