"""Random changes to images, drawn anew each time: more to learn from than the images alone."""

from .base import Transform
from .warps import RandomAffine

__all__ = ["RandomAffine", "Transform"]
