"""How the cost grows: one block of convolution, ReLU and max-pooling, forward and backward, PyTorch beside cnn_ext.

    python -m benchmarks.growth [--rounds 7] [--json FILE] [--plot FILE]

Around batch 50, 28 x 28 pixels, 16 channels, 16 filters of 3 x 3 and 2 threads, one thing at a time is varied: the
batch, the side of the image, channels and filters, the side of the filters, the threads. Microseconds an image, with
the gradients of images, weights and biases; the faster of PyTorch's two layouts counts.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import _timing

BASE = {"batch": 50, "side": 28, "channels": 16, "filter": 3, "threads": 2}
VARIED = {
    "batch": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    "side": [8, 16, 28, 64, 128, 256],
    "channels": [1, 2, 3, 4, 8, 16, 32, 64, 128, 256],
    "filter": [1, 2, 3, 5, 7, 9, 11],
    "threads": [1, 2],
}
UNITS = {
    "batch": "images in a batch",
    "side": "side of the image, pixels",
    "channels": "channels, and filters",
    "filter": "side of the filter, pixels",
    "threads": "threads",
}


def main() -> None:
    parser = _timing.parser_of(__doc__, rounds=7)
    parser.add_argument("--plot", type=Path, help="draw the curves here, as PNG")
    args = parser.parse_args()
    _timing.set_threads(BASE["threads"])
    points: dict[str, list[dict[str, float]]] = {}
    for name, values in VARIED.items():
        points[name] = []
        for value in values:
            ours, torchs = time_block(args.rounds, **{**BASE, name: value})
            points[name].append({"value": value, "cnn_ext": ours, "PyTorch": torchs})
            print(f"{name:9} {value:5} {ours:9.1f} us {torchs:9.1f} us   {torchs / ours:.2f}", flush=True)
    _timing.append_json(args.json, {"base": BASE, "rounds": args.rounds, "microseconds_an_image": points})
    if args.plot:
        draw(points, args.plot)


def time_block(rounds: int, batch: int, side: int, channels: int, filter: int, threads: int) -> tuple[float, float]:
    """Return microseconds an image of ours and of the better of PyTorch's layouts, medians over the rounds."""
    import numpy as np
    import torch

    import cnn_ext
    from benchmarks import _sides
    from cnn_ext.fusion import find_steps

    cnn_ext.set_num_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    conv = cnn_ext.Conv((channels, side, side), channels, filter, filter, 1, filter // 2, rng=0)
    layers = [conv, cnn_ext.ReLU(), cnn_ext.Maxpool(conv.out_dim, 2, 2)]
    X = rng.standard_normal((batch, channels, side, side)).astype(np.float32)
    dout = rng.standard_normal((batch, *layers[2].out_dim)).astype(np.float32)
    (block,) = find_steps(layers)
    # Between blocks images stay channels last; so does PyTorch in that layout.
    block.takes_channels_last = block.gives_channels_last = True
    X_last, dout_last = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (X, dout))

    def ours():
        block.forward(X_last, training=True)
        block.backward(dout_last, need_dX=True)

    sides = {"cnn_ext": ours}
    for layout, memory_format in _sides.LAYOUTS.items():
        model = _sides.torch_model(layers).to(memory_format=memory_format)
        images = torch.from_numpy(X).to(memory_format=memory_format).requires_grad_(True)
        gradient = torch.from_numpy(dout).to(memory_format=memory_format)

        def side_of_torch(model=model, images=images, gradient=gradient):
            images.grad = None
            model.zero_grad(set_to_none=True)
            model(images).backward(gradient)

        sides[f"PyTorch {layout}"] = side_of_torch
    cost = batch * side * side * channels * channels * filter * filter  # keeps short ones long enough to time
    times = _timing.alternate(sides, rounds, repeat=max(1, min(20, int(5e8 / cost))), warm_up=1)
    medians = {name: 1e6 * statistics.median(values) / batch for name, values in times.items()}
    return medians.pop("cnn_ext"), min(medians.values())


def draw(points: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, grid = pyplot.subplots(2, 3, figsize=(13, 8), layout="constrained")
    for axes, (name, rows) in zip(grid.flat, points.items(), strict=False):
        for side, marker in (("cnn_ext", "o"), ("PyTorch", "s")):
            axes.plot([row["value"] for row in rows], [row[side] for row in rows], marker=marker, label=side)
        axes.set(xscale="log", yscale="log", xlabel=UNITS[name], ylabel="microseconds an image")
        axes.set_xticks([row["value"] for row in rows], [str(row["value"]) for row in rows], fontsize=8)
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    grid.flat[-1].set_axis_off()
    figure.suptitle(
        "Convolution, ReLU, 2 x 2 max-pooling, forward and backward, float32; unless varied: batch 50, 28 x 28, "
        "16 channels, 3 x 3, 2 threads"
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
