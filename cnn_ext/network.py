"""NeuralNet: a list of layers and a loss; images in, classes or gradients out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ._checks import as_list, check_bool
from ._types import Array, Shape
from .batches import as_indexable
from .distributed import DataParallel, check_parallel
from .errors import CheckpointError, CheckpointMismatchError, DTypeError, ShapeError, shown
from .exchange import Exchange
from .foreign import Foreign
from .fusion import Block, find_steps
from .layers import Conv, FullyConnected, Layer, Standardize
from .layers.base import NumberIn, as_float_array, buffers_kept, check_layer, check_places, named_arrays
from .loss import (
    LossFunction,
    SoftmaxLoss,
    check_gradient_of_scores,
    check_have_best,
    check_labels,
    check_takes_weights,
    loss_of,
    softmax,
)
from .passes import add_scaled
from .regularization import add_to_weights, l2_regularization
from .saving import read_network, write_network
from .summary import summary_html, summary_table
from .turns import Turn, in_turn

INFERENCE_CHUNK = 128
"""Images that go through the network at a time in inference: bounds its memory."""


class NeuralNet(Exchange):
    """A feed-forward network.

    Parameters
    ----------
    layers : sequence of layers
        First layer first: the package's own, or any object with `params`, `forward(X)` and
        `backward(dout) -> (dX, grads)`.
    loss_func : callable
        Takes (scores (N, C), labels (N,)) and returns (mean loss, gradient of the scores): `SoftmaxLoss`, a
        `CrossEntropy`, or one's own. Where the mean is weighted, `loss_func.total_weight(labels)` says how much.
    l2 : float
        Strength of the L2 penalty in `train_step`, >= 0; 0 for none.

    Attributes
    ----------
    layers : list
        May be changed; it is read anew at each call.
    dtype : numpy dtype
        Precision of the first layer with parameters; inputs are converted to it.
    notes : dict
        Anything JSON can hold about the network, such as its recipe and accuracy: what came with its file, else empty.
        `save` writes it along.
    scores : ndarray, shape (N, classes)
        The last layer's output in the last `train_step`.

    Raises
    ------
    ShapeError
        A layer whose input shape is not what the layer before it gives.
    ValueError, DTypeError
        `l2` negative or not a number; no layers, one in two places, or something else; a loss that cannot be called.
    """

    l2: NumberIn = NumberIn("[0, inf)")

    def __init__(self, layers: Sequence[Any], loss_func: LossFunction = SoftmaxLoss, l2: float = 0.001) -> None:
        self.layers: list[Any] = as_list("layers", layers)
        if not self.layers:
            raise ValueError("layers must hold at least one layer, got none")
        for index, layer in enumerate(self.layers):
            check_layer(f"layers[{index}]", layer)
        check_places(self.layers)
        if isinstance(loss_func, type):
            raise DTypeError(f"loss_func must be callable, got the class {loss_func.__name__}: call it")
        if not callable(loss_func):
            raise DTypeError(f"loss_func must be callable, got {type(loss_func).__name__}")
        self.loss_func = loss_func
        self.l2 = l2
        self.notes: dict[str, Any] = {}
        self.shapes()
        self.scores: Array = np.empty((0, 0), self.dtype)
        self._steps: list[Any] = []
        self._turn = Turn("network")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_steps": []}  # of the last forward pass, with all their buffers

    @property
    def params(self) -> list[list[Array]]:
        """The parameters of each layer, first layer first; the lists themselves."""
        return [layer.params for layer in self.layers]

    @property
    def dtype(self) -> np.dtype[Any]:
        first = next((param for params in self.params for param in params), None)
        return np.dtype(np.float32) if first is None else first.dtype

    def named_params(self) -> dict[str, Array]:
        """Return every parameter by name (`layers.0.W`, `layers.0.b`, ...), first layer first."""
        return named_arrays(self.layers, buffers=False)

    def shapes(self, input_shape: Shape | None = None) -> list[Shape | None]:
        """Return the shape of each layer's output for one image, None where a layer does not tell.

        Raises
        ------
        ShapeError
            A layer whose input shape is not what the layer before it gives.
        """
        shapes: list[Shape | None] = []
        shape = input_shape
        for index, layer in enumerate(self.layers):
            wanted = getattr(layer, "input_shape", None)
            if None not in (shape, wanted) and shape != wanted:
                raise ShapeError(
                    f"layer {index} ({type(layer).__name__}) takes inputs of shape {wanted}, "
                    f"but the layer before it gives {shape}"
                )
            shape = shape if wanted is None else wanted
            if shape is not None:
                shape = layer.output_shape(shape) if hasattr(layer, "output_shape") else None
            shapes.append(shape)
        return shapes

    @in_turn
    def forward(self, X: Array, training: bool = True) -> Array:
        """Send a batch through all layers.

        Parameters
        ----------
        X : array, shape (N, C, H, W) or what the first layer takes
            Floats, converted to the network's dtype; uint8 is refused (scale it to [0, 1]).
        training : bool
            Whether the layers keep what `backward` needs, drop out and take batch statistics.

        Returns
        -------
        ndarray, shape (N, number of classes)
            The last layer's output.
        """
        return self._forward(X, training)

    def _forward(self, X: Array, training: bool = True) -> Array:
        X = as_float_array("X", X, self.dtype)
        check_places(self.layers)
        self._steps = []
        steps = find_steps(self.layers)
        try:
            for step in steps:
                X = step.forward(X, training)
        except BaseException:  # or `backward` would go back through parts of two passes
            for layer in self.layers:
                if isinstance(layer, Layer):
                    layer.forget()
            raise
        self._steps = steps
        return X

    @in_turn
    def backward(self, dout: Array) -> list[list[Array]]:
        """Return the gradients of each layer's `params`, last layer first, for the gradient of the last output.

        Parameters
        ----------
        dout : array, shape (N, number of classes)

        Raises
        ------
        RuntimeError
            There was no forward pass with `training` to go back from.
        ShapeError, DTypeError
            `dout` is not of the last output's shape, or none of floats.
        """
        return self._backward(dout)

    def _backward(self, dout: Array) -> list[list[Array]]:
        steps: list[Any] = []
        for step in self._steps or self.layers:
            steps.extend(step.layers if isinstance(step, Block) and step.has_been_left() else [step])
        n_fixed = next((index for index, step in enumerate(steps) if type(step) is not Standardize), len(steps))
        grads: list[list[Array]] = []
        for step in reversed(steps[n_fixed:]):
            first = step is steps[n_fixed]  # nobody asks for the gradient of the images
            if isinstance(step, (Block, Foreign)):
                dout, step_grads = step.backward(dout, need_dX=not first)
                grads.extend(step_grads)
            elif first and type(step) in (Conv, FullyConnected):
                grads.append(step.parameter_gradients(dout))
            else:
                dout, layer_grads = step.backward(dout)
                grads.append(list(layer_grads))
        return grads + [[] for _ in range(n_fixed)]

    @in_turn
    def train_step(self, X: Array, y: Array, sample_weight: Array | None = None) -> tuple[float, list[list[Array]]]:
        """Return the loss of a batch with its L2 penalty, and its gradients, last layer first.

        The parameters are not changed: that is the optimizer's part. After an error, running statistics are as before.

        Parameters
        ----------
        X : array, shape (N, C, H, W) or what the first layer takes
        y : array of int, shape (N,)
        sample_weight : array of float, shape (N,), optional
            Handed to the loss, which must take it: `CrossEntropy` does.
        """
        if sample_weight is not None:
            check_takes_weights(self.loss_func)
        with buffers_kept(self.layers):
            self.scores = self._forward(X)
            loss, dout = loss_of(self.loss_func, self.scores, y, *(() if sample_weight is None else (sample_weight,)))
            grads = self._backward(check_gradient_of_scores(dout, self.scores))
        for layer, layer_grads in zip(reversed(self.layers), grads, strict=True):
            if type(layer) not in (Conv, FullyConnected):  # its gradients may be someone else's arrays
                layer_grads[:] = map(np.array, layer_grads)
        if self.l2 == 0:
            return loss, grads
        add_to_weights(self.layers, grads, lambda gradient, W: add_scaled(gradient, W, self.l2))
        return loss + l2_regularization(self.layers, self.l2), grads

    def predict(self, X: Array) -> Array:
        """Return the most probable class of each image, shape (N,), int64. Works in chunks and keeps no caches.

        Raises
        ------
        NonFiniteError
            An image that no class is the most probable for, because it or the weights hold NaN or infinity.
        """
        return check_have_best(self.scores_of(X)).argmax(axis=1)

    def predict_proba(self, X: Array) -> Array:
        """Return the probability of each class, softmax of the last output, shape (N, classes); raises as `predict`."""
        return softmax(check_have_best(self.scores_of(X)))

    def scores_of(self, X: Array) -> Array:
        """Return the last layer's output for each image, shape (N, classes), in inference: what softmax is taken of."""
        return np.concatenate([*self._outputs(X)] or [self.forward(X, training=False)])

    def evaluate(self, X: Array, y: Array, parallel: DataParallel | None = None) -> tuple[float, float]:
        """Return the mean loss without the L2 penalty, and the accuracy, of images X with labels y, in chunks.

        The processes of `parallel` share the images; all of them must ask, and get the numbers that one alone gets.

        Raises
        ------
        ShapeError
            No images, or as many labels as there are not images.
        DTypeError
            `parallel` is something else.
        """
        check_parallel(parallel)
        X = as_indexable("X", X)
        y = check_labels(y, len(X), np.iinfo(np.int64).max)
        if len(y) == 0:
            raise ShapeError("X holds no images: their mean loss is not defined")
        weight_of: Any = getattr(self.loss_func, "total_weight", len)  # of a chunk's labels in the mean over all
        chunks = range(0, len(y), INFERENCE_CHUNK)
        mine = chunks if parallel is None else chunks[parallel.rank :: parallel.size]
        tested = []
        for start, out in zip(mine, self._outputs(X, mine), strict=True):
            labels = y[start : start + len(out)]
            loss, _ = loss_of(self.loss_func, out, labels)
            weight = weight_of(labels)
            tested.append((start, loss * weight, weight, int(np.count_nonzero(out.argmax(axis=1) == labels))))
        if parallel is not None:
            tested = sorted(chain.from_iterable(parallel.gather(tested)))
        _, losses, weights, n_right = (sum(column) for column in zip(*tested, strict=True))
        return losses / weights if weights > 0 else 0.0, n_right / len(y)

    def _outputs(self, X: Array, starts: Iterable[int] | None = None) -> Iterator[Array]:
        X = as_indexable("X", X)
        for start in range(0, len(X), INFERENCE_CHUNK) if starts is None else starts:
            images = X[start : start + INFERENCE_CHUNK]
            out = self.forward(images, training=False)
            if out.ndim != 2 or len(out) != len(images):
                raise ShapeError(
                    f"the last layer must give ({len(images)}, classes) for as many images, got {out.shape}"
                )
            yield out

    def summary(self) -> str:
        """Return a table of the layers: output shapes, numbers of parameters, memory."""
        return summary_table(self.layers, self.shapes())

    def _repr_html_(self) -> str:
        """Return the same as a table for notebooks."""
        return summary_html(self.layers, self.shapes())

    def save(
        self, path: str | os.PathLike[str], *, storage_dtype: Any = None, notes: dict[str, Any] | None = None
    ) -> None:
        """Write architecture, weights, running statistics and loss to one safetensors file at exactly `path`.

        The same network gives the same bytes.

        Parameters
        ----------
        path : path
        storage_dtype : numpy dtype, optional
            float16: round every number to it in the file, which halves its size; None: as they are. Loaded, the
            network computes in the precision that it had.
        notes : dict, optional
            Written instead of the network's own `notes`.

        Raises
        ------
        DTypeError
            A layer that is not one of the package's; notes that JSON cannot hold; another `storage_dtype`.
        ValueError
            A number beyond the range of float16; notes that JSON would not give back as they are.
        OSError
            The file cannot be written; an earlier file at `path` is then as before.
        """
        notes = self.notes if notes is None else notes
        write_network(path, self.layers, self.loss_func, self.l2, storage_dtype, notes)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, loss_func: LossFunction | None = None, allow_nonfinite: bool = False
    ) -> NeuralNet:
        """Read a network that `save` has written.

        Parameters
        ----------
        path : path
        loss_func : callable, optional
            Needed if the network was saved with a loss of one's own; otherwise instead of the saved one.
        allow_nonfinite : bool
            Whether weights with NaN or infinities are taken.

        Raises
        ------
        CheckpointCorruptError
            The file is damaged.
        CheckpointMismatchError
            The file is sound, but its tensors do not fit its architecture.
        CheckpointError
            The file is something else, or of a newer format.
        """
        saved = read_network(path, check_bool("allow_nonfinite", allow_nonfinite))
        loss_func = loss_func or saved.loss_func
        if loss_func is None:
            raise CheckpointError(
                f"{path} was saved with the loss {shown(repr(saved.loss_name))}: give it as loss_func"
            )
        try:
            net = cls(saved.layers, loss_func, saved.l2)
        except ValueError as error:
            raise CheckpointMismatchError(f"{path} describes no network: {shown(error)}") from error
        net.notes = saved.notes
        return net

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in self.layers)
        return f"NeuralNet([\n{layers}], l2={self.l2!r})"
