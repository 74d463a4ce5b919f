"""What several test files share: a generator, and one array in every memory layout."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnn_ext.layers import LAYER_TYPES, Layer
from cnn_ext.layers.base import ArrayOf

# Child processes import the installed package, not the source folder that the tests may be started in.
os.environ["PYTHONSAFEPATH"] = "1"
# A shell ignores SIGINT in what it starts in the background, which child processes that are to be interrupted inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(20261124)


@pytest.fixture
def registered_layer(monkeypatch):
    """A layer of one's own, with a trained array, that was put into the table of what can be saved."""

    class Shift(Layer):
        param_names = ("b",)
        config_names = ("n", "dtype")
        b = ArrayOf("params", 0)

        def __init__(self, n, dtype="float32"):
            super().__init__()
            self.n, self.dtype, self.input_shape = n, np.dtype(dtype), (n,)
            self.params = [np.ones(n, self.dtype)]

        @classmethod
        def state_shapes(cls, config):
            return {"b": (config["n"],)}

        def forward(self, X, training=True):
            return X + self.b

        def backward(self, dout):
            return dout, [dout.sum(axis=0)]

    monkeypatch.setitem(LAYER_TYPES, "Shift", Shift)
    return Shift(3)


@pytest.fixture(scope="session")
def mpiexec():
    """The command that starts processes which know each other."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec: pip install 'cnn_ext[mpi]' mpich")
    return found


@pytest.fixture(scope="session")
def under_mpi(mpiexec):
    """Run n processes of Python with these arguments to their end."""

    def run(n, *arguments):
        command = [mpiexec, "-n", n, sys.executable, *arguments]
        # Open MPI wants to be asked for more processes than there are CPUs.
        more = {"PYTHONWARNINGS": "", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
        environment = {**os.environ, **more}
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=100, env=environment)

    return run


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


# Each gives an array equal to x, laid out in memory in another way.
LAYOUTS = {
    "contiguous": lambda x: x.copy(),
    "fortran": lambda x: np.asfortranarray(x),
    "sliced": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "read-only": _read_only,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def _bytes_of(value):
    """Every array in a call's arguments, as bytes."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.tobytes()
    if isinstance(value, (list, tuple)):
        return [_bytes_of(part) for part in value]
    return [_bytes_of(part) for part in value.values()] if isinstance(value, dict) else None


@pytest.fixture
def refuses():
    """Check that a call raises what it should, by the message it should, and changes no byte that it was given."""

    def check(error, message, function, *arguments, **named):
        before = _bytes_of((arguments, named))
        with pytest.raises(error, match=message) as caught:
            function(*arguments, **named)
        assert _bytes_of((arguments, named)) == before
        return caught.value

    return check
