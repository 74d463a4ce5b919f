"""Recipes: all that makes a training run, by name. The table at the end is what there is to read.

A recipe says which network, what happens to the images before it and in training, how the weights are changed, and for
how long. Each number is explained in docs/recipes.md; all were chosen on training images that were held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from . import schedules
from ._checks import check_bool, check_choice, check_instance, check_int, check_real
from ._types import Array
from .augmentation import Compose, RandomAffine, Transform
from .batches import as_indexable, as_labels
from .callbacks import Callback
from .checkpoint import Checkpoint
from .initializers import RngLike, as_generator
from .layers import Layer, Standardize
from .loss import CrossEntropy
from .models import MODELS
from .network import NeuralNet
from .optimizers import SGD, Adam, AdamW, Optimizer
from .schedules import Schedule
from .training import History, fit

if TYPE_CHECKING:
    from .distributed import DataParallel

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "linear", "constant")
REALS = {
    "lr": "(0, inf)",
    "momentum": "[0, 1)",
    "l2": "[0, inf)",
    "label_smoothing": "[0, 1)",
    "max_norm": "(0, inf)",
    "average": "[0, 1)",
}
"""The settings that are numbers, with their intervals; the last two may be None."""

ADAM_LR = 0.001
"""Rate of Adam and AdamW where they take SGD's place and nothing is said of the rate: SGD's would be far too high."""

MEASURED_IMAGES = 10_000
"""How many training images mean and standard deviation are measured on: more would not change three digits."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training run but its seed and its images.

    Attributes
    ----------
    model : str
        A name in `models.MODELS`.
    standardize : bool
        Whether a first layer brings the images to mean 0 and standard deviation 1, by the numbers of the training
        images.
    augment : tuple of Transform
        What is done to the training images, one after the other.
    optimizer : {'sgd', 'adam', 'adamw'}
        SGD with Nesterov's momentum, Adam, or AdamW.
    lr : float
        Learning rate at its peak.
    momentum : float
        Of SGD; 0 for none.
    l2 : float
        Strength of the L2 penalty; with AdamW the weight decay.
    schedule : {'cosine', 'linear', 'constant'}
        How the rate falls from its peak to zero, if it does.
    warmup_steps : int
        Steps in which the rate rises to its peak, at most a tenth of the run; not for a constant rate.
    epochs, batch_size : int
        Passes over the images, images a step.
    train_size : int
        Training images, or all if there are fewer.
    label_smoothing : float
        See `CrossEntropy`.
    max_norm : float or None
        See `clip_gradients`.
    average : float or None
        Decay of the moving average of the weights; None for none.
    test_last_only : bool
        Whether the test images are looked at after the last epoch alone, or after each.
    """

    model: str
    standardize: bool
    augment: tuple[Transform, ...]
    optimizer: str
    lr: float
    momentum: float
    l2: float
    schedule: str
    warmup_steps: int
    epochs: int
    batch_size: int
    train_size: int
    label_smoothing: float
    max_norm: float | None
    average: float | None
    test_last_only: bool

    def __post_init__(self) -> None:
        check_choice("model", self.model, MODELS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("standardize", "test_last_only"):
            check_bool(name, getattr(self, name))
        for name, minimum in (("warmup_steps", 0), ("epochs", 1), ("batch_size", 1), ("train_size", 1)):
            check_int(name, getattr(self, name), minimum)
        for name, interval in REALS.items():
            value = getattr(self, name)
            if value is not None or name not in ("max_norm", "average"):
                check_real(name, value, interval)
        check_instance("augment", self.augment, tuple)
        for i, change in enumerate(self.augment):
            check_instance(f"augment[{i}]", change, Transform)

    @property
    def penalty(self) -> float:
        """Strength of the L2 penalty in the loss; none with AdamW, which does it itself."""
        return 0.0 if self.optimizer == "adamw" else self.l2

    def config(self) -> dict[str, Any]:
        """Return the settings as plain values, for a log or a model file."""
        return {**asdict(self), "augment": [transform.config() for transform in self.augment]}

    def changed(self, **settings: Any) -> Recipe:
        """Return the recipe with other settings.

        Where Adam or AdamW takes the place of SGD, and no `lr` comes with it, the rate is `ADAM_LR`.

        Raises
        ------
        ValueError, DTypeError
            A setting out of range or of another type; one that there is not (TypeError).
        """
        if self.optimizer == "sgd" and settings.get("optimizer", "sgd") != "sgd":
            settings = {"lr": ADAM_LR, **settings}
        return replace(self, **settings)

    def make_network(
        self, X: Any, num_class: int, rng: RngLike = None, *, make_layers: Callable[..., list[Layer]] | None = None
    ) -> NeuralNet:
        """Return the untrained network for training images like `X`, shape (N, C, H, W).

        `make_layers(X_dim, num_class, rng=rng)` is called instead of the model if it is given.
        """
        layers = list((make_layers or MODELS[self.model])(X.shape[1:], num_class, rng=as_generator(rng)))
        if self.standardize:
            layers.insert(0, Standardize.fit(X[:MEASURED_IMAGES]))
        return NeuralNet(layers, CrossEntropy(self.label_smoothing), self.penalty)

    def make_optimizer(self) -> Optimizer:
        """Return the optimizer, at its start."""
        if self.optimizer == "adamw":
            return AdamW(self.lr, weight_decay=self.l2)
        if self.optimizer == "adam":
            return Adam(self.lr)
        return SGD(self.lr, self.momentum, nesterov=self.momentum > 0)

    def make_schedule(self, total_steps: int) -> Schedule:
        """Return the schedule of a run of that many steps."""
        if self.schedule == "constant":
            return schedules.constant()
        falling = schedules.cosine if self.schedule == "cosine" else schedules.linear
        return falling(total_steps, min(self.warmup_steps, total_steps // 10))

    def train(
        self,
        X: Any,
        y: Array,
        *,
        num_class: int,
        seed: int = 0,
        validation: tuple[Any, Array] | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint: Checkpoint | None = None,
        parallel: DataParallel | None = None,
    ) -> tuple[NeuralNet, History]:
        """Train a new network on images X, shape (N, C, H, W), with labels y; everything follows from the seed.

        `train_size` is left to who chooses the images; for the rest see `fit`.
        """
        from numpy.random import SeedSequence, default_rng  # not on import: it takes as long as the rest

        X, y = as_indexable("X", X), as_labels(y)
        seed = check_int("seed", seed, 0, maximum=None)
        weights_seed, order_seed = SeedSequence(seed).spawn(2)
        net = self.make_network(X, num_class, default_rng(weights_seed))
        history = self.train_network(
            net,
            X,
            y,
            rng=default_rng(order_seed),
            validation=validation,
            callbacks=callbacks,
            checkpoint=checkpoint,
            parallel=parallel,
        )
        return net, history

    def train_network(
        self, net: NeuralNet, X: Any, y: Array, *, rng: RngLike, optimizer: Optimizer | None = None, **more: Any
    ) -> History:
        """Train a network that is there already: `fit` by this recipe, `more` being what else `fit` takes."""
        return fit(
            net,
            X,
            y,
            optimizer=optimizer or self.make_optimizer(),
            schedule=self.make_schedule(self.epochs * -(-len(y) // self.batch_size)),
            epochs=self.epochs,
            batch_size=self.batch_size,
            rng=rng,
            validate_last_only=self.test_last_only,
            augment=Compose(self.augment) if self.augment else None,
            max_norm=self.max_norm,
            average=self.average,
            **more,
        )


SERIES = Recipe(
    model="mnist",
    standardize=False,
    augment=(),
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    l2=0.001,
    schedule="cosine",
    warmup_steps=500,
    epochs=20,
    batch_size=50,
    train_size=50_000,
    label_smoothing=0.0,
    max_norm=None,
    average=None,
    test_last_only=False,
)
"""The series' set-up: its network, images, batches and rate, with the schedule that keeps it from collapsing."""

FAST = Recipe(
    model="small",
    standardize=True,
    augment=(RandomAffine(rotation=5, translation=1, scale=0.05),),
    optimizer="sgd",
    lr=0.2,
    momentum=0.9,
    l2=1e-4,
    schedule="linear",
    warmup_steps=500,
    epochs=1,
    batch_size=100,
    train_size=60_000,
    label_smoothing=0.0,
    max_norm=None,
    average=0.98,
    test_last_only=True,
)
"""99 % in one epoch, a few seconds."""

BEST = Recipe(
    model="best",
    standardize=True,
    augment=(RandomAffine(rotation=10, translation=2, scale=0.1),),
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    l2=5e-4,
    schedule="cosine",
    warmup_steps=500,
    epochs=20,
    batch_size=64,
    train_size=60_000,
    label_smoothing=0.1,
    max_norm=None,
    average=0.998,
    test_last_only=True,
)
"""As far as one small network goes in half an hour on two cores."""

RECIPES = {"series": SERIES, "fast": FAST, "best": BEST}
"""The recipes by name, as the command line calls them."""
