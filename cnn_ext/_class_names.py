"""What the classes of a network are called."""

from __future__ import annotations

from typing import Any


def class_names(notes: dict[str, Any], n_classes: int) -> list[str]:
    """Return `notes["classes"]` if these are names for all classes, else the classes' numbers."""
    names = notes.get("classes")
    if isinstance(names, (list, tuple)) and len(names) == n_classes and all(isinstance(name, str) for name in names):
        return list(names)
    return [str(number) for number in range(n_classes)]
