"""Time one training step of the series' network: the series' own way against cnn_ext, in one run, alternating.

    python -m benchmarks.series_step [--rounds 30] [--json FILE]

Both sides start from the same weights, take the same 20 batches and must show the same losses to 1e-4 first. A step
is all of it: forward, loss, L2, backward, Nesterov update. Both sides may use all CPUs (NumPy's own products do).
"""

from __future__ import annotations

from benchmarks import _ours, _timing
from benchmarks.series_baseline import SeriesNetwork

BATCH = 50


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    X, y = _ours.images(BATCH)
    layers = _ours.series_layers()
    baseline = SeriesNetwork([param for layer in layers for param in layer.params], lr=_ours.RATE)
    rows = _ours.rows_of_batches(len(X), BATCH)

    def series() -> float:
        part = next(rows)
        return baseline.step(X[part], y[part])

    sides = {"cnn_ext": _ours.step_of(layers, X, y, BATCH), "series": series}
    difference = max(abs(sides["cnn_ext"]() - series()) for _ in range(_ours.BATCHES))
    print(f"largest difference of the losses over {_ours.BATCHES} steps: {difference:.1e}")
    if difference > 1e-4:
        raise SystemExit("the two sides do not compute the same thing")

    times = _timing.alternate(sides, args.rounds)
    medians = _timing.medians_ms(times)
    _, ratio = _timing.ratio_to_best(times)
    print(f"series {medians['series']:.1f} ms, cnn_ext {medians['cnn_ext']:.2f} ms a step: {ratio:.1f} times")
    figures = {"batch": BATCH, "rounds": args.rounds, "ms": medians, "ratio": ratio, "loss_difference": difference}
    _timing.append_json(args.json, figures)


if __name__ == "__main__":
    main()
