"""Power cuts, worked out: what a disk may hold if the power fails between any two system calls of a save.

    python -m benchmarks.reliability.power_cuts [--json FILE]

The save's system calls are recorded by strace, and a disk is modelled that keeps what was flushed, and of the rest
(data of files, names made, changed and removed in folders) any part at all. At each cut no file under a name of its own
may be damaged, and where there was a sound one before there must be one; once the save has returned, it must be the new
one. As a check of the model, each flush is then left out in turn: the model must find what that costs.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import _timing
from benchmarks.reliability import _disks, _strace
from benchmarks.reliability._runs import make_net, require
from cnn_ext import Checkpoint
from cnn_ext._files import TEMPORARY
from cnn_ext.model_file import read_model

Event = tuple[str, ...]  # what, and the paths concerned
QUOTED, DESCRIPTOR = re.compile(r'"([^"]*)"'), re.compile(r"^\d+<([^>]*)>")


def events_of(calls: Iterable[_strace.Call], below: Path) -> Iterator[Event]:
    """Give what a save's system calls do to files and folders below one."""
    for name, _, arguments, failed in calls:
        if failed:
            continue
        if name in ("write", "fsync"):
            match = DESCRIPTOR.match(arguments)
            event: Event = (name, match[1]) if match else ()
        elif name in ("rename", "unlink", "mkdir"):
            event = (name, *QUOTED.findall(arguments))
        elif name == "openat" and "O_CREAT" in arguments:
            event = ("create", *QUOTED.findall(arguments)[:1])
        else:
            continue
        if event and event[1].startswith(str(below)):
            yield event


def disks_after(events: Iterable[Event], old: Iterable[str]) -> Iterator[dict[str, str]]:
    """Give each thing that the disk may hold after a power cut: by path, "old", "new", "damaged" or "folder"."""
    inodes = {path: path for path in old}  # by path, as the running system sees it
    content = dict.fromkeys(old, "old")
    certain = {path: path for path in old}  # as the disk has it for sure
    pending: list[tuple[str, str, str | None, str | None]] = []  # folder, path, what it is now, path that is no more
    unflushed: set[str] = set()
    for number, (what, path, *to) in enumerate(events):
        folder = os.path.dirname(path)
        if what in ("create", "mkdir"):
            inodes[path] = f"{what} {number}"
            content[inodes[path]] = "new" if what == "create" else "folder"
            pending.append((folder, path, inodes[path], None))
        elif what == "write":
            unflushed.add(inodes[path])
        elif what == "rename":
            inodes[to[0]] = inodes.pop(path)
            pending.append((folder, to[0], inodes[to[0]], path))
        elif what == "unlink":
            inodes.pop(path, None)
            pending.append((folder, path, None, None))
        elif path in inodes and content[inodes[path]] != "folder":
            unflushed.discard(inodes[path])
        else:  # a folder is flushed
            for entry in [entry for entry in pending if entry[0] == path]:
                _apply(entry, certain)
                pending.remove(entry)
    for kept in itertools.product((False, True), repeat=len(pending)):
        names = dict(certain)
        for entry in itertools.compress(pending, kept):
            _apply(entry, names)
        for lost in (False, True):
            disk = {path: "damaged" if lost and inode in unflushed else content[inode] for path, inode in names.items()}
            made = {path for path, inode in inodes.items() if content[inode] == "folder"}
            yield {path: what for path, what in disk.items() if all(p in disk for p in made if path.startswith(p))}


def _apply(entry: tuple[str, str, str | None, str | None], names: dict[str, str]) -> None:
    _, path, inode, gone = entry
    if gone is not None:
        names.pop(gone, None)
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def faults(events: list[Event], old: list[str], new: str) -> tuple[int, set[str]]:
    """Cut the power everywhere; return how many disks that makes, and what is wrong with any."""
    n, found = 0, set()
    for cut in range(len(events) + 1):
        for disk in disks_after(events[:cut], old):
            n += 1
            files = {
                path: what
                for path, what in disk.items()
                if what != "folder" and not TEMPORARY.fullmatch(os.path.basename(path))
            }
            if "damaged" in files.values():
                found.add("a damaged file")
            if old and not {"old", "new"} & set(files.values()):
                found.add("neither the old nor the new one")
            if cut == len(events) and files.get(new) != "new":
                found.add("the new one lost after the save had returned")
    return n, found


def main() -> None:
    args = _timing.parser_of(__doc__).parse_args()
    if reason := _strace.missing():
        print(reason, file=sys.stderr)
        return
    figures = {}
    with _strace.temporary_folder() as name:
        below = Path(name)
        net, path = make_net(np.random.default_rng(0)), below / "net.safetensors"
        net.save(path)
        kept = sorted(_disks.checkpoints_of_a_run(below / "run"))
        file = read_model(below / "run" / kept[-1])

        def write(folder: Path) -> None:
            checkpoint = Checkpoint(folder)
            checkpoint.prepare()
            checkpoint.write(99, file.architecture["checkpoint"], file.tensors)

        written = "step-000000099.safetensors"
        cases = {
            "network over another": (lambda: net.save(path), [str(path)], str(path)),
            "checkpoint after two": (
                lambda: write(below / "run"),
                [str(below / "run" / each) for each in kept],
                str(below / "run" / written),
            ),
            "checkpoint in a folder to be made": (
                lambda: write(below / "new" / "folder"),
                [],
                str(below / "new" / "folder" / written),
            ),
        }
        for case, (action, old, new) in cases.items():
            events = list(events_of(_strace.calls_of(action), below))
            n, found = faults(events, old, new)
            require(not found, f"{case}: {found}")
            figures[case] = {"cuts": len(events) + 1, "disks": n, "faults": 0, "found_without_a_flush": []}
            for number, (what, *_) in enumerate(events):
                if what == "fsync":
                    _, found = faults(events[:number] + events[number + 1 :], old, new)
                    require(found, f"{case}: the model finds nothing wrong without the flush of {events[number][1]}")
                    figures[case]["found_without_a_flush"].append(sorted(found))
    print(json.dumps(figures, indent=2))
    _timing.append_json(args.json, figures)


if __name__ == "__main__":
    main()
