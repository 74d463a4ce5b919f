"""Batches prepared ahead: the same for any number of threads, never too many, and no thread stays behind."""

import _thread
import signal
import threading
import time

import numpy as np
import pytest

from cnn_ext import DTypeError, ShapeError, get_minibatches
from cnn_ext.augmentation import Compose, ElasticDistortion, RandomAffine
from cnn_ext.prefetch import prefetched

AUGMENT = Compose([RandomAffine(15, 2, 0.1), ElasticDistortion(5, 2)])


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def batches(rng):
    X = rng.random((103, 1, 12, 12), dtype=np.float32)
    return get_minibatches(X, np.arange(103), 10, rng=rng)


def numbers(n):
    return [(np.full((1, 1, 2, 2), float(i)), np.array([i])) for i in range(n)]


def same(X, rng):
    return X


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_batches_come_in_order_and_do_not_depend_on_the_threads(batches, threads, ahead):
    seeds = np.random.default_rng(1).integers(0, 2**63, len(batches))
    with prefetched(batches, AUGMENT, seeds, threads=threads, ahead=ahead) as ready:
        got = list(ready)
    assert len(got) == 11
    for (X, y), (X_plain, y_plain), seed in zip(got, batches, seeds):
        assert X.tobytes() == AUGMENT(X_plain, np.random.default_rng(seed)).tobytes()
        np.testing.assert_array_equal(y, y_plain, strict=True)


def test_work_is_done_elsewhere_and_at_once(batches):
    meeting = threading.Barrier(2, timeout=30)  # both threads must be in augment at a time

    def augment(X, rng):
        assert threading.current_thread() is not threading.main_thread()
        meeting.wait()
        return X

    with prefetched(batches[:10], augment, range(10), threads=2) as ready:
        assert len(list(ready)) == 10


@pytest.mark.parametrize("ahead", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 8])
def test_no_more_than_so_many_are_ahead(threads, ahead):
    begun = []

    def augment(X, rng):
        begun.append(X[0, 0, 0, 0])
        return X

    with prefetched(numbers(12), augment, range(12), threads=threads, ahead=ahead) as ready:
        for X, _ in ready:
            time.sleep(0.01)  # for them to run as far ahead as they may
            assert max(begun) <= X[0, 0, 0, 0] + ahead
    assert sorted(begun) == list(range(12))


def test_nothing_begins_before_the_first_is_asked_for_and_nothing_is_fine(batches):
    with prefetched(numbers(3), same, range(3)):
        assert not [t for t in threading.enumerate() if "prefetch" in t.name]
    with prefetched([], same, []) as ready:
        assert list(ready) == []


def fails_at(bad):
    def augment(X, rng):
        if X[0, 0, 0, 0] == bad:
            raise ZeroDivisionError("in the thread")
        return X

    return augment


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_at_its_batch_as_it_is(threads):
    seen = []
    with pytest.raises(ZeroDivisionError, match="in the thread") as error:
        with prefetched(numbers(9), fails_at(3), range(9), threads=threads) as ready:
            for _, y in ready:
                seen.append(y[0])
    assert seen == [0, 1, 2]
    assert "augment" in [entry.name for entry in error.traceback]


def test_an_error_of_the_batches_comes_too():
    class Bad(list):
        def __getitem__(self, i):
            raise OSError(f"batch {i} cannot be read")

    with pytest.raises(OSError, match="batch 0 cannot be read"):
        with prefetched(Bad(numbers(2)), same, range(2)) as ready:
            next(ready)


def test_whoever_stops_early_leaves_nothing_behind():
    done = []

    def slow(X, rng):
        time.sleep(0.02)
        done.append(X)
        return X

    with prefetched(numbers(100), slow, range(100), ahead=50) as ready:
        next(ready)
    assert len(done) < 50  # of 51 begun or waiting: those not begun were given up
    with pytest.raises(KeyError):
        with prefetched(numbers(100), slow, range(100), threads=2) as ready:
            for _ in ready:
                raise KeyError

    def generator():
        with prefetched(numbers(100), slow, range(100), threads=2) as ready:
            yield from ready

    outer = generator()
    next(outer)
    outer.close()


@pytest.fixture
def interrupts():
    """Python's own handler: a shell may have started the tests with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_leaves_nothing_behind(interrupts):
    def augment(X, rng):
        if X[0, 0, 0, 0] == 2:
            _thread.interrupt_main()
            time.sleep(0.1)  # it comes while the other side waits for this batch
        return X

    with pytest.raises(KeyboardInterrupt):
        with prefetched(numbers(100), augment, range(100)) as ready:
            for _ in ready:
                pass


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((numbers(2), same, [1]), {}, ShapeError, "seeds must hold one int a batch, 2, got 1"),
        ((numbers(2), same, [1, -1]), {}, ValueError, r"seeds\[1\] must be >= 0, got -1"),
        ((numbers(2), same, [1, 2.0]), {}, DTypeError, r"seeds\[1\] must be an int, got float"),
        ((numbers(2), None, [1, 2]), {}, DTypeError, "augment must be callable"),
        ((numbers(2), same, [1, 2]), {"threads": 0}, ValueError, "threads must be >= 1, got 0"),
        ((numbers(2), same, [1, 2]), {"ahead": 0}, ValueError, "ahead must be >= 1, got 0"),
        ((numbers(2), same, [1, 2]), {"threads": True}, DTypeError, "threads must be an int, got bool"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        with prefetched(*arguments, **options):
            pass
