"""What keeps numbers between calls lets one thread in at a time; who is refused leaves nothing behind."""

import copy
import pickle
import signal
import threading

import numpy as np
import pytest

from cnn_ext import Conv, Flatten, FullyConnected, NeuralNet, ReLU
from cnn_ext.turns import Turn


def error_of(call):
    """What the call raises in another thread."""
    caught = []

    def run():
        try:
            call()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def enter(turn):
    return turn.call(lambda *args, **kwargs: (args, kwargs), 1, b=2)


def test_another_thread_gets_an_error_at_once():
    turn = Turn("pen")
    error = turn.call(error_of, lambda: enter(turn))
    assert isinstance(error, RuntimeError) and str(error).startswith("this pen is in use by another thread: ")
    assert error_of(lambda: enter(turn)) is None and enter(turn) == ((1,), {"b": 2})


def test_a_handler_in_the_midst_of_a_call_is_refused():
    turn = Turn("pen")

    def inside():
        with pytest.raises(RuntimeError, match="this pen is in the midst of a call"):
            enter(turn)
        assert error_of(lambda: enter(turn)) is not None  # the refusal has not opened it

    turn.call(inside)
    enter(turn)
    assert error_of(lambda: enter(turn)) is None


def test_an_error_inside_gives_it_free():
    turn = Turn("pen")
    with pytest.raises(KeyError):
        turn.call({}.__getitem__, 1)
    enter(turn)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda turn: pickle.loads(pickle.dumps(turn))])
def test_a_copy_is_free(copied):
    turn = Turn("pen")

    def inside():
        other = copied(turn)
        assert "this pen" in str(other.call(error_of, lambda: enter(other)))

    turn.call(inside)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_no_signal_comes_between_the_taking_and_what_gives_it_free():
    """Whatever the instruction at which the handler raises, it is free afterwards."""

    def handler(*_):
        raise InterruptedError

    def nothing():
        pass

    turn, before = Turn("pen"), signal.signal(signal.SIGALRM, handler)
    raised = 0
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4)
                while True:
                    turn.call(nothing)
            except InterruptedError:
                raised += 1
            assert error_of(lambda: enter(turn)) is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised == 300


@pytest.mark.parametrize("pool", [1, 2])
def test_a_refused_call_leaves_the_gradient_of_the_first_as_it_was(pool, rng):
    """It used to put larger buffers, of zeros, in the place of those that the first call was filling."""
    conv = Conv((3, 8, 8), 4, 3, 3, stride=1, padding=1, rng=0)
    engine = conv.engine(relu=True, pool=pool)
    few, many = (rng.standard_normal((n, 3, 8, 8)).astype(np.float32) for n in (2, 50))
    out = engine.forward(few, *conv.weights(), training=True)
    wanted = [array.tobytes() for array in engine.backward(np.ones_like(out), conv.weights()[0])]
    engine.forward(few, *conv.weights(), training=True)
    for call in (
        lambda: engine.forward(many, *conv.weights(), training=True),
        lambda: engine.backward(np.ones_like(out), conv.weights()[0]),
        lambda: engine.pad(many),
    ):
        error = engine._turn.call(error_of, call)  # as if it were still at work
        assert "this layer is in use by another thread" in str(error)
    found = [array.tobytes() for array in engine.backward(np.ones_like(out), conv.weights()[0])]
    assert found == wanted


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_a_handler_cannot_spoil_the_pass_of_a_network_that_it_comes_into():
    """Between two layers nothing compiled is at work, but the next one is to read what lies in the buffers."""
    layers, dim = [], (3, 8, 8)
    for _ in range(3):
        layers += [Conv(dim, 8, 3, 3, 1, 1, rng=len(layers)), ReLU()]
        dim = (8, 8, 8)
    net = NeuralNet([*layers, Flatten(), FullyConnected(512, 4, rng=9)])
    mine, theirs = np.random.default_rng(0).random((2, 16, 3, 8, 8), np.float32)
    expected, refused, let_in = net.scores_of(mine).tobytes(), [], []

    def handler(*_):
        try:
            let_in.append(net.scores_of(theirs))
        except RuntimeError as error:
            refused.append(str(error))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        found = {net.scores_of(mine).tobytes() for _ in range(1000)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert found == {expected}
    assert refused or let_in
