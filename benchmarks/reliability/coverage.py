"""Measure what the suite runs of the package: branches of the Python, lines and branches of the C.

    python -m benchmarks.reliability.coverage [--json FILE] [--keep FOLDER] [tests ...]

Needs gcc with gcov, and `pip install coverage cython setuptools` beside the extra `test`. In a copy of HEAD the
modules are built with --coverage; there the suite runs under coverage.py, children of the tests included, and the
kernels' tests once more for each other instruction set that this machine has.

A C body is compiled for each instruction set and precision, here without inlining. A line counts as run if one of them
ran it; of a branch both ways must have been taken. What the compiler makes of Cython's glue is not counted.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _timing

ROOT = Path(__file__).parents[2]
KERNEL_TESTS = [
    f"tests/test_{name}.py"
    for name in ("avgpool", "conv", "im2col", "layers", "maxpool", "norm_engine", "passes", "warp", "winograd")
]
SETTINGS = """\
[run]
branch = true
parallel = true
source = cnn_ext
concurrency = thread, multiprocessing
patch = subprocess, _exit
[report]
exclude_also =
    if TYPE_CHECKING:
    @abstractmethod
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", default=["tests"])
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/logs/reliability/coverage.json")
    parser.add_argument("--keep", type=Path, help="use this new folder, and leave it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary) / "copy"
        build(folder)
        run_tests(folder, args.tests)
        figures = {"python": python_coverage(folder), "c": c_coverage(folder)}
    for part, figure in figures.items():
        print(f"\n{part}: {figure['lines']:.2f} % of lines, {figure['branches']:.2f} % of branches")
        for name, file in figure["files"].items():
            missing = ", ".join(map(str, file["missing"]))
            print(f"  {name:34} {file['lines']:6.1f} {file['branches']:6.1f}  {missing[:90]}")
    _timing.append_json(args.json, figures)


def build(folder: Path) -> None:
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "x"], cwd=folder, check=True, input=archive)
    (folder / ".coveragerc").write_text(SETTINGS)
    for path in (folder / "src").glob("*_body.h"):  # a body inlined in ten places would be counted ten times
        path.write_text(path.read_text().replace("inline __attribute__((always_inline))", ""))
    setup = folder / "setup.py"
    setup.write_text(setup.read_text().replace('"-O3"', '"-O1", "-fno-inline"'))
    flags = "--coverage -fprofile-update=atomic"
    environment = {**os.environ, "CFLAGS": flags, "LDFLAGS": "--coverage"}
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment, check=True
    )


def run_tests(folder: Path, tests: list[str]) -> None:
    # The folder first: the tests, and their children, must import the copy.
    environment = {**os.environ, "PYTHONPATH": str(folder), "COVERAGE_PROCESS_START": str(folder / ".coveragerc")}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for wanted in ("", "avx2", "baseline"):
        kernels_only = KERNEL_TESTS if tests == ["tests"] else tests
        environment["CNN_EXT_SIMD"] = wanted
        done = subprocess.run([*command, *(tests if not wanted else kernels_only)], cwd=folder, env=environment)
        print(f"instruction set {wanted or 'the best'}: pytest ended with {done.returncode}", flush=True)


def share(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 100.0


def python_coverage(folder: Path) -> dict[str, Any]:
    report = folder / "coverage.json"
    for command in (["combine", "-q"], ["json", "-q", "-o", str(report)]):
        subprocess.run([sys.executable, "-m", "coverage", *command], cwd=folder, check=True)
    found = json.loads(report.read_text())
    total = found["totals"]
    files = {
        name: {
            "lines": share(file["summary"]["covered_lines"], file["summary"]["num_statements"]),
            "branches": share(file["summary"]["covered_branches"], file["summary"]["num_branches"]),
            "missing": file["missing_lines"] + [f"{a}->{b}" for a, b in file["missing_branches"]],
        }
        for name, file in found["files"].items()
        if file["missing_lines"] or file["missing_branches"]
    }
    return {
        "lines": share(total["covered_lines"], total["num_statements"]),
        "branches": share(total["covered_branches"], total["num_branches"]),
        "files": files,
    }


def c_coverage(folder: Path) -> dict[str, Any]:
    """Return the shares of lines and of ways out of branches in src/*.c and *.h, by gcov's account."""
    lines: dict[tuple[str, int], int] = collections.defaultdict(int)
    ways: dict[tuple[str, int, int], int] = collections.defaultdict(int)
    for data in sorted(folder.glob("build/temp*/**/*.gcda")):
        command = ["gcov", "--json-format", "--branch-probabilities", "--stdout", str(data)]
        out = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
        found = json.loads(gzip.decompress(out) if out[:2] == b"\x1f\x8b" else out)
        for file in found["files"]:
            name = os.path.relpath(folder / file["file"], folder)
            if not name.startswith("src/") or not name.endswith((".c", ".h")):
                continue
            for line in file["lines"]:
                lines[name, line["line_number"]] += line["count"]
                for at, branch in enumerate(line["branches"]):
                    if not branch["throw"]:
                        ways[name, line["line_number"], at] += branch["count"]
    files: dict[str, Any] = {}
    for name in sorted({name for name, _ in lines}):
        own = {number: count for (other, number), count in lines.items() if other == name}
        own_ways = {key[1:]: count for key, count in ways.items() if key[0] == name}
        missing = [number for number, count in sorted(own.items()) if not count]
        one_way = sorted({number for (number, _), count in own_ways.items() if not count and own[number]})
        files[name] = {
            "lines": share(len(own) - len(missing), len(own)),
            "branches": share(sum(map(bool, own_ways.values())), len(own_ways)),
            "missing": [*missing, *(f"{number} one way" for number in one_way)],
        }
    return {
        "lines": share(sum(map(bool, lines.values())), len(lines)),
        "branches": share(sum(map(bool, ways.values())), len(ways)),
        "files": {name: file for name, file in files.items() if file["missing"]},
    }


if __name__ == "__main__":
    main()
