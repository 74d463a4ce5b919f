"""How the command line keeps a run by checkpoints, and tells how to go on with one that was stopped."""

from __future__ import annotations

import argparse
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ._failures import BAD_DATA, INTERRUPTED, NO_OUTPUT, TERMINATED, USAGE, Failure, failing
from .checkpoint import Checkpoint
from .errors import CheckpointError


def chosen_checkpoint(args: argparse.Namespace) -> Checkpoint | None:
    """Return where the run is kept, its folder ready, or None."""
    folder = args.checkpoint if args.resume is None else args.resume
    if folder is None:
        for flag, given in (("--checkpoint-every", args.checkpoint_every), ("--allow-changes", args.allow_changes)):
            if given:
                raise Failure(USAGE, f"{flag} needs --checkpoint or --resume")
        return None
    if args.checkpoint not in (None, folder):
        raise Failure(USAGE, "--checkpoint and --resume name two folders: a resumed run is kept where it was")
    resume, every_steps = args.resume is not None, args.checkpoint_every
    with failing(NO_OUTPUT, (OSError, ValueError), f"{'--resume' if resume else '--checkpoint'} cannot be written"):
        checkpoint = Checkpoint(folder, every_steps=every_steps, resume=resume, allow_changes=args.allow_changes)
        checkpoint.prepare()
    if resume and not checkpoint.holds_a_run() and not args.quiet:
        print(f"no run in {folder} yet: starting anew", flush=True)
    return checkpoint


@contextmanager
def keeping(
    checkpoint: Checkpoint | None, args: argparse.Namespace, arguments: Sequence[str], n_processes: int
) -> Iterator[None]:
    """Around a run that is kept: turn SIGINT and SIGTERM into a Failure that tells how to go on."""
    if checkpoint is None:
        yield
        return
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, terminate) if in_main_thread else None
    flag, code = ("--checkpoint", NO_OUTPUT) if args.resume is None else ("--resume", BAD_DATA)
    try:
        with failing(code, CheckpointError, flag):
            yield
    except KeyboardInterrupt as interrupt:
        code, what = (TERMINATED, "terminated") if isinstance(interrupt, Terminated) else (INTERRUPTED, "interrupted")
        kept = "before there was a checkpoint" if checkpoint.latest is None else f"kept in {checkpoint.latest}"
        words = without(arguments, ("--checkpoint", "--resume"))
        start = [] if n_processes == 1 else ["mpiexec", "-n", str(n_processes)]
        again = shlex.join([*start, "python", "-m", "cnn_ext.train_mnist", *words, "--resume", str(checkpoint.folder)])
        raise Failure(code, f"{what}, {kept}; to go on: {again}") from interrupt
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def terminate(number: int, frame: Any) -> None:
    raise Terminated


def without(arguments: Sequence[str], with_value: Sequence[str], alone: Sequence[str] = ()) -> list[str]:
    """Return the arguments but for these flags, those that take a value together with it."""
    words, kept = iter(arguments), []
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag in with_value:
            if not equals:
                next(words)
        elif flag not in alone:
            kept.append(word)
    return kept
