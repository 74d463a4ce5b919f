"""What the package runs on: for people who ask, and for the logs of figures. No names of hosts or users."""

from __future__ import annotations

import os
import platform

import numpy as np

from ._compiled import INSTRUCTION_SET, SET_REASON
from ._version import __version__
from .threads import get_num_threads, why_so_many


def describe_machine() -> dict[str, str | int]:
    """Return the processor's name, the CPUs, the system, and the versions that matter for speed."""
    return {
        "processor": _processor_name(),
        "cpus": os.cpu_count() or 1,
        "threads": get_num_threads(),
        "instruction_set": INSTRUCTION_SET,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cnn_ext": __version__,
    }


def show_config() -> None:
    """Print the version, the instruction set and the threads, and what the last two come from."""
    machine = describe_machine()
    print(f"cnn_ext          {machine['cnn_ext']} (Python {machine['python']}, NumPy {machine['numpy']})")
    print(f"processor        {machine['processor']}, {machine['cpus']} CPUs, {machine['system']}")
    print(f"instruction set  {INSTRUCTION_SET} ({SET_REASON})")
    print(f"threads          {machine['threads']} ({why_so_many()})")


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            return next(line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
