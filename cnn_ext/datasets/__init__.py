"""Data sets: MNIST from inside the package, Fashion-MNIST, CIFAR-10 and one's own pictures from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy
from .cifar10 import load_cifar10
from .fashion_mnist import load_fashion_mnist
from .labels import one_hot_encode
from .mnist import load_mnist, mnist_parts
from .scaled_images import ScaledImages

if TYPE_CHECKING:
    from .image_csv import load_image_csv
    from .image_data import ImageData
    from .image_folder import load_image_folder
    from .sources import load_data
else:
    __getattr__ = lazy(
        __name__,
        {
            "ImageData": ".image_data",
            "load_data": ".sources",
            "load_image_csv": ".image_csv",
            "load_image_folder": ".image_folder",
        },
    )

__all__ = [
    "ImageData",
    "ScaledImages",
    "load_cifar10",
    "load_data",
    "load_fashion_mnist",
    "load_image_csv",
    "load_image_folder",
    "load_mnist",
    "mnist_parts",
    "one_hot_encode",
]
