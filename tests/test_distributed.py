"""Training over MPI: the same bits for any number of processes, and one process's error is everybody's end."""

import os
import sys
from types import ModuleType

import numpy as np
import pytest

from cnn_ext import SGD, DTypeError, FullyConnected, NeuralNet, ReLU, fit
from cnn_ext._compiled import INSTRUCTION_SET
from cnn_ext.distributed import DataParallel, chunk_bounds, halves, nodes_inside, tree_sum

pytestmark = pytest.mark.slow

SCRIPT = """
import hashlib, os, sys
import numpy as np
from mpi4py import MPI

if sys.argv[1] == "other kernels" and MPI.COMM_WORLD.rank == 1:
    os.environ["CNN_EXT_SIMD"] = "baseline"
from cnn_ext import *
from cnn_ext.augmentation import RandomAffine
from cnn_ext.layers.base import arrays_of

set_num_threads(1)
parallel = DataParallel(chunk_size=4)
what, folder = sys.argv[1], sys.argv[2]
rng = np.random.default_rng(3)
X, y = rng.random((47, 1, 8, 8), np.float32), rng.integers(0, 3, 47)

class FailAt(Callback):
    def on_step(self, run):
        if run.step == 7 and parallel.rank == parallel.size - 1 and what == "fails":
            raise RuntimeError(f"process {parallel.rank} has had enough")
        if run.step == 7 and parallel.rank == 0 and what == "stops":
            raise KeyboardInterrupt

weights = np.random.default_rng(parallel.rank)  # only those of process 0 count
n_filters = 5 if what == "other network" and parallel.rank == 1 else 4
net = NeuralNet([
    Conv((1, 8, 8), n_filters, 3, 3, stride=1, padding=1, rng=weights), BatchNorm((n_filters, 8, 8)), ReLU(),
    Maxpool((n_filters, 8, 8), 2, 2), Flatten(), Dropout(0.7, rng=1 + parallel.rank),
    FullyConnected(16 * n_filters, 3, rng=weights),
], CrossEntropy(0.1, [1.0, 2.0, 0.5]))
optimizer = SGD(0.1, 0.9, True)
if what == "differs" and parallel.rank == 1:
    y[0] = (y[0] + 1) % 3
history = fit(
    net, X, y, optimizer=optimizer, epochs=3, batch_size=13, rng=None if what == "no seed" else 5, sample_weight=np.linspace(0.5, 2, 47), average=0.8,
    augment=RandomAffine(10, 1, 0.1), validation=(X, y), callbacks=[EarlyStopping(patience=3), FailAt()],
    checkpoint=None if folder == "-" else Checkpoint(folder, every_steps=2), parallel=parallel,
)
digest = hashlib.sha256()
for array in [*arrays_of(net.layers), *optimizer.state["velocity"]]:
    digest.update(array.tobytes())
numbers = [value for record in history for name, value in record.items() if "second" not in name]
digest.update(repr([net.layers[5].rng.bit_generator.state, numbers]).encode())
many, labels = rng.random((300, 1, 8, 8), np.float32), rng.integers(0, 3, 300)  # three chunks
if net.evaluate(many, labels, parallel) != net.evaluate(many, labels):
    raise SystemExit("shared out, the evaluation gives other numbers")
digests = parallel.gather(digest.hexdigest())
if parallel.rank == 0:
    print(len(set(digests)), digests[0], len(history))
"""


def command(what="runs", folder="-"):
    return ["-m", "mpi4py", "-c", SCRIPT, what, folder]


def digest_of(result):
    assert result.returncode == 0, result.stderr
    n_digests, digest, n_epochs = result.stdout.split()
    assert (n_digests, n_epochs) == ("1", "3")  # all processes end alike
    return digest


@pytest.fixture(scope="module")
def whole(under_mpi):
    return digest_of(under_mpi(1, *command()))


@pytest.mark.parametrize("n", [2, 3, 4])  # batches of 13, the last of 8: three chunks, or two: one of four has none
def test_the_bits_do_not_depend_on_the_number_of_processes(whole, under_mpi, n):
    assert digest_of(under_mpi(n, *command())) == whole


def test_without_a_seed_process_0_draws_it(under_mpi):
    digest_of(under_mpi(2, *command("no seed")))


def test_a_run_stopped_under_one_number_goes_on_under_another(whole, under_mpi, tmp_path):
    assert under_mpi(2, *command("stops", tmp_path)).returncode != 0
    assert sorted(os.listdir(tmp_path)) == ["step-000000004.safetensors", "step-000000006.safetensors"]
    assert digest_of(under_mpi(3, *command("runs", tmp_path))) == whole


def test_a_failing_process_ends_all_with_its_error(under_mpi):
    result = under_mpi(3, *command("fails"))
    assert result.returncode != 0 and "RuntimeError: process 2 has had enough" in result.stderr


def test_processes_with_other_data_are_told(under_mpi):
    result = under_mpi(2, *command("differs"))
    assert result.returncode != 0
    assert "ValueError: process 1 is to train something else than process 0: labels: " in result.stderr


def test_processes_with_another_network_are_told(under_mpi):
    result = under_mpi(2, *command("other network"))
    assert result.returncode != 0
    assert "ShapeError: process 1 is to train another network than process 0" in result.stderr


@pytest.mark.skipif(INSTRUCTION_SET == "baseline", reason="there is one instruction set")
def test_processes_that_round_in_other_ways_are_told(under_mpi):
    result = under_mpi(2, *command("other kernels"))
    assert result.returncode != 0
    assert f"process 0: instruction_set: {INSTRUCTION_SET}, now baseline" in result.stderr


def test_one_process_computes_what_a_plain_run_does(mpiexec, rng):
    X, y = rng.random((40, 6)).astype(np.float64), rng.integers(0, 3, 40)

    def trained(parallel):
        layers = [FullyConnected(6, 8, dtype=np.float64, rng=0), ReLU(), FullyConnected(8, 3, dtype=np.float64, rng=1)]
        net = NeuralNet(layers)
        history = fit(net, X, y, optimizer=SGD(0.1, 0.9), epochs=2, batch_size=15, rng=0, parallel=parallel)
        return [*net.named_params().values(), np.array(history.loss), np.array(history.running_accuracy)]

    # Chunks are summed in another order: roundings of float64, a few steps long.
    for a, b in zip(trained(DataParallel(chunk_size=4)), trained(None), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "attributes",
    [{"buffers": [np.ones(3)]}, {"rng": np.random.default_rng(0)}],
    ids=lambda attributes: next(iter(attributes)),
)
def test_layers_whose_state_is_not_shared_are_refused_by_name(mpiexec, attributes):
    class Mine:
        params = ()

        def forward(self, X):
            return X

        def backward(self, dout):
            return dout, []

        def output_shape(self, shape):
            return shape

    layer = Mine()
    vars(layer).update(attributes)
    net = NeuralNet([FullyConnected(6, 3, rng=0), layer, FullyConnected(3, 2, rng=1)])
    with pytest.raises(DTypeError, match=r"layer 1 \(Mine\) has running statistics or draws of its own"):
        DataParallel().start_alike(net)


@pytest.mark.parametrize("n, bounds", [(1, [0, 1]), (15, [0, 15]), (16, [0, 16]), (50, [0, 16, 32, 50])])
def test_chunks_of_sixteen(n, bounds):
    assert chunk_bounds(n, 16) == bounds


@pytest.mark.parametrize("n", range(1, 20))
def test_nodes_of_any_parts_sum_up_along_the_same_tree(rng, n):
    values = rng.standard_normal(n).astype(np.float32)

    def summed(node):
        if node[1] - node[0] == 1:
            return values[node[0]]
        left, right = halves(node)
        assert left[0] < left[1] == right[0] < right[1]
        return summed(left) + summed(right)

    for size in range(1, 9):
        known = {}
        for rank in range(size):
            part = (rank * n // size, (rank + 1) * n // size)
            nodes = nodes_inside((0, n), part)
            assert [chunk for a, b in nodes for chunk in range(a, b)] == list(range(*part))
            known.update({node: summed(node) for node in nodes})
        assert tree_sum((0, n), known) == summed((0, n))


def finds_no_mpi(name):
    raise RuntimeError("cannot load MPI library\nlibmpi.so: no such file")


WITHOUT_MPI = ModuleType("mpi4py")
WITHOUT_MPI.__getattr__ = finds_no_mpi


@pytest.mark.parametrize(
    "mpi4py, message",
    [
        (None, r"^DataParallel needs mpi4py \(.*\): pip install 'cnn_ext\[mpi\]'$"),
        (WITHOUT_MPI, r"^DataParallel needs an MPI library \(cannot load MPI library\): pip install mpich$"),
    ],
    ids=["no mpi4py", "no MPI"],
)
def test_without_mpi_it_says_what_to_install(monkeypatch, mpi4py, message):
    monkeypatch.setitem(sys.modules, "mpi4py", mpi4py)
    with pytest.raises(ImportError, match=message):
        DataParallel()


@pytest.mark.parametrize("arguments, message", [({"chunk_size": 0}, "chunk_size"), ({"comm": 3}, "comm must be a")])
def test_bad_arguments(mpiexec, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        DataParallel(**arguments)
