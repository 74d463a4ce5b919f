"""The settings of a training run as plain values: what must be the same for it to go on from a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._types import Array
from .augmentation import Transform
from .batches import as_indexable
from .callbacks import Run
from .datasets.scaled_images import ScaledImages
from .initializers import RngLike, as_generator
from .saving import architecture_of
from .schedules import Schedule

HASHED_ROWS = 4096


def describe_run(
    run: Run,
    X: Any,
    y: Any,
    sample_weight: Array | None,
    validation: tuple[Any, Array] | None,
    schedule: Schedule,
    augment: Transform | None,
    max_norm: float | None,
    decay: float | None,
    rng_at_start: str | None,
) -> dict[str, Any]:
    """Return what a run's result follows from; data by their SHA-256 sums, and so is the state of `rng`."""
    last = run.epochs * run.steps_per_epoch - 1
    network = architecture_of(run.net.layers, run.net.loss_func, run.net.l2)
    return {
        "epochs": run.epochs,
        "batch_size": run.batch_size,
        "n_images": run.n_images,
        "images": sha256_of(X),
        "labels": sha256_of(np.asarray(y)),
        "sample_weight": None if sample_weight is None else sha256_of(np.asarray(sample_weight)),
        "validation": None if validation is None else [sha256_of(as_indexable("X", X)) for X in validation],
        "network": network,
        "optimizer": run.optimizer.config(),
        # A schedule is a function: told by some of its values.
        "schedule": [float(schedule(step)) for step in sorted({0, last // 4, last // 2, 3 * last // 4, last})],
        "augment": None if augment is None else _config_of(augment),
        "max_norm": max_norm,
        "average": decay,
        "rng_at_start": rng_at_start,
    }


def sha256_of(X: Any) -> str:
    """Return the SHA-256 sum of the rows of an array, or of what can be indexed like one, and of their form."""
    stored = X.images if isinstance(X, ScaledImages) else X
    digest = hashlib.sha256()
    for start in range(0, len(stored), HASHED_ROWS):
        rows = np.asarray(stored[start : start + HASHED_ROWS])
        if start == 0:
            digest.update(f"{rows.dtype.str} {rows.shape[1:]}".encode())
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """Give a line for each setting that differs, by its name in dots: "optimizer.lr: 0.1, now 0.2"."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            yield from differences(then.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (a, b) in enumerate(zip(then, now)):
            yield from differences(a, b, f"{name}[{index}]")
    elif then != now:
        yield f"{name}: {_shown(then)}, now {_shown(now)}"


def sum_of_state(rng: RngLike) -> str | None:
    """Return the SHA-256 sum of a generator's state, the same in any process; None for one that was not given."""
    return None if rng is None else hashlib.sha256(repr(as_generator(rng).bit_generator.state).encode()).hexdigest()


def _config_of(augment: Any) -> Any:
    return (
        augment.config() if isinstance(augment, Transform) else getattr(augment, "__qualname__", type(augment).__name__)
    )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
