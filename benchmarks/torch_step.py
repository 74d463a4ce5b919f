"""Time one training step of the series' network: PyTorch against cnn_ext, in one run, alternating.

    python -m benchmarks.torch_step [--batch 50] [--threads 2] [--compile] [--rounds 30] [--json FILE]

A step is all of it: forward, loss, L2, backward, Nesterov update; data in memory. Both sides start from the same
weights, take the same batches, and must show the same losses to 1e-4 over 20 steps first. Timed are two states, since
our way back visits only the gradients that ReLU and pooling let through: the first steps, when most are alive, and
training under way, after one epoch of the run that `python -m cnn_ext.train_mnist` does. PyTorch runs in its contiguous
and its channels-last layout, eagerly (and compiled with --compile); the faster one counts.
"""

from __future__ import annotations

from benchmarks import _timing


def main() -> None:
    parser = _timing.parser_of(__doc__)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well")
    args = parser.parse_args()
    _timing.set_threads(args.threads)
    import torch

    from benchmarks import _ours, _sides

    torch.set_num_threads(args.threads)
    X, y = _ours.images(args.batch)
    for state, weights in (("first steps", None), ("under way", _ours.weights_after_an_epoch())):

        def make_layers(weights=weights):
            return _ours.series_layers(weights)

        sides = _sides.steps_of_both(make_layers, X, y, args.batch, _ours.RATE, args.compile)
        difference = _sides.difference_of_losses(sides, 20)
        if difference > 1e-4:
            raise SystemExit(f"the sides do not compute the same: their losses differ by {difference:.1e}")
        times = _timing.alternate(sides, args.rounds)
        best, ratio = _timing.ratio_to_best(times)
        medians = _timing.medians_ms(times)
        for name, ms in medians.items():
            print(f"{state:12} {name:30} {ms:8.2f} ms")
        print(
            f"{state:12} batch {args.batch}, {args.threads} threads: {best} / cnn_ext = {ratio:.2f}; "
            f"losses differ by {difference:.1e}",
            flush=True,
        )
        figures = {"state": state, "batch": args.batch, "threads": args.threads, "rounds": args.rounds}
        _timing.append_json(args.json, {**figures, "ms": medians, "ratio": ratio, "loss_difference": difference})


if __name__ == "__main__":
    main()
