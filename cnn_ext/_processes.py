"""The processes of `--distributed`: process 0 alone prints and writes, and what ends one of them ends all."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ._failures import USAGE, Failure, failing, told
from .distributed import DataParallel
from .threads import VARIABLE, get_num_threads, set_num_threads, why_so_many

FLAG = "--distributed"
SILENT = {
    "quiet": True,
    "output": None,
    "log": None,
    "report": None,
    "checkpoint": None,
    "resume": None,
    "checkpoint_every": None,
    "allow_changes": False,
}
"""The flags of a process that writes nothing. What process 0 resumes, `fit` brings to all."""
PATIENCE = 2.0
"""Seconds for which another process keeps an error to itself: process 0 may well have the same, and tell it for all."""
FORWARDING = 0.5
"""Seconds that mpiexec is given to hand on what was printed: with the end of all it drops what it has not yet read."""


@contextmanager
def joined(arguments: Sequence[str], program: str, interrupted: str) -> Iterator[DataParallel | None]:
    """Around all that the command line does: the processes, if it is to be distributed.

    The flag is looked for before the others are read, so that a bad one ends all processes too. Where there are
    several, an error does not leave this context: it is told as `exit_code` does, and MPI ends them all.
    """
    if FLAG not in arguments:
        yield None
        return
    with failing(USAGE, ImportError, FLAG):
        parallel = DataParallel()
    try:
        yield parallel
    except BaseException as error:
        if parallel.size == 1 or (isinstance(error, SystemExit) and not error.code):
            raise
        code = 1
        try:
            if parallel.rank > 0:
                program = f"{program}, process {parallel.rank}"
                time.sleep(PATIENCE)
            if isinstance(error, (Failure, KeyboardInterrupt)):
                code = told(program, error, interrupted)
            else:
                traceback.print_exc()
            sys.stdout.flush()
            time.sleep(FORWARDING)
        finally:
            parallel.abort(code)


def take_part(args: argparse.Namespace, parallel: DataParallel) -> None:
    """Give this process its share of the machine's CPUs, and let it write nothing if it is not process 0."""
    cpus = parallel.share_of_cpus()
    if args.evaluate is not None:
        raise Failure(USAGE, f"{FLAG} is for training: not with --evaluate")
    if args.threads is None and why_so_many() != VARIABLE:
        set_num_threads(min(get_num_threads(), cpus))
    if parallel.rank > 0:
        vars(args).update(SILENT)
        warnings.simplefilter("ignore", RuntimeWarning)
