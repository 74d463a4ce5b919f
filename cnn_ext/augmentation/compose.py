"""Several transforms one after another, and any of them from its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from .._types import Array
from ..errors import DTypeError
from .base import Transform, plain_copy
from .erasing import Cutout, RandomErasing
from .placing import RandomCrop, RandomFlip
from .warps import ElasticDistortion, RandomAffine

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class Compose(Transform):
    """Apply transforms in the given order, all drawing from one generator.

    Parameters
    ----------
    transforms : sequence of Transform
        Kept as a tuple; the members of a Compose among them take its place. Without any, images are only copied.

    Raises
    ------
    DTypeError
        Not a list or tuple of transforms.
    """

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.transforms, (tuple, list)):
            raise DTypeError(f"transforms must be a list or tuple of transforms, got {type(self.transforms).__name__}")
        flat: list[Transform] = []
        for i, transform in enumerate(self.transforms):
            if not isinstance(transform, Transform):
                raise DTypeError(f"transforms[{i}] must be a Transform, got {type(transform).__name__}")
            flat += transform.transforms if isinstance(transform, Compose) else (transform,)
        self._set("transforms", tuple(flat))

    def _apply(self, X: Array, rng: Generator) -> Array:
        for transform in self.transforms:
            X = transform(X, rng)
        return X if self.transforms else plain_copy(X)

    def config(self) -> dict[str, Any]:
        """Return {"type": "Compose", "transforms": the configs of the transforms}."""
        return {"type": "Compose", "transforms": [transform.config() for transform in self.transforms]}


TRANSFORM_TYPES: dict[str, type[Transform]] = {
    kind.__name__: kind
    for kind in (Compose, Cutout, ElasticDistortion, RandomAffine, RandomCrop, RandomErasing, RandomFlip)
}
"""Every transform of the package by name: what a config may ask for."""


def from_config(config: Mapping[str, Any]) -> Transform:
    """Return the transform that `config` describes, as `Transform.config` does.

    Raises
    ------
    DTypeError
        `config` is not a mapping, or a value of it has the wrong type.
    ValueError
        No transform of that name; a field that it does not have, or lacks; a value out of its range.
    """
    if not isinstance(config, Mapping):
        raise DTypeError(f"config must be a dict, got {type(config).__name__}")
    values = dict(config)
    name = values.pop("type", None)
    if not isinstance(name, str) or name not in TRANSFORM_TYPES:
        raise ValueError(f"the type of a transform must be one of {', '.join(TRANSFORM_TYPES)}, got {name!r}")
    kind = TRANSFORM_TYPES[name]
    known = {field.name: field.default is MISSING for field in fields(kind)}
    if unknown := values.keys() - known.keys():
        raise ValueError(f"{name} has no {', '.join(sorted(map(str, unknown)))}: its fields are {', '.join(known)}")
    if missing := [field for field, required in known.items() if required and field not in values]:
        raise ValueError(f"{name} needs {', '.join(missing)}")
    if kind is Compose and isinstance(values["transforms"], (tuple, list)):
        values["transforms"] = [from_config(member) for member in values["transforms"]]
    return kind(**values)
