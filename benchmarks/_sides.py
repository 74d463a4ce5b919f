"""The same network and training step in cnn_ext and in PyTorch, from the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks._ours import L2, rows_of_batches, step_of
from cnn_ext import layers as ours

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class Standardize(nn.Module):
    """(X - mean) / std, by the numbers of our layer."""

    def __init__(self, layer: ours.Standardize) -> None:
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(layer, name)).reshape(-1, 1, 1))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return (X - self.mean) / self.std


def torch_model(layers: Sequence[Any]) -> nn.Sequential:
    """Return the layers as PyTorch's own, with the same weights."""
    modules: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, ours.Conv):
            module: nn.Module = nn.Conv2d(
                layer.X_dim[0], layer.n_filter, (layer.h_filter, layer.w_filter), layer.stride, layer.padding
            )
        elif isinstance(layer, ours.FullyConnected):
            module = nn.Linear(*layer.W.shape)
        elif isinstance(layer, ours.BatchNorm):
            module = nn.BatchNorm2d(layer.X_dim[0]) if isinstance(layer.X_dim, tuple) else nn.BatchNorm1d(layer.X_dim)
        elif isinstance(layer, ours.Maxpool):
            module = nn.MaxPool2d(layer.size, layer.stride)
        elif isinstance(layer, ours.Dropout):
            module = nn.Dropout(1 - layer.prob)
        elif isinstance(layer, ours.Standardize):
            module = Standardize(layer)
        elif isinstance(layer, ours.GlobalAvgPool):
            module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        else:
            module = {ours.ReLU: nn.ReLU, ours.Tanh: nn.Tanh, ours.Flatten: nn.Flatten}[type(layer)]()
        modules.append(module)
        with torch.no_grad():
            for target, value in zip(module.parameters(), layer.params, strict=True):
                value = torch.from_numpy(value.T if isinstance(layer, ours.FullyConnected) else value).clone()
                target.data = value.contiguous()
    model = nn.Sequential(*modules)
    dtype = next(p.dtype for layer in layers for p in layer.params)
    return model.to(torch.float64 if dtype == np.float64 else torch.float32)  # the statistics too


def torch_step(
    layers: Sequence[Any], X: Any, y: Any, batch: int, rate: float, layout: str, compiled: bool = False
) -> Callable[[], float]:
    """Return the same for PyTorch: the loss with the L2 penalty, whose gradient is the optimizer's weight decay."""
    model = torch_model(layers).to(memory_format=LAYOUTS[layout])
    model.train()
    images = torch.from_numpy(X).to(memory_format=LAYOUTS[layout])
    labels = torch.from_numpy(y)
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": L2}, {"params": others}]
    sgd = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    forward = torch.compile(model) if compiled else model
    loss_function = nn.CrossEntropyLoss()
    rows = rows_of_batches(len(X), batch)

    def step() -> float:
        part = next(rows)
        sgd.zero_grad(set_to_none=True)
        loss = loss_function(forward(images[part]), labels[part])
        loss.backward()
        with torch.no_grad():
            penalty = sum(0.5 * L2 * (p * p).sum() for p in weights)
        sgd.step()
        return float(loss.detach() + penalty)

    return step


def steps_of_both(
    make_layers: Callable[[], Sequence[Any]], X: Any, y: Any, batch: int, rate: float, compiled: bool = False
) -> dict[str, Callable[[], float]]:
    """Return a step function for each side, all from the weights that `make_layers` gives."""
    sides = {"cnn_ext": step_of(make_layers(), X, y, batch, rate)}
    for layout in LAYOUTS:
        sides[f"PyTorch {layout}"] = torch_step(make_layers(), X, y, batch, rate, layout)
        if compiled:
            sides[f"PyTorch compiled {layout}"] = torch_step(make_layers(), X, y, batch, rate, layout, True)
    return sides


def difference_of_losses(sides: dict[str, Callable[[], float]], steps: int) -> float:
    """Take so many steps on every side, and return the largest difference of their losses from ours."""
    losses = {name: [step() for _ in range(steps)] for name, step in sides.items()}
    return float(max(np.abs(np.subtract(losses["cnn_ext"], other)).max() for other in losses.values()))
