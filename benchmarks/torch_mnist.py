"""One epoch of the series' network in plain PyTorch, as someone would write it: data in memory, no DataLoader.

    python -m benchmarks.torch_mnist [--threads 2]

Prints the seconds of training and of the accuracies behind it, as `python -m cnn_ext.train_mnist` tells them after each
epoch. The yardstick of epoch.py.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

import cnn_ext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    (X, y), (X_test, y_test) = cnn_ext.load_mnist(num_training=50_000)
    X, y, X_test, y_test = map(torch.from_numpy, (X, y, X_test, y_test))
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 120), nn.ReLU(), nn.Linear(120, 10),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.001}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=100)
    loss_function = nn.CrossEntropyLoss()

    began = time.perf_counter()
    model.train()
    for rows in torch.randperm(len(X)).split(50):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(X[rows].to(memory_format=torch.channels_last)), y[rows])
        loss.backward()
        optimizer.step()
        warm_up.step()
    model.eval()
    accuracies = [accuracy(model, *images) for images in ((X, y), (X_test, y_test))]
    seconds = time.perf_counter() - began
    print(f"{seconds:.3f} s, accuracy {accuracies[0]:.2%} in training, {accuracies[1]:.2%} in the test")


def accuracy(model, X, y):
    with torch.inference_mode():
        parts = zip(X.split(1000), y.split(1000), strict=True)
        return sum(int((model(part).argmax(1) == labels).sum()) for part, labels in parts) / len(y)


if __name__ == "__main__":
    main()
