"""Several networks, or several views of each image, as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._checks import as_list, check_instance
from ._types import Array
from .batches import as_indexable
from .errors import DTypeError, ShapeError
from .loss import accuracy, check_have_best, check_labels, softmax
from .network import INFERENCE_CHUNK, NeuralNet


class Ensemble:
    """Networks that vote by their probabilities, each on every view of the images.

    Parameters
    ----------
    nets : sequence of NeuralNet
        At least one, all for the same images and classes. With one, and `views`, this is test-time augmentation.
    views : sequence of callable
        Each takes images (N, C, H, W) and returns as many, such as a `View`; the images as they are if
        there are none.

    Raises
    ------
    ValueError
        No networks.
    DTypeError
        Something other than networks, or than callable views.

    References
    ----------
    Hansen, Salamon: Neural network ensembles. IEEE Trans. Pattern Anal. Mach. Intell. 12(10), 1990.
    Ciresan, Meier, Schmidhuber: Multi-column deep neural networks for image classification. CVPR 2012.
    """

    def __init__(self, nets: Sequence[NeuralNet], views: Sequence[Callable[[Array], Array]] = ()) -> None:
        self.nets: tuple[Any, ...] = tuple(as_list("nets", nets))
        self.views: tuple[Any, ...] = tuple(as_list("views", views))
        if not self.nets:
            raise ValueError("nets must hold at least one network, got none")
        for i, net in enumerate(self.nets):
            check_instance(f"nets[{i}]", net, NeuralNet)
        for i, view in enumerate(self.views):
            if not callable(view):
                raise DTypeError(f"views[{i}] must be callable, got {type(view).__name__}")

    def predict_proba(self, X: Any) -> Array:
        """Return the mean probability of each class, shape (N, classes), in float64.

        Raises
        ------
        ShapeError
            Networks with different numbers of classes; a view that changes the number of images.
        NonFiniteError
            An image that no class is the most probable for, because it or some weights hold NaN or infinity.
        """
        X = as_indexable("X", X)
        # An empty chunk for no images: it gives the number of classes.
        starts = range(0, max(len(X), 1), INFERENCE_CHUNK)
        with np.errstate(invalid="ignore"):  # what comes of it is found and named
            return check_have_best(np.concatenate([self._vote(X[start : start + INFERENCE_CHUNK]) for start in starts]))

    def _vote(self, images: Array) -> Array:
        seen = [view(images) for view in self.views] or [images]
        votes = [softmax(net.scores_of(view)) for net in self.nets for view in seen]
        shapes = {vote.shape for vote in votes}
        if len(shapes) > 1 or len(votes[0]) != len(images):
            raise ShapeError(
                f"nets and views must agree on (images, classes) for {len(images)} images, got {sorted(shapes)}"
            )
        return np.asarray(np.mean(votes, axis=0, dtype=np.float64))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each image, shape (N,), int64; raises as `predict_proba`."""
        return self.predict_proba(X).argmax(axis=1)

    def evaluate(self, X: Any, y: Array) -> tuple[float, float]:
        """Return the mean of -log(probability of the true class), and the accuracy, of images X with labels y.

        Raises
        ------
        ShapeError
            No images, or as many labels as there are not images.
        NonFiniteError
            As `predict_proba`.
        """
        check_labels(y, len(as_indexable("X", X)), np.iinfo(np.int64).max)  # sooner than all is predicted
        probabilities = self.predict_proba(X)
        y = check_labels(y, *probabilities.shape)
        right = accuracy(y, probabilities.argmax(axis=1))
        tiny = np.finfo(np.float64).tiny  # so that a probability of 0 stays a number
        return float(-np.log(probabilities[np.arange(len(y)), y] + tiny).mean()), right
