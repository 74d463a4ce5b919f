"""The series' pickle and CIFAR's: read in every form they come in, and never executed."""

import gzip
import io
import pickle
import struct
import subprocess
import sys
import tarfile
import textwrap
import tracemalloc

import numpy as np
import pytest

from cnn_ext import DataFormatError, UnsafePickleError, load_cifar10, load_mnist
from cnn_ext.datasets.safe_pickle import as_array, load_arrays

IMAGES = (np.arange(6 * 784) % 256 / np.float32(256)).astype(np.float32).reshape(6, 784)
LABELS = np.array([5, 0, 4, 1, 9, 2])
PARTS = ((IMAGES[:3], LABELS[:3]), (IMAGES[3:4], LABELS[3:4]), (IMAGES[4:], LABELS[4:]))


def python2_string(data):
    """BINSTRING: how Python 2 wrote the bytes of an array."""
    return b"T" + struct.pack("<i", len(data)) + data


def python2_array(array):
    """The opcodes of NumPy's arrays under Python 2, protocol 2."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nU\x02"
        + array.dtype.str[1:].encode()
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return new + b"(K\x01" + shape + dtype + b"\x89" + python2_string(array.tobytes()) + b"tb"


def python2_pickle(parts):
    return b"\x80\x02(" + b"".join(b"(" + python2_array(X) + python2_array(y) + b"t" for X, y in parts) + b"t."


FORMS = {f"protocol {p}": pickle.dumps(PARTS, protocol=p) for p in range(2, 6)}
FORMS["NumPy 1"] = pickle.dumps(PARTS, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
FORMS["Python 2"] = python2_pickle(PARTS)
FORMS["Fortran order"] = pickle.dumps(tuple((np.asfortranarray(X), y) for X, y in PARTS), protocol=4)
FORMS["big-endian"] = pickle.dumps(tuple((X.astype(">f4"), y.astype(">i8")) for X, y in PARTS), protocol=3)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_series_file(tmp_path, form):
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(FORMS[form]))
    (X, y), (X_test, y_test), (X_left, y_left) = load_mnist(path, 3, 2, validation=True)
    np.testing.assert_array_equal(X, IMAGES[:3].reshape(3, 1, 28, 28), strict=True)
    np.testing.assert_array_equal(X_test, IMAGES[4:].reshape(2, 1, 28, 28), strict=True)
    np.testing.assert_array_equal(X_left[:, 0], IMAGES[3:4].reshape(1, 28, 28), strict=True)
    assert (y.tolist(), y_test.tolist(), y_left.tolist()) == ([5, 0, 4], [9, 2], [1])
    assert y.dtype == np.int64


def call(module, name, *arguments):
    """A pickle that calls module.name(*arguments) when it is loaded."""
    packed = b"".join(b"X" + struct.pack("<I", len(a)) + a.encode() for a in arguments)
    return f"\x80\x02c{module}\n{name}\n".encode("latin-1") + b"(" + packed + b"tR."


def stack_call(module, name, argument):
    def text(s):
        return b"\x8c" + bytes([len(s)]) + s.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."


UNSAFE = [
    call("posix", "system", "touch SENTINEL"),
    call("builtins", "eval", "open('SENTINEL', 'w')"),
    call("builtins", "exec", "open('SENTINEL', 'w')"),
    call("__builtin__", "eval", "open('SENTINEL', 'w')"),
    call("builtins", "getattr", "os", "system"),
    call("subprocess", "Popen", "touch SENTINEL"),
    call("pip", "main", "install"),
    call("numpy.testing._private.utils", "runstring", "open('SENTINEL', 'w')"),
    call("numpy.core.multiarray", "fromstring", "x"),
    call("numpy.core.multiarray._reconstruct", "x", "x"),
    call("numpy", "load", "SENTINEL"),
    call("codecs", "decode", "x"),
    stack_call("posix", "system", "touch SENTINEL"),
    stack_call("builtins", "eval", "open('SENTINEL', 'w')"),
    b"(S'touch SENTINEL'\niposix\nsystem\n.",  # INST
    b"cposix\nsystem\n(S'touch SENTINEL'\no.",  # OBJ
    b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
    b"\x80\x02\x82\x01.",  # EXT1
    b"Pwhatever\n.",  # PERSID
    b"\x80\x02]22\x86.",  # DUP, the first step of doubling
]


@pytest.mark.parametrize("data", UNSAFE)
def test_nothing_is_executed(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pkl.gz").write_bytes(gzip.compress(data))
    with pytest.raises(UnsafePickleError, match=r"m\.pkl\.gz: .*(the pickle asks for|is not for plain arrays)"):
        load_mnist(tmp_path / "m.pkl.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["m.pkl.gz"]


def test_the_forbidden_name_is_told(tmp_path):
    with pytest.raises(UnsafePickleError, match=r"asks for posix\.system"):
        load_arrays(UNSAFE[0], "x")
    with pytest.raises(UnsafePickleError, match=r"asks for posix\.system"):
        load_arrays(UNSAFE[12], "x")


GOOD = pickle.dumps(PARTS, protocol=2)
BAD = {
    "empty": b"",
    "random": bytes(range(256)),
    "truncated": GOOD[:-1],
    "half": GOOD[: len(GOOD) // 2],
    "memo index 2**31": b"\x80\x02]r\x00\x00\x00\x80.",
    "missing memo": b"\x80\x02h\x07.",
    "forged shape": python2_pickle(PARTS).replace(b"J" + struct.pack("<i", 784), b"J" + struct.pack("<i", 2**31 - 1)),
    "negative shape": python2_pickle(PARTS).replace(b"J" + struct.pack("<i", 784), b"J" + struct.pack("<i", -784)),
    "object dtype": python2_pickle(PARTS).replace(b"U\x02f4", b"U\x02O8"),
    "void dtype": python2_pickle(PARTS).replace(b"U\x02f4", b"U\x02V4"),
    "forged dtype state": python2_pickle(PARTS).replace(b"U\x01<NNN", b"U\x01<]NN"),
    "forged byte order": python2_pickle(PARTS).replace(b"U\x01<NNN", b"U\x01!NNN"),
    "object array": pickle.dumps(np.array([{}, []], object)),
    "structured array": pickle.dumps(np.zeros(2, [("a", "f4")])),
    "attributes on a stand-in": b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.",
    "array without content": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R\x85.",
    "two parts": pickle.dumps(PARTS[:2]),
    "a dict": pickle.dumps({}),
    "no pairs": pickle.dumps((1, 2, 3)),
    "images of another size": pickle.dumps(tuple((X[:, :100].copy(), y) for X, y in PARTS)),
    "images of ints": pickle.dumps(tuple((X.astype(np.uint8), y) for X, y in PARTS)),
    "images with NaN": pickle.dumps(tuple((X * np.float32("nan"), y) for X, y in PARTS)),
    "too few labels": pickle.dumps(tuple((X, y[:0]) for X, y in PARTS)),
    "label 10": pickle.dumps(tuple((X, y + 6) for X, y in PARTS)),
    "hash of a deep tuple": b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"K\x01u.",
    "hash of a doubled tuple": b"\x80\x02})q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"K\x01s.",
    "hash of a doubled tuple, old": b"(" + b")q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"K\x01d.",
    "dtype of a doubled tuple": b"\x80\x02cnumpy\ndtype\n)q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"\x85R.",
    "encoding of a doubled tuple": b"\x80\x02c_codecs\nencode\nU\x01a)q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"\x86R.",
    "nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_pickles_are_one_error(tmp_path, name):
    (tmp_path / "m.pkl.gz").write_bytes(gzip.compress(BAD[name]))
    with pytest.raises(DataFormatError, match=r"m\.pkl\.gz: "):
        load_mnist(tmp_path / "m.pkl.gz", 1, 1)


def test_forged_sizes_take_no_memory():
    data = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x."  # BINBYTES8 of an exabyte
    tracemalloc.start()
    for bad in (data, BAD["forged shape"]):
        with pytest.raises(DataFormatError):
            as_array(load_arrays(bad, "x"), "x", "it")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def cifar_batch(first, n=4, **changes):
    data = ((np.arange(n * 3072) + first) % 256).astype(np.uint8).reshape(n, 3072)
    batch = {
        "data": data,
        "labels": [(first + i) % 10 for i in range(n)],
        "batch_label": "x",
        "filenames": ["a.png"] * n,
    }
    return pickle.dumps({**batch, **changes}, protocol=2)


def cifar_files():
    return {f"data_batch_{i}": cifar_batch(i) for i in range(1, 6)} | {"test_batch": cifar_batch(7)}


@pytest.fixture
def cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        for name, content in {"readme.html": b"hello", **cifar_files()}.items():
            (folder / name).write_bytes(content)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return tmp_path


@pytest.mark.parametrize("where", ["", "cifar-10-batches-py", "cifar.tar.gz"])
def test_cifar(cifar, where):
    (X, y), (X_test, y_test), (_, y_left) = load_cifar10(cifar / where, 18, 4, validation=True)
    assert X.shape == (18, 3, 32, 32) and X.dtype == np.float32 and X_test.shape == (4, 3, 32, 32)
    assert X[4, 0, 0, 0] == np.float32(2) / np.float32(255)
    assert y[:8].tolist() == [1, 2, 3, 4, 2, 3, 4, 5] and y_test.tolist() == [7, 8, 9, 0] and len(y_left) == 2
    with pytest.raises(ValueError, match="num_training asks for 50000 images, only 20 are there"):
        load_cifar10(cifar / where)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (cifar_batch(1, labels=[1, 2]), DataFormatError, "4 images, but 2 labels"),
        (cifar_batch(1, labels=[1, 2, 3, 10]), DataFormatError, "label 10 at index 3"),
        (cifar_batch(1, data=np.zeros((4, 3072))), DataFormatError, r"data must be uint8 \(N, 3072\), got float64"),
        (cifar_batch(1, data=None), DataFormatError, "data must be an array, got NoneType"),
        (pickle.dumps([1]), DataFormatError, "a dict expected, got list"),
        (UNSAFE[0], UnsafePickleError, r"posix\.system"),
        (b"", DataFormatError, "empty file"),
    ],
)
def test_bad_cifar(cifar, content, error, message):
    (cifar / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(error, match=message):
        load_cifar10(cifar, 4, 4)


def test_bad_archives(cifar, tmp_path):
    archive = cifar / "cifar.tar.gz"
    content = gzip.decompress(archive.read_bytes())
    for bad, message in (
        (content[:700], "no cifar-10-batches-py|not a sound tar|end"),
        (b"x" * 2048, "not a sound tar"),
    ):
        archive.write_bytes(gzip.compress(bad))
        with pytest.raises(DataFormatError, match=message):
            load_cifar10(archive, 4, 4)
    with tarfile.open(archive, "w:gz") as empty:
        empty.addfile(tarfile.TarInfo("../escape"), io.BytesIO(b""))
    with pytest.raises(DataFormatError, match="no cifar-10-batches-py/data_batch_1 in the archive"):
        load_cifar10(archive, 4, 4)
    assert not (tmp_path.parent / "escape").exists()


@pytest.mark.slow
def test_the_series_script_as_printed(tmp_path):
    """Word for word but for its import line, on a real mnist.pkl.gz; one epoch in place of a hundred."""
    (X, y), (X_test, y_test), (X_left, y_left) = load_mnist(cnn=False, validation=True)
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "mnist.pkl.gz", "wb", compresslevel=1) as file:
        pickle.dump(((X, y), (X_left, y_left), (X_test, y_test)), file, protocol=2)
    script = textwrap.dedent("""
        from cnn_ext import *
        import cnn_ext.solvers
        fit = cnn_ext.solvers.fit
        cnn_ext.solvers.fit = lambda net, X, y, **rest: fit(net, X[:1000], y[:1000], **{**rest, "epochs": 1})
        training_set, test_set = load_mnist('data/mnist.pkl.gz', num_training=50000, num_test=10000)
        X, y = training_set
        X_test, y_test = test_set
        mnist_dims = (1, 28, 28)
        cnn = NeuralNet(make_mnist_cnn(mnist_dims, num_class=10))
        cnn = sgd_momentum(cnn, X, y, minibatch_size=50, epoch=100, learning_rate=0.1, X_test=X_test, y_test=y_test, nesterov=True)
    """)
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert result.stderr == ""
    first, second = result.stdout.splitlines()
    assert first == "Epoch 1"
    assert second.startswith("Loss = ") and " | Training Accuracy = " in second and " | Test Accuracy = " in second
