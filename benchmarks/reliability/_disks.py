"""Disks that are full, read-only or limited: what saves and runs make of them.

    python -m benchmarks.reliability._disks FOLDER

is what `save_faults` starts in a mount namespace of its own.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.reliability import _runs
from benchmarks.reliability._runs import require
from benchmarks.reliability._strace import content_of, temporary_folder
from cnn_ext import Callback, Checkpoint, FullyConnected, NeuralNet

SIZE = 64 << 10


class Killed(Exception):
    pass


class KillAt(Callback):
    """End a run by an exception, as abruptly as Python can; before that, do something at a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, run: Any) -> None:
        if run.step == self._step:
            raise Killed


class FillAt(Callback):
    """Fill the disk at a step."""

    def __init__(self, step: int, path: Path) -> None:
        self._step, self._path = step, path

    def on_step(self, run: Any) -> None:
        if run.step == self._step:
            fill(self._path)


def checkpoints_of_a_run(folder: Path) -> dict[str, bytes]:
    """Return the two checkpoints, by file name, of a run that was killed at its step 8."""
    try:
        _runs.train(Checkpoint(folder, every_steps=1), callbacks=[KillAt(8)])
    except Killed:
        pass
    return content_of(folder)


def fill(path: Path, leave: int = 0) -> None:
    """Fill the disk with a file but for so many bytes."""
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 1024):
                pass
        except OSError as error:
            require(error.errno == errno.ENOSPC, f"{error}")
        file.truncate(max(0, file.tell() - leave))


def refused(path: Path, number: int, net: NeuralNet) -> None:
    """A save over what lies at `path` must fail with that error and leave the folder as it is."""
    before = content_of(path.parent)
    try:
        net.save(path)
    except OSError as error:
        require(error.errno == number and str(path) in str(error), f"another error: {error!r}")
    else:
        raise AssertionError(f"{path} was saved, {errno.errorcode[number]} expected")
    require(content_of(path.parent) == before, "the folder is not as it was")


def nets() -> tuple[NeuralNet, NeuralNet]:
    """Return two networks whose files are of the same size, 20 KB."""
    old, new = (NeuralNet([FullyConnected(500, 10, rng=seed)]) for seed in (0, 1))
    return old, new


def trials() -> dict[str, Any]:
    """Return what was tried, and why something was not."""
    figures: dict[str, Any] = {"limits of size": limits_of_size(), "too many open files": too_many_files(), **devices()}
    if shutil.which("unshare") is None:
        return {**figures, "small disk": "unshare is not installed: no full and no read-only disk"}
    with temporary_folder() as name:
        mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$0" -m benchmarks.reliability._disks "$1"'
        command = ["unshare", "-m", "sh", "-c", mount, sys.executable, name]
        result = subprocess.run(command, capture_output=True, text=True)
    if "Operation not permitted" in result.stderr or "permission denied" in result.stderr:
        return {**figures, "small disk": "no right to mount: no full and no read-only disk"}
    require(result.returncode == 0, result.stderr)
    return {**figures, "small disk": json.loads(result.stdout)}


def limits_of_size() -> int:
    """Save under every limit of a file's size from nothing to all but its last byte, in steps; return how many."""
    old, new = nets()
    before, (_, hard) = resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_FSIZE)
    with temporary_folder() as name:
        path = Path(name, "net")
        old.save(path)
        size = path.stat().st_size
        limits = [*range(0, size, 997), size - 1]
        try:
            for limit in limits:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                refused(path, errno.EFBIG, new)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            new.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return len(limits)


def too_many_files() -> int:
    old, new = nets()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with temporary_folder() as name:
        path = Path(name, "net")
        old.save(path)
        content, opened = path.read_bytes(), []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
            try:
                while True:
                    opened.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            try:
                new.save(path)
            except OSError as error:
                require(error.errno == errno.EMFILE and str(path) in str(error), f"another error: {error!r}")
            else:
                raise AssertionError("saved, EMFILE expected")
        finally:
            for descriptor in opened:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        require(content_of(Path(name)) == {"net": content}, "the folder is not as it was")
    return 1


def devices() -> dict[str, str]:
    """A device is no file to be replaced, not even the one that is always full."""
    found = {}
    for device in ("/dev/full", "/dev/null"):
        try:
            nets()[0].save(device)
        except OSError as error:
            require(device in str(error), f"another error: {error!r}")
            found[device] = error.strerror
        else:
            raise AssertionError(f"saved to {device}")
    return found


def main(folder: Path) -> None:
    """On a small disk: full at any byte of a save, full in the middle of a run, read-only; prints what was tried."""
    old, new = nets()
    path, filler = folder / "net", folder / "filler"
    old.save(path)
    size, saves = path.stat().st_size, 0
    for leave in range(0, size, 4096):  # tmpfs gives space by pages
        fill(filler, leave)
        refused(path, errno.ENOSPC, new)
        saves += 1
    filler.unlink()
    new.save(path)
    path.unlink()

    whole, checkpoint = _runs.train(), Checkpoint(folder / "run", every_steps=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        require(_runs.train(checkpoint, callbacks=[FillAt(9, filler)]) == whole, "a full disk changed the run")
    require(len(checkpoint.errors) == len(caught) > 0, "not every failure was told")
    require(all(error.errno == errno.ENOSPC for error in checkpoint.errors), f"{checkpoint.errors}")
    require(sorted(content_of(folder / "run")) == [f"step-{n:09d}.safetensors" for n in (6, 8)], "not those before")
    failed = len(checkpoint.errors)
    filler.unlink()
    require(_runs.train(checkpoint) == whole, "gone on after the disk was full: another end")

    old.save(path)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    refused(path, errno.EROFS, new)
    kept = content_of(folder / "run")
    try:
        _runs.train(Checkpoint(folder / "run"))
    except OSError as error:
        require(error.errno == errno.EROFS and str(folder) in str(error), f"another error: {error!r}")
    else:
        raise AssertionError("a run was begun whose checkpoints cannot be written")
    require(content_of(folder / "run") == kept, "the folder is not as it was")
    print(json.dumps({"saves with no room": saves, "checkpoints with no room": failed, "read-only": "refused"}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
