"""What keeps a run at work: it writes checkpoints when it is time, and puts a run back to where it stood."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ._machine import describe_machine
from ._types import Array
from .checkpoint import LOGGER, Checkpoint
from .errors import CheckpointError, CheckpointMismatchError
from .interruption import BrokenOff, Interruption
from .run_settings import differences
from .run_state import RunState

if TYPE_CHECKING:
    from .distributed import DataParallel

FIXED = ("batch_size", "n_images", "network")
"""Settings without which the arrays and the place in the epoch mean nothing: these cannot be changed on the way."""
NEW = ("validation", "early_stopping", "rng_at_start")
"""Settings that an earlier version did not keep: they are not compared with its checkpoints."""
OLD = ("rng",)
"""Settings that only earlier versions kept: taken after what layers draw from it, it told of a second run in a session
that its generator was another one."""
SHOWN = 8
"""How many differences an error lists."""


class Keeper:
    """Keeps a run at work by its `Checkpoint`: a context around the training; without a checkpoint it does nothing.

    Of the processes of a parallel run the first one keeps it, and tells the others where it stands. It alone acts on
    signals, and ends the others with itself.
    """

    def __init__(self, checkpoint: Checkpoint | None, state: RunState, parallel: DataParallel | None = None) -> None:
        is_first = parallel is None or parallel.rank == 0
        self._checkpoint, self._state, self._parallel = checkpoint if is_first else None, state, parallel
        self._interruption = Interruption(ignore=not is_first)
        self._acts_on_signals = not is_first or checkpoint is not None
        self._settings: dict[str, Any] = {}
        self._found: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._step, self._time = 0, time.monotonic()

    def __enter__(self) -> Keeper:
        if self._acts_on_signals:
            self._interruption.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._interruption.__exit__(*error)

    def find(self, settings: dict[str, Any]) -> None:
        """Set the run to where its newest checkpoint stands, if there is one; `settings` are what the run is made of.

        Raises
        ------
        CheckpointError
            One that cannot be used, or that must not be there; nothing was changed.
        OSError
            The folder cannot be read or written.
        """
        # What JSON cannot hold, in an optimizer of one's own say, is told by the name of its class.
        now = json.loads(json.dumps(settings, default=lambda value: type(value).__qualname__))
        if self._parallel is not None:
            # Other versions and instruction sets may round in other ways.
            machine = describe_machine()
            here = {name: machine[name] for name in ("cnn_ext", "instruction_set")}
            steps = {"optimizer_steps": self._state.run.optimizer.steps}
            _check_alike(self._parallel.gather({**now, **here, **steps}))
        if self._checkpoint is not None:
            self._settings = {"settings": self._checkpoint.settings, "run": now}
            self._look(self._checkpoint)
        if self._parallel is not None:
            self._found, self._arrays = self._parallel.broadcast((self._found, self._arrays))
        if not self._found:
            return
        with self._reading():
            self._state.restore(self._found["state"], self._arrays)
        self._step = self._state.run.step
        if self._checkpoint is not None:
            self._checkpoint.resumed_from = self._checkpoint.latest
            self._checkpoint.found_complete = self._state.is_complete()
            LOGGER.info("going on from %s", self._checkpoint.latest)

    def _look(self, checkpoint: Checkpoint) -> None:
        """Find the newest checkpoint, and check that it is of the run of now."""
        checkpoint.prepare()
        file = checkpoint.load()
        if file is None:
            return
        if not checkpoint.resume:
            raise CheckpointError(
                f"{checkpoint.folder} holds a run ({checkpoint.latest}): resume it, or choose another folder"
            )
        with self._reading():
            self._found, self._arrays = file.architecture["checkpoint"], file.tensors
            self._check_settings(self._found["settings"])

    def give_back_to_callbacks(self) -> None:
        """Set the callbacks to where they stood; after their `on_start`."""
        if self._found:
            with self._reading():
                self._state.restore_callbacks(self._found["state"], self._arrays)
            self._found, self._arrays = {}, {}

    def after_step(self) -> None:
        """Write if it is time; if a signal has come, write and hand it on."""
        if (checkpoint := self._checkpoint) is None:
            return
        if self._interruption.pending is not None or checkpoint.is_due(
            self._state.run.step - self._step, time.monotonic() - self._time
        ):
            self._write(self._state.capture())
        self._interruption.hand_on()

    def after_epoch(self) -> None:
        """Write, and hand on the signal that has come."""
        if self._checkpoint is not None:
            self._write(self._state.capture())
            self._interruption.hand_on()

    @contextmanager
    def evaluating(self) -> Iterator[AbstractContextManager[None]]:
        """Around what follows an epoch's last step.

        What is done in the context that it gives must leave the state as it is: a signal breaks it off, and a run that
        goes on begins it again.
        """
        if self._checkpoint is None:
            yield nullcontext()
            return
        before = self._state.capture()
        try:
            yield self._interruption.breaking_off()
        except BrokenOff:
            self._write(before)
            self._interruption.hand_on()
            raise KeyboardInterrupt("an epoch's evaluation was broken off") from None

    def _write(self, captured: tuple[dict[str, Any], dict[str, Array]]) -> None:
        values, arrays = captured
        if self._checkpoint is not None:
            self._checkpoint.write(values["step"], {"settings": self._settings, "state": values}, arrays)
        self._step, self._time = self._state.run.step, time.monotonic()

    def _check_settings(self, then: dict[str, Any]) -> None:
        """Raise, or warn where changes are allowed, if the run was made of something else."""
        checkpoint = self._checkpoint
        parts = [_comparable(then[part], self._settings[part]) for part in ("settings", "run")]
        changes = next((found for pair in parts if (found := list(differences(*pair)))), [])
        if not changes or checkpoint is None:
            return
        more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        message = f"{checkpoint.latest} is of another run: {'; '.join(changes[:SHOWN])}{more}"
        fixed = [name for name in FIXED if then["run"].get(name) != self._settings["run"][name]]
        if fixed:
            raise CheckpointMismatchError(f"{message} ({', '.join(fixed)} cannot change on the way)")
        if not checkpoint.allow_changes:
            raise CheckpointMismatchError(
                f"{message} (allow_changes, on the command line --allow-changes, lets it go on where its state fits)"
            )
        warnings.warn(f"{message}; going on with those of now", RuntimeWarning, stacklevel=5)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the file where its content is not what it should be."""
        path = None if self._checkpoint is None else self._checkpoint.latest
        try:
            yield
        except CheckpointMismatchError as error:
            raise CheckpointMismatchError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointMismatchError(f"{path} describes no run of this version: {error!r}") from error


def _comparable(then: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a checkpoint and those of now without what only one of two versions keeps."""
    return (
        {name: value for name, value in then.items() if name not in OLD},
        {name: value for name, value in now.items() if name in then or name not in NEW},
    )


def _check_alike(settings: list[dict[str, Any]]) -> None:
    """Raise if the processes are not about to train the same; then all of them raise."""
    for rank, theirs in enumerate(settings):
        if found := list(differences(settings[0], theirs)):
            raise ValueError(f"process {rank} is to train something else than process 0: {'; '.join(found[:SHOWN])}")
