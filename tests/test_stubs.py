"""The stubs beside the compiled modules: what stands in a module and its stub, and the arguments' names.

`.ci/lint` compares them more closely, by mypy's stubtest.
"""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import cnn_ext
from cnn_ext import _compiled

MODULES = sorted(name for name in _compiled.__all__ if name.startswith("_"))


def stub_of(name):
    return ast.parse((Path(cnn_ext.__file__).parent / f"{name}.pyi").read_text(encoding="utf-8"))


def test_every_compiled_module_has_a_stub():
    folder = Path(cnn_ext.__file__).parent
    built = sorted(path.name.split(".")[0] for path in folder.glob("_*") if path.suffix in (".so", ".pyd"))
    assert built == MODULES and len(MODULES) == 8
    assert sorted(path.stem for path in folder.glob("*.pyi")) == MODULES, "each needs a stub: cnn_ext/_NAME.pyi"


@pytest.mark.parametrize("name", MODULES)
def test_a_stub_and_its_module_have_the_same_names(name):
    told = set()
    for node in stub_of(name).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            told.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            told.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            told.update(alias.asname for alias in node.names if alias.asname)
    held = {
        key
        for key, value in vars(getattr(_compiled, name)).items()
        if not key.startswith("_") and not inspect.ismodule(value)
    }
    assert told == held


@pytest.mark.parametrize("name", MODULES)
def test_a_stub_has_the_functions_arguments(name):
    module = getattr(_compiled, name)
    functions = [node for node in stub_of(name).body if isinstance(node, ast.FunctionDef)]
    assert functions
    for node in functions:
        told = [argument.arg for argument in node.args.args]
        assert told == list(inspect.signature(getattr(module, node.name)).parameters), node.name


@pytest.mark.parametrize("bad", [np.float16, np.int32])
def test_precisions_that_a_stub_does_not_tell_are_refused(bad):
    with pytest.raises(TypeError, match="No matching signature found"):
        _compiled._update.all_finite(np.zeros(3, bad))
