"""Time a training step of twelve small networks: PyTorch against cnn_ext, each pair in one run, alternating.

    python -m benchmarks.panel [--threads 2] [--rounds 30] [--only NAME ...] [--json FILE]

Batch 50, random images and labels from a fixed seed: what is timed is the arithmetic, in the first steps of training,
where most gradients are alive. Both sides start from the same weights and must show the same losses over five steps: in
float64 to 1e-9, since in float32 roundings decide which ReLUs live, and soon the losses with them. Where layers draw at
random (dropout) they cannot. The faster of PyTorch's two layouts counts.
"""

from __future__ import annotations

import math
import statistics

from benchmarks import _timing

RATE, BATCH = 0.01, 50


def networks():
    """Return, by name, the shape of the images and the layers as letters and numbers; see `layers_of`."""
    vgg = "c32 b r c32 b r p c64 b r c64 b r p f d10"
    return {
        "VGG style, 28x28": ((1, 28, 28), vgg),
        "VGG style, 32x32x3": ((3, 32, 32), vgg),
        "64 to 128 channels": ((1, 28, 28), "c64 b r p c128 b r p f d10"),
        "LeNet-5": ((1, 28, 28), "v6 r p w16 r p f d120 r d84 r d10"),
        "no pooling": ((1, 28, 28), "c16 r s16 r s32 r f d10"),
        "stride 2, 32x32x3": ((3, 32, 32), "s32 b r s64 b r s64 b r f d10"),
        "64x64x3 images": ((3, 64, 64), "c16 r p c32 r p c64 r p f d10"),
        "series, CIFAR-10": ((3, 32, 32), "v16 r p v20 r p f d10"),
        "series, float64": ((1, 28, 28), "v16 r p v32 r p f d120 r d10"),
        "series, batch norm": ((1, 28, 28), "v16 b r p v32 b r p f d120 r d10"),
        "series, dropout": ((1, 28, 28), "v16 r p v32 r p f d120 r o d10"),
        "tanh": ((1, 28, 28), "v8 t p v16 t p f d84 t d10"),
    }


def layers_of(c, shape, letters, dtype):
    """c, s: 3 x 3 filters, stride 1 and 2; v, w: 5 x 5, padded or not; b: batch norm; d: dense; o: dropout."""
    layers, dim = [], shape
    for index, word in enumerate(letters.split()):
        kind, n = word[0], int(word[1:] or 0)
        options = {"dtype": dtype, "rng": index}
        if kind in "csvw":
            side, stride, padding = {"c": (3, 1, 1), "s": (3, 2, 1), "v": (5, 1, 2), "w": (5, 1, 0)}[kind]
            layer = c.Conv(dim, n, side, side, stride, padding, **options)
        elif kind == "d":
            layer = c.FullyConnected(math.prod(dim), n, **options)
            layer.out_dim = (n,)
        else:
            layer = {
                "b": lambda dim=dim: c.BatchNorm(dim, dtype=dtype),
                "r": c.ReLU,
                "t": c.Tanh,
                "p": lambda dim=dim: c.Maxpool(dim, 2, 2),
                "f": c.Flatten,
                "o": lambda index=index: c.Dropout(0.5, rng=index),
            }[kind]()
        layers.append(layer)
        dim = getattr(layer, "out_dim", dim)
    return layers


def main() -> None:
    parser = _timing.parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of the networks to time")
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    import numpy as np
    import torch

    import cnn_ext
    from benchmarks import _sides

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    ratios, figures = [], {}
    print(f"{'':20} {'cnn_ext':>9} {'PyTorch':>9}   ratio")
    for name, (shape, letters) in networks().items():
        if args.only and name not in args.only:
            continue
        dtype = np.float64 if "float64" in name else np.float32
        X, y = rng.random((BATCH, *shape)), rng.integers(0, 10, BATCH)

        def steps(dtype, shape=shape, letters=letters, X=X, y=y):
            return _sides.steps_of_both(
                lambda: layers_of(cnn_ext, shape, letters, dtype), X.astype(dtype), y, BATCH, RATE
            )

        difference = _sides.difference_of_losses(steps(np.float64), 5)
        if difference > 1e-9 and "dropout" not in name:
            raise SystemExit(f"{name}: the sides do not compute the same: their losses differ by {difference:.1e}")
        sides = steps(dtype)
        times = _timing.alternate(sides, args.rounds, repeat=3)
        best, ratio = _timing.ratio_to_best(times)
        medians = _timing.medians_ms(times)
        ratios.append(ratio)
        figures[name] = {"ms": medians, "ratio": ratio, "loss_difference": difference}
        print(f"{name:20} {medians['cnn_ext']:6.2f} ms {medians[best]:6.2f} ms   {ratio:.2f}", flush=True)
    mean = statistics.geometric_mean(ratios)
    print(f"geometric mean {mean:.2f}, smallest {min(ratios):.2f}")
    _timing.append_json(
        args.json, {"threads": args.threads, "rounds": args.rounds, "networks": figures, "geometric_mean": mean}
    )


if __name__ == "__main__":
    main()
