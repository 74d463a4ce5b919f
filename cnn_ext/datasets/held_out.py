"""What is kept from training, where a data set does not say: a fifth of each class, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .._types import Array
from ..errors import DataFormatError

SHARE = 5
"""One example of so many is held out."""


def mixed(names: Sequence[str]) -> list[int]:
    """Return the indices of `names` in the order of their SHA-256 sums: mixed, but decided by the names alone.

    A picture that is added or taken away later leaves the order of the others as it was.
    """
    sums = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in names]
    return sorted(range(len(names)), key=sums.__getitem__)


def hold_out(names: Sequence[str], labels: Array, classes: Sequence[str], where: str) -> tuple[list[int], list[int]]:
    """Return the indices of what to train on and of what to hold out, both mixed.

    Raises
    ------
    DataFormatError
        A class of one example alone: there is nothing to hold out.
    """
    training: list[int] = []
    held_out: list[int] = []
    order = mixed(names)
    for label, name in enumerate(classes):
        members = [index for index in order if labels[index] == label]
        if len(members) == 1:
            raise DataFormatError(f"{where}: class {name!r} has one example: two are needed, one of them to hold out")
        n_held_out = max(len(members) // SHARE, 1)
        held_out += members[:n_held_out]
        training += members[n_held_out:]
    place = {index: at for at, index in enumerate(order)}
    return sorted(training, key=place.__getitem__), sorted(held_out, key=place.__getitem__)
