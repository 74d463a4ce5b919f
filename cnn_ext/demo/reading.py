"""What stands behind the page: drawings are checked, brought to MNIST's form, read and explained."""

from __future__ import annotations

import base64
import json
import threading
from functools import cached_property
from typing import Any

import numpy as np

from .._class_names import class_names
from .._types import Array
from ..datasets import load_mnist
from ..digits import SIDE, centred_digit
from ..errors import ShapeError
from ..network import NeuralNet
from .explain import layer_outputs, occlusion_map

MAX_SIDE = 280
INPUT_SHAPE = (1, SIDE, SIDE)


class BadDrawing(ValueError):
    """A request's body that is no drawing; the message tells why."""


class Reader:
    """A network that reads drawings, one at a time: it keeps buffers that two threads must not share.

    Parameters
    ----------
    net : NeuralNet
        Of images (1, 28, 28), as MNIST has them.
    name : str
        What the page calls it.

    Raises
    ------
    ShapeError
        A network of other images, or of fewer than two classes.
    """

    def __init__(self, net: NeuralNet, name: str) -> None:
        self._net, self._name = net, name
        self._lock = threading.Lock()
        try:
            n_classes = self._probabilities(np.zeros(INPUT_SHAPE, np.float32)).size
        except ShapeError as error:
            raise ShapeError(f"the network must take images of shape {INPUT_SHAPE}: {error}") from error
        if n_classes < 2:
            raise ShapeError(f"the network must have at least 2 classes, it has {n_classes}")
        self.classes: list[str] = class_names(net, n_classes)

    def about(self) -> dict[str, Any]:
        """Return what the page says of the network."""
        n_params = sum(param.size for param in self._net.named_params().values())
        return {"name": self._name, "classes": self.classes, "parameters": n_params}

    def read(self, body: bytes) -> dict[str, Any]:
        """Return the drawing as the network sees it, and the probability of each class."""
        image = centred_digit(parse_drawing(body))[np.newaxis]
        return {"seen": as_bytes(image[0]).tolist(), "probabilities": self._probabilities(image).tolist()}

    def explain(self, body: bytes) -> dict[str, Any]:
        """Return the output of each layer, and which ink speaks for the most probable class and which against it."""
        image = centred_digit(parse_drawing(body))[np.newaxis]
        label = int(self._probabilities(image).argmax())
        with self._lock:
            outputs = layer_outputs(self._net, image)
            why = occlusion_map(self._net, image, label)
        layers = [{"name": output.name, **signed_maps(output.maps)} for output in outputs]
        return {"class": self.classes[label], "layers": layers, "why": signed_maps(why[np.newaxis])}

    def sample(self, number: int) -> dict[str, Any]:
        """Return a test image of MNIST."""
        X, y = self._samples
        return {"image": as_bytes(X[number, 0]).tolist(), "label": int(y[number])}

    @property
    def n_samples(self) -> int:
        return len(self._samples[1])

    @cached_property
    def _samples(self) -> tuple[Array, Array]:
        return load_mnist(num_training=0)[1]

    def _probabilities(self, image: Array) -> Array:
        with self._lock:
            return self._net.predict_proba(image[np.newaxis])[0]


def parse_drawing(body: bytes) -> Array:
    """Return the drawing in {"image": rows of numbers from 0, the ground, to 255} as floats in [0, 1].

    Raises
    ------
    BadDrawing
        Anything else.
    """
    try:
        request = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadDrawing(f"the body must be JSON: {error}") from error
    if not isinstance(request, dict) or list(request) != ["image"]:
        raise BadDrawing('the body must be an object with "image" alone')
    rows = request["image"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_SIDE or not all(isinstance(row, list) for row in rows):
        raise BadDrawing(f"image must be a list of 1 to {MAX_SIDE} rows, each a list")
    width = len(rows[0])
    if not 1 <= width <= MAX_SIDE or any(len(row) != width for row in rows):
        raise BadDrawing(f"the rows of image must be of one length in 1 to {MAX_SIDE}")
    if not all(type(pixel) in (int, float) and 0 <= pixel <= 255 for row in rows for pixel in row):
        raise BadDrawing("the pixels of image must be numbers in [0, 255]")
    return np.array(rows, np.float32) / np.float32(255)


def as_bytes(image: Array) -> Array:
    """Return pixels in [0, 1] as bytes."""
    return np.rint(image * 255).astype(np.uint8)


def signed_maps(maps: Array) -> dict[str, Any]:
    """Return maps (C, H, W) as bytes in base64: 128 for zero, and 1 to 255 for the range of the largest number."""
    largest = float(np.abs(maps).max())
    scaled = np.rint(maps / (largest or 1.0) * 127) + 128
    data = base64.b64encode(scaled.astype(np.uint8).tobytes()).decode("ascii")
    return {"shape": list(maps.shape), "largest": largest, "data": data}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
