"""Checkpoints: a training run kept in a folder, so that it can be killed at any moment and go on exactly.

Each checkpoint is one file as `model_file` writes it, sealed and replaced as a whole: the newest sound one is the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

from ._checks import check_bool, check_int, check_real
from ._files import check_writable, make_folder, remove_stale
from ._types import Array
from .errors import CheckpointCorruptError, CheckpointMismatchError, DTypeError, released
from .model_file import ModelFile, read_model, write_model
from .saving import check_notes

LOGGER = logging.getLogger("cnn_ext")
NAME = re.compile(r"step-(\d{9,})\.safetensors")
GENERATIONS = 2


class Checkpoint:
    """Where and how often `fit` keeps a run; given to it as `checkpoint`, it also goes on from what is there.

    A checkpoint is written after a step when it is time, after each epoch, and when SIGINT or SIGTERM arrives in the
    main thread: then the step is ended first, and the signal handed on. The last two are kept. A run that goes on gives
    the same bits as one that was never stopped, for any number of threads before and after. Each holds the whole
    history: after more than ten thousand epochs that no longer fits, and the run ends with a ValueError.

    Parameters
    ----------
    folder : path
        Made if it is not there. One folder holds one run.
    every_steps : int, optional
        Write after so many steps, at least 1.
    every_seconds : float, optional
        Write after so many seconds, above 0; 60 where neither is given.
    resume : bool
        Whether to go on from the newest sound checkpoint in the folder, if there is one. If not, there must be none.
    settings : dict, optional
        What JSON can hold: further settings that must be the same when a run goes on, such as a seed.
    allow_changes : bool
        Go on, with a warning, although settings are others than the checkpoint's. Network, batch size, number of
        images, the kind of optimizer, whether there is an average, and which callbacks have a state must be the same
        nevertheless.

    Attributes
    ----------
    resumed_from : Path or None
        The file that the run of now went on from.
    found_complete : bool
        Whether that was the end of a run, so that nothing was left to do.
    latest : Path or None
        The newest file known to be sound.
    errors : list of OSError
        What was raised where a checkpoint could not be written. Training goes on, with a warning: the checkpoints
        before are intact.

    Raises
    ------
    DTypeError, ValueError
        An argument of the wrong type, or out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        resume: bool = True,
        settings: dict[str, Any] | None = None,
        allow_changes: bool = False,
    ) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise DTypeError(f"folder must be a path, got {type(folder).__name__}")
        if os.fspath(folder) == "":
            raise ValueError("folder must be a path, got an empty one")
        self.folder: Path = Path(folder)
        self.every_steps: int | None = None if every_steps is None else check_int("every_steps", every_steps, 1)
        if every_seconds is None and every_steps is None:
            every_seconds = 60.0
        self.every_seconds: float | None = (
            None if every_seconds is None else check_real("every_seconds", every_seconds, "(0, inf)")
        )
        self.resume: bool = check_bool("resume", resume)
        self.settings: dict[str, Any] = check_notes({} if settings is None else settings, "settings")
        self.allow_changes: bool = check_bool("allow_changes", allow_changes)
        self.resumed_from: Path | None = None
        self.found_complete = False
        self.latest: Path | None = None
        self.errors: list[OSError] = []
        self._damaged: set[Path] = set()

    def prepare(self) -> None:
        """Make the folder if it is not there, and clear it of what killed runs have left half written.

        Raises
        ------
        OSError
            It cannot be made, or not be written to.
        """
        make_folder(self.folder)
        check_writable(self.folder / "checkpoint")
        if removed := remove_stale(self.folder):
            message = f"{removed} temporary files, left by killed runs, were removed from {self.folder}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    def load(self) -> ModelFile | None:
        """Return the newest sound checkpoint in the folder, or None if it holds none.

        Raises
        ------
        CheckpointCorruptError
            There are checkpoints, and none is sound.
        CheckpointError
            A sound file that is no checkpoint, or one of a newer version.
        OSError
            The folder or a file in it cannot be read.
        """
        damaged: list[CheckpointCorruptError] = []
        for path in self._paths():
            try:
                file = read_model(path)
            except FileNotFoundError:
                continue  # removed since by a run that writes newer ones
            except CheckpointCorruptError as error:
                damaged.append(error)
                self._damaged.add(path)
                continue
            if "checkpoint" not in file.architecture:
                raise CheckpointMismatchError(f"{path} is a saved network, not a checkpoint of a run")
            if damaged:
                reasons = "; ".join(map(str, damaged))
                warnings.warn(f"{reasons}; going on from {path}", RuntimeWarning, stacklevel=2)
            self.latest = path
            return file
        if damaged:
            raise CheckpointCorruptError("no checkpoint is sound: " + "; ".join(map(str, damaged)))
        return None

    def _paths(self) -> list[Path]:
        """Return the files that are called like checkpoints, newest first."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        steps = {name: int(match[1]) for name in names if (match := NAME.fullmatch(name))}
        return [self.folder / name for name in sorted(steps, key=lambda name: steps[name], reverse=True)]

    def holds_a_run(self) -> bool:
        """Whether there is a checkpoint in the folder, sound or not."""
        return bool(self._paths())

    def is_due(self, steps: int, seconds: float) -> bool:
        """Whether to write, so many steps and seconds after the last time."""
        by_steps = self.every_steps is not None and steps >= self.every_steps
        return by_steps or (self.every_seconds is not None and seconds >= self.every_seconds)

    def write(self, step: int, content: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Write a checkpoint, and remove all but the last two; a failure is noted, and warned of."""
        path = self.folder / f"step-{step:09d}.safetensors"
        try:
            write_model(path, {"checkpoint": content}, arrays)
        except (TypeError, ValueError) as error:
            raise type(error)(f"a callback's record or state holds what no checkpoint can: {error}") from error
        except OSError as error:
            self.errors.append(released(error))
            kept = "none was written yet" if self.latest is None else f"{self.latest} is intact"
            message = f"no checkpoint was written after step {step}: {error}; {kept}; training goes on"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return
        self.latest = path
        LOGGER.debug("checkpoint written: %s", path)
        self._damaged.discard(path)
        with contextlib.suppress(OSError):  # what cannot be listed or removed now will be after a later write
            # Those known to be damaged are no generations: they would push out sound ones.
            sound = [other for other in self._paths() if other not in self._damaged]
            for other in [*self._damaged, *sound[GENERATIONS:]]:
                other.unlink(missing_ok=True)
            self._damaged.clear()


def as_checkpoint(checkpoint: Any) -> Checkpoint:
    """Return a path as the Checkpoint of that folder; raise DTypeError for anything else than these two."""
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise DTypeError(f"checkpoint must be a Checkpoint or a path, got {type(checkpoint).__name__}")
    return Checkpoint(checkpoint)
