"""A network to and from other tools: the methods that `NeuralNet` has for it.

What each needs is imported when it is called. Each form's module has a table from the type of a layer to what that
becomes, and layers that are not the package's are refused by name: the layers themselves know nothing of the forms.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from .._types import Array


class Exchange:
    """The part of `NeuralNet` that writes and reads other tools' forms; it needs `layers`, `dtype` and `forward`."""

    layers: list[Any]

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        *,
        output: str = "scores",
        dtype: Any = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Write the network as an ONNX model for inference: opset 17, IR version 8, with batches of any size.

        Standardization is in the graph, `Dropout` is not. Before the file is written, the ONNX checker goes over it and
        onnxruntime runs it on random inputs: it must give the network's outputs to 1e-5 of the largest. Needs the
        extra `onnx`.

        Parameters
        ----------
        path : path
        output : {'scores', 'probabilities'}
            The last layer's output, or with a softmax behind it. The model's output has that name, its input "input".
        dtype : numpy dtype, optional
            float32: of a float64 network as well. onnxruntime runs convolutions and averages in float32 alone; those in
            float64 are checked by ONNX's reference implementation. None: as the network computes.
        input_shape : tuple of int, optional
            Shape of one input, where no layer tells it, such as a network that begins with a `Flatten`.

        Raises
        ------
        ImportError
            onnx or onnxruntime is missing.
        DTypeError
            A layer that is not one of the package's; layers of two precisions.
        NonFiniteError
            A weight that is NaN or infinite.
        RuntimeError
            The model gives other outputs than the network. Nothing was written.
        OSError
            The file cannot be written; an earlier file at `path` is then as before.
        ShapeError, ValueError
            An `input_shape` that does not fit, or is missing.
        """
        from .onnx_writer import write_onnx

        write_onnx(self, path, output, dtype, input_shape)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str]) -> Self:
        """Read a network from an ONNX model that is a chain of the package's operators; needs the extra `onnx`.

        From `to_onnx`, or from PyTorch's exporter for an `nn.Sequential`. A softmax at the end is left out:
        `predict_proba` does it. The loss is `SoftmaxLoss`. Nothing in the file is run, and no other file is opened.

        Raises
        ------
        ImportError
            onnx is missing.
        CheckpointCorruptError
            No ONNX file, or one that contradicts itself.
        CheckpointMismatchError
            A model that is no such chain; the message names the operator and what about it is not read.
        OSError
            The file cannot be read.
        """
        from .onnx_reader import read_layers

        make: Any = cls
        return make(read_layers(path))

    def to_c(self, path: str | os.PathLike[str], *, prefix: str = "cnn") -> None:
        """Write the network as one file of C99 with its weights, for inference anywhere that C compiles.

        The file defines `int PREFIX_predict(const float *image)`, the most probable class, and
        `void PREFIX_scores(const float *image, float *scores)`, the last layer's output; double for a float64 network.
        An image is its numbers in the order channels, rows, columns. Nothing is allocated, and nothing included but
        math.h for `Sigmoid` and `Tanh`; the buffers are static, so one thread at a time may call.

        Parameters
        ----------
        path : path
        prefix : str
            What all names in the file begin with: letters, digits and underscores, a letter first.

        Raises
        ------
        ValueError
            Another `prefix`; layers that do not tell the shape of an input.
        ShapeError
            A network that gives other than one row an image.
        DTypeError
            A layer that is not one of the package's; layers of two precisions.
        NonFiniteError
            A weight that is NaN or infinite.
        OSError
            The file cannot be written; an earlier file at `path` is then as before.
        """
        from .c_source import write_c

        write_c(self, path, prefix)

    def to_torch_state_dict(self) -> dict[str, Array]:
        """Return the weights and running statistics as PyTorch names and lays them out, as copies. Needs no PyTorch.

        The names are those of an `nn.Sequential` with one module for each layer: "0.weight", "0.bias", for a
        `BatchNorm` "1.running_mean", "1.running_var" and "1.num_batches_tracked" (0: PyTorch counts there) as well. The
        weights of a `FullyConnected` are turned to (outputs, inputs); their order along the inputs is PyTorch's own, as
        `Flatten` here lays out channels, rows and columns as `nn.Flatten` does.

        Raises
        ------
        DTypeError
            A layer that is not one of the package's.
        """
        from .torch_state import state_of

        return state_of(self.layers)

    def load_torch_state_dict(self, state: Mapping[str, Any] | str | os.PathLike[str]) -> None:
        """Take the weights and running statistics of the `nn.Sequential` of the same layers. Needs no PyTorch.

        All is checked before anything is changed.

        Parameters
        ----------
        state : dict of str to array, or path
            By the names of `to_torch_state_dict`, where "num_batches_tracked" may be missing: arrays, tensors on the
            CPU, or a safetensors file of them. Of the network's dtype, or a narrower one.

        Raises
        ------
        CheckpointMismatchError
            Names, shapes or dtypes other than the network's; NaN, infinities, or a negative variance.
        CheckpointError
            A file that is damaged, or holds other than floats.
        DTypeError
            A layer that is not one of the package's; `state` neither a dict nor a path.
        OSError
            The file cannot be read.
        """
        from .torch_state import load_state

        load_state(self.layers, state)
