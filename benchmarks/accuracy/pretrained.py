"""Put the trained networks of seed 0 into the package, in half precision, with the accuracy of what is stored.

    python -m benchmarks.accuracy.pretrained

Takes what `runs best` and `runs small` have left in benchmarks/models.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.runs import model_file
from cnn_ext import NeuralNet, load_mnist
from cnn_ext.pretrained import FOLDER

SOURCES = {"mnist-best": "best", "mnist-small": "small"}


def main() -> None:
    _, (X, y) = load_mnist(num_training=0)
    FOLDER.mkdir(exist_ok=True)
    for name, run in SOURCES.items():
        net = NeuralNet.load(model_file(run, seed=0))
        path = FOLDER / f"{name}.safetensors"
        trained = net.notes["test_accuracy"]
        net.save(path, storage_dtype=np.float16, notes=net.notes)
        stored = NeuralNet.load(path).evaluate(X, y)[1]
        net.save(path, storage_dtype=np.float16, notes={**net.notes, "test_accuracy": stored})
        print(f"{name}: {stored:.2%} (before rounding {trained:.2%}), {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
