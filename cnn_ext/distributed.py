"""Data-parallel training over MPI: each process computes a part of every batch, and all take the same step.

A batch is cut into chunks of a fixed size, whatever the number of processes. Each chunk's gradient is computed by
itself, and the chunks are added up along a fixed binary tree: a process adds what lies wholly in its part, one
collective a step brings the sums together, and every process adds up the rest of the tree. So the bits do not depend
on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import check_instance, check_int
from ._extras import missing_extra
from ._types import Array
from .errors import DTypeError, ShapeError
from .layers import BatchNorm, Dropout
from .layers.base import arrays_of
from .threads import allowed_cpus, usable_cpus

if TYPE_CHECKING:
    from .network import NeuralNet

Node = tuple[int, int]
"""Chunks from the first number to before the second: a node of the tree."""


class DataParallel:
    """The processes of an MPI communicator, as `fit` takes them: `fit(..., parallel=DataParallel())`.

    Every process calls `fit` with the same arguments; the network of process 0 is the one that they start from. Each
    chunk has its own batch statistics and its own draws for `Dropout`; the running statistics are their mean. A plain
    run has one chunk a batch, and gives other bits.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        `MPI.COMM_WORLD` if None.
    chunk_size : int
        Images of a chunk, >= 1; the last chunk of a batch also has those that are left over.

    Attributes
    ----------
    rank, size : int
        Which of the processes this is, and how many there are.

    Raises
    ------
    ImportError
        mpi4py is missing, or finds no MPI.
    DTypeError, ValueError
        `chunk_size` is not an int >= 1, or `comm` no communicator.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD. 2017 (batch statistics a worker).
    """

    def __init__(self, comm: Any = None, chunk_size: int = 16) -> None:
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise missing_extra("DataParallel", "mpi", error) from error
        except RuntimeError as error:  # mpi4py is there, and finds no MPI
            reason = str(error).partition("\n")[0]
            raise ImportError(f"DataParallel needs an MPI library ({reason}): pip install mpich") from error
        if comm is not None and not isinstance(comm, MPI.Comm):
            raise DTypeError(f"comm must be a communicator of mpi4py, got {type(comm).__name__}")
        self._comm: Any = MPI.COMM_WORLD if comm is None else comm
        self.chunk_size: int = check_int("chunk_size", chunk_size, 1)
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self._n_classes = 0

    def share_of_cpus(self) -> int:
        """Return how many CPUs each of the processes on this machine has for itself, >= 1; all of them must ask."""
        from mpi4py import MPI

        here = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            of_all: set[int] = set().union(*here.allgather(allowed_cpus()))
            return max(1, usable_cpus(of_all) // int(here.Get_size()))
        finally:
            here.Free()

    def abort(self, code: int) -> None:
        """End all processes with this exit code; does not return."""
        self._comm.Abort(code)

    def broadcast(self, value: Any) -> Any:
        """Return what process 0 has given, on all."""
        return self._comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has given, on all."""
        return list(self._comm.allgather(value))

    def start_alike(self, net: NeuralNet) -> None:
        """Give every process the parameters, buffers and random generators of process 0's network.

        Raises
        ------
        DTypeError
            A last layer that does not tell how many scores it gives; one with running statistics or draws of its own.
        ShapeError
            Another network than that of process 0.
        """
        shape = net.shapes()[-1]
        if shape is None or len(shape) != 1:
            raise DTypeError(f"the last layer ({type(net.layers[-1]).__name__}) does not tell how many scores it gives")
        self._n_classes = shape[0]
        for index, layer in enumerate(net.layers):
            has_own = getattr(layer, "buffers", ()) or hasattr(layer, "rng")
            if has_own and type(layer) not in (BatchNorm, Dropout):
                raise DTypeError(
                    f"layer {index} ({type(layer).__name__}) has running statistics or draws of its own: processes "
                    "share those of BatchNorm and Dropout alone"
                )
        arrays, drawing = list(arrays_of(net.layers)), drawing_layers(net)
        first, generators = self._comm.bcast((arrays, [layer.rng for layer in drawing]))
        shapes, wanted = ([(a.shape, a.dtype) for a in of] for of in (arrays, first))
        if shapes != wanted or len(drawing) != len(generators):
            raise ShapeError(f"process {self.rank} is to train another network than process 0")
        for array, theirs in zip(arrays, first, strict=True):
            array[...] = theirs
        for layer, rng in zip(drawing, generators, strict=True):
            layer.rng = rng

    def train_step(
        self, net: NeuralNet, X: Array, y: Array, sample_weight: Array | None = None
    ) -> tuple[float, list[list[Array]]]:
        """Return the loss and the gradients of the whole batch, as `NeuralNet.train_step` does; `net.scores` too."""
        chunks = _Chunks(net, X, y, sample_weight, chunk_bounds(len(y), self.chunk_size))
        n = len(chunks.bounds) - 1
        parts = [(rank * n // self.size, (rank + 1) * n // self.size) for rank in range(self.size)]
        nodes = [nodes_inside((0, n), part) for part in parts]
        rows = [chunks.bounds[b] - chunks.bounds[a] for a, b in parts]

        # One buffer: sums, then scores, as much of each as the most that any process has.
        n_sums, length = max(map(len, nodes)), chunks.length
        sent = np.zeros(n_sums * length + max(rows) * self._n_classes, net.dtype)
        for index, node in enumerate(nodes[self.rank]):
            sent[index * length : (index + 1) * length] = chunks.sum_of(node)
        scores = np.concatenate([np.empty((0, self._n_classes), net.dtype), *chunks.scores])
        sent[n_sums * length :][: scores.size] = scores.ravel()
        received = np.empty((self.size, sent.size), net.dtype)
        self._comm.Allgather(sent, received)

        known = {
            node: row[index * length : (index + 1) * length]
            for row, members in zip(received, nodes, strict=True)
            for index, node in enumerate(members)
        }
        loss, grads = chunks.taken_apart(tree_sum((0, n), known))
        parts_of_scores = (row[n_sums * length :][: k * self._n_classes] for row, k in zip(received, rows, strict=True))
        net.scores = np.concatenate(list(parts_of_scores)).reshape(len(y), self._n_classes)
        return loss, grads


def check_parallel(parallel: Any) -> None:
    """Raise DTypeError if `parallel` is neither a DataParallel nor None."""
    if parallel is not None:
        check_instance("parallel", parallel, DataParallel)


class _Chunks:
    """The chunks of a batch, each computed when it is asked for, as one vector: gradients, batch statistics, loss."""

    def __init__(self, net: NeuralNet, X: Array, y: Array, sample_weight: Array | None, bounds: Sequence[int]) -> None:
        self._net, self._batch = net, [X, y, *([] if sample_weight is None else [sample_weight])]
        self.bounds = bounds
        self.scores: list[Array] = []
        self._params = [param for layer in net.layers for param in layer.params]
        self._before = [array.copy() for array in self._statistics()]
        self.length = sum(array.size for array in (*self._params, *self._before)) + 1
        self._drawing = drawing_layers(net)
        self._seeds = [int(layer.rng.integers(2**63)) for layer in self._drawing]
        self._weights = [self._weight(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]
        self._total_weight = sum(self._weights)

    def _statistics(self) -> list[Array]:
        """Return the running statistics of now: a forward pass puts new arrays in their place."""
        return [array for layer in self._net.layers if type(layer) is BatchNorm for array in layer.buffers]

    def _weight(self, start: int, stop: int) -> float:
        """Return what these images count in the mean loss."""
        total_weight: Any = getattr(self._net.loss_func, "total_weight", lambda y, *_: float(len(y)))
        return float(total_weight(*(part[start:stop] for part in self._batch[1:])))

    def sum_of(self, node: Node) -> Array:
        """Return the sum over a node's chunks, added up along the tree."""
        a, b = node
        if b - a == 1:
            return self._vector(a)
        left, right = halves(node)
        return self.sum_of(left) + self.sum_of(right)

    def _vector(self, index: int) -> Array:
        net, start, stop = self._net, self.bounds[index], self.bounds[index + 1]
        for array, before in zip(self._statistics(), self._before, strict=True):
            array[...] = before
        generators = [layer.rng for layer in self._drawing]
        for layer, seed in zip(self._drawing, self._seeds, strict=True):
            layer.rng = np.random.default_rng((seed, index))
        try:
            loss, grads = net.train_step(*(part[start:stop] for part in self._batch))
        finally:
            for layer, generator in zip(self._drawing, generators, strict=True):
                layer.rng = generator
        self.scores.append(net.scores.copy())
        in_order = [gradient.ravel() for layer_grads in reversed(grads) for gradient in layer_grads]
        share = self._weights[index] / self._total_weight if self._total_weight else 1 / len(self._weights)
        of_images = (stop - start) / self.bounds[-1]
        number = net.dtype.type
        statistics = [array.ravel() for array in self._statistics()]
        vector = np.concatenate([*in_order, *statistics, [number(loss)]], dtype=net.dtype)
        n_params = sum(param.size for param in self._params)
        vector[:n_params] *= number(share)
        vector[n_params:-1] *= number(of_images)
        vector[-1] *= number(share)
        return vector

    def taken_apart(self, total: Array) -> tuple[float, list[list[Array]]]:
        """Return loss and gradients of the whole batch, last layer first, and set the running statistics."""
        arrays, start = [], 0
        for like in (*self._params, *self._before):
            arrays.append(total[start : start + like.size].reshape(like.shape))
            start += like.size
        grads, rest = [], iter(arrays)
        for layer in self._net.layers:
            grads.append([next(rest) for _ in layer.params])
        for layer in self._net.layers:
            if type(layer) is BatchNorm:
                # New arrays, as after a forward pass: the old ones may have to be put back.
                layer.buffers[:] = [next(rest).copy() for _ in layer.buffers]
        return float(total[-1]), grads[::-1]


def drawing_layers(net: NeuralNet) -> list[Dropout]:
    """Return the layers that draw random numbers in training."""
    return [layer for layer in net.layers if type(layer) is Dropout]


def chunk_bounds(n_images: int, chunk_size: int) -> list[int]:
    """Return where each chunk begins, and where the last one ends; the last also has what is left over."""
    n_chunks = max(1, n_images // chunk_size)
    return [*range(0, n_chunks * chunk_size, chunk_size), n_images]


def halves(node: Node) -> tuple[Node, Node]:
    """Return the two nodes below: the left one is the largest power of two that leaves something to the right."""
    a, b = node
    middle = a + (1 << ((b - a - 1).bit_length() - 1))
    return (a, middle), (middle, b)


def nodes_inside(node: Node, part: Node) -> list[Node]:
    """Return the largest nodes at or below `node` that lie wholly in a part of the chunks."""
    if max(node[0], part[0]) >= min(node[1], part[1]):
        return []
    if part[0] <= node[0] and node[1] <= part[1]:
        return [node]
    left, right = halves(node)
    return nodes_inside(left, part) + nodes_inside(right, part)


def tree_sum(node: Node, known: dict[Node, Array]) -> Array:
    """Return the sum over a node from those that are known."""
    if node in known:
        return known[node]
    left, right = halves(node)
    return tree_sum(left, known) + tree_sum(right, known)
