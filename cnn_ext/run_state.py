"""The state of a training run: all that must be kept for it to go on as if it had never stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import check_bool, check_int, check_real
from ._types import Array
from .averaging import WeightAverage
from .callbacks import Callback, Run
from .errors import CheckpointMismatchError, DTypeError
from .layers.base import named_arrays
from .passes import check_finite

if TYPE_CHECKING:
    from numpy.random import Generator

Values = dict[str, Any]
"""What JSON can hold."""


@dataclass
class Tally:
    """What is known of the epoch at work: one loss a step taken, and counts of images."""

    losses: list[float] = field(default_factory=list)
    n_right: int = 0
    n_seen: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, losses: Array, counts: Values) -> Tally:
        """Return the tally that a checkpoint tells of."""
        n_right, n_seen = (check_int(name, counts[name], 0) for name in ("n_right", "n_seen"))
        return cls(losses.tolist(), n_right, n_seen, check_real("seconds", counts["seconds"], "[0, inf)"))

    def record(self, epoch: int) -> dict[str, Any]:
        """Return the record that the epoch begins with in the history."""
        return {
            "epoch": epoch,
            "loss": float(np.mean(self.losses)),
            "running_accuracy": self.n_right / self.n_seen,
            "seconds": self.seconds,
            "images_per_second": self.n_seen / self.seconds,
        }


@dataclass
class RunState:
    """A run at work: what the training loop keeps beside the network.

    Attributes
    ----------
    run : Run
    generator : numpy.random.Generator
        Draws each epoch's order.
    averaged : WeightAverage or None
    callbacks : sequence of Callback
    tally : Tally
        Of the epoch at work; empty between epochs.
    drawn_from : dict
        The generator's state before the epoch at work was drawn.
    """

    run: Run
    generator: Generator
    averaged: WeightAverage | None
    callbacks: Sequence[Callback]
    tally: Tally = field(default_factory=Tally)
    drawn_from: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first_rate = self.run.optimizer.lr

    def in_epoch(self) -> bool:
        """Whether an epoch is at work: it has taken steps, and its record is not yet in the history."""
        return bool(self.tally.losses)

    def is_complete(self) -> bool:
        """Whether nothing remains to be done."""
        return not self.in_epoch() and (self.run.stop or self.run.epoch >= self.run.epochs)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Begin an epoch, around the draws that it begins with; in one at work they are made again, alike."""
        if not self.in_epoch():
            self.run.epoch += 1
            self.drawn_from = _state_of(self.generator)
            yield
            return
        now = [_state_of(generator) for generator in self._generators()]
        _set_state(self.generator, self.drawn_from)
        yield
        for generator, state in zip(self._generators(), now, strict=True):
            _set_state(generator, state)

    def capture(self) -> tuple[Values, dict[str, Array]]:
        """Return the state as values and arrays: the arrays themselves, not copies.

        Raises
        ------
        NonFiniteError
            A NaN or infinity in one: such a state must not take the place of a good one.
        """
        run, tally = self.run, self.tally
        callback_values, callback_arrays = _split(self.callbacks)
        values = {
            "epoch": run.epoch,
            "step": run.step,
            "stop": bool(run.stop),
            "loss": run.loss,
            "history": _plain(run.history),
            "epoch_so_far": {"n_right": tally.n_right, "n_seen": tally.n_seen, "seconds": tally.seconds},
            "optimizer_steps": run.optimizer.steps,
            "rates": [self._first_rate, run.optimizer.lr],
            "average_steps": None if self.averaged is None else self.averaged.steps,
            "drawn_from": self.drawn_from if self.in_epoch() else _state_of(self.generator),
            "generators": [_state_of(generator) for generator in self._generators()],
            "callbacks": callback_values,
        }
        arrays = self._arrays(run.optimizer.state)
        for name, array in arrays.items():
            check_finite(f"step {run.step}: {name}", array)
        return values, {"losses": np.array(tally.losses, np.float64), **arrays, **callback_arrays}

    def restore(self, values: Values, arrays: Mapping[str, Array]) -> None:
        """Put a captured state back, all but that of the callbacks, or raise before anything is changed."""
        run, generators = self.run, self._generators()
        params = list(run.net.named_params().values())
        fresh = {name: params for name in run.optimizer.state_names}
        found = {name: array for name, array in arrays.items() if name.split(".")[0] not in ("losses", "callbacks")}
        _check_alike(found, self._arrays(fresh))
        kept, now = values["callbacks"].keys(), self._callbacks_with_state().keys()
        if kept != now:
            raise CheckpointMismatchError(
                f"callbacks with a state: {', '.join(kept) or 'none'} in the checkpoint, {', '.join(now) or 'none'} now"
            )
        if len(generators) != len(values["generators"]):
            raise CheckpointMismatchError(
                f"{len(values['generators'])} random generators in the checkpoint, {len(generators)} now"
            )
        for generator, state in zip([self.generator, *generators], [values["drawn_from"], *values["generators"]]):
            _check_state(generator, state)
        place = {name: check_int(name, values[name], 0) for name in ("epoch", "step", "optimizer_steps")}
        stop, loss = check_bool("stop", values["stop"]), check_real("loss", values["loss"], "(-inf, inf)")
        average_steps = 0 if self.averaged is None else check_int("average_steps", values["average_steps"], 0)
        tally = Tally.read(arrays["losses"], values["epoch_so_far"])
        history = [dict(record.items()) for record in values["history"]]
        # What a callback has made of the rate; not where the run is to go on from another one.
        first, rate = values.get("rates", (None, self._first_rate))
        rate = check_real("rates", rate, "(0, inf)") if first == self._first_rate else self._first_rate
        # All is there and fits: from here on nothing can fail.
        run.optimizer.start(params)
        targets = self._arrays(run.optimizer.state)
        for name, array in found.items():
            targets[name][...] = array
        for generator, state in zip(generators, values["generators"], strict=True):
            _set_state(generator, state)
        self.drawn_from, self.tally = values["drawn_from"], tally
        run.epoch, run.step, run.stop, run.loss = place["epoch"], place["step"], stop, loss
        run.history[:] = history
        run.optimizer.steps, run.optimizer.lr = place["optimizer_steps"], rate
        if self.averaged is not None:
            self.averaged.steps = average_steps

    def restore_callbacks(self, values: Values, arrays: Mapping[str, Array]) -> None:
        """Give each callback the captured state of the one of its kind."""
        for key, callback in self._callbacks_with_state().items():
            kept = values["callbacks"][key]
            lists = {
                name: [arrays[f"callbacks.{key}.{name}.{index}"] for index in range(length)]
                for name, length in kept["lists"].items()
            }
            callback.restore({**kept["values"], **lists})

    def _callbacks_with_state(self) -> dict[str, Callback]:
        return {key: callback for key, callback in _keyed(self.callbacks) if _has_state(callback)}

    def _arrays(self, optimizer_state: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
        """Return the arrays of network, optimizer and average by name."""
        named = named_arrays(self.run.net.layers)
        lists: dict[str, Mapping[str, Array]] = {"network": named}
        for state_name, arrays in optimizer_state.items():
            lists[f"optimizer.{state_name}"] = dict(zip(self.run.net.named_params(), arrays, strict=True))
        if self.averaged is not None:
            lists["average"] = dict(zip(named, self.averaged.arrays, strict=True))
        return {f"{kind}.{name}": array for kind, members in lists.items() for name, array in members.items()}

    def _generators(self) -> list[Generator]:
        """Return the run's own generator, and those that layers draw from, such as `Dropout`."""
        own: list[Any] = [getattr(layer, "rng", None) for layer in self.run.net.layers]
        return [self.generator, *(rng for rng in own if hasattr(rng, "bit_generator"))]


def _keyed(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Give each callback with the name of its class and its number among those of that class."""
    counts: Counter[str] = Counter()
    for callback in callbacks:
        name = type(callback).__name__
        yield f"{name}.{counts[name]}", callback
        counts[name] += 1


def _split(callbacks: Sequence[Callback]) -> tuple[Values, dict[str, Array]]:
    """Return the states of the callbacks, values and lists of arrays apart."""
    values, arrays = {}, {}
    for key, callback in _keyed(callbacks):
        if not _has_state(callback):
            continue
        state = callback.state()
        if not isinstance(state, dict):
            raise DTypeError(f"state() of the callback {key} must return a dict, got {type(state).__name__}")
        lists = {name: value for name, value in state.items() if _is_list_of_arrays(value)}
        for name, members in lists.items():
            arrays.update({f"callbacks.{key}.{name}.{index}": array for index, array in enumerate(members)})
        plain = {name: value for name, value in state.items() if name not in lists}
        plain = {name: _copy_of(value, f"{name!r} of the callback {key}") for name, value in plain.items()}
        values[key] = {"values": plain, "lists": {name: len(members) for name, members in lists.items()}}
    return values, arrays


def _copy_of(value: Any, name: str) -> Any:
    """Return a copy of what JSON can hold: what is captured before an evaluation is written after it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise type(error)(f"the state {name} must be what JSON can hold, or a list of arrays: {error}") from error


def _has_state(callback: Callback) -> bool:
    """Whether the callback says what it must keep; it is not asked for it before `on_start`."""
    return type(callback).state is not Callback.state


def _is_list_of_arrays(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(member, np.ndarray) for member in value)


def _check_alike(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    if found.keys() != wanted.keys():
        missing, unexpected = (
            ", ".join(sorted(names)) or "none" for names in (wanted - found.keys(), found - wanted.keys())
        )
        raise CheckpointMismatchError(f"missing: {missing}; unexpected: {unexpected}")
    for name, array in found.items():
        target = wanted[name]
        if (array.shape, array.dtype) != (target.shape, target.dtype):
            raise CheckpointMismatchError(
                f"{name} is {array.dtype} {array.shape} in the checkpoint, {target.dtype} {target.shape} now"
            )


def _state_of(generator: Generator) -> Values:
    return _plain(generator.bit_generator.state)


def _plain(value: Any) -> Any:
    """Return nested values with Python's numbers and lists for NumPy's numbers and arrays."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _set_state(generator: Generator, state: Values) -> None:
    generator.bit_generator.state = state


def _check_state(generator: Generator, state: Values) -> None:
    """Raise if the generator cannot be set to that state; it stays as it is."""
    kind = type(generator.bit_generator)
    if state.get("bit_generator") != kind.__name__:
        raise CheckpointMismatchError(
            f"rng draws from {state.get('bit_generator')} in the checkpoint, {kind.__name__} now"
        )
    try:
        kind().state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise CheckpointMismatchError(f"the state of a random generator cannot be read: {error}") from error
