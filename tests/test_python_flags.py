"""Checks do not depend on how Python is started: no `assert` does any of them, and -O changes nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnn_ext

pytestmark = pytest.mark.slow

PACKAGE, TESTS = Path(cnn_ext.__file__).parent, Path(__file__).parent
BAD_INPUTS = sorted(str(path) for path in TESTS.glob("test_bad_inputs_*.py"))
FAILING = """
def test_that_fails():
    assert 1 == 2

def test_that_passes():
    assert 1 == 1
"""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_assert_in_the_package(path):
    lines = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert lines == []


@pytest.mark.skipif(not (TESTS.parent / "src").is_dir(), reason="the sources are not here")
def test_no_assert_in_the_compiled_modules():
    sources = [*(TESTS.parent / "src").glob("*.pyx"), *(TESTS.parent / "src").glob("*.pxd")]
    assert len(sources) > 8
    assert [path.name for path in sources if re.search(r"^\s*assert\b", path.read_text(), re.MULTILINE)] == []


def pytest_under_O(*arguments):
    """Run pytest with `assert` compiled away everywhere but in test modules, which pytest rewrites."""
    # The warning that says just this is the one that may come.
    command = [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command += ["-W", "error", "-W", "ignore:assertions not in test modules:pytest.PytestConfigWarning"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def test_asserts_of_tests_still_work_under_O(tmp_path):
    (tmp_path / "test_it.py").write_text(FAILING)
    result = pytest_under_O(str(tmp_path), "-c", "/dev/null")
    assert result.returncode == 1 and "1 failed, 1 passed" in result.stdout, result.stdout + result.stderr


def test_bad_input_is_refused_under_O():
    """Every row of the five tables, once more."""
    result = pytest_under_O(*BAD_INPUTS)
    assert len(BAD_INPUTS) >= 5
    assert result.returncode == 0 and re.search(r"\d{3,} passed", result.stdout), result.stdout + result.stderr
