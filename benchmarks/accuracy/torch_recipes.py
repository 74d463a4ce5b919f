"""The recipes in plain PyTorch, as someone who knows it would write them; flags and log are those of train_mnist.

    python -m benchmarks.accuracy.torch_recipes --recipe best --epochs 1 --log FILE

The same network from the same weights, SGD with Nesterov's momentum, L2 penalty of the weights, schedule and moving
average; images in memory, batches augmented by affine_grid and grid_sample, channels last. The batches come in
another order and the augmentation draws other numbers, so that accuracies agree in the mean only. The loss in the log
is without its L2 penalty.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from numpy.random import SeedSequence, default_rng
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks._sides import torch_model
from cnn_ext import Recipe
from cnn_ext._flags import chosen_recipe, make_parser
from cnn_ext._machine import describe_machine
from cnn_ext.augmentation import RandomAffine, RandomFlip, Transform
from cnn_ext.datasets import mnist_parts

Tensor = torch.Tensor
NUM_CLASS, TEST_CHUNK = 10, 1000


def main() -> None:
    args = make_parser().parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    recipe = chosen_recipe(args)
    training, test, _ = mnist_parts(args.data, recipe.train_size, args.test_size or 10_000)
    lines = Path(args.log).open("w")
    settings = {
        "recipe": recipe.config(),
        "seed": args.seed,
        "command": shlex.join(["python", "-m", "benchmarks.accuracy.torch_recipes", *sys.argv[1:]]),
    }
    machine = {**describe_machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    lines.write(json.dumps({"run": {**settings, "machine": machine}}) + "\n")
    for record in train(recipe, training, test, args.seed):
        lines.write(json.dumps(record) + "\n")
        lines.flush()
        print(record, flush=True)


def train(recipe: Recipe, training: Any, test: Any, seed: int) -> Any:
    """Train, and give a record of each epoch."""
    torch.manual_seed(seed)
    X, y = torch.from_numpy(training[0][:]), torch.from_numpy(training[1]).long()
    X_test, y_test = torch.from_numpy(test[0][:]), torch.from_numpy(test[1]).long()
    weights_seed, _ = SeedSequence(seed).spawn(2)
    net = recipe.make_network(training[0], NUM_CLASS, default_rng(weights_seed))
    model = torch_model(net.layers).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(recipe, model)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, recipe.make_schedule(recipe.epochs * math.ceil(len(y) / recipe.batch_size))
    )
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    averaged = None
    if recipe.average is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)

    for epoch in range(1, recipe.epochs + 1):
        began = time.perf_counter()
        model.train()
        loss_sum, n_right = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.randperm(len(y)).split(recipe.batch_size):
            images, labels = X[rows].contiguous(memory_format=torch.channels_last), y[rows]
            for change in recipe.augment:
                images = augmented(images, change)
            optimizer.zero_grad(set_to_none=True)
            scores = model(images)
            loss = loss_function(scores, labels)
            loss.backward()
            if recipe.max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.max_norm)
            optimizer.step()
            schedule.step()
            if averaged is not None:
                averaged.update_parameters(model)
            loss_sum += loss.detach() * len(rows)
            n_right += (scores.detach().argmax(1) == labels).sum()
        seconds = time.perf_counter() - began
        record = {"epoch": epoch, "loss": float(loss_sum) / len(y), "running_accuracy": int(n_right) / len(y)}
        if not recipe.test_last_only:
            record["train_accuracy"] = accuracy(averaged or model, X, y)
        if epoch == recipe.epochs or not recipe.test_last_only:
            record["test_accuracy"] = accuracy(averaged or model, X_test, y_test)
        yield {**record, "seconds": seconds, "images_per_second": len(y) / seconds}


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer; only weights are drawn to zero."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.l2},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    if recipe.optimizer == "adam":
        raise SystemExit("there is no PyTorch twin of --optimizer adam")
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def augmented(images: Tensor, change: Transform) -> Tensor:
    """Return the batch, each image changed in a way of its own."""
    if isinstance(change, RandomFlip):
        flipped = torch.rand(len(images), 1, 1, 1) < change.probability
        return torch.where(flipped, images.flip(3), images)
    if isinstance(change, RandomAffine) and change.fill == 0:
        return warped(images, change, 2 * torch.rand(5, len(images)) - 1)
    raise SystemExit(f"there is no PyTorch twin of {change}")


def warped(images: Tensor, change: RandomAffine, drawn: Tensor) -> Tensor:
    """Return the images sheared, scaled, turned and shifted, each by five numbers in [-1, 1], with one resampling."""
    height, width = images.shape[2:]
    angle, lean = math.radians(change.rotation) * drawn[0], math.radians(change.shear) * drawn[2]
    factor, slope = 1 + change.scale * drawn[1], lean.tan()
    down, right = change.translation * drawn[3], change.translation * drawn[4]
    cos, sin = angle.cos() / factor, angle.sin() / factor
    # From a place (x, y) of the result, in pixels from its middle, to the place in the image.
    to_x = [cos - slope * sin, -sin - slope * cos]
    to_y = [sin, cos]
    x_shift, y_shift = (-(to[0] * right + to[1] * down) for to in (to_x, to_y))
    # In PyTorch's units half the image is 1.
    row_x = torch.stack([to_x[0], to_x[1] * height / width, 2 / width * x_shift], dim=1)
    row_y = torch.stack([to_y[0] * width / height, to_y[1], 2 / height * y_shift], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def accuracy(model: nn.Module, X: Tensor, y: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        parts = zip(X.split(TEST_CHUNK), y.split(TEST_CHUNK), strict=True)
        return sum(int((model(part).argmax(1) == labels).sum()) for part, labels in parts) / len(y)


if __name__ == "__main__":
    main()
