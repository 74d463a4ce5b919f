"""Networks that come trained with the package."""

from __future__ import annotations

from pathlib import Path

from ._checks import check_choice
from .network import NeuralNet

FOLDER = Path(__file__).parent / "pretrained_files"
PRETRAINED = ("mnist-best", "mnist-small")


def load_pretrained(name: str) -> NeuralNet:
    """Return a network that was trained on MNIST and takes images as `load_mnist` gives them.

    Parameters
    ----------
    name : {'mnist-best', 'mnist-small'}
        The network of the recipe `best`; or one of less than 100 KB.

    Returns
    -------
    NeuralNet
        Its `notes` tell the recipe, the seed, the command that trained it, and its accuracy on the test images.

    Raises
    ------
    ValueError
        An unknown name; the message lists the known ones.
    """
    check_choice("name", name, PRETRAINED)
    return NeuralNet.load(FOLDER / f"{name}.safetensors")
