"""Time a step of the series' network on 1 and 2 threads, in one run, alternating.

    python -m benchmarks.threads [--rounds 30] [--json FILE]

Training under way (see torch_step.py), batch 50 and 256. The weights after the timed steps must be equal to the bit.
"""

from __future__ import annotations

import statistics

from benchmarks import _timing


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    _timing.set_threads(1)  # NumPy's own: its products are not used here
    import cnn_ext
    from benchmarks import _ours

    weights = _ours.weights_after_an_epoch()
    for batch in (50, 256):
        X, y = _ours.images(batch)
        networks = {threads: _ours.series_layers(weights) for threads in (1, 2)}

        def on(threads, step):
            def side():
                cnn_ext.set_num_threads(threads)
                step()

            return side

        sides = {f"{n}": on(n, _ours.step_of(layers, X, y, batch)) for n, layers in networks.items()}
        times = _timing.alternate(sides, args.rounds)
        ratio = statistics.median(a / b for a, b in zip(times["1"], times["2"], strict=True))
        one, two = (b"".join(p.tobytes() for layer in layers for p in layer.params) for layers in networks.values())
        if one != two:
            raise SystemExit("the weights differ")
        medians = _timing.medians_ms(times)
        print(
            f"batch {batch:3}: {medians['1']:6.2f} ms on 1 thread, {medians['2']:6.2f} ms on 2: {ratio:.2f}", flush=True
        )
        _timing.append_json(args.json, {"batch": batch, "rounds": args.rounds, "ms": medians, "ratio": ratio})


if __name__ == "__main__":
    main()
