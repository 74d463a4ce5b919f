"""Signals that ask a run to end: held back until it can be left in order, then handed on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class BrokenOff(BaseException):
    """Raised by the signal handler inside `Interruption.breaking_off`."""


class Interruption:
    """A context in which SIGINT and SIGTERM are noted instead of acted on.

    Who trains looks at `pending` after each step, saves what is to be saved, and calls `hand_on`: then whoever had the
    signal before gets it (KeyboardInterrupt, or the end of the process). A second signal is not held back. In another
    thread than the main one, where Python handles no signals, nothing is held back and nothing is ever pending.

    Parameters
    ----------
    ignore : bool
        Let the signals pass instead: for a process that another one ends.

    Attributes
    ----------
    pending : int or None
        The signal that came.
    """

    def __init__(self, ignore: bool = False) -> None:
        self.pending: int | None = None
        self._action: Any = signal.SIG_IGN if ignore else self._note
        self._handlers: dict[int, Any] = {}
        self._may_break_off = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):  # not Python's to change; not wanted, as after nohup
                    self._handlers[number] = signal.signal(number, self._action)
        return self

    def __exit__(self, *_: Any) -> None:
        self._put_back()
        if self.pending is not None:
            signal.raise_signal(self.pending)

    def _put_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.pending is not None:
            self._put_back()
            signal.raise_signal(number)
            return
        self.pending = number
        if self._may_break_off:
            raise BrokenOff

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let a signal raise BrokenOff: around long work that changes nothing which is to be saved."""
        self._may_break_off = True
        try:
            if self.pending is not None:
                raise BrokenOff
            yield
        finally:
            self._may_break_off = False

    def hand_on(self) -> None:
        """Give the pending signal to who had it before; returns if that was a handler that returns."""
        number, self.pending = self.pending, None
        if number is not None:
            self._put_back()
            signal.raise_signal(number)
            self.__enter__()  # that was a handler that returned
