"""cnn_ext: small convolutional networks, trained on an ordinary CPU.

The way of the data, and where to read it: `datasets` -> `batches` -> `layers` -> `loss` -> `optimizers` ->
`training`. `kernels` holds the compiled loops as plain functions on NumPy arrays, `reference` their twins in NumPy.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy
from ._machine import show_config
from ._version import __version__
from .averaging import WeightAverage
from .batches import get_minibatches
from .callbacks import Callback, EarlyStopping, TrainingAccuracy
from .checkpoint import Checkpoint
from .clipping import clip_gradients
from .datasets import load_cifar10, load_fashion_mnist, load_mnist, one_hot_encode
from .distributed import DataParallel
from .ensemble import Ensemble
from .errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CnnExtError,
    DataFormatError,
    DTypeError,
    NonFiniteError,
    ShapeError,
    UnsafePickleError,
)
from .folding import fold_batch_norm
from .layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAvgPool,
    Layer,
    Maxpool,
    ReLU,
    Sigmoid,
    Standardize,
    Tanh,
)
from .logs import CsvLog, JsonLog
from .loss import CrossEntropy, SoftmaxLoss, accuracy, softmax
from .lr_range import LRRange, lr_find
from .models import make_best_cnn, make_cifar10_cnn, make_mnist_cnn, make_small_cnn
from .network import NeuralNet
from .optimizers import SGD, AdaGrad, Adam, AdamW, RMSProp
from .pretrained import load_pretrained
from .progress import Progress
from .recipes import RECIPES, Recipe
from .regularization import (
    delta_l1_regularization,
    delta_l2_regularization,
    l1_regularization,
    l2_regularization,
)
from .solvers import adagrad, adam, rmsprop, sgd, sgd_momentum
from .threads import get_num_threads, set_num_threads
from .training import History, fit
from .views import View, shifted_views

if TYPE_CHECKING:
    from .datasets import load_data
    from .estimator import CNNClassifier as CNNClassifier
else:
    # The latter brings scikit-learn with it.
    __getattr__ = lazy(__name__, {"load_data": ".datasets.sources", "CNNClassifier": ".estimator"})


__all__ = [
    "RECIPES",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "AvgPool",
    "BatchNorm",
    "Callback",
    "Checkpoint",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointMismatchError",
    "CnnExtError",
    "Conv",
    "CrossEntropy",
    "CsvLog",
    "DTypeError",
    "DataFormatError",
    "DataParallel",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "Flatten",
    "FullyConnected",
    "GlobalAvgPool",
    "History",
    "JsonLog",
    "LRRange",
    "Layer",
    "Maxpool",
    "NeuralNet",
    "NonFiniteError",
    "Progress",
    "RMSProp",
    "ReLU",
    "Recipe",
    "ShapeError",
    "Sigmoid",
    "SoftmaxLoss",
    "Standardize",
    "Tanh",
    "TrainingAccuracy",
    "UnsafePickleError",
    "View",
    "WeightAverage",
    "__version__",
    "accuracy",
    "adagrad",
    "adam",
    "clip_gradients",
    "delta_l1_regularization",
    "delta_l2_regularization",
    "fit",
    "fold_batch_norm",
    "get_minibatches",
    "get_num_threads",
    "l1_regularization",
    "l2_regularization",
    "load_cifar10",
    "load_data",
    "load_fashion_mnist",
    "load_mnist",
    "load_pretrained",
    "lr_find",
    "make_best_cnn",
    "make_cifar10_cnn",
    "make_mnist_cnn",
    "make_small_cnn",
    "one_hot_encode",
    "rmsprop",
    "set_num_threads",
    "sgd",
    "sgd_momentum",
    "shifted_views",
    "show_config",
    "softmax",
]
