"""Data sets: MNIST from inside the package, Fashion-MNIST and CIFAR-10 from files of one's own."""

from .cifar10 import load_cifar10
from .fashion_mnist import load_fashion_mnist
from .labels import one_hot_encode
from .mnist import load_mnist, mnist_parts
from .scaled_images import ScaledImages

__all__ = ["ScaledImages", "load_cifar10", "load_fashion_mnist", "load_mnist", "mnist_parts", "one_hot_encode"]
