"""What the classes of a network are called: as its notes say, or by their numbers."""

from __future__ import annotations

from typing import Any

from .network import NeuralNet


def classes_of(net: NeuralNet, n_classes: int | None = None) -> list[str] | None:
    """Return the names of the classes in a network's notes, None where there are none.

    Raises
    ------
    ValueError
        Something other than one name for each of `n_classes`.
    """
    classes: Any = net.notes.get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"classes must be a list of names, got {classes!r:.80}")
    if n_classes not in (None, len(classes)):
        raise ValueError(f"{len(classes)} classes in its notes, but {n_classes} outputs")
    return classes


def class_names(net: NeuralNet, n_classes: int) -> list[str]:
    """Return the names of the classes, or their numbers where the notes tell none; raises as `classes_of`."""
    return classes_of(net, n_classes) or [str(number) for number in range(n_classes)]
