"""The command line: `python -m cnn_ext` tells which commands there are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ._failures import Parser, exit_code
from ._version import __version__

COMMANDS = """\
commands, each with its flags by --help:
  python -m cnn_ext.train_mnist   train a network on MNIST, or on pictures of one's own; test one
  python -m cnn_ext.predict       tell what pictures show
  python -m cnn_ext.demo          draw a digit in the browser, and see what a network makes of it
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with the arguments `argv` (those of the process if None); return the exit code."""

    def run() -> int:
        parser = Parser(
            prog="python -m cnn_ext",
            description="Small convolutional networks, trained on an ordinary CPU.",
            epilog=COMMANDS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--version", action="version", version=f"cnn_ext {__version__}")
        parser.parse_args(argv)
        parser.print_help()
        return 0

    return exit_code("cnn_ext", run)


if __name__ == "__main__":
    sys.exit(main())
