"""The command line: `python -m cnn_ext.demo` serves a page to draw on, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from .._data import load_network
from .._failures import BAD_DATA, USAGE, Number, Parser, exit_code, failing
from .._version import __version__
from ..errors import CnnExtError
from .reading import Reader
from .server import DemoServer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with the arguments `argv` (those of the process if None); return the exit code."""

    def run() -> int:
        args = make_parser().parse_args(argv)
        try:
            serve(args.model, args.port, open_browser=not args.no_browser)
        except KeyboardInterrupt:
            print()
        return 0

    return exit_code("demo", run)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = Parser(
        prog="python -m cnn_ext.demo",
        description="Draw a digit in the browser, and see what a network makes of it. Ctrl-C ends it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model", default="mnist-best", metavar="MODEL", help="a file, or a network of the package (mnist-best)"
    )
    parser.add_argument(
        "--port", type=Number(int, "[0, 65535]"), default=0, metavar="N", help="on 127.0.0.1 (any that is free)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument("--version", action="version", version=f"cnn_ext {__version__}")
    return parser


def serve(model: str, port: int, open_browser: bool) -> None:
    """Serve the page until Ctrl-C."""
    net = load_network(model, "--model")
    with failing(BAD_DATA, (CnnExtError, ValueError), "--model"):
        reader = Reader(net, Path(model).name)
    with failing(USAGE, OSError, f"port {port} of 127.0.0.1 is not to be had"):
        server = DemoServer(reader, port)
    with server:
        print(f"{server.address}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    sys.exit(main())
