"""Callbacks that write down how a run goes: as lines of JSON, or as a table of comma-separated values."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from typing import IO, Any

from ._files import path_name
from .callbacks import Callback, Run
from .errors import DTypeError

MEASURED = ("epoch", "loss", "running_accuracy", "train_accuracy", "validation_loss", "validation_accuracy")
NAMES = (*MEASURED, "seconds", "images_per_second")


class FileLog(Callback, ABC):
    """What logs share: a file of rows, one an epoch, each flushed.

    Parameters
    ----------
    path : path
        Replaced when the run starts; where it goes on from a checkpoint, by a file with the epochs before.
    tested : str
        What the images are called that the network is evaluated on: "test" gives `test_accuracy`.

    Raises
    ------
    DTypeError
        `path` is no path, or `tested` no text.
    OSError
        When the run starts, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], tested: str = "test") -> None:
        if not isinstance(tested, str):
            raise DTypeError(f"tested must be a str, got {type(tested).__name__}")
        self._path, self._tested = path_name(path), tested
        self._file: IO[str] | None = None

    def on_start(self, run: Run) -> None:
        self._file = open(self._path, "w", encoding="utf-8")
        self._write(self._first_line())
        for record in run.history:
            self._write_epoch(record)

    def on_epoch(self, run: Run) -> None:
        self._write_epoch(run.record)

    def on_end(self, run: Run) -> None:
        if self._file is not None:
            self._file.close()

    def _name(self, name: str) -> str:
        return name.replace("validation", self._tested)

    def _write_epoch(self, record: dict[str, Any]) -> None:
        self._write(self._line({self._name(name): record[name] for name in NAMES if name in record}))

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()

    @abstractmethod
    def _first_line(self) -> str:
        """Return what the file begins with."""

    @abstractmethod
    def _line(self, values: dict[str, Any]) -> str:
        """Return the line of an epoch."""


class JsonLog(FileLog):
    """A file of JSON lines: the run's settings first, as `{"run": settings}`, then one object an epoch.

    Parameters
    ----------
    path : path
        Replaced when the run starts; where it goes on from a checkpoint, by a file with the epochs before.
    settings : dict
        Anything JSON can hold.
    tested : str
        What the images are called that the network is evaluated on: "test" gives `test_accuracy`.

    Raises
    ------
    DTypeError, TypeError, ValueError
        `path` is no path, `tested` no text; JSON cannot hold `settings`.
    OSError
        When the run starts, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], settings: dict[str, Any], tested: str = "test") -> None:
        super().__init__(path, tested)
        try:
            self._settings = json.dumps({"run": settings}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"settings must be what JSON can hold: {error}") from error

    def _first_line(self) -> str:
        return self._settings

    def _line(self, values: dict[str, Any]) -> str:
        return json.dumps(values, allow_nan=False)


class CsvLog(FileLog):
    """A table of comma-separated values: a line of names, then one line an epoch; what was not measured is empty.

    For the parameters see `FileLog`.
    """

    def _first_line(self) -> str:
        return ",".join(map(self._name, NAMES))

    def _line(self, values: dict[str, Any]) -> str:
        return ",".join(str(values.get(name, "")) for name in map(self._name, NAMES))
