"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

import cnn_ext


def describe_machine() -> dict[str, object]:
    """Return processor, CPUs, system and versions; no names of hosts or users."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line] if (
        cpuinfo.exists()
    ) else [platform.processor()]
    return {
        "processor": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cnn_ext": cnn_ext.__version__,
        "threads": cnn_ext.get_num_threads(),
    }
