"""Time a training step of the series' network in JAX and in Keras/TensorFlow beside cnn_ext.

    python -m benchmarks.frameworks [--threads 2] [--rounds 5] [--json FILE]

Each side is a process of its own, alternating, so that thread pools do not meet; it takes 60 steps from the same
weights on the same batches of 50, and tells the median of the last 40 and its first five losses, which must agree to
1e-3. JAX: the whole step, Nesterov's update and L2 included, in one jit. TensorFlow: one tf.function over a Keras
model. A framework that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks import _timing

BATCH, RATE, L2, STEPS = 50, 0.01, 0.001, 60


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    if args.side:
        step = SIDES[args.side](args.threads)
        losses, seconds = [], []
        for i in range(STEPS):
            began = time.perf_counter()
            losses.append(float(step(i % 20)))
            seconds.append(time.perf_counter() - began)
        print(json.dumps({"ms": 1e3 * statistics.median(seconds[20:]), "losses": losses[:5]}))
        return
    modules = {"cnn_ext": "cnn_ext", "JAX": "jax", "Keras/TensorFlow": "tensorflow"}
    installed = [name for name in SIDES if importlib.util.find_spec(modules[name])]
    results: dict[str, list[dict]] = {name: [] for name in installed}
    for _ in range(args.rounds):
        for name in installed:
            command = [sys.executable, "-m", "benchmarks.frameworks", "--side", name, "--threads", str(args.threads)]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            results[name].append(json.loads(out.splitlines()[-1]))
    medians = {name: statistics.median(result["ms"] for result in runs) for name, runs in results.items()}
    wanted = results["cnn_ext"][0]["losses"]
    for name, runs in results.items():
        difference = max(abs(a - b) for a, b in zip(runs[0]["losses"], wanted, strict=True))
        if difference > 1e-3:
            raise SystemExit(f"{name} does not compute the same: its losses differ by {difference:.1e}")
        print(f"{name:18} {medians[name]:7.2f} ms   {medians[name] / medians['cnn_ext']:.2f}")
    _timing.append_json(args.json, {"threads": args.threads, "rounds": args.rounds, "ms": medians})


def start():
    """Return the images (N, 1, 28, 28), the labels and the layers with the weights that all sides start from."""
    from benchmarks import _ours

    return *_ours.images(BATCH), _ours.series_layers()


def ours(threads: int):
    from benchmarks import _ours

    X, y, layers = start()
    step = _ours.step_of(layers, X, y, BATCH)
    return lambda i: step()  # takes the batches in the same order


def channels_last_weights(layers):
    """Return the weights as JAX and Keras want them: filters (h, w, C, K), dense rows in (H, W, C) order."""
    conv1, conv2, dense1, dense2 = (layer for layer in layers if layer.params)
    rows = dense1.W.reshape(32, 7, 7, 120).transpose(1, 2, 0, 3).reshape(1568, 120)
    filters = [conv.W.transpose(2, 3, 1, 0) for conv in (conv1, conv2)]
    return [filters[0], conv1.b, filters[1], conv2.b, rows, dense1.b, dense2.W, dense2.b]


def jax_side(threads: int):
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    import jax
    from jax import lax, nn
    from jax import numpy as jnp

    X, y, layers = start()
    X = jnp.asarray(X.transpose(0, 2, 3, 1))
    y = jnp.asarray(y)
    params = [jnp.asarray(value) for value in channels_last_weights(layers)]
    velocity = [jnp.zeros_like(p) for p in params]

    def block(x, w, b):
        x = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        return lax.reduce_window(nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss_of(p, x, labels):
        x = block(block(x, p[0], p[1]), p[2], p[3]).reshape(len(labels), -1)
        scores = nn.relu(x @ p[4] + p[5]) @ p[6] + p[7]
        loss = -jnp.take_along_axis(nn.log_softmax(scores), labels[:, None], axis=1).mean()
        return loss + sum(0.5 * L2 * (w * w).sum() for w in p[::2])

    @jax.jit
    def whole_step(p, v, x, labels):
        loss, grads = jax.value_and_grad(loss_of)(p, x, labels)
        v = [0.9 * a + g for a, g in zip(v, grads, strict=True)]
        p = [w - RATE * (g + 0.9 * a) for w, g, a in zip(p, grads, v, strict=True)]
        return p, v, loss

    def step(i):
        nonlocal params, velocity
        rows = slice(i * BATCH, (i + 1) * BATCH)
        params, velocity, loss = whole_step(params, velocity, X[rows], y[rows])
        return loss

    return step


def keras_side(threads: int):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    X, y, layers = start()
    X = X.transpose(0, 2, 3, 1).copy()
    kinds = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            kinds.Conv2D(16, 5, padding="same", activation="relu"),
            kinds.MaxPooling2D(2),
            kinds.Conv2D(32, 5, padding="same", activation="relu"),
            kinds.MaxPooling2D(2),
            kinds.Flatten(),
            kinds.Dense(120, activation="relu"),
            kinds.Dense(10),
        ]
    )
    model.set_weights(channels_last_weights(layers))
    optimizer = keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True)
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def whole_step(x, labels):
        with tf.GradientTape() as tape:
            loss = loss_function(labels, model(x, training=True))
            loss += tf.add_n([0.5 * L2 * tf.reduce_sum(w * w) for w in model.trainable_variables[::2]])
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    return lambda i: whole_step(
        tf.constant(X[i * BATCH : (i + 1) * BATCH]), tf.constant(y[i * BATCH : (i + 1) * BATCH])
    )


SIDES = {"cnn_ext": ours, "JAX": jax_side, "Keras/TensorFlow": keras_side}


if __name__ == "__main__":
    main()
