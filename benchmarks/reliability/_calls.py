"""Random calls of the public functions, most of them legal, many not: what the soak is made of.

A call is a function and its arguments by name, drawn legal; `spoiled` then puts something else in the place of some.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cnn_ext
from cnn_ext import augmentation, kernels, schedules
from cnn_ext.datasets.idx import read_idx

Call = tuple[Callable[..., Any], dict[str, Any]]
DTYPES = (np.float32, np.float64)
BAD = [
    None, True, -1, 0, 1, 2, 7, 2**31, 2**63, 2**70, -(2**63), 0.0, 0.5, -0.5, 1.5, float("nan"), float("inf"), 1e300,
    "3", "", b"x", [], (), [1, 2], (1, 28, 28), {}, object(), 3 + 4j, np.int64(3), np.float32(0.5), np.bool_(True),
    (2**40, 2**40, 2**40, 2**40), (0, 1, 1, 1), (1, 2**62, 1, 1),
]  # fmt: skip


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def size(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def array(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Any:
    """Return such an array, in one of several layouts; in rare cases with numbers that are hard."""
    x = rng.standard_normal(shape).astype(dtype)
    if x.size and rng.random() < 0.1:
        x.reshape(-1)[rng.integers(x.size)] = pick(rng, np.nan, np.inf, -np.inf, 1e38, 1e-40, -0.0)
    kind = rng.integers(8)
    if kind == 0:
        return np.asfortranarray(x)
    if kind == 1 and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if kind == 2 and x.ndim:
        return x[::-1]
    if kind == 3:
        x.flags.writeable = False
    elif kind == 4:
        return x.astype(x.dtype.newbyteorder("S"))
    return x


def spoiled(rng: np.random.Generator, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with one or two of them replaced by what does not belong there."""
    arguments = dict(arguments)
    for _ in range(size(rng, 1, 2)):
        name = pick(rng, *arguments)
        value = arguments[name]
        if isinstance(value, np.ndarray) and rng.random() < 0.75:
            arguments[name] = bad_array(rng, value)
        else:
            arguments[name] = pick(rng, *BAD)
    return arguments


def bad_array(rng: np.random.Generator, x: Any) -> Any:
    kind = rng.integers(9)
    if x.dtype == object:  # spoiled already: NumPy converts it no more
        return x
    if kind == 0:
        return x.astype(pick(rng, np.int64, np.float16, np.complex64, bool, object, np.uint8))
    if kind == 1:
        return x[np.newaxis]
    if kind == 2 and x.ndim:
        return x[0] if len(x) else x[:, np.newaxis]
    if kind == 3 and x.ndim:
        return np.concatenate([x, x], axis=int(rng.integers(x.ndim)))
    if kind == 4 and x.ndim:
        axis = int(rng.integers(x.ndim))
        return np.take(x, np.arange(size(rng, 0, max(x.shape[axis] - 1, 0))), axis=axis)
    if kind == 5:
        return np.ma.masked_array(x)
    if kind == 6:
        return x.tolist()
    if kind == 7 and x.dtype.kind == "f":
        return np.full_like(x, pick(rng, np.nan, np.inf, 1e300 if x.dtype.itemsize == 8 else 3e38))
    return (
        x.astype(np.float64 if x.dtype == np.float32 else np.float32)
        if x.dtype.kind == "f"
        else x.astype(np.int64) - 2**40
    )


def images(rng: np.random.Generator, dtype: Any) -> Any:
    return array(rng, size(rng, 0, 5), size(rng, 1, 9), size(rng, 1, 17), size(rng, 1, 17), dtype=dtype)


def kernel_call(rng: np.random.Generator) -> Call:
    dtype = pick(rng, *DTYPES)
    x = images(rng, dtype)
    n, c, h, w = x.shape
    padding, stride = size(rng, 0, 3), size(rng, 1, 3)
    kh, kw = size(rng, 1, min(h + 2 * padding, 6)), size(rng, 1, min(w + 2 * padding, 6))
    h_out, w_out = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    window = {"padding": padding, "stride": stride}
    side = size(rng, 1, min(h, w))
    pooled = {"x_shape": x.shape, "size": side, "stride": stride}
    pooled_shape = (n, c, (h - side) // stride + 1, (w - side) // stride + 1)
    filters = array(rng, size(rng, 1, 9), c, kh, kw, dtype=dtype)
    choice = rng.integers(11)
    if choice == 0:
        return kernels.im2col, {"x": x, "h_filter": kh, "w_filter": kw, **window}
    if choice == 1:
        columns = array(rng, c * kh * kw, h_out * w_out * n, dtype=dtype)
        return kernels.col2im, {"cols": columns, "x_shape": x.shape, "h_filter": kh, "w_filter": kw, **window}
    if choice == 2:
        return kernels.conv2d_forward, {"x": x, "w": filters, "b": array(rng, len(filters), dtype=dtype), **window}
    if choice == 3:
        dout = array(rng, n, len(filters), h_out, w_out, dtype=dtype)
        return kernels.conv2d_backward, {"dout": dout, "x": x, "w": filters, **window}
    if choice in (4, 5):
        side = pick(rng, 3, 5)
        x = array(rng, n, c, h + side, w + side, dtype=dtype)
        filters, padding = array(rng, len(filters), c, side, side, dtype=dtype), size(rng, 0, side - 1)
        if choice == 4:
            b = array(rng, len(filters), dtype=dtype)
            return kernels.winograd_conv2d_forward, {"x": x, "w": filters, "b": b, "padding": padding}
        dout = array(rng, n, len(filters), h + 1 + 2 * padding, w + 1 + 2 * padding, dtype=dtype)
        return kernels.winograd_conv2d_backward, {"dout": dout, "x": x, "w": filters, "padding": padding}
    if choice == 6:
        return kernels.maxpool_forward, {"x": x, "size": side, "stride": stride}
    if choice == 7:
        argmax = rng.integers(0, side * side, pooled_shape)
        return kernels.maxpool_backward, {"dout": array(rng, *pooled_shape, dtype=dtype), "argmax": argmax, **pooled}
    if choice == 8:
        function = pick(rng, kernels.avgpool_forward, kernels.avgpool_backward)
        if function is kernels.avgpool_forward:
            return function, {"x": x, "size": side, "stride": stride}
        return function, {"dout": array(rng, *pooled_shape, dtype=dtype), **pooled}
    if choice == 9:
        if rng.random() < 0.5:
            return kernels.gaussian_blur, {"x": x, "sigma": float(rng.uniform(0.1, 5))}
        return kernels.warp_affine, {"x": x, "matrix": array(rng, n, 2, 3, dtype=dtype), "fill": 0.5}
    return kernels.warp_flow, {"x": x, "flow": 3 * array(rng, n, 2, h, w, dtype=dtype), "fill": 0.0}


def layer_making(rng: np.random.Generator) -> Call:
    """Return the making of a layer; see `use_layer` for what is done with it."""
    dtype, dim = pick(rng, *DTYPES), (size(rng, 1, 9), size(rng, 5, 16), size(rng, 5, 16))
    stride = size(rng, 1, 3)
    seed = size(rng, 0, 99)
    conv = {"X_dim": dim, "n_filter": size(rng, 1, 9), "h_filter": size(rng, 1, 5), "w_filter": size(rng, 1, 5),
            "stride": stride, "padding": size(rng, 0, 2), "dtype": dtype, "rng": seed}  # fmt: skip
    pool = {"X_dim": dim, "size": size(rng, 1, 5), "stride": stride}
    makings: list[Call] = [
        (cnn_ext.Conv, conv),
        (cnn_ext.Maxpool, pool),
        (cnn_ext.AvgPool, pool),
        (cnn_ext.GlobalAvgPool, {"X_dim": dim}),
        (cnn_ext.BatchNorm, {"X_dim": dim, "momentum": 0.1, "eps": 1e-5, "dtype": dtype}),
        (cnn_ext.Dropout, {"prob": 0.5, "per_channel": bool(rng.integers(2)), "dtype": dtype, "rng": seed}),
        (cnn_ext.FullyConnected, {"in_size": size(rng, 1, 40), "out_size": size(rng, 1, 40), "dtype": dtype}),
        (cnn_ext.Standardize, {"X_dim": dim, "mean": 0.5, "std": [1.0] * dim[0]}),
        (cnn_ext.ReLU, {}), (cnn_ext.Tanh, {}), (cnn_ext.Sigmoid, {}), (cnn_ext.Flatten, {}),
    ]  # fmt: skip
    return makings[rng.integers(len(makings))]


def loss_call(rng: np.random.Generator) -> Call:
    n, c = size(rng, 1, 20), size(rng, 1, 12)
    scores, y = array(rng, n, c), rng.integers(0, c, n)
    choice = rng.integers(4)
    if choice == 0:
        return cnn_ext.SoftmaxLoss, {"out": scores, "y": y}
    if choice == 1:
        return cnn_ext.softmax, {"x": scores}
    if choice == 2:
        return cnn_ext.one_hot_encode, {"y": y, "num_class": c}
    loss = cnn_ext.CrossEntropy(0.1, rng.random(c) if rng.random() < 0.5 else None)
    return loss, {"scores": scores, "y": y, "sample_weight": rng.random(n)}


def augmentation_call(rng: np.random.Generator) -> Call:
    made: list[Call] = [
        (augmentation.RandomAffine, {"rotation": 15.0, "translation": 2.0, "scale": 0.1, "shear": 5.0, "fill": 0.0}),
        (augmentation.ElasticDistortion, {"alpha": 8.0, "sigma": 2.0, "fill": 0.0}),
        (augmentation.RandomCrop, {"padding": 2, "fill": 0.0}),
        (augmentation.RandomFlip, {"probability": 0.5}),
        (augmentation.RandomErasing, {"probability": 0.5}),
        (augmentation.Cutout, {"size": 4, "probability": 0.5, "fill": 0.0}),
        (cnn_ext.View, {"rotation": 5.0, "down": 1.0, "right": 1.0, "scale": 1.1, "flip": True, "fill": 0.0}),
    ]
    if rng.random() < 0.3:
        return made[rng.integers(len(made))]
    transform, arguments = made[rng.integers(len(made) - 1)]
    return transform(**arguments), {
        "X": images(rng, pick(rng, *DTYPES)),
        "rng": np.random.default_rng(size(rng, 0, 99)),
    }


def setting_call(rng: np.random.Generator) -> Call:
    made: list[Call] = [
        (cnn_ext.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (cnn_ext.Adam, {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
        (cnn_ext.AdamW, {"lr": 0.001, "weight_decay": 0.01}),
        (cnn_ext.RMSProp, {"lr": 0.001, "decay": 0.9, "eps": 1e-8}),
        (cnn_ext.AdaGrad, {"lr": 0.001, "eps": 1e-8}),
        (cnn_ext.CrossEntropy, {"label_smoothing": 0.1, "class_weight": [1.0, 2.0]}),
        (schedules.cosine, {"total_steps": 10, "warmup_steps": 2}),
        (schedules.linear, {"total_steps": 10, "warmup_steps": 2, "end_factor": 0.1}),
        (schedules.step_decay, {"every_steps": 5, "gamma": 0.1}),
        (schedules.exponential, {"gamma": 0.9}),
        (cnn_ext.clip_gradients, {"grads": [np.ones(5, np.float32)], "max_norm": 1.0}),
        (cnn_ext.make_mnist_cnn, {"X_dim": (1, 8, 8), "num_class": 3, "rng": 0}),
        (cnn_ext.make_small_cnn, {"X_dim": (1, 8, 8), "num_class": 3, "rng": 0}),
        (cnn_ext.shifted_views, {"pixels": 1.0}),
    ]
    return made[rng.integers(len(made))]


def file_call(rng: np.random.Generator, folder: Path, saved: bytes) -> Call:
    """Return a call that reads a file, damaged more often than not."""
    parts = tuple((rng.random((2, 784), np.float32), rng.integers(0, 10, 2)) for _ in range(3))
    idx = b"\0\0\x08\x03" + b"\0\0\0\x02\0\0\0\x03\0\0\0\x03" + bytes(18)
    name, data, reader = pick(
        rng,
        ("net.safetensors", saved, cnn_ext.NeuralNet.load),
        ("images-idx3-ubyte", idx, read_idx),
        ("images-idx3-ubyte.gz", gzip.compress(idx), read_idx),
        ("mnist.pkl.gz", gzip.compress(pickle.dumps(parts, protocol=size(rng, 2, 5))), load_few),
    )
    path = folder / name
    path.write_bytes(damaged(rng, data) if rng.random() < 0.7 else data)
    return reader, {"path": path}


def load_few(path: Path) -> Any:
    return cnn_ext.load_mnist(path, num_training=2, num_test=2)


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(size(rng, 1, 4)):
        at = int(rng.integers(len(spoilt) + 1))
        kind = rng.integers(4)
        if kind == 0:
            del spoilt[at:]
        elif kind == 1:
            spoilt[at:at] = rng.bytes(size(rng, 1, 9))
        elif kind == 2:
            del spoilt[at : at + size(rng, 1, 9)]
        elif at < len(spoilt):
            spoilt[at] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)
