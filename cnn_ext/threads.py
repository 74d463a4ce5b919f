"""How many threads the kernels use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ._checks import check_int
from ._compiled import _threads

VARIABLE = "CNN_EXT_NUM_THREADS"


def set_num_threads(n: int) -> None:
    """Let the kernels use `n` threads, the calling one included. Results do not depend on it.

    Raises
    ------
    ValueError, DTypeError
        `n` is not an int in [1, 256].
    """
    _threads.set_threads(check_int("n", n, 1, _threads.MAX_THREADS))


def get_num_threads() -> int:
    """Return how many threads the kernels may use.

    At the start: what the environment variable CNN_EXT_NUM_THREADS says, else as many as there are CPUs that this
    process may use (its affinity and its container's quota).
    """
    return int(_threads.get_threads())


def usable_cpus() -> int:
    """Return the number of CPUs this process may use, at least 1."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cpus = os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, _container_quota())))


def _container_quota() -> float:
    """Return the CPUs that the control group grants, infinity if it says nothing."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            group = Path("/sys/fs/cgroup/cpu")  # version 1
            quota, period = (group / "cpu.cfs_quota_us").read_text(), (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return math.inf
    try:
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except ValueError:  # "max"
        return math.inf


def why_so_many() -> str:
    """Return what the number of threads comes from."""
    if get_num_threads() != _at_start:
        return "set_num_threads"
    return VARIABLE if os.environ.get(VARIABLE, "").strip() else "the CPUs this process may use"


def _from_environment() -> int:
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return min(usable_cpus(), _threads.MAX_THREADS)
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= _threads.MAX_THREADS):
        raise ValueError(f"{VARIABLE} must be an int in [1, {_threads.MAX_THREADS}], got {value!r}")
    return int(value)


_at_start = _from_environment()
set_num_threads(_at_start)
