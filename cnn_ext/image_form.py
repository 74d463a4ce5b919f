"""What pictures are brought to before a network sees them; kept in its notes, so that prediction follows training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._checks import check_choice
from .images import check_channels, check_size

PREPARATIONS = ("digit", "middle")
"""A digit in MNIST's form; or the middle of the picture, its shorter side brought to the wanted size."""


@dataclass(frozen=True)
class ImageForm:
    """The form of the pictures that a network takes.

    Attributes
    ----------
    channels : {1, 3}
        Grey, or red, green and blue.
    height, width : int
        In pixels.
    preparation : {'digit', 'middle'}
        How a picture is brought to that; see `PREPARATIONS`.
    """

    channels: int
    height: int
    width: int
    preparation: str = "middle"

    def __post_init__(self) -> None:
        check_choice("preparation", self.preparation, PREPARATIONS)
        if self.preparation == "digit" and self.shape != (1, 28, 28):
            raise ValueError(f"a digit in MNIST's form is of shape (1, 28, 28), not {self.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        return self.channels, self.height, self.width

    def config(self) -> dict[str, Any]:
        """Return the form as plain values, for a model's notes."""
        return {
            "size": [self.height, self.width],
            "channels": self.channels,
            "preparation": self.preparation,
        }

    @classmethod
    def from_config(cls, config: Any) -> ImageForm:
        """Return the form that `config` has written.

        Raises
        ------
        ValueError, TypeError
            Something else; the message names the part.
        """
        if not isinstance(config, dict) or set(config) != {"size", "channels", "preparation"}:
            raise ValueError(f"images must be a dict of size, channels and preparation, got {config!r:.100}")
        height, width = check_size(config["size"], "images['size']")
        channels = check_channels(config["channels"], "images['channels']")
        preparation = check_choice("images['preparation']", config["preparation"], PREPARATIONS)
        return cls(channels, height, width, preparation)

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> ImageForm:
        """Return the form of images of a shape that tell no more: MNIST's is taken to hold digits.

        Raises
        ------
        ValueError
            A shape that is not one of grey or coloured pictures.
        """
        if shape in ((1, 28, 28), (784,)):
            return cls(1, 28, 28, "digit")
        if len(shape) != 3:
            raise ValueError(f"images of shape {shape}, (channels, height, width) expected")
        return cls(check_channels(shape[0]), *check_size(shape[1:]))
