"""The worker pool: its size, and that nothing depends on it."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import cnn_ext
from cnn_ext import DTypeError, kernels, threads


@pytest.fixture(autouse=True)
def restore():
    before = cnn_ext.get_num_threads()
    yield
    cnn_ext.set_num_threads(before)


@pytest.fixture
def x(rng):
    return rng.standard_normal((40, 8, 14, 14)).astype(np.float32)


def columns_of(x):
    return kernels.im2col(x, 5, 5, 2, 1).tobytes()


def test_set_and_get():
    for n in (1, 256, 3, np.int64(2)):
        cnn_ext.set_num_threads(n)
        assert cnn_ext.get_num_threads() == n


@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (257, ValueError), (-1, ValueError), (2.0, DTypeError), ("2", DTypeError), (True, DTypeError)],
)
def test_bad_counts(n, error):
    before = cnn_ext.get_num_threads()
    with pytest.raises(error, match="n must be"):
        cnn_ext.set_num_threads(n)
    assert cnn_ext.get_num_threads() == before


def start(value, common=""):
    code = "import cnn_ext; print(cnn_ext.get_num_threads())"
    environment = {**os.environ, threads.VARIABLE: value, threads.COMMON_VARIABLE: common}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_environment_variable():
    assert start("5").stdout.strip() == "5"
    assert start("").stdout.strip() == str(threads.usable_cpus())
    for value in ("0", "257", "two", "-1"):
        assert f"CNN_EXT_NUM_THREADS must be an int in [1, 256], got '{value}'" in start(value).stderr


@pytest.mark.slow
def test_common_variable():
    assert start("", "1").stdout.strip() == start("", " 1,4").stdout.strip() == "1"
    assert start("5", "1").stdout.strip() == "5"
    for value in ("999999", "9" * 5000, "0", "-1", "many", ","):
        assert start("", value).stdout.strip() == str(threads.usable_cpus())


def test_the_reason_is_told(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 4)
    for value, reason in (("", "the CPUs"), ("4", "the CPUs"), ("3", "OMP_NUM_THREADS")):
        monkeypatch.setenv(threads.COMMON_VARIABLE, value)
        assert threads.why_so_many().startswith(reason)
    monkeypatch.setenv(threads.VARIABLE, "2")
    assert threads.why_so_many() == threads.VARIABLE


def test_show_config(capsys):
    cnn_ext.set_num_threads(7)
    cnn_ext.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["cnn_ext", "processor", "instruction set", "threads"]
    assert lines[2].split()[2] == kernels.INSTRUCTION_SET and lines[3].split(maxsplit=1)[1] == "7 (set_num_threads)"


@pytest.mark.parametrize(
    ("content", "cpus"),
    [("max 100000", float("inf")), ("150000 100000", 1.5), ("50000 100000", 0.5), ("nonsense x", float("inf"))],
)
def test_container_quota(content, cpus, monkeypatch):
    monkeypatch.setattr(threads.Path, "read_text", lambda self: content)
    assert threads._container_quota() == cpus
    assert 1 <= threads.usable_cpus() <= max(1, os.cpu_count())


def test_many_sizes_in_turn(x):
    expected = columns_of(x)
    for n in (5, 1, 3, 2, 8, 1, 4):
        cnn_ext.set_num_threads(n)
        assert columns_of(x) == expected


def test_two_python_threads_at_once(x):
    cnn_ext.set_num_threads(3)
    expected, wrong = columns_of(x), []

    def work():
        wrong.extend(1 for _ in range(30) if columns_of(x) != expected)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads about is the point
def test_a_forked_child_works_and_agrees(x):
    cnn_ext.set_num_threads(3)
    expected = columns_of(x)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(columns_of(x)))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0
    assert columns_of(x) == expected
