"""What all layers share: parameters by name, and the checks around a forward and a backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from .._checks import as_array, check_real, is_float
from .._types import Array, Shape
from ..errors import DTypeError, ShapeError


class Layer(ABC):
    """One step of a network: `forward` computes, `backward` gives the gradients.

    A layer of one's own need not inherit from this class: it needs `params` (a list of arrays, may be
    empty), `forward(X)` and `backward(dout) -> (dX, [gradients of params])`.

    Attributes
    ----------
    params : list of ndarray
        The trained arrays, in the order of `param_names`. Optimizers update them in place; the named
        attributes (`layer.W`) read and write this list.
    buffers : list of ndarray
        Arrays that belong to the layer's state but are not trained, in the order of `buffer_names`.
    input_shape : tuple of int or None
        Shape of one input, without the batch axis; None where any shape will do.
    """

    param_names: ClassVar[tuple[str, ...]] = ()
    buffer_names: ClassVar[tuple[str, ...]] = ()
    config_names: ClassVar[tuple[str, ...]] = ()
    """The constructor's arguments that define the layer, each kept in the attribute of that name."""
    kept_names: ClassVar[tuple[str, ...]] = ()
    """The attributes in which `forward` keeps what only `backward` needs; copies and pickles have None in them."""

    input_shape: Shape | None = None

    def __init__(self) -> None:
        self.params: list[Array] = []
        self.buffers: list[Array] = []
        self._last_output: tuple[Shape, np.dtype[Any]] | None = None

    @abstractmethod
    def forward(self, X: Array, training: bool = True) -> Array:
        """Compute the layer's output; with `training`, keep what `backward` will need."""

    @abstractmethod
    def backward(self, dout: Array) -> tuple[Array, list[Array]]:
        """Return the gradients of the input and of `params`, given the gradient `dout` of the last output."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one output for one input of `shape` (both without the batch axis)."""
        return shape

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON can hold them: `type(layer)(**config)` is its like."""
        values = {name: getattr(self, name) for name in self.config_names}
        return {name: value.name if isinstance(value, np.dtype) else value for name, value in values.items()}

    @classmethod
    def state_shapes(cls, config: dict[str, Any]) -> dict[str, Shape]:
        """Return the shape of each parameter and buffer of a layer of this `config`, without making it."""
        return {}

    def state(self) -> dict[str, Array]:
        """Return the parameters and buffers by name: the arrays themselves, not copies."""
        return {name: getattr(self, name) for name in (*self.param_names, *self.buffer_names)}

    def _note_output(self, out: Array, training: bool) -> None:
        """Note what a gradient must look like; after inference, there is nothing to go back from."""
        self._last_output = (out.shape, out.dtype) if training else None

    def can_go_back(self) -> bool:
        """Whether the last forward pass of this layer was one of training."""
        return self._last_output is not None

    def forget(self) -> None:
        """Drop what the last forward pass kept."""
        self._last_output = None

    def _check_gradient(self, dout: Any) -> Array:
        """Return `dout` as an array like the last output, or raise before anything is computed."""
        if self._last_output is None:
            raise RuntimeError(
                "backward() called before forward(): this layer itself needs a forward pass with training=True first"
            )
        return as_gradient(dout, *self._last_output)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("_last_output", *self.kept_names))}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({arguments})"


def arrays_of(layers: Iterable[Any]) -> list[Array]:
    """Return the parameters and buffers of the layers, first layer first: the arrays themselves."""
    return [array for layer in layers for array in (*layer.params, *getattr(layer, "buffers", ()))]


def named_arrays(layers: Iterable[Any], buffers: bool = True) -> dict[str, Array]:
    """Return the same by name: `layers.0.W`, `layers.0.b`, ...; with or without the buffers."""
    named = {}
    for index, layer in enumerate(layers):
        for kind in ("param", "buffer") if buffers else ("param",):
            names = getattr(layer, f"{kind}_names", ())
            for position, array in enumerate(getattr(layer, f"{kind}s", ())):
                name = names[position] if position < len(names) else f"{kind}s.{position}"
                named[f"layers.{index}.{name}"] = array
    return named


def as_gradient(dout: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Return the gradient of an output of this shape and dtype as an array like it, or raise."""
    dout = as_float_array("dout", dout, dtype)
    if dout.shape != shape:
        raise ShapeError(f"dout {dout.shape} does not match last forward output {shape}")
    return dout


def check_places(layers: Sequence[Any]) -> None:
    """Raise ValueError if a layer stands in two places: it keeps one pass for `backward`, not two."""
    places: dict[int, int] = {}
    for index, layer in enumerate(layers):
        if (first := places.setdefault(id(layer), index)) != index:
            raise ValueError(f"layers[{index}] is layers[{first}]: each place needs a layer of its own")


def check_layer(name: str, layer: Any) -> None:
    """Raise DTypeError if `layer` is not what a network may be made of."""
    if isinstance(layer, type):
        raise DTypeError(f"{name} must be a layer, got the class {layer.__name__}: call it")
    if missing := [attribute for attribute in ("params", "forward", "backward") if not hasattr(layer, attribute)]:
        raise DTypeError(
            f"{name} must be a layer, with params, forward and backward, got {type(layer).__name__} without "
            f"{' and '.join(missing)}"
        )
    if not isinstance(layer.params, (list, tuple)) or not all(isinstance(param, np.ndarray) for param in layer.params):
        raise DTypeError(f"{name}.params must be a list of numpy.ndarray, got {layer.params!r:.80}")


@contextmanager
def buffers_kept(layers: Iterable[Any]) -> Iterator[None]:
    """Put the layers' buffers, such as running statistics, back as they were if the block raises."""
    kept = [(layer.buffers, list(layer.buffers)) for layer in layers if getattr(layer, "buffers", None)]
    try:
        yield
    except BaseException:
        for buffers, before in kept:  # a layer puts new arrays in their places, and does not write to the old ones
            buffers[:] = before
        raise


class ArrayOf:
    """A named attribute that reads and writes one entry of `layer.params` or `layer.buffers`.

    Reading gives the array itself. Assigning stores a copy in the layer's dtype, so that attribute and list
    never part and the caller's array is never trained by accident.
    """

    def __init__(self, list_name: str, index: int, least: float = -np.inf) -> None:
        self.list_name = list_name
        self.index = index
        self.least = least

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        return self if layer is None else getattr(layer, self.list_name)[self.index]

    def __set__(self, layer: Any, value: Any) -> None:
        arrays = getattr(layer, self.list_name)
        current = arrays[self.index]
        name = f"{type(layer).__name__}.{self.name}"
        array = as_array(name, value)
        if array.dtype.kind not in "fiu":
            raise DTypeError(f"{name} must be an array of real numbers, got {array.dtype}")
        if array.shape != current.shape:
            raise ShapeError(f"{name} must have shape {current.shape}, got {array.shape}")
        if (array < self.least).any():
            raise ValueError(f"{name} must be >= {self.least}, got {array[array < self.least][0]}")
        arrays[self.index] = np.array(array, dtype=current.dtype, order="C")


class NumberIn:
    """A number attribute that stays inside an interval, written as in mathematics: "(0, inf)"."""

    def __init__(self, interval: str) -> None:
        self.interval = interval

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        return self if layer is None else layer.__dict__[self.name]

    def __set__(self, layer: Any, value: Any) -> None:
        layer.__dict__[self.name] = check_real(self.name, value, self.interval)


def check_float(name: str, dtype: np.dtype[Any]) -> None:
    """Raise DTypeError unless an array called `name` has a dtype that layers take."""
    if not is_float(dtype):
        hint = f": scale it first, for instance {name}.astype(np.float32) / 255" if dtype.kind in "iu" else ""
        raise DTypeError(f"{name} must be float32 or float64, got {dtype}{hint}")


def as_float_array(name: str, X: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """Return `X` as a float array in native byte order: of `dtype`, or for None of its own precision.

    Integers are refused rather than converted: pixels in 0..255 would train badly without a word.
    """
    array = as_array(name, X)
    check_float(name, array.dtype)
    return array.astype(dtype or array.dtype.newbyteorder("="), copy=False)
