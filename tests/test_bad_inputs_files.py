"""Bad data files and paths, beyond what the tests of each format hold: refused, left as they were, no memory taken."""

import gzip
import os
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from cnn_ext import DataFormatError, DTypeError, ShapeError, load_cifar10, load_fashion_mnist, load_mnist
from cnn_ext.datasets import ScaledImages, mnist_parts
from cnn_ext.datasets._reader import DataReader
from cnn_ext.datasets.idx import IMAGE_MAGIC, LABEL_MAGIC, read_idx

PIXELS = (np.arange(5 * 28 * 28) % 251).astype(np.uint8)
IMAGES = struct.pack(">4I", IMAGE_MAGIC, 5, 28, 28) + PIXELS.tobytes()
LABELS = struct.pack(">2I", LABEL_MAGIC, 5) + bytes([3, 1, 4, 1, 5])
PACKED = gzip.compress(IMAGES, mtime=0)
FILES = {"train-images-idx3-ubyte": IMAGES, "train-labels-idx1-ubyte": LABELS}
FILES |= {name.replace("train", "t10k"): content for name, content in FILES.items()}
LOADERS = {"load_mnist": load_mnist, "load_fashion_mnist": load_fashion_mnist, "load_cifar10": load_cifar10}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def header(*sizes, code=0x08):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


# A file's name and content, the message, and what the error came from.
BAD_FILES = [
    ("x", b"", "empty file", None),
    ("x.gz", b"", "empty file", None),
    ("x.gz", gzip.compress(b""), "header ends at byte 0", None),
    ("x.gz", b"<!DOCTYPE html><html>", r"not gzip \(starts with b'<!'\)", None),
    ("x.gz", IMAGES, r"not gzip \(starts with b'\\x00\\x00'\)", None),
    ("x.gz", PACKED[:-9], "Compressed file ended before the end-of-stream marker was reached", EOFError),
    ("x.gz", flipped(PACKED, len(PACKED) - 6), "CRC check failed", gzip.BadGzipFile),
    ("x.gz", flipped(PACKED, len(PACKED) - 2), "Incorrect length of data", gzip.BadGzipFile),
    ("x.gz", PACKED[:10] + b"\xff" * 200, "damaged gzip data after byte 0", zlib.error),
    ("x.gz", PACKED + b"rest", "damaged gzip data", gzip.BadGzipFile),
    ("x", LABELS, r"this is a label file \(magic 2049\); image file \(2051\) expected", None),
    ("x", header(5, 28, 28)[:9], "header ends at byte 9", None),
    ("x", header(5, 28), r"this is an IDX file of magic 2050; image file \(2051\) expected", None),
    ("x", bytes([0, 0, 8, 255]), "not an IDX file", None),
    ("x", bytes([0, 0, 0x0A, 3]), "not an IDX file", None),
    ("x", header(0xFFFFFFFF, 28, 28), "3367254359280 bytes, more than the 2147483648 allowed", None),
    ("x", header(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF), "more than the 2147483648 allowed", None),
    ("x", header(60000, 28, 28) + bytes(100), "expected 47040000 bytes, got 100", None),
    ("x", IMAGES[:-1], "expected 3920 bytes, got 3919", None),
    ("x", IMAGES + b"\0", "expected 3920 bytes, got at least 3921", None),
]


@pytest.mark.parametrize(("name", "content", "message", "cause"), BAD_FILES)
def test_bad_idx_files(tmp_path, name, content, message, cause):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_idx(path, magic=IMAGE_MAGIC)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None if cause is None else isinstance(caught.value.__cause__, cause)
    assert contents(tmp_path) == {name: content}


# What stands in the place of a path, the exception, its message: for every loader.
BAD_PATHS = [
    (3, DTypeError, "path must be a str or os.PathLike, got int"),
    (2**63, DTypeError, "path must be a str or os.PathLike, got int"),
    (1.5, DTypeError, "path must be a str or os.PathLike, got float"),
    (True, DTypeError, "path must be a str or os.PathLike, got bool"),
    (b"mnist", DTypeError, "path must be a str or os.PathLike, got bytes"),
    (["mnist"], DTypeError, "path must be a str or os.PathLike, got list"),
    (np.array("mnist"), DTypeError, "path must be a str or os.PathLike, got ndarray"),
    ("", FileNotFoundError, "No such file"),
    ("no/where", FileNotFoundError, "No such file"),
    ("a\0b", ValueError, "null"),
    ("\udcff\udcfe", FileNotFoundError, "No such file"),  # a name that is no UTF-8
    ("x" * 5000, OSError, "name too long"),
]


@pytest.mark.parametrize("loader", [*LOADERS, "read_idx", "mnist_parts"])
@pytest.mark.parametrize(("path", "error", "message"), BAD_PATHS, ids=lambda value: repr(value)[:20])
def test_bad_paths(loader, path, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load = {**LOADERS, "read_idx": read_idx, "mnist_parts": mnist_parts}[loader]
    with pytest.raises(error, match=message):
        load(path)


@pytest.mark.parametrize("loader", [load_mnist, load_fashion_mnist])  # load_cifar10 ends in the same step
def test_bad_settings_of_loaders(loader, folder):
    good = {"path": folder, "num_training": 5, "num_test": 5}
    for name in ("cnn", "one_hot", "validation"):
        for value in (None, "no", 1, []):
            with pytest.raises(DTypeError, match=f"{name} must be a bool, got {type(value).__name__}"):
                loader(**good, **{name: value})
    for name in ("num_training", "num_test"):
        for value, error, message in [
            (None, DTypeError, "must be an int, got NoneType"),
            (2.0, DTypeError, "must be an int, got float"),
            (True, DTypeError, "must be an int, got bool"),
            (-1, ValueError, "must be >= 0, got -1"),
            (6, ValueError, "asks for 6 images, only 5 are there"),
            (2**63, ValueError, "must be <= 9223372036854775807"),
        ]:
            with pytest.raises(error, match=f"{name} {message}"):
                loader(**{**good, name: value})


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "directory", "loop"])
def test_what_is_no_regular_file_is_refused_at_once(kind, tmp_path):
    import socket

    path, error = tmp_path / "x", DataFormatError
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        server, error = socket.socket(socket.AF_UNIX), OSError
        server.bind(str(path))
        server.close()
    elif kind == "loop":
        path.symlink_to(path)
        error = OSError
    else:
        path.mkdir()
        error = IsADirectoryError
    with pytest.raises(error):
        read_idx(path)
    if kind != "directory":  # which the loaders take for a folder of files
        for load in (load_mnist, load_cifar10):
            with pytest.raises(error):
                load(path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_without_permission(folder):
    (folder / "train-images-idx3-ubyte").chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(PermissionError):
            load_mnist(folder, 5, 5)
        with pytest.raises(PermissionError):
            read_idx(folder / "train-images-idx3-ubyte")
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (header(4) + bytes(4), "has 5 images, but .*-labels-idx1-ubyte has 4 labels"),
        (header(5) + bytes([0, 0, 0, 255, 0]), "label 255 at index 3"),
        (header(5) + bytes([10, 0, 0, 0, 0]), "label 10 at index 0"),
        (header(5, 28, 28) + bytes(3920), r"this is an image file \(magic 2051\); label file \(2049\) expected"),
    ],
)
def test_bad_label_files(folder, part, labels, message):
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    before = contents(folder)
    with pytest.raises(DataFormatError, match=message):
        load_mnist(folder, 5, 5)
    assert contents(folder) == before


@pytest.mark.parametrize("size", [0, 20, len(IMAGES) - 1])
def test_a_file_cut_short_while_it_is_read(tmp_path, monkeypatch, size):
    """No memory map, so no SIGBUS: an end that comes too early, like any other."""
    path, fill = tmp_path / "x", DataReader.fill
    path.write_bytes(header(2000, 28, 28) + bytes(2000 * 28 * 28))

    def cut_and_fill(reader, buffer):
        os.truncate(path, size)
        return fill(reader, buffer)

    monkeypatch.setattr(DataReader, "fill", cut_and_fill)
    with pytest.raises(DataFormatError, match="expected 1568000 bytes, got "):
        read_idx(path)


def test_a_file_of_the_wrong_sum_stays(folder):
    before = contents(folder)
    with pytest.raises(DataFormatError, match=rf"SHA-256 is [0-9a-f]{{64}}, expected {'0' * 64}"):
        read_idx(folder / "train-images-idx3-ubyte", sha256="0" * 64)
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory from the resource module, in kilobytes")
@pytest.mark.parametrize("kind", ["idx", "pickle"])
def test_a_gzip_bomb_takes_no_memory(tmp_path, kind):
    """10 GB of zeros in 10 MB: the child takes hardly more than it was asked for."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(header(1, 28, 28) if kind == "idx" else b"\x80\x02(") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # can be repeated as it is
    path = tmp_path / ("x.gz" if kind == "idx" else "mnist.pkl.gz")
    path.write_bytes(start + block * 10_000)
    code = """
import resource, sys
from cnn_ext import DataFormatError, load_mnist
from cnn_ext.datasets import mnist
from cnn_ext.datasets.idx import read_idx
mnist.MAX_PICKLE_BYTES = 1 << 24  # the same rule with less to wait for
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    (read_idx if sys.argv[1].endswith("x.gz") else load_mnist)(sys.argv[1])
except DataFormatError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert result.stderr == ""
    kilobytes, message = result.stdout.split(" ", 1)
    assert (
        "expected 784 bytes, got at least 785" in message or "more than 16777216 bytes, too many for MNIST" in message
    )
    assert int(kilobytes) < (8 << 10 if kind == "idx" else 3 * (16 << 10))


def test_pickles_are_never_loaded_by_pickle(tmp_path, monkeypatch):
    """A refusal is the end: there is no second try with the module that would execute what it reads."""

    def forbidden(*_, **__):
        raise AssertionError("pickle was asked")

    good = pickle.dumps(tuple((np.zeros((1, 784), np.float32), np.zeros(1, int)) for _ in range(3)), protocol=2)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    path = tmp_path / "mnist.pkl.gz"
    for content in (good[:-1], b"", b"cposix\nsystem\n(S'true'\ntR.", bytes(range(256))):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(DataFormatError, match=r"mnist\.pkl\.gz: "):
            load_mnist(path, 1, 1)
    path.write_bytes(gzip.compress(good))
    assert load_mnist(path, 1, 1)[0][0].shape == (1, 1, 28, 28)


BYTES = np.zeros((3, 1, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (None, DTypeError, "images must be a numpy.ndarray, got NoneType"),
        (BYTES.tolist(), DTypeError, "images must be a numpy.ndarray, got list"),
        (np.ma.masked_array(BYTES), DTypeError, "images must be a plain numpy.ndarray, got a masked array"),
        (BYTES.astype(np.int8), DTypeError, "images must be uint8, got int8"),
        (BYTES.astype(np.float32), DTypeError, "images must be uint8, got float32"),
        (BYTES[0, 0, 0], ShapeError, "images must have at least 2 axes, got 1-D"),
    ],
)
def test_scaled_images(images, error, message, refuses):
    refuses(error, message, ScaledImages, images)
