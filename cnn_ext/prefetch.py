"""Batches prepared in threads of their own, ahead of the training step that uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from ._checks import check_int
from ._types import Array
from .errors import DTypeError, ShapeError
from .initializers import as_generator

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.random import Generator

    Augment = Callable[[Array, Generator], Array]

Batch = tuple[Array, ...]


@contextmanager
def prefetched(
    batches: Sequence[Batch], augment: Augment, seeds: Sequence[int], *, threads: int = 1, ahead: int = 4
) -> Iterator[Iterator[Batch]]:
    """Gather and augment batches while the ones before are in use.

    Use it as ``with prefetched(batches, augment, seeds) as ready: for X, y in ready: ...``.

    Parameters
    ----------
    batches : sequence of tuples (X, y) or (X, y, weights)
        Such as `Minibatches`; indexed in the threads.
    augment : callable (X, rng) -> array
        Such as a `Transform`. Called in several threads at once if there are several.
    seeds : sequence of int, one a batch
        Batch i is augmented with a generator seeded by `seeds[i]`: the result depends neither on the number of
        threads nor on how far ahead they are.
    threads : int
        How many, >= 1.
    ahead : int
        Batches in memory, ready or being prepared, beyond the one in use; >= 1.

    Yields
    ------
    iterator of such tuples, with X augmented
        In order. An exception of a thread is raised at its batch, as it is. At the end of the `with` block, however it
        is left, batches not begun are given up, those begun awaited, and the threads end.

    Raises
    ------
    ShapeError
        Not as many seeds as batches.
    DTypeError, ValueError
        Other arguments of the wrong type or out of range, before any thread starts.
    """
    threads, ahead = check_int("threads", threads, 1), check_int("ahead", ahead, 1)
    if not callable(augment):
        raise DTypeError(f"augment must be callable as augment(X, rng), got {type(augment).__name__}")
    if len(seeds) != len(batches):
        raise ShapeError(f"seeds must hold one int a batch, {len(batches)}, got {len(seeds)}")
    seeds = [check_int(f"seeds[{i}]", seed, 0) for i, seed in enumerate(seeds)]

    def prepare(i: int) -> Batch:
        X, *rest = batches[i]
        return augment(X, as_generator(seeds[i])), *rest

    from concurrent.futures import ThreadPoolExecutor  # not on import: it takes 15 ms

    executor = ThreadPoolExecutor(threads, thread_name_prefix="cnn_ext prefetch")
    try:
        yield _in_order(executor, prepare, len(batches), ahead)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _in_order(executor: Executor, prepare: Callable[[int], Batch], n: int, ahead: int) -> Iterator[Batch]:
    numbers = iter(range(n))
    pending: deque[Any] = deque(executor.submit(prepare, i) for i in islice(numbers, ahead))
    while pending:
        batch = pending.popleft().result()
        # This is now the one in use: there is room for one more.
        pending.extend(executor.submit(prepare, i) for i in islice(numbers, 1))
        yield batch
