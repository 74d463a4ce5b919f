"""What Python threads and processes may share: the contract at the head of cnn_ext/threads.py."""

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import cnn_ext
from cnn_ext import SGD, Conv, NeuralNet, fit, kernels, make_mnist_cnn

pytestmark = pytest.mark.slow

F = np.float32
IN_USE = "in use by another thread: give each thread a copy of its own"


@pytest.fixture(autouse=True)
def settings():
    threads, interval = cnn_ext.get_num_threads(), sys.getswitchinterval()
    yield
    cnn_ext.set_num_threads(threads)
    sys.setswitchinterval(interval)


def net_of(seed):
    return NeuralNet(make_mnist_cnn((1, 8, 8), 3, rng=seed))


def data(seed, n=60):
    rng = np.random.default_rng(seed)
    return rng.random((n, 1, 8, 8), F), rng.integers(0, 3, n)


def weights_after_training(seed):
    net = net_of(seed)
    fit(net, *data(seed), optimizer=SGD(0.05, 0.9), epochs=2, batch_size=10, rng=seed)
    return b"".join(param.tobytes() for param in net.named_params().values())


def kernels_results(seed):
    """What some kernels give, joined: large enough that the pool takes part."""
    x = np.random.default_rng(seed).standard_normal((16, 8, 14, 14)).astype(F)
    w, b = np.full((8, 8, 3, 3), 0.1, F), np.ones(8, F)
    out, argmax = kernels.maxpool_forward(x, 2, 2)
    parts = [
        kernels.im2col(x, 3, 3, 1, 1),
        kernels.conv2d_forward(x, w, b, 1, 1),
        *kernels.winograd_conv2d_backward(x, x, w, 1),
        kernels.maxpool_backward(out, argmax, x.shape, 2, 2),
        kernels.gaussian_blur(x, 1.5),
    ]
    return b"".join(part.tobytes() for part in parts)


def test_kernels_and_networks_in_a_pool_of_threads_that_switch_all_the_time():
    work = [(kernels_results, seed) for seed in range(8)] + [(weights_after_training, seed) for seed in range(4)]
    expected = [function(seed) for function, seed in work]
    cnn_ext.set_num_threads(3)
    sys.setswitchinterval(1e-6)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda item: item[0](item[1]), work)) == expected


def test_the_number_of_threads_changes_while_others_compute():
    expected, stop = kernels_results(0), threading.Event()

    def change():
        while not stop.is_set():
            for n in (1, 4, 2, 3):
                cnn_ext.set_num_threads(n)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            results = set(pool.map(kernels_results, [0] * 60))
    finally:
        stop.set()
        changer.join()
    assert results == {expected}


def outcomes_of_threads(work, n_threads=3, rounds=40):
    """Let some threads call `work` at once; return what came of each call: None, or its exception."""
    outcomes, start = [], threading.Barrier(n_threads)

    def loop(seed):
        start.wait()
        for round_ in range(rounds):
            try:
                work(seed, round_)
                outcomes.append(None)
            except Exception as error:
                outcomes.append(error)

    sys.setswitchinterval(1e-6)
    workers = [threading.Thread(target=loop, args=(seed,)) for seed in range(n_threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return outcomes


@pytest.mark.parametrize("threads", [1, 3])
def test_one_network_in_several_threads_is_an_error_and_no_crash(threads):
    """It used to die of SIGSEGV within a second: both threads filled the same lists of gradients."""
    cnn_ext.set_num_threads(threads)
    net, (X, y) = net_of(0), data(0)

    def work(seed, round_):
        n = 1 + (7 * seed + 11 * round_) % 60
        if round_ % 3:
            net.train_step(X[:n], y[:n])
        else:
            net.predict(X[:n])

    outcomes = outcomes_of_threads(work)
    assert {str(error) for error in outcomes if error} <= {f"this network is {IN_USE}"}
    assert {type(error) for error in outcomes if error} <= {RuntimeError}
    assert None in outcomes
    net.train_step(X, y)  # and afterwards it is free again


def test_a_second_thread_gets_an_error_at_once_and_a_copy_is_free():
    inside, leave = threading.Event(), threading.Event()

    class Waiting:
        params = ()

        def forward(self, X):
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                leave.wait(60)
            return X

        def backward(self, dout):
            return dout, []

    net = NeuralNet([*make_mnist_cnn((1, 8, 8), 3, rng=0), Waiting()])
    X, y = data(0)
    worker = threading.Thread(target=net.predict, args=(X,))
    worker.start()
    try:
        assert inside.wait(60)
        for call in (net.forward, net.predict, lambda X: net.train_step(X, y), lambda X: net.evaluate(X, y)):
            with pytest.raises(RuntimeError, match=IN_USE):
                call(X)
        with pytest.raises(RuntimeError, match=IN_USE):
            net.backward(np.zeros((60, 3), F))
        copy.deepcopy(net).predict(X)
    finally:
        leave.set()
        worker.join()
    net.predict(X)


def test_one_convolution_in_several_threads_does_not_crash():
    conv = Conv((8, 12, 12), 8, 3, 3, 1, 1, rng=0)
    X = np.random.default_rng(0).standard_normal((40, 8, 12, 12)).astype(F)

    def work(seed, round_):
        out = conv.forward(X[: 1 + (7 * seed + 11 * round_) % 40])
        conv.backward(np.ones_like(out))

    errors = [error for error in outcomes_of_threads(work) if error]
    assert all(isinstance(error, (RuntimeError, ValueError)) for error in errors), errors


def test_networks_and_layers_go_through_pickle():
    net, (X, y) = net_of(0), data(0)
    net.train_step(X, y)
    assert pickle.loads(pickle.dumps(net)).predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


METHODS = multiprocessing.get_all_start_methods()

# A child cannot import this file, which is in no package: it gets the code, and what belongs to it by name.
CHILD = """
import numpy as np
from cnn_ext import kernels
x = np.random.default_rng(0).standard_normal((16, 8, 14, 14)).astype(np.float32)
result = kernels.im2col(x, 3, 3, 1, 1).tobytes() + kernels.gaussian_blur(x, 1.5).tobytes()
"""


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking beside threads, which is the point
@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_processes_started_after_use(method):
    cnn_ext.set_num_threads(3)
    here = {}
    exec(CHILD, here)  # the pool of threads is running
    in_a_child = f"(lambda names: exec({CHILD!r}, names) or names['result'])({{}})"
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(eval, [in_a_child] * 4)) == [here["result"]] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_while_other_threads_compute():
    """The child inherits a pool in the midst of a call; it must neither wait for it nor take part."""
    cnn_ext.set_num_threads(3)
    expected, stop = kernels_results(0), threading.Event()

    def work():
        while not stop.is_set():
            kernels_results(1)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if kernels_results(0) == expected else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


LEAVING = """
    import sys, threading, time
    import numpy as np
    import cnn_ext
    cnn_ext.set_num_threads(3)

    def train():
        net = cnn_ext.NeuralNet(cnn_ext.make_mnist_cnn((1, 28, 28), 10, rng=0))
        rng = np.random.default_rng(0)
        X, y = rng.random((100, 1, 28, 28), np.float32), rng.integers(0, 10, 100)
        started.set()
        cnn_ext.fit(net, X, y, optimizer=cnn_ext.SGD(0.01), epochs=10**6, batch_size=50, rng=0)

    def long_call():
        x, w = np.zeros((600, 32, 28, 28), np.float32), np.zeros((64, 32, 5, 5), np.float32)
        started.set()
        while True:
            cnn_ext.kernels.conv2d_forward(x, w, np.zeros(64, np.float32), 2, 1)

    started = threading.Event()
    threading.Thread(target={work}, daemon=True).start()
    started.wait()
    time.sleep({seconds})
    {leave}
"""


@pytest.mark.parametrize(
    ("work", "leave", "code"),
    [("train", "", 0), ("train", "sys.exit(3)", 3), ("long_call", "", 0), ("long_call", "raise OSError", 1)],
)
def test_the_interpreter_ends_while_a_daemon_thread_computes(work, leave, code):
    for seconds in (0.0, 0.07):
        program = textwrap.dedent(LEAVING).format(work=work, leave=leave, seconds=seconds)
        done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
