"""The command line under mpiexec: the same files for any number of processes, written by one; all end when one fails."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from cnn_ext import threads, train_mnist

pytestmark = pytest.mark.slow

# Batches of 50, 50 and 20 images: 3, 3 and 1 chunks, so that of four processes one, or three, have nothing to do.
SMALL = ["--distributed", "--train-size", "120", "--validation-size", "200", "--epochs", "2"]
RECIPE = ["--model", "small", "--augment", "RandomAffine:rotation=10", "--average", "0.9", "--standardize"]
RECIPE += ["--early-stopping", "2"]
COMMAND = ["-m", "cnn_ext.train_mnist"]

# The command line in processes of which one fails at step 4: the last of them, or process 0 by a signal.
FAILING = """
import signal, sys
from cnn_ext import callbacks, train_mnist

on_epoch = callbacks.TrainingAccuracy.on_epoch
on_step = callbacks.TrainingAccuracy.on_step

def fail(self, run):
    if run.step == 4 and sys.argv[1] == "raises" and run.parallel.rank == run.parallel.size - 1:
        raise RuntimeError(f"process {run.parallel.rank} has had enough")
    if run.step == 4 and sys.argv[1].startswith("SIG") and run.parallel.rank == 0:
        signal.raise_signal(getattr(signal, sys.argv[1]))

callbacks.TrainingAccuracy.on_step = fail
sys.exit(train_mnist.main(sys.argv[2:]))
"""


def outputs(folder):
    return ["--output", folder / "net", "--log", folder / "log", "--checkpoint", folder / "run"]


def written(folder):
    """Return the network, and what the log says but for times, machine and settings."""
    first, *epochs = map(json.loads, (folder / "log").read_text().splitlines())
    epochs = [{name: value for name, value in epoch.items() if "second" not in name} for epoch in epochs]
    return (folder / "net").read_bytes(), first["run"]["command"], epochs


@pytest.fixture(scope="module")
def whole(mpiexec, tmp_path_factory):
    """What one process writes that no mpiexec has started."""
    folder = tmp_path_factory.mktemp("whole")
    command = [sys.executable, *COMMAND, *SMALL, *RECIPE, *outputs(folder)]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=100)
    assert (result.returncode, result.stderr) == (0, "")
    return written(folder)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_same_files_for_any_number_of_processes_written_by_one(whole, under_mpi, tmp_path, n):
    result = under_mpi(n, "-m", "mpi4py", *COMMAND, *SMALL, *RECIPE, *outputs(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert written(tmp_path) == whole
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["epoch", "epoch", "validation"]
    kept = [f"run/step-00000000{step}.safetensors" for step in (3, 6)]
    found = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert found == ["log", "net", *kept]
    machine = json.loads((tmp_path / "log").read_text().splitlines()[0])["run"]["machine"]
    assert machine["threads"] == max(1, threads.usable_cpus() // n)


@pytest.mark.parametrize("name, word, code", [("SIGINT", "interrupted", 130), ("SIGTERM", "terminated", 143)])
def test_stopped_by_a_signal_it_goes_on_under_another_number(whole, under_mpi, tmp_path, name, word, code):
    arguments = [*SMALL, *RECIPE, *outputs(tmp_path)]
    result = under_mpi(2, "-c", FAILING, name, *arguments)
    assert result.returncode == code, result.stderr
    newest = tmp_path / "run" / "step-000000004.safetensors"
    again = "; to go on: mpiexec -n 2 python -m cnn_ext.train_mnist --distributed "
    assert f"train_mnist: {word}, kept in {newest}{again}" in result.stderr
    arguments[-2] = "--resume"
    result = under_mpi(4, *COMMAND, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("going on after step 4 of 6\n")
    assert written(tmp_path) == whole


def test_without_distributed_it_is_another_run(under_mpi, tmp_path, capsys):
    plain = ["--quiet", "--train-size", "50", "--test-size", "50", "--epochs", "1"]
    assert train_mnist.main([*plain, "--checkpoint", str(tmp_path)]) == 0
    result = under_mpi(2, *COMMAND, *plain, "--distributed", "--resume", tmp_path)
    assert result.returncode == 65
    assert "train_mnist: --resume: " in result.stderr and "chunk_size: None, now 16" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_all(mpiexec, tmp_path):
    from mpi4py import MPI

    log = tmp_path / "log"
    command = [mpiexec, "-n", "2", sys.executable, *COMMAND, "--distributed", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not log.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    assert "Traceback" not in error
    if MPI.Get_library_version().startswith("MPICH"):  # Open MPI's mpiexec ends the processes itself
        assert process.returncode == 130
        assert (
            error.count(
                "train_mnist: interrupted; nothing more was saved (a run started with --resume FOLDER is kept there, and can be continued)\n"
            )
            == 1
        )
    assert process.returncode > 0


def test_an_exception_of_one_process_ends_all(under_mpi):
    result = under_mpi(3, "-c", FAILING, "raises", *SMALL)
    assert result.returncode == 1
    assert "\nRuntimeError: process 2 has had enough\n" in result.stderr


@pytest.mark.parametrize(
    "flags, code, message",
    [
        (["--lr", "x"], 2, "argument --lr: a number in (0, inf) expected, got 'x' (--help lists the flags)"),
        (["--data", "nowhere"], 66, "--data cannot be read: [Errno 2] No such file or directory: 'nowhere'"),
        (["--output", "no/folder"], 73, "--output cannot be written: "),
        (["--lr", "1e30"], 1, "training diverged (a lower --lr may help): step 2: "),
    ],
)
def test_a_failure_of_all_is_told_once(under_mpi, flags, code, message):
    result = under_mpi(2, *COMMAND, *SMALL, *flags)
    assert result.returncode == code
    assert result.stderr.count("train_mnist") == 1 and f"train_mnist: {message}" in result.stderr


def test_a_failure_of_one_ends_all(under_mpi):
    others = [":", "-n", 1, sys.executable, *COMMAND, *SMALL]
    for flags, code, message in (
        (["--lr", "x"], 2, "argument --lr: "),
        (["--data", "nowhere"], 66, "--data cannot be read: "),
    ):
        result = under_mpi(1, *COMMAND, *SMALL, *others, *flags)
        assert result.returncode == code
        assert re.findall("train_mnist.*?: .*?: ", result.stderr) == [f"train_mnist, process 1: {message}"]


def test_it_is_for_training(mpiexec, capsys):
    assert train_mnist.main(["--distributed", "--evaluate", "mnist-small"]) == 2
    assert capsys.readouterr().err == "train_mnist: --distributed is for training: not with --evaluate\n"


def test_without_mpi4py_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert train_mnist.main(SMALL) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_mnist: --distributed: DataParallel needs mpi4py (") and error.count("\n") == 1
    assert error.endswith("): pip install 'cnn_ext[mpi]'\n")
