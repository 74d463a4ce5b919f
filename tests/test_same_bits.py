"""The same seed gives the same bits: for any number of threads, in any process, alone and in a batch."""

import hashlib
import multiprocessing
import os
import threading

import numpy as np
import pytest

import cnn_ext
from cnn_ext import SGD, NeuralNet, fit, make_mnist_cnn

pytestmark = pytest.mark.slow


def batch_normalized_net():
    conv = cnn_ext.Conv((1, 28, 28), 8, 3, 3, 1, 1, rng=0)
    norm, pool = cnn_ext.BatchNorm(conv.out_dim), cnn_ext.Maxpool(conv.out_dim, 2, 2)
    conv2 = cnn_ext.Conv(pool.out_dim, 12, 3, 3, 2, 1, rng=1)
    average = cnn_ext.GlobalAvgPool(conv2.out_dim)
    return NeuralNet(
        [conv, norm, cnn_ext.ReLU(), pool, conv2, cnn_ext.Tanh(), average, cnn_ext.FullyConnected(12, 10, rng=2)]
    )


def series_net():
    return NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=0))


def digest(net):
    return hashlib.sha256(b"".join(a.tobytes() for layer in net.layers for a in layer.state().values())).hexdigest()


def train(make_net, steps, threads=None):
    if threads is not None:
        cnn_ext.set_num_threads(threads)
    rng = np.random.default_rng(0)
    X, y = rng.random((50 * 20, 1, 28, 28), np.float32), rng.integers(0, 10, 50 * 20)
    net = make_net()
    epochs, rest = divmod(steps, 20)
    assert rest == 0
    fit(net, X, y, optimizer=SGD(0.05, 0.9, True), epochs=epochs, batch_size=50, rng=0)
    return digest(net)


TRAIN_AND_SEND = """
import hashlib
import numpy as np
from cnn_ext import SGD, NeuralNet, fit, make_mnist_cnn
rng = np.random.default_rng(0)
X, y = rng.random((1000, 1, 28, 28), np.float32), rng.integers(0, 10, 1000)
net = NeuralNet(make_mnist_cnn((1, 28, 28), 10, rng=0))
fit(net, X, y, optimizer=SGD(0.05, 0.9, True), epochs=2, batch_size=50, rng=0)
connection.send(hashlib.sha256(b"".join(p.tobytes() for p in net.named_params().values())).hexdigest())
connection.close()
"""


@pytest.fixture(autouse=True)
def restore_threads():
    before = cnn_ext.get_num_threads()
    yield
    cnn_ext.set_num_threads(before)


@pytest.mark.parametrize("make_net", [series_net, batch_normalized_net])
def test_200_steps_on_any_number_of_threads(make_net):
    assert len({train(make_net, 200, threads) for threads in (1, 2, 3, 5)}) == 1


@pytest.mark.parametrize("make_net", [series_net, batch_normalized_net])
def test_a_row_alone_in_7_and_in_1000(make_net):
    net = make_net()
    X = np.random.default_rng(1).random((1000, 1, 28, 28), np.float32)
    all_of_them = net.predict_proba(X)
    assert net.predict_proba(X[3:10]).tobytes() == all_of_them[3:10].tobytes()
    for row in (0, 3, 127, 128, 999):
        assert net.predict_proba(X[row : row + 1]).tobytes() == all_of_them[row : row + 1].tobytes()
        assert (
            net.forward(X[row : row + 1], training=False).tobytes()
            == net.forward(X[: row + 1], training=False)[row].tobytes()
        )


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking beside threads, which is the point
@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_children_agree(method):
    expected = train(series_net, 40, 2)  # the pool is running when the child is forked
    context = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    # A spawned child cannot import this file, which is not in a package: it gets the code.
    child = context.Process(target=exec, args=(TRAIN_AND_SEND, {"connection": there}))
    child.start()
    there.close()
    assert here.recv() == expected
    child.join()
    assert child.exitcode == 0


def test_two_networks_train_at_once_in_two_threads():
    expected = [train(series_net, 40, 2), train(batch_normalized_net, 40, 2)]
    got = [None, None]

    def work(index, make_net):
        got[index] = train(make_net, 40)

    threads = [threading.Thread(target=work, args=(i, net)) for i, net in enumerate((series_net, batch_normalized_net))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_more_threads_than_cpus_and_nothing_changes():
    few, many = train(series_net, 20, 1), train(series_net, 20, 4 * (os.cpu_count() or 1))
    assert few == many
