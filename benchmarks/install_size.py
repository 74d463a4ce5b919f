"""Measure what cnn_ext and others take on the disk, each in a fresh virtual environment.

    python -m benchmarks.install_size [--json FILE]

Bytes of all files below site-packages after `pip install`, without pip and its like: the package with all that it
brings, compiled Python included. Other sides are as pip gets them, PyTorch and TensorFlow in their builds for the CPU:
pip must be set up with the index in which PyTorch keeps its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import _timing

SIDES = {
    "cnn_ext": ["."],
    "scikit-learn": ["scikit-learn"],
    "thinc": ["thinc"],
    "tinygrad": ["tinygrad"],
    "PyTorch": ["torch==2.13.0+cpu"],
    "Keras on TensorFlow": ["keras", "tensorflow-cpu"],
    "Keras on JAX": ["keras", "jax"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for name, requirements in SIDES.items():
        with tempfile.TemporaryDirectory() as folder:
            record = {"name": name, **measured(Path(folder), requirements)}
        print(f"{name:20} {record['mb']:7.1f} MB, {len(record['packages'])} packages")
        _timing.append_json(args.json, record)


def measured(folder: Path, requirements: list[str]) -> dict[str, object]:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
    before = size_of(folder)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True).stdout
    packages = {entry["name"]: entry["version"] for entry in json.loads(listed)}
    for part_of_every_environment in ("pip", "setuptools"):
        packages.pop(part_of_every_environment, None)
    return {"mb": (size_of(folder) - before) / 1e6, "packages": packages}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
