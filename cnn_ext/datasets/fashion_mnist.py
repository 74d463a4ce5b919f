"""Fashion-MNIST: clothes in the form of MNIST (Xiao, Rasul, Vollgraf 2017)."""

from __future__ import annotations

from pathlib import Path

from .._types import Array
from ._reader import path_name
from .mnist import PathLike, idx_folder, select


def load_fashion_mnist(
    path: PathLike,
    num_training: int = 50000,
    num_test: int = 10000,
    cnn: bool = True,
    one_hot: bool = False,
    validation: bool = False,
) -> tuple[tuple[Array, Array], ...]:
    """Load Fashion-MNIST from a folder with its four IDX files, gzipped or not.

    All other parameters, the results and the errors are those of `load_mnist`.

    References
    ----------
    Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms. 2017.
    """
    return select(idx_folder(Path(path_name(path))), num_training, num_test, cnn, one_hot, validation)
