"""Averages of the weights along a run: steadier, and mostly better, than the weights of any one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._checks import check_real
from ._types import Array
from .errors import DTypeError
from .layers.base import arrays_of
from .passes import lerp

if TYPE_CHECKING:
    from .network import NeuralNet


class WeightAverage:
    """An exponential moving average of a network's parameters and of what its batch normalizations have measured.

    average += w * (weights - average) after each step, where w = 1 - decay, but in the first steps 1 / (steps + 1):
    the plain mean so far, in which the random start does not linger. The running statistics are averaged alike, so
    that they are those of the networks that went into the average.

    Parameters
    ----------
    net : NeuralNet
        Where the average starts; its layers must stay the same.
    decay : float
        In [0, 1); the average reaches about 1 / (1 - decay) steps back.

    Attributes
    ----------
    steps : int
        How often `update` was called.
    arrays : list of ndarray
        The average, in the order of the network's parameters and buffers.

    References
    ----------
    Polyak, Juditsky: Acceleration of stochastic approximation by averaging. SIAM J. Control Optim. 30(4), 1992.
    Tarvainen, Valpola: Mean teachers are better role models. NeurIPS 2017 (the exponential form).
    """

    def __init__(self, net: NeuralNet, decay: float) -> None:
        self.decay: float = check_real("decay", decay, "[0, 1)")
        if not hasattr(net, "layers"):
            raise DTypeError(f"net must be a NeuralNet, got {type(net).__name__}")
        self.steps: int = 0
        self._net = net
        self.arrays: list[Array] = [array.copy() for array in arrays_of(net.layers)]

    def update(self) -> None:
        """Take the network's weights of now into the average."""
        self.steps += 1
        weight = max(1 - self.decay, 1 / (self.steps + 1))
        for average, array in zip(self.arrays, arrays_of(self._net.layers), strict=True):
            lerp(average, array, weight)

    def swap(self) -> None:
        """Exchange the network's weights and statistics with the average's; a second call undoes it."""
        for average, array in zip(self.arrays, arrays_of(self._net.layers), strict=True):
            kept = array.copy()
            array[...] = average
            average[...] = kept
