"""A function in a forked child under strace: its system calls, or a fault at one of them (Linux only)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CALL = re.compile(r"(\w+)\((.*)\) += (-?)")
MARK = "getppid"
"""A system call that nothing else makes: it frames what the function does."""


class Traced(NamedTuple):
    """What came of it: the function's report, None where the child was killed; its system calls, as strace tells."""

    report: Any
    lines: list[str]


class Call(NamedTuple):
    """A system call: which of its name it is since strace came, its arguments as strace shows them."""

    name: str
    number: int
    arguments: str
    failed: bool


def missing() -> str | None:
    """Return in a line why nothing can be traced here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed: no faults at system calls"
    try:
        traced(lambda: None)
    except (OSError, RuntimeError) as error:
        return f"strace may not trace here: {error}"
    return None


def traced(action: Callable[[], Any], *options: str) -> Traced:
    """Call `action`, which returns what JSON can hold, in a child that strace has been attached to with `options`."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.getppid()
        try:
            report = {"returned": action()}
        except BaseException as error:
            report = described(error)
        os.getppid()
        os.write(write_end, json.dumps(report).encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, os.WUNTRACED)
    with open(read_end, "rb") as pipe, tempfile.NamedTemporaryFile("r") as trace:
        command = ["strace", "-y", "-o", trace.name, *options, "-p", str(child)]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        first = strace.stderr.readline()
        os.kill(child, signal.SIGCONT)
        report = pipe.read()
        os.waitpid(child, 0)
        strace.communicate()
        if "attached" not in first:
            raise RuntimeError(first.strip())
        return Traced(json.loads(report) if report else None, trace.read().splitlines())


def described(error: BaseException) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "is_os_error": isinstance(error, OSError),
        "errno": getattr(error, "errno", None),
        "filename": getattr(error, "filename", None),
        "text": str(error),
    }


def calls_of(action: Callable[[], Any]) -> Iterator[Call]:
    """Give the system calls that `action` makes."""
    lines = traced(action).lines
    counts: Counter[str] = Counter()
    inside = False
    for line in lines:
        if (match := CALL.match(line)) is None:
            continue
        name, arguments, minus = match.groups()
        counts[name] += 1
        if name == MARK:
            if inside:
                return
            inside = True
        elif inside:
            yield Call(name, counts[name], arguments, bool(minus))
    raise RuntimeError("the trace breaks off: " + "\n".join(lines[-3:]))


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cnn-ext-", ignore_cleanup_errors=True)


def content_of(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, not those in folders of it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
