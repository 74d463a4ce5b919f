"""The command line: `python -m cnn_ext.predict PICTURE ...` tells what pictures show.

For networks of MNIST each picture is one digit, brought to MNIST's form; for networks trained on pictures of one's own
it is prepared as these were. What was done to a picture stands beside what was seen in it.
"""

from __future__ import annotations

import argparse
import csv
import glob
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._class_names import class_names
from ._data import form_of, load_network
from ._failures import BAD_DATA, IO_ERROR, NO_DATA, USAGE, Failure, Number, Parser, exit_code, failing
from ._version import __version__
from .datasets.pictures import walk_pictures
from .datasets.scaled_images import ScaledImages
from .errors import DataFormatError, printable
from .images import Pixels, pillow, quiet
from .loss import softmax
from .network import INFERENCE_CHUNK, NeuralNet
from .preparation import prepare
from .pretrained import PRETRAINED
from .threads import set_num_threads

STDIN = "-"
MAX_STDIN = 1 << 28
"""The most bytes of a picture that comes through a pipe."""

EPILOG = """\
A PICTURE is a file, a folder (all pictures in it), a pattern such as 'scans/*.png', or - for one from the standard
input. Pillow is needed: pip install 'cnn_ext[image]'. A picture that cannot be read is told on the error output, the
others are read all the same.
Exit codes: 0 done; 2 bad flag, or Pillow is missing; 65 bad picture or model; 66 picture or model missing; 74 writing
failed; 130 interrupted.
"""


class Result(NamedTuple):
    """What was seen in a picture: classes and their probabilities, most probable first; none where there is no ink."""

    picture: str
    top: list[tuple[str, float]]
    preparation: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with the arguments `argv` (those of the process if None); return the exit code."""

    def run() -> int:
        args = make_parser().parse_args(argv)
        if args.threads is not None:
            set_num_threads(args.threads)
        with failing(USAGE, ImportError, "PICTURE"):
            pillow()
        return predict(args)

    return exit_code("predict", run)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = Parser(
        prog="python -m cnn_ext.predict",
        description="Tell what pictures show, by a network of the package, which reads digits, or one of your own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="a file, a folder, a pattern, or -")
    add("--model", default="mnist-best", help=f"a file, or one of {', '.join(PRETRAINED)} (mnist-best)")
    add("--format", choices=("table", "json", "csv"), default="table", help="of what is printed (table)")
    add("--top", type=Number(int, "[1, inf)"), default=3, metavar="K", help="how many classes to tell (3)")
    add("--threads", type=Number(int, "[1, 256]"), metavar="N", help="for the kernels (the CPUs it may use)")
    add("--version", action="version", version=f"cnn_ext {__version__}")
    return parser


def predict(args: argparse.Namespace) -> int:
    """Read the pictures, ask the network, print."""
    net = load_network(args.model, "--model")
    names = list(dict.fromkeys(name for pattern in args.pictures for name in names_of(pattern)))
    results, failures = [], []
    for start in range(0, len(names), INFERENCE_CHUNK):
        found, failed = seen(net, names[start : start + INFERENCE_CHUNK], args.top)
        results += found
        failures += failed
        for failure in failed:
            print(f"predict: {printable(str(failure))}", file=sys.stderr)
    with failing(IO_ERROR, OSError, "writing failed"):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal has no letters for
        try:
            print(FORMATS[args.format](results), end="", flush=True)
        except BrokenPipeError:  # nobody reads on: what is left must not be written at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
    return failures[0].code if failures else 0


def names_of(pattern: str) -> list[str]:
    """Return the names of the pictures that an argument stands for."""
    if pattern == STDIN or os.path.isfile(pattern):
        return [pattern]
    with failing(NO_DATA, OSError, "a folder cannot be read"), failing(BAD_DATA, DataFormatError, "bad data"):
        if os.path.isdir(pattern):
            found = [os.path.join(pattern, name) for name, is_one in walk_pictures(pattern) if is_one]
            if not found:
                raise Failure(NO_DATA, f"{pattern}: no pictures in it")
            return found
        if os.path.lexists(pattern) or not glob.has_magic(pattern):
            return [pattern]  # what is wrong with it shows when it is read
        matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise Failure(NO_DATA, f"{pattern}: no picture is called like that")
        return [name for match in matches for name in (names_of(match) if os.path.isdir(match) else [match])]


def seen(net: NeuralNet, names: Sequence[str], top: int) -> tuple[list[Result], list[Failure]]:
    """Return what a network sees in these pictures, and why some could not be read."""
    with failing(BAD_DATA, (ValueError, TypeError), "--model: the network takes no pictures"):
        form = form_of(net)
    found: list[tuple[str, Pixels, list[str]]] = []
    failures: list[Failure] = []
    for name in names:
        try:
            with (
                quiet(),
                failing(NO_DATA, OSError, "a picture cannot be read"),
                failing(BAD_DATA, DataFormatError, "bad picture"),
            ):
                source = from_stdin() if name == STDIN else name
                found.append((name, *prepare(source, "standard input" if name == STDIN else name, form)))
        except Failure as failure:
            failures.append(failure)
    if not found:
        return [], failures
    with failing(BAD_DATA, (ValueError, TypeError), "--model: the pictures do not fit the network"):
        X: Any = ScaledImages(np.stack([image for _, image, _ in found]))
        with np.errstate(invalid="ignore"):
            probabilities = softmax(net.scores_of(X))
        classes = class_names(net, probabilities.shape[1])
    results = []
    for (name, _, changes), row in zip(found, probabilities):
        if not np.isfinite(row).all():
            failures.append(Failure(BAD_DATA, f"--model: the network's scores for {name} are not finite"))
            continue
        best: Any = [] if "no ink" in changes else np.argsort(-row, kind="stable")[:top]
        results.append(Result(name, [(classes[label], float(row[label])) for label in best], changes))
    return results, failures


def from_stdin() -> bytes:
    """Return the bytes of the picture on the standard input."""
    data = sys.stdin.buffer.read(MAX_STDIN + 1)
    if len(data) > MAX_STDIN:
        raise DataFormatError(f"standard input: more than the {MAX_STDIN:,} bytes allowed")
    return data


def as_table(results: Sequence[Result]) -> str:
    """Return the results as lines of columns."""
    rows = [
        [
            printable(result.picture),
            *(f"{printable(name)} {probability:.1%}" for name, probability in result.top),
            *[""] * (max(len(other.top) for other in results) - len(result.top)),
            "; ".join(result.preparation),
        ]
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def as_json(results: Sequence[Result]) -> str:
    """Return the results as one JSON array."""
    items = [
        {
            "picture": result.picture,
            "top": [{"class": name, "probability": probability} for name, probability in result.top],
            "preparation": result.preparation,
        }
        for result in results
    ]
    return json.dumps(items, indent=1) + "\n"


def as_csv(results: Sequence[Result]) -> str:
    """Return the results as CSV with a line of names."""
    n_top = max((len(result.top) for result in results), default=0)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["picture", *(f"{what}{k + 1}" for k in range(n_top) for what in ("class", "probability")), "preparation"]
    )
    for result in results:
        cells: list[Any] = [cell for pair in result.top for cell in pair]
        writer.writerow([result.picture, *cells, *[""] * (2 * n_top - len(cells)), "; ".join(result.preparation)])
    return text.getvalue()


FORMATS = {"table": as_table, "json": as_json, "csv": as_csv}


if __name__ == "__main__":
    sys.exit(main())
