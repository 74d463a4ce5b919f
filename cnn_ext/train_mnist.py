"""The command line: `python -m cnn_ext.train_mnist` trains the series' network on MNIST.

From top to bottom: the flags, the run itself, and what turns an error into one line and an exit code.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from ._files import check_writable
from ._machine import describe_machine
from ._version import __version__
from .callbacks import Callback, TrainingAccuracy
from .datasets import mnist_parts
from .errors import DataFormatError, NonFiniteError
from .models import make_mnist_cnn
from .network import NeuralNet
from .optimizers import SGD
from .progress import JsonLog, Progress
from .schedules import constant, cosine
from .threads import set_num_threads
from .training import fit

USAGE, BAD_DATA, NO_DATA, NO_OUTPUT, IO_ERROR, INTERRUPTED = 2, 65, 66, 73, 74, 130
WARMUP_STEPS = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with the arguments `argv` (those of the process if None); return the exit code."""
    try:
        args = make_parser().parse_args(argv)
        return run(args)
    except Failure as failure:
        print(f"train_mnist: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("\ntrain_mnist: interrupted; nothing more was saved", file=sys.stderr)
        return INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Load, build, fit, save and report."""
    began = time.perf_counter()
    for flag, path in (("--output", args.output), ("--log", args.log)):
        if path is not None:
            with failing(NO_OUTPUT, OSError, f"{flag} cannot be written"):
                check_writable(path)
    if args.output is not None and args.output == args.log:
        raise Failure(USAGE, "--output and --log name the same file")
    if args.threads is not None:
        set_num_threads(args.threads)

    training, test = load(args)
    net, optimizer, order_rng = build(args)
    total_steps = args.epochs * -(-len(training[1]) // args.batch_size)
    warmup_steps = min(WARMUP_STEPS, total_steps // 10)
    schedule = cosine(total_steps, warmup_steps) if args.schedule == "cosine" else constant()

    callbacks: list[Callback] = [TrainingAccuracy(*training)]
    if args.log is not None:
        callbacks.append(JsonLog(args.log, {"settings": vars(args), "machine": describe_machine()}))
    if not args.quiet:
        callbacks.append(Progress())
    with (
        failing(1, NonFiniteError, "training diverged (a lower --lr may help)"),
        failing(IO_ERROR, OSError, "writing failed"),
    ):
        history = fit(
            net,
            *training,
            optimizer=optimizer,
            schedule=schedule,
            epochs=args.epochs,
            batch_size=args.batch_size,
            rng=order_rng,
            validation=test,
            callbacks=callbacks,
        )
        if args.output is not None:
            net.save(args.output)
        if not args.quiet:
            saved = "not saved (--output FILE saves them)" if args.output is None else f"in {args.output}"
            accuracy, seconds = history[-1]["validation_accuracy"], time.perf_counter() - began
            print(f"test accuracy {accuracy:.2%} after {seconds:.1f} s; weights {saved}")
    return 0


def load(args: argparse.Namespace) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the training and test images, as bytes that are scaled when a batch is gathered, and their labels."""
    with (
        failing(USAGE, ValueError, "--train-size or --test-size"),
        failing(NO_DATA, OSError, "the data cannot be read"),
        failing(BAD_DATA, DataFormatError, "bad data"),
    ):
        training, test = mnist_parts(args.data, args.train_size, args.test_size)
        if len(training[1]) == 0 or len(test[1]) == 0:
            raise DataFormatError(f"{args.data}: no images")
        return training, test


def build(args: argparse.Namespace) -> tuple[NeuralNet, SGD, Any]:
    """Return the network, its optimizer, and the generator of the images' order; all follow from the seed."""
    from numpy.random import SeedSequence, default_rng

    weights_seed, order_seed = SeedSequence(args.seed).spawn(2)
    layers = make_mnist_cnn((1, 28, 28), num_class=10, rng=default_rng(weights_seed))
    optimizer = SGD(args.lr, args.momentum, nesterov=args.momentum > 0)
    return NeuralNet(layers, l2=args.l2), optimizer, default_rng(order_seed)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = Parser(
        prog="python -m cnn_ext.train_mnist",
        description="Train the series' convolutional network on MNIST. Without flags: 50,000 images from inside the "
        "package, 20 epochs, tested on the 10,000 test images after each.",
        epilog="Exit codes: 0 done; 1 training diverged; 2 bad flag; 65 bad data; 66 data missing; 73 output not "
        "writable; 74 writing failed; 130 interrupted.",
        allow_abbrev=False,
    )
    count = Number(int, "[1, inf)")
    add = parser.add_argument
    add("--epochs", type=count, default=20, metavar="N", help="passes over the images (20)")
    add("--batch-size", type=count, default=50, metavar="N", help="images a step (50)")
    add("--lr", type=Number(float, "(0, inf)"), default=0.1, metavar="RATE", help="learning rate, at its peak (0.1)")
    add("--momentum", type=Number(float, "[0, 1)"), default=0.9, metavar="MU", help="Nesterov's; 0 for none (0.9)")
    add("--l2", type=Number(float, "[0, inf)"), default=0.001, metavar="LAM", help="strength of the L2 penalty (0.001)")
    add(
        "--schedule",
        choices=("cosine", "constant"),
        default="cosine",
        help=f"cosine: a rise over {WARMUP_STEPS} steps or a tenth of the run, then half a cosine to zero (the "
        "default); constant: the series' own",
    )
    add("--seed", type=Number(int, "[0, inf)"), default=0, metavar="N", help="of the weights and the order (0)")
    add("--threads", type=Number(int, "[1, 256]"), metavar="N", help="for the kernels (the CPUs it may use)")
    add("--train-size", type=count, metavar="N", help="training images (50,000, or all if fewer)")
    add("--test-size", type=count, metavar="N", help="test images (10,000, or all if fewer)")
    add("--data", metavar="PATH", help="a folder of IDX files or the series' mnist.pkl.gz (the files in the package)")
    add("--output", metavar="FILE", help="save the trained network here, as safetensors (it is not saved)")
    add("--log", metavar="FILE", help="write the settings and each epoch here, as JSON lines (no log)")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"cnn_ext {__version__}")
    return parser


class Parser(argparse.ArgumentParser):
    """A parser that reports a bad flag in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"train_mnist: {message} (--help lists the flags)\n")


class Number:
    """A type for argparse: an int or float inside an interval, written as in mathematics."""

    def __init__(self, kind: type[int] | type[float], interval: str) -> None:
        self.kind, self.interval = kind, interval

    def __call__(self, text: str) -> int | float:
        low, high = (float(bound) for bound in self.interval[1:-1].split(","))
        try:
            value = self.kind(text)
        except ValueError:
            value = float("nan")
        above = value > low or (value == low and self.interval[0] == "[")
        below = value < high or (value == high and self.interval[-1] == "]")
        if not (above and below):
            wanted = "an int" if self.kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{wanted} in {self.interval} expected, got {text!r}")
        return value


class Failure(Exception):
    """An error that ends the program: one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class failing:
    """Turn an exception of the given kind inside the block into a Failure."""

    def __init__(self, code: int, kind: type[Exception], what: str) -> None:
        self.code, self.kind, self.what = code, kind, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, self.kind):
            raise Failure(self.code, f"{self.what}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
