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
    from benchmarks import torch_step

    weights = torch_step.after_an_epoch(cnn_ext)
    for batch in (50, 256):
        (X, y), _ = cnn_ext.load_mnist(num_training=torch_step.BATCHES * batch, num_test=1)
        nets, sides = {}, {}
        for threads in (1, 2):
            layers = cnn_ext.make_mnist_cnn((1, 28, 28), 10, rng=0)
            for param, value in zip((p for layer in layers for p in layer.params), weights, strict=True):
                param[...] = value
            nets[threads] = net = cnn_ext.NeuralNet(layers)
            sides[f"{threads}"] = step_on(cnn_ext, net, threads, X, y, batch)
        times = _timing.alternate(sides, args.rounds)
        ratio = statistics.median(a / b for a, b in zip(times["1"], times["2"], strict=True))
        one, two = (b"".join(p.tobytes() for p in net.named_params().values()) for net in nets.values())
        if one != two:
            raise SystemExit("the weights differ")
        medians = _timing.medians_ms(times)
        print(
            f"batch {batch:3}: {medians['1']:6.2f} ms on 1 thread, {medians['2']:6.2f} ms on 2: {ratio:.2f}", flush=True
        )
        _timing.append_json(args.json, {"batch": batch, "rounds": args.rounds, "ms": medians, "ratio": ratio})


def step_on(cnn_ext, net, threads, X, y, batch):
    optimizer = cnn_ext.SGD(0.01, 0.9, nesterov=True)
    position = 0

    def step():
        nonlocal position
        cnn_ext.set_num_threads(threads)
        rows = slice(position, position + batch)
        position = (position + batch) % len(X)
        _, grads = net.train_step(X[rows], y[rows])
        optimizer.step(list(net.named_params().values()), [g for part in reversed(grads) for g in part])

    return step


if __name__ == "__main__":
    main()
