"""The command line: `python -m cnn_ext.train_mnist` trains the series' network on MNIST, or a recipe on other images.

The flags are in `_flags`, what keeps a run in `_keeping`, what turns an error into one line and a code in `_failures`,
and what several processes do together in `_processes`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._class_names import classes_of
from ._data import describe, load, load_network
from ._failures import BAD_DATA, DIVERGED, IO_ERROR, NO_OUTPUT, USAGE, Failure, exit_code, failing
from ._files import check_writable
from ._flags import chosen_recipe, make_parser
from ._keeping import chosen_checkpoint, keeping, without
from ._machine import describe_machine
from ._processes import joined, take_part
from .callbacks import Callback, EarlyStopping, TrainingAccuracy
from .datasets.sources import kind_of
from .errors import NonFiniteError
from .logs import CsvLog, JsonLog
from .progress import Progress
from .report import check_matplotlib, write_report
from .threads import set_num_threads

if TYPE_CHECKING:
    from .distributed import DataParallel

INTERRUPTED = (
    "interrupted; nothing more was saved (a run started with --resume FOLDER is kept there, and can be continued)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with the arguments `argv` (those of the process if None); return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        with joined(arguments, "train_mnist", INTERRUPTED) as parallel, warnings.catch_warnings():
            args = make_parser().parse_args(arguments)
            warnings.simplefilter("always", RuntimeWarning)
            warnings.showwarning = show_warning
            if args.threads is not None:
                set_num_threads(args.threads)
            if parallel is not None:
                take_part(args, parallel)
            return train(args, arguments, parallel) if args.evaluate is None else evaluate(args)

    return exit_code("train_mnist", run, INTERRUPTED)


def train(args: argparse.Namespace, arguments: Sequence[str], parallel: DataParallel | None) -> int:
    """Load, train by the recipe, save and report."""
    began = time.perf_counter()
    recipe = chosen_recipe(args)
    outputs = {"--output": args.output, "--log": args.log, "--report": args.report}
    outputs = {flag: path for flag, path in outputs.items() if path is not None}
    for flag, path in outputs.items():
        with failing(NO_OUTPUT, OSError, f"{flag} cannot be written"):
            check_writable(path)
    if len({os.path.realpath(path) for path in outputs.values()}) < len(outputs):
        raise Failure(USAGE, f"{' and '.join(outputs)} name the same file")
    if args.report is not None:
        with failing(USAGE, ImportError, "--report"):
            check_matplotlib()
    if args.early_stopping is not None and recipe.test_last_only:
        if args.test_last_only:
            raise Failure(USAGE, "--early-stopping looks at the images after each epoch: not with --test-last-only")
        recipe = replace(recipe, test_last_only=False)

    checkpoint = chosen_checkpoint(args)
    data = load(args, recipe)
    training, test, validation = data.training, data.test, data.validation
    held_out, tested = (validation, "validation") if len(validation[1]) else (test, "test")
    if args.early_stopping is not None and tested == "test":
        raise Failure(USAGE, "--early-stopping needs --validation-size: the test images must not decide when to stop")
    if not args.quiet and kind_of(args.data) != "mnist":
        print(describe(data), flush=True)
    recipe = replace(recipe, train_size=len(training[1]))
    notes = {
        "recipe": recipe.config(),
        "seed": args.seed,
        "command": command(arguments),
        "classes": data.classes,
        "images": data.form.config(),
    }
    callbacks: list[Callback] = [] if recipe.test_last_only else [TrainingAccuracy(*training)]
    stopping = None if args.early_stopping is None else EarlyStopping(patience=args.early_stopping)
    if stopping is not None:
        callbacks.append(stopping)
    if args.log is not None:
        as_table = args.log.endswith(".csv")
        settings = {**notes, "machine": describe_machine()}
        callbacks.append(CsvLog(args.log, tested) if as_table else JsonLog(args.log, settings, tested))
    if not args.quiet:
        callbacks.append(Progress(tested))
    if checkpoint is not None:
        checkpoint.settings = {"recipe": notes["recipe"], "seed": args.seed, "early_stopping": args.early_stopping}
    with (
        keeping(checkpoint, args, arguments, 1 if parallel is None else parallel.size),
        failing(DIVERGED, NonFiniteError, "training diverged (a lower --lr may help)"),
        failing(BAD_DATA, ValueError, "the images do not fit the recipe"),
        failing(IO_ERROR, OSError, "writing failed"),
    ):
        net, history = recipe.train(
            *training,
            num_class=len(data.classes),
            seed=args.seed,
            validation=held_out,
            callbacks=callbacks,
            checkpoint=checkpoint,
            parallel=parallel,
        )
        accuracy = history[-1]["validation_accuracy"] if stopping is None else stopping.best_value
        if args.output is not None:
            net.save(args.output, notes={**notes, f"{tested}_accuracy": accuracy})
        if args.report is not None:
            write_report(args.report, net, history, *held_out, notes=notes, tested=tested)
        if not args.quiet:
            saved = "not saved (--output FILE saves them)" if args.output is None else f"in {args.output}"
            if checkpoint is not None and checkpoint.found_complete:
                print(f"already complete: {checkpoint.resumed_from}")
            print(f"{tested} accuracy {accuracy:.2%} after {time.perf_counter() - began:.1f} s; weights {saved}")
    if checkpoint is not None and checkpoint.errors:
        times = f"{len(checkpoint.errors)} checkpoints were not written"
        raise Failure(IO_ERROR, f"trained to the end, but {times}: {checkpoint.errors[-1]}")
    return 0


def command(arguments: Sequence[str]) -> str:
    """Return the command line without what decides nothing, so that the same training gives the same file."""
    with_value = ("--output", "--log", "--report", "--threads", "--checkpoint", "--resume", "--checkpoint-every")
    words = without(arguments, with_value, ("--quiet", "--allow-changes"))
    return shlex.join(["python", "-m", "cnn_ext.train_mnist", *words])


def evaluate(args: argparse.Namespace) -> int:
    """Test a network of the package or of a file."""
    net = load_network(args.evaluate, "--evaluate")
    with failing(BAD_DATA, ValueError, "--evaluate"):
        classes_of(net)
    X, y = load(args, net=net).test
    began = time.perf_counter()
    with failing(BAD_DATA, (ValueError, NonFiniteError), "the images do not fit the network"):
        accuracy = net.evaluate(X, y)[1]
    if not args.quiet:
        wrong = round((1 - accuracy) * len(y))
        seconds = time.perf_counter() - began
        print(f"test accuracy {accuracy:.2%}: {wrong:,} of {len(y):,} images wrong, in {seconds:.1f} s")
    return 0


def show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    """Show a warning in one line, without the place in our code that gives it."""
    print(f"train_mnist: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
