"""The benchmarks still fit the package: what they take of it is there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="the benchmarks are not here"),
]

IMPORT_ALL = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path.append(str(root))  # behind all else, so that cnn_ext is the installed one
for path in sorted(root.glob("benchmarks/**/*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] in ("benchmarks", "cnn_ext"):
            raise
        print("left out", name, error.name)
    else:
        print("imported", name)
"""


def test_all_of_them_can_be_imported():
    result = subprocess.run([sys.executable, "-c", IMPORT_ALL, ROOT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "imported benchmarks.reliability.kills" in result.stdout
