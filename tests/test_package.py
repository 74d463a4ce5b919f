"""The package as a whole: its names, its imports, its metadata."""

import ctypes
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnn_ext


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_star_import_gives_every_public_name():
    code = "from cnn_ext import *; import cnn_ext; print(sorted(set(cnn_ext.__all__) - set(dir())))"
    assert run(code).stdout.strip() == "[]"
    assert sorted(cnn_ext.__all__) == sorted(set(cnn_ext.__all__))


def test_import_takes_nothing_optional_along():
    names = ("tqdm", "safetensors", "numpy.random", "sklearn", "onnx", "PIL", "matplotlib", "torch", "mpi4py")
    result = run(f"import sys, cnn_ext; print([n for n in {names} if n in sys.modules])")
    assert result.stdout.strip() == "[]"


def test_nothing_draws_from_the_global_generator():
    code = """
import numpy as np, cnn_ext
np.random.seed(1); before = np.random.get_state()[1].tobytes()
net = cnn_ext.NeuralNet(cnn_ext.make_mnist_cnn((1, 28, 28), 10))
cnn_ext.sgd(net, np.zeros((4, 1, 28, 28), np.float32), np.arange(4), 2, 1, 0.1, verbose=False)
print(np.random.get_state()[1].tobytes() == before)
"""
    assert run(code).stdout.strip() == "True"


def test_errors_have_one_base_class():
    public = [value for name, value in vars(cnn_ext).items() if name.endswith("Error")]
    assert len(public) == 9 and all(issubclass(error, cnn_ext.CnnExtError) for error in public)


def test_typed():
    assert (Path(cnn_ext.__file__).parent / "py.typed").exists()


def test_without_compiled_modules_one_line_says_what_to_do(tmp_path):
    folder = Path(cnn_ext.__file__).parent
    target = tmp_path / "cnn_ext"
    for source in folder.rglob("*.py"):
        copy = target / source.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    # An editable install answers for missing modules by a finder of its own.
    code = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]; import cnn_ext"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the compiled modules of cnn_ext are missing") and "pip install" in last


# A symbol of each module's C; one of the same name in another library, found first, would be taken in the place of it.
SYMBOLS = {
    "_conv": "conv_table",
    "_im2col": "im2col_row_f32",
    "_matmul": "matmul_table",
    "_norm": "norm_table",
    "_pooling": "maxpool_plane_f32",
    "_threads": "pool",
    "_update": "momentum_step_f32",
    "_warp": "warp_affine_f32",
}


@pytest.mark.parametrize(("name", "symbol"), SYMBOLS.items())
def test_symbols_of_ours_are_hidden(name, symbol):
    module = ctypes.CDLL(importlib.import_module(f"cnn_ext.{name}").__file__)
    assert hasattr(module, f"PyInit_{name}") and not hasattr(module, symbol)
