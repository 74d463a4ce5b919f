"""Signals in the middle of a long kernel: their handlers run, and what they raise ends the call."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import cnn_ext
from cnn_ext import Conv, engine, kernels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system"),
]

F = np.float32
FILTERS = np.full((32, 16, 5, 5), 0.1, F)
THIRD = np.full((32, 16, 3, 3), 0.1, F)
BIAS = np.zeros(32, F)


def images(n, *shape):
    return np.zeros((n, *shape), F)  # pages that nobody has written take no memory


# Each for a number of images, which is doubled until the call takes long enough.
KERNELS = {
    "im2col": lambda n: (kernels.im2col, images(n, 8, 28, 28), 5, 5, 2, 1),
    "col2im": lambda n: (kernels.col2im, np.zeros((200, 784 * n), F), (n, 8, 28, 28), 5, 5, 2, 1),
    "conv2d_forward": lambda n: (kernels.conv2d_forward, images(n, 16, 28, 28), FILTERS, BIAS, 2, 1),
    "conv2d_backward": lambda n: (kernels.conv2d_backward, images(n, 32, 28, 28), images(n, 16, 28, 28), FILTERS, 2, 1),
    "winograd_conv2d_forward": lambda n: (kernels.winograd_conv2d_forward, images(n, 16, 28, 28), THIRD, BIAS, 1),
    "winograd_conv2d_backward": lambda n: (
        kernels.winograd_conv2d_backward, images(n, 32, 28, 28), images(n, 16, 28, 28), THIRD, 1,
    ),
    "maxpool_forward": lambda n: (kernels.maxpool_forward, images(n, 4, 40, 40), 20, 1),
    "maxpool_backward": lambda n: (
        kernels.maxpool_backward, images(n, 16, 99, 99), np.zeros((n, 16, 99, 99), np.intp), (n, 16, 100, 100), 2, 1,
    ),
    "avgpool_forward": lambda n: (kernels.avgpool_forward, images(n, 4, 40, 40), 20, 1),
    "avgpool_backward": lambda n: (kernels.avgpool_backward, images(n, 4, 21, 21), (n, 4, 40, 40), 20, 1),
    "warp_affine": lambda n: (kernels.warp_affine, images(n, 1, 28, 28), np.zeros((n, 2, 3), F)),
    "warp_flow": lambda n: (kernels.warp_flow, images(n, 1, 28, 28), images(n, 2, 28, 28)),
    "gaussian_blur": lambda n: (kernels.gaussian_blur, images(n, 1, 64, 64), 20.0),
    "dense layer": lambda n: (engine.dense_forward, images(n, 2000), np.zeros((2000, 2000), F), np.zeros(2000, F)),
    "moments": lambda n: (engine.NormEngine(np.dtype(F)).moments, images(n, 28, 28, 16)),
}  # fmt: skip


def test_the_table_is_complete():
    assert {name for name in kernels.__all__ if callable(getattr(kernels, name))} <= set(KERNELS)


class Interrupted(Exception):
    pass


@pytest.fixture
def twice_in_one_call():
    """Run a handler each 10 ms that raises once it has come twice at one instruction: in the midst of a call."""
    last = [None, None]

    def handler(_, frame):
        place = frame.f_code, frame.f_lasti
        if last[0] is frame and last[1] == place:
            raise Interrupted
        last[:] = frame, place

    before = signal.signal(signal.SIGALRM, handler)
    threads = cnn_ext.get_num_threads()
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    cnn_ext.set_num_threads(threads)
    last[:] = None, None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_handlers_run_inside_of(name, threads, twice_in_one_call):
    cnn_ext.set_num_threads(threads)
    n = 64
    while True:
        function, *arguments = KERNELS[name](n)
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            function(*arguments)
        except Interrupted:
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert time.monotonic() - began < 2, "no handler ran in the midst of the call"
        n *= 2


LONG_CONVOLUTION = """
import signal, time
import numpy as np
from cnn_ext import kernels
x, w, b = np.zeros((2000, 16, 28, 28), np.float32), np.zeros((32, 16, 5, 5), np.float32), np.zeros(32, np.float32)
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where a shell runs this in the background
print("ready", flush=True)
try:
    while True:  # each call takes some tenths of a second, or more
        kernels.conv2d_forward(x, w, b, 2, 1)
except KeyboardInterrupt:
    print(time.monotonic())
"""


def test_ctrl_c_comes_back_at_once():
    child = subprocess.Popen([sys.executable, "-c", LONG_CONVOLUTION], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    # 50 ms until the next look and an image after it; the rest is for a machine that does other things.
    assert child.returncode == 0 and float(out) - sent < 1.0


def test_after_an_interrupted_pass_there_is_nothing_to_go_back_from(twice_in_one_call):
    conv = Conv((16, 28, 28), 32, 5, 5, 1, 2, rng=0)
    out = conv.forward(images(2, 16, 28, 28))
    n = 64
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    with pytest.raises(Interrupted):
        while True:
            conv.forward(images(n, 16, 28, 28), training=False)
            n *= 2
    signal.setitimer(signal.ITIMER_REAL, 0)
    with pytest.raises(RuntimeError, match="called before forward"):
        conv.backward(np.ones_like(out))
    conv.backward(np.ones_like(conv.forward(images(2, 16, 28, 28))))


def test_a_handler_may_use_the_kernels_and_set_the_threads():
    """The pool is then in the midst of a call: the handler's calls must neither wait for it nor disturb it."""
    x = np.random.default_rng(0).standard_normal((8, 16, 28, 28)).astype(F)
    expected, inside, before = kernels.conv2d_forward(x, FILTERS, BIAS, 2, 1).tobytes(), [], cnn_ext.get_num_threads()
    many = np.concatenate([x] * 200)

    def handler(*_):
        cnn_ext.set_num_threads(1 + len(inside) % 3)
        inside.append(kernels.conv2d_forward(x, FILTERS, BIAS, 2, 1).tobytes())
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    cnn_ext.set_num_threads(2)
    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        out = kernels.conv2d_forward(many, FILTERS, BIAS, 2, 1)
    finally:
        signal.signal(signal.SIGALRM, lambda *_: None)  # one that is still to run would set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        cnn_ext.set_num_threads(before)
    assert set(inside) == {expected}
    assert out.tobytes() == 200 * expected


def test_other_threads_ask_for_nothing():
    """Handlers are the main thread's; a kernel in another one goes on while the main thread is interrupted."""
    x, out = images(600, 16, 28, 28), []
    worker = threading.Thread(target=lambda: out.append(kernels.conv2d_forward(x, FILTERS, BIAS, 2, 1)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        worker.start()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        worker.join()
        signal.signal(signal.SIGINT, before)
    assert len(out) == 1 and not out[0].any()
