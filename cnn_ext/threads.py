"""How many threads the kernels use, and what Python's own threads and processes may share.

Kernels, losses, the functions of `reference` and transforms may be called from any thread, several at once, on the
same arrays too: they release the GIL, keep nothing between calls and write to nothing they are given. One call at a
time has the worker pool; others meanwhile work in their own threads. Results are the same bits either way. If another
thread writes to an array during a call, the result is of some mixture of old and new numbers, and nothing else.

Layers, networks, optimizers and averages keep arrays from one call to the next: each belongs to one thread at a time.
Two threads with a network each compute what they would one after the other. Calls of one network that overlap raise
RuntimeError in the thread that comes second, as do those of one `Conv`, and where a signal's handler calls in the midst
of its own thread's; of another layer or an optimizer used alone the results are undefined. None of it crashes.
`copy.deepcopy(net)` makes a network for another thread.

Processes: forked, spawned or from a fork server, also after the pool was used and while other threads compute: the
child starts a pool of its own. A network that another thread was using at the moment of a fork stays in use there.

Signals: while the main thread computes, Python's handlers run every 50 ms, or after the piece of work at hand (some
images; on a convolution's way back up to a sixteenth of the batch); what they raise, such as KeyboardInterrupt, ends
the call. Changes of parameters in place, one pass over memory, are finished first. After an interrupted pass through a
layer there is none to go back from. A handler may not fork and go on in the child: of the call at hand that has a part.

When the interpreter ends, daemon threads in the midst of a call are left where they are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

from ._checks import check_int
from ._compiled import _threads

VARIABLE = "CNN_EXT_NUM_THREADS"
COMMON_VARIABLE = "OMP_NUM_THREADS"
"""The common bound: what starts several processes, such as joblib, sets it so that they share the CPUs."""


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
    process may use (its affinity and its container's quota), but no more than OMP_NUM_THREADS says. On Windows a call
    has the calling thread alone, whatever the number.
    """
    return int(_threads.get_threads())


def usable_cpus(allowed: Collection[int] | None = None) -> int:
    """Return the number of CPUs that this process may use, or those which may use all of `allowed`; at least 1."""
    cpus = len(allowed_cpus() if allowed is None else allowed)
    return max(1, math.ceil(min(cpus, _container_quota())))


def allowed_cpus() -> set[int]:
    """Return the numbers of the CPUs that this process may run on."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return set(range(os.cpu_count() or 1))


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
    if os.environ.get(VARIABLE, "").strip():
        return VARIABLE
    return COMMON_VARIABLE if _common_bound() < usable_cpus() else "the CPUs this process may use"


def _common_bound() -> float:
    """Return what OMP_NUM_THREADS says, of a list the first number; infinity for what is not ours to complain of."""
    value = os.environ.get(COMMON_VARIABLE, "").split(",")[0].strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0 else math.inf


def _from_environment() -> int:
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return int(min(usable_cpus(), _common_bound(), _threads.MAX_THREADS))
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= _threads.MAX_THREADS):
        raise ValueError(f"{VARIABLE} must be an int in [1, {_threads.MAX_THREADS}], got {value!r}")
    return int(value)


_at_start = _from_environment()
set_num_threads(_at_start)
