"""Random changes to images, drawn anew each time: more to learn from than the images alone.

A transform is called as `transform(X, rng)` and returns a new array; `Compose` joins several. Each describes itself by
`config()`, and `from_config` makes its like.
"""

from .base import Transform
from .compose import TRANSFORM_TYPES, Compose, from_config
from .erasing import Cutout, RandomErasing
from .placing import RandomCrop, RandomFlip
from .warps import ElasticDistortion, RandomAffine

__all__ = [
    "TRANSFORM_TYPES",
    "Compose",
    "Cutout",
    "ElasticDistortion",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "Transform",
    "from_config",
]
