"""A kill and an error at every system call of a save; disks that are full, read-only or limited.

    python -m benchmarks.reliability.save_faults [--json FILE]

Saved are a network over an older one, the same through a symbolic link, and a checkpoint after two others. Killed, the
old or the new one must load, and only a temporary file may be left. With an error, an OSError that names the path must
come of it (of a checkpoint: be noted), the old file be as it was and no temporary file be left; or the save must
succeed in full. The one exception: once the new file is in place, its folder may fail to be flushed, which is reported.
Needs strace, and for the disks unshare with the right to mount; what is missing is said and left out.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _timing
from benchmarks.reliability import _disks, _strace
from benchmarks.reliability._runs import make_net, require
from cnn_ext import Checkpoint, NeuralNet
from cnn_ext._files import TEMPORARY
from cnn_ext.model_file import read_model

ERRORS = {
    "openat": ("EIO", "ENOSPC", "EACCES", "EMFILE", "EROFS"),
    "newfstatat": ("EIO", "EACCES"),
    "readlink": ("EIO", "EACCES"),
    "ioctl": ("EIO",),
    "lseek": ("EIO",),
    "fchmod": ("EIO", "EPERM"),
    "write": ("EIO", "ENOSPC", "EDQUOT", "EFBIG"),
    "fsync": ("EIO", "ENOSPC", "EACCES", "EINVAL"),
    "close": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC", "EACCES", "EROFS"),
    "getdents64": ("EIO",),
    "unlink": ("EIO", "EACCES"),
}
"""The errors that a system call of a save may end in; calls that cannot fail, such as munmap, are only killed at."""


class NetworkCase:
    """A network saved over another."""

    name = "network"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "saved"
        self.path = self.target = self.folder / "net.safetensors"
        self._nets = [make_net(np.random.default_rng(seed)) for seed in (0, 1)]
        contents = []
        for net in self._nets:
            net.save(folder / "sample")
            contents.append((folder / "sample").read_bytes())
        self._old, self._new = contents

    def set_up(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.target.write_bytes(self._old)

    def save(self) -> list[Any]:
        self._nets[1].save(self.path)
        return []

    def found(self) -> str:
        """Return which of the two there is, the old one as it was; anything else is an error."""
        NeuralNet.load(self.path)
        content = self.path.read_bytes()
        require(content in (self._old, self._new), "neither the old nor the new network is there")
        return "old" if content == self._old else "new"

    def is_expected(self, name: str) -> bool:
        return name in (self.path.name, self.target.name)


class LinkCase(NetworkCase):
    """The same through a symbolic link, which must stay one."""

    name = "network through a link"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.target = self.folder / "target.safetensors"

    def set_up(self) -> None:
        super().set_up()
        self.path.symlink_to(self.target)

    def found(self) -> str:
        require(self.path.is_symlink(), "the link was replaced by a file")
        return super().found()


class CheckpointCase:
    """A checkpoint after two others, of which the older is then removed."""

    name = "checkpoint"

    def __init__(self, folder: Path) -> None:
        self.folder = self.path = folder / "run"
        self._kept = _disks.checkpoints_of_a_run(folder / "kept")
        self._content = read_model(folder / "kept" / max(self._kept))

    def set_up(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, content in self._kept.items():
            (self.folder / name).write_bytes(content)

    def save(self) -> list[Any]:
        checkpoint = Checkpoint(self.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint.write(99, self._content.architecture["checkpoint"], self._content.tensors)
        return [_strace.described(error) for error in checkpoint.errors]

    def found(self) -> str:
        checkpoint = Checkpoint(self.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none may be damaged
            require(checkpoint.load() is not None, "there is no checkpoint")
        for name in os.listdir(self.folder):
            if name in self._kept:
                require((self.folder / name).read_bytes() == self._kept[name], f"{name} is not as it was")
            elif self.is_expected(name):
                read_model(self.folder / name)
        require(max(self._kept) in os.listdir(self.folder), "the newest but one is gone")
        assert checkpoint.latest is not None
        return "old" if checkpoint.latest.name in self._kept else "new"

    def is_expected(self, name: str) -> bool:
        return name in self._kept or name == "step-000000099.safetensors"


Case = NetworkCase | CheckpointCase


def left(case: Case) -> list[str]:
    """Return the temporary files left; any other than these and the case's own is an error."""
    names = [name for name in os.listdir(case.folder) if not case.is_expected(name)]
    require(all(TEMPORARY.fullmatch(name) for name in names), f"left: {names}")
    return names


def killed(case: Case, calls: list[tuple[str, int]]) -> Iterator[str]:
    """Kill the save on entering each of its calls; give what each time was found."""
    for name, number in calls:
        case.set_up()
        result = _strace.traced(case.save, "-e", f"inject={name}:signal=KILL:when={number}")
        require(result.report is None, f"{name} {number}: it was not killed")
        n_left = len(left(case))
        require(n_left <= 1, f"{name} {number}: {n_left} files left")
        yield f"{case.found()}, {'a' if n_left else 'no'} temporary file left"


def failed(case: Case, calls: list[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """Let each of the save's calls fail in each way that fits; give the call and what came of it."""
    for name, number in calls:
        for error in ERRORS.get(name, ()):
            case.set_up()
            report = _strace.traced(case.save, "-e", f"inject={name}:error={error}:when={number}").report
            try:
                yield f"{name} {error}", outcome(case, report, error)
            except AssertionError as found:
                raise AssertionError(f"{case.name}, {name} {number} {error}: {found}; {report}") from found


def outcome(case: Case, report: Any, error: str) -> str:
    """Return what came of an error, if it is one of what may."""
    require(not left(case), "a temporary file was left")
    state, reports = case.found(), report.get("returned", [report])
    if not reports:
        require(state == "new", "no error, and not saved")
        return "saved all the same"
    (raised,) = reports
    require(raised["is_os_error"] and raised["errno"] == getattr(errno, error), "another error")
    require(str(case.path) in raised["text"], "the error does not name the path")
    return f"OSError, {'the old one intact' if state == 'old' else 'the new one in place'}"


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    began, figures = time.perf_counter(), {}
    if reason := _strace.missing():
        print(reason, file=sys.stderr)
    else:
        with _strace.temporary_folder() as name:
            for kind in (NetworkCase, LinkCase, CheckpointCase):
                folder = Path(name, kind.__name__)
                folder.mkdir()
                case = kind(folder)
                case.set_up()
                calls = [(call.name, call.number) for call in _strace.calls_of(case.save)]
                kills, errors = Counter(killed(case, calls)), list(failed(case, calls))
                by_outcome = {outcome: Counter(call for call, o in errors if o == outcome) for _, outcome in errors}
                figures[case.name] = {
                    "calls": dict(Counter(call for call, _ in calls)),
                    "kills": kills.total(),
                    "after_a_kill": dict(kills),
                    "errors": len(errors),
                    "after_an_error": {outcome: dict(sorted(found.items())) for outcome, found in by_outcome.items()},
                }
    figures["disks"] = _disks.trials()
    figures["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(figures, indent=2))
    _timing.append_json(args.json, figures)


if __name__ == "__main__":
    main()
