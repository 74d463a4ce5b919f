"""Time the series' network in inference: PyTorch, eager and compiled, against cnn_ext, in one run, alternating.

    python -m benchmarks.inference [--threads 2] [--rounds 30] [--json FILE]

`predict_proba` against the softmax of the same network under `torch.inference_mode`: one image (latency), 32, and 1000
(throughput); outputs equal to 1e-5. The fastest of PyTorch's layouts, eager or by torch.compile, counts.
"""

from __future__ import annotations

from benchmarks import _timing


def main() -> None:
    parser = _timing.parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    import numpy as np
    import torch

    import cnn_ext
    from benchmarks import _sides

    torch.set_num_threads(args.threads)
    (X, y), _ = cnn_ext.load_mnist(num_training=1000, num_test=1)
    net = cnn_ext.NeuralNet(cnn_ext.make_mnist_cnn((1, 28, 28), 10, rng=0))
    cnn_ext.fit(net, X, y, optimizer=cnn_ext.SGD(0.01, 0.9, nesterov=True), epochs=1, batch_size=50, rng=0)
    for batch, repeat in ((1, 100), (32, 20), (1000, 2)):
        sides = {"cnn_ext": lambda images=X[:batch]: net.predict_proba(images)}
        for layout, memory_format in _sides.LAYOUTS.items():
            model = _sides.torch_model(net.layers).eval().to(memory_format=memory_format)
            images = torch.from_numpy(X[:batch]).to(memory_format=memory_format)
            for kind, forward in (("eager", model), ("compiled", torch.compile(model))):

                def side(forward=forward, images=images):
                    with torch.inference_mode():
                        return torch.softmax(forward(images), dim=1)

                sides[f"PyTorch {kind} {layout}"] = side
        ours = sides["cnn_ext"]()
        difference = max(float(np.abs(ours - np.asarray(side())).max()) for side in sides.values())
        if difference > 1e-5:
            raise SystemExit(f"the sides do not compute the same: their outputs differ by {difference:.1e}")
        times = _timing.alternate(sides, args.rounds, repeat)
        best, ratio = _timing.ratio_to_best(times)
        medians = _timing.medians_ms(times)
        for name, ms in medians.items():
            print(f"{batch:5} {name:30} {ms:8.3f} ms")
        print(f"{batch:5} images, {args.threads} threads: {best} / cnn_ext = {ratio:.2f}", flush=True)
        _timing.append_json(
            args.json, {"batch": batch, "threads": args.threads, "rounds": args.rounds, "ms": medians, "ratio": ratio}
        )


if __name__ == "__main__":
    main()
