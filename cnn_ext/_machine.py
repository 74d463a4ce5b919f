"""What a figure was measured on: processor, system and versions, no names of hosts or users."""

from __future__ import annotations

import os
import platform

import numpy as np

from ._version import __version__
from .threads import get_num_threads


def describe_machine() -> dict[str, str | int]:
    """Return the processor's name, the CPUs, the system, and the versions that matter for speed."""
    return {
        "processor": _processor_name(),
        "cpus": os.cpu_count() or 1,
        "threads": get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cnn_ext": __version__,
    }


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            return next(line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
