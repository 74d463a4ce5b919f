"""What keeps numbers between calls lets one thread in at a time; who is refused leaves nothing behind."""

import copy
import pickle
import signal
import threading

import numpy as np
import pytest

from cnn_ext import Conv
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


@pytest.mark.parametrize("again", [False, True])
def test_another_thread_gets_an_error_at_once(again):
    turn = Turn("pen", again=again)
    error = turn.call(error_of, lambda: enter(turn))
    assert isinstance(error, RuntimeError) and str(error).startswith("this pen is in use by another thread: ")
    assert error_of(lambda: enter(turn)) is None and enter(turn) == ((1,), {"b": 2})


def test_the_same_thread_as_often_as_it_likes_where_it_may():
    turn = Turn("pen", again=True)

    def inside():
        enter(turn)
        assert turn.call(error_of, lambda: enter(turn)) is not None
        assert error_of(lambda: enter(turn)) is not None

    turn.call(inside)
    assert error_of(lambda: enter(turn)) is None


def test_a_handler_in_the_midst_of_a_call_is_refused():
    turn = Turn("pen")

    def inside():
        with pytest.raises(RuntimeError, match="this pen is in the midst of a call"):
            enter(turn)
        assert error_of(lambda: enter(turn)) is not None  # the refusal has not opened it

    turn.call(inside)
    enter(turn)


def test_an_error_inside_gives_it_free():
    turn = Turn("pen")
    with pytest.raises(KeyError):
        turn.call({}.__getitem__, 1)
    enter(turn)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda turn: pickle.loads(pickle.dumps(turn))])
@pytest.mark.parametrize("again", [False, True])
def test_a_copy_is_free(copied, again):
    turn = Turn("pen", again)

    def inside():
        other = copied(turn)
        assert "this pen" in str(other.call(error_of, lambda: enter(other)))
        if again:
            other.call(enter, other)

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
