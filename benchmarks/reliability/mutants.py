"""Change the code in small ways, one at a time, and see whether the tests notice.

    python -m benchmarks.reliability.mutants [--python 150] [--c 60] [--seed 0] [--json FILE]

Each mutant is one change in a copy of the package: a comparison, a sign, a bound, a condition, a number. Its module's
tests are run; a mutant that they all pass survives, and is printed to be looked at. The changes are drawn at random
from all that there are, the same for the same seed. Needs a compiler for --c, which builds the changed module anew.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

# The Python core, and the tests that are there for each file.
PYTHON_TESTS = {
    "_checks.py": ["checks", "layers", "optimizers", "fit_settings", "bad_inputs_kernels"],
    "_files.py": ["model_file", "checkpoint"],
    "averaging.py": ["averaging"],
    "batches.py": ["training", "fit_settings", "checkpoint"],
    "callbacks.py": ["early_stopping", "training", "checkpoint"],
    "checkpoint.py": ["checkpoint"],
    "clipping.py": ["clipping"],
    "folding.py": ["folding"],
    "foreign.py": ["foreign"],
    "fusion.py": ["layers", "network", "norm_engine", "conv", "folding"],
    "interruption.py": ["resume"],
    "keeper.py": ["checkpoint", "resume", "distributed"],
    "layers/conv.py": ["layers", "gradients", "bad_inputs_layers", "conv"],
    "layers/dense.py": ["layers", "gradients"],
    "layers/dropout.py": ["layers"],
    "layers/norm.py": ["layers", "norm_engine", "gradients", "folding"],
    "layers/pool.py": ["layers", "maxpool", "avgpool", "gradients"],
    "loss.py": ["loss", "cross_entropy", "bad_inputs_layers"],
    "model_file.py": ["model_file", "network_save", "torch_exchange"],
    "network.py": ["foreign", "network", "network_save"],
    "optimizers.py": ["optimizers", "bad_inputs_training"],
    "prefetch.py": ["prefetch"],
    "run_settings.py": ["checkpoint"],
    "run_state.py": ["checkpoint", "training"],
    "saving.py": ["network_save", "cross_entropy"],
    "schedules.py": ["schedules"],
    "training.py": ["training", "fit_settings", "checkpoint"],
}
# The compiled modules: what is changed, and the tests of each.
C_TESTS = {
    "_im2col.pyx im2col.c": ["im2col"],
    "_pooling.pyx maxpool.c avgpool.c": ["maxpool", "avgpool"],
    "_conv.pyx conv.c conv_body.h conv_dense_body.h conv_sparse_body.h add_products_body.h "
    "winograd.c winograd_body.h winograd_tile_body.h": ["conv", "winograd"],
    "_matmul.pyx matmul.c matmul_body.h": ["passes", "layers"],
    "_norm.pyx norm.c norm_body.h": ["norm_engine", "layers"],
    "_update.pyx update.c": ["passes", "optimizers"],
    "_warp.pyx warp.c warp_body.h": ["warp", "augmentation"],
    "_threads.pyx threads.c": ["threads", "same_bits"],
}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
C_SWAPS = [
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" >= ", " > "),
    (r" == ", " != "),
    (r" != ", " == "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " + "),
    (r" && ", " || "),
    (r"\+= ", "-= "),
    (r"\b0\b(?![.xX])", "1"),
    (r"\b1\b(?![.xX])", "2"),
]
LIMIT = 300
"""Seconds after which the tests of a mutant are taken to hang, which is to notice."""
BUILD_LIMIT = 600


@dataclass(frozen=True)
class Mutant:
    """One change: the file, the line, what stood there, what stands there now, and the file's new text."""

    file: str
    line: int
    before: str
    after: str
    text: str
    tests: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=int, default=150, metavar="N", help="mutants of Python files (150)")
    parser.add_argument("--c", type=int, default=60, metavar="N", help="mutants of C and Cython files (60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    mutants = drawn(list(python_mutants()), args.python, rng) + drawn(list(c_mutants()), args.c, rng)
    began = time.perf_counter()
    results: dict[str, list[str]] = {outcome: [] for outcome in ("killed", "survived", "timed out", "not built")}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("cnn_ext", "src", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE-MNIST"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, work / name)
        setup = work / "setup.py"
        setup.write_text(setup.read_text().replace('"-O3"', '"-O1"'))  # builds in half the time
        for tests in sorted({mutant.tests for mutant in mutants}):
            if outcome_of(work, tests) != "survived":  # or every mutant would seem to be noticed
                raise SystemExit(f"the tests of {', '.join(tests)} do not pass, or not in {LIMIT} s, as the code is")
        for number, mutant in enumerate(mutants, 1):
            outcome = tried(work, mutant)
            told = f"{mutant.file}:{mutant.line}: {mutant.before.strip()}  ->  {mutant.after.strip()}"
            results[outcome].append(told)
            print(f"{number}/{len(mutants)} {outcome}: {told}", flush=True)
    counts = {outcome: len(members) for outcome, members in results.items()}
    noticed = counts["killed"] + counts["timed out"]
    score = noticed / max(1, noticed + counts["survived"])
    print(f"{counts}, score {score:.1%}")
    if args.json is not None:
        record = {"seed": args.seed, "seconds": time.perf_counter() - began, **counts, "score": score}
        args.json.write_text(
            json.dumps({**record, "survivors": results["survived"], "slow": results["timed out"]}, indent=1) + "\n"
        )


def drawn(mutants: list[Mutant], count: int, rng: random.Random) -> list[Mutant]:
    return sorted(rng.sample(mutants, min(count, len(mutants))), key=lambda mutant: (mutant.file, mutant.line))


def tried(work: Path, mutant: Mutant) -> str:
    """Return whether the tests notice the mutant; the copy of the package is as before then."""
    path = work / mutant.file
    changed = [path]
    if path.parent.name == "src":
        changed += (work / "cnn_ext").glob(f"{module_of(mutant)}.*.so")
    originals = {file: file.read_bytes() for file in changed}
    path.write_text(mutant.text)
    try:
        if len(changed) > 1 and not built(work, mutant):
            return "not built"
        return outcome_of(work, mutant.tests)
    finally:
        for file, content in originals.items():
            file.write_bytes(content)


def module_of(mutant: Mutant) -> str:
    """Return the compiled module that a file of src/ belongs to."""
    return next(files.split()[0] for files in C_TESTS if Path(mutant.file).name in files.split()).removesuffix(".pyx")


def outcome_of(work: Path, tests: tuple[str, ...]) -> str:
    files = [f"tests/test_{name}.py" for name in tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "PYTHONPATH": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return "timed out"
    return "killed" if done.returncode else "survived"


def built(work: Path, mutant: Mutant) -> bool:
    """Build the module that the file belongs to, and no other: their modules are made to look newer."""
    for library in (work / "cnn_ext").glob("*.so"):
        if library.name.startswith(f"{module_of(mutant)}."):
            library.unlink()
        else:
            os.utime(library)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    try:
        return subprocess.run(command, cwd=work, capture_output=True, timeout=BUILD_LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def python_mutants() -> Iterator[Mutant]:
    for name, tests in PYTHON_TESTS.items():
        tree = ast.parse((ROOT / "cnn_ext" / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "strict":
                node.value = ast.Name("True")  # of zip: what is zipped is of one length, which no test can change
        places = [node for node in ast.walk(tree) if changes_of(node)]
        for place in places:
            for number in range(len(changes_of(place))):
                twin = copy.deepcopy(tree)
                node = next(n for n in ast.walk(twin) if changes_of(n) and same_place(n, place))
                before = ast.unparse(node)
                changes_of(node)[number]()
                after = ast.unparse(node)
                yield Mutant(f"cnn_ext/{name}", node.lineno, before, after, ast.unparse(twin), tuple(tests))


def same_place(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a.lineno, a.col_offset, a.end_col_offset) == (
        b.lineno,
        b.col_offset,
        b.end_col_offset,
    )


def changes_of(node: Any) -> list[Any]:
    """Return functions that each change the node in one way."""
    if isinstance(node, ast.Compare):
        return [lambda i=i: node.ops.__setitem__(i, SWAPS[type(node.ops[i])]()) for i in range(len(node.ops))]
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in SWAPS:
        if isinstance(node, ast.BinOp) and any(isinstance(n, (ast.JoinedStr, ast.Constant)) for n in ast.walk(node)):
            if any(isinstance(n, ast.JoinedStr) or isinstance(getattr(n, "value", 0), str) for n in ast.walk(node)):
                return []  # text
        return [lambda: setattr(node, "op", SWAPS[type(node.op)]())]
    if isinstance(node, ast.If) and isinstance(node.body[0], (ast.Raise, ast.Return, ast.Continue)):
        return [lambda: setattr(node, "test", ast.Constant(False))]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [lambda: setattr(node, "value", not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return [lambda: setattr(node, "value", node.value + 1)]
    return []


def c_mutants() -> Iterator[Mutant]:
    for files, tests in C_TESTS.items():
        for name in files.split():
            lines = (ROOT / "src" / name).read_text().splitlines()
            for index, line in enumerate(lines):
                code = re.split(r"//|/\*|#", line)[0]
                if '"' in code or not code.strip() or code.lstrip().startswith("*"):
                    continue
                for pattern, replacement in C_SWAPS:
                    for match in re.finditer(pattern, code):
                        after = line[: match.start()] + replacement + line[match.end() :]
                        text = "\n".join([*lines[:index], after, *lines[index + 1 :]]) + "\n"
                        yield Mutant(f"src/{name}", index + 1, line, after, text, tuple(tests))


if __name__ == "__main__":
    main()
