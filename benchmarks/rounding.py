"""Measure the rounding errors of Winograd's convolution and of the direct one, forward and back.

    python -m benchmarks.rounding [--json FILE]

Root mean squares relative to the standard deviation of the results, in float32 against NumPy's float64: 4 images of 32
channels, 14 x 14 pixels, 32 filters, all numbers normally distributed from a fixed seed.
"""

from __future__ import annotations

import numpy as np

from benchmarks import _timing
from cnn_ext import kernels, reference


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    rng = np.random.default_rng(0)
    for side in (3, 5):
        x, w, b, dout = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((4, 32, 14, 14), (32, 32, side, side), (32,), (4, 32, 14, 14))
        )
        padding = side // 2
        wide = [array.astype(np.float64) for array in (x, w, b, dout)]
        exact = [
            reference.conv2d_forward(*wide[:3], padding, 1),
            *reference.conv2d_backward(wide[3], *wide[:2], padding, 1),
        ]
        tiles = [
            kernels.winograd_conv2d_forward(x, w, b, padding),
            *kernels.winograd_conv2d_backward(dout, x, w, padding),
        ]
        direct = [kernels.conv2d_forward(x, w, b, padding, 1), *kernels.conv2d_backward(dout, x, w, padding, 1)]
        for name, e, t, d in zip(("forward", "input's gradient", "weights' gradient"), exact, tiles, direct):
            by_tiles, directly = (float(np.sqrt(np.square(got - e).mean()) / e.std()) for got in (t, d))
            print(f"{side} x {side}  {name:18} tiles {by_tiles:.1e}  directly {directly:.1e}")
            _timing.append_json(args.json, {"side": side, "result": name, "tiles": by_tiles, "directly": directly})


if __name__ == "__main__":
    main()
