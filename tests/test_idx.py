"""IDX files and the MNIST loaders: good files, and every way a file can be bad."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from cnn_ext import DataFormatError, DTypeError, ShapeError, load_fashion_mnist, load_mnist, one_hot_encode
from cnn_ext.datasets import ScaledImages, mnist_parts
from cnn_ext.datasets.idx import IMAGE_MAGIC, LABEL_MAGIC, read_idx


def idx(array, code=0x08):
    header = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


PIXELS = (np.arange(5 * 28 * 28) % 251).astype(np.uint8).reshape(5, 28, 28)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


@pytest.fixture
def folder(tmp_path):
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(PIXELS))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_all_element_types(tmp_path, code, dtype, ending):
    array = np.arange(-6, 6).reshape(2, 3, 2).astype(dtype)
    path = tmp_path / f"x{ending}"
    path.write_bytes(gzip.compress(idx(array, code)) if ending else idx(array, code))
    read = read_idx(path)
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.flags.writeable and read.dtype.isnative


@pytest.mark.slow
def test_embedded_mnist():
    (X, y), (X_test, y_test), (X_left, y_left) = load_mnist(validation=True, num_training=59_990)
    assert X.shape == (59_990, 1, 28, 28) and X_test.shape == (10_000, 1, 28, 28) and X_left.shape == (10, 1, 28, 28)
    assert X.dtype == np.float32 and y.dtype == np.int64
    assert (X.min(), X.max()) == (0, 1)
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    (lazy, _), _, (held_out, labels) = mnist_parts(num_training=7, num_validation=10)
    np.testing.assert_array_equal(held_out[:], X_left)
    np.testing.assert_array_equal(labels, y_left)
    assert isinstance(lazy, ScaledImages) and lazy[:].tobytes() == X[:7].tobytes()
    assert y_left.shape == (10,)


def test_forms(folder):
    (X, y), (X_test, _) = load_mnist(folder, 4, 2, cnn=False, one_hot=True)
    assert X.shape == (4, 784) and X_test.shape == (2, 784)
    np.testing.assert_array_equal(X, PIXELS[:4].reshape(4, 784).astype(np.float32) / np.float32(255))
    assert y.tolist() == np.eye(10, dtype=int)[LABELS[:4]].tolist()
    np.testing.assert_array_equal(load_fashion_mnist(folder, 5, 5)[0][0][:, 0], PIXELS / np.float32(255))
    assert load_mnist(folder, 0, 0)[0][0].shape == (0, 1, 28, 28)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_training": 6}, ValueError, "num_training asks for 6 images, only 5 are there"),
        ({"num_test": 6}, ValueError, "num_test asks for 6 images, only 5 are there"),
        ({"num_test": -1}, ValueError, "num_test must be >= 0, got -1"),
        ({"num_training": 2.0}, DTypeError, "num_training must be an int, got float"),
        ({"path": 5}, DTypeError, "path must be a str or os.PathLike, got int"),
    ],
)
def test_bad_arguments(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        load_mnist(**{"path": folder, "num_training": 5, "num_test": 5, **arguments})


IMAGES = idx(PIXELS)
BAD_FILES = [
    ("x", b"", "empty file"),
    ("x.gz", b"", "empty file"),
    ("x.gz", b"<!DOCTYPE html>", r"not gzip \(starts with b'<!'\)"),
    ("x.gz", IMAGES, "not gzip"),
    ("x", gzip.compress(IMAGES), "gzip data in a file whose name does not end in .gz"),
    ("x", b"<!DOCTYPE html>", r"not an IDX file \(starts with b'<!DO'\)"),
    ("x", idx(LABELS), r"this is a label file \(magic 2049\); image file \(2051\) expected"),
    ("x", idx(PIXELS.astype(">i2"), 0x0B), "this is an IDX file of magic 2819"),
    ("x", IMAGES[:9], "header ends at byte 9"),
    ("x", IMAGES[:2], "header ends at byte 2"),
    ("x", struct.pack(">4I", IMAGE_MAGIC, 0xFFFFFFFF, 28, 28), "more than the 2147483648 allowed"),
    ("x", struct.pack(">4I", IMAGE_MAGIC, 1000, 28, 28) + bytes(9), "expected 784000 bytes, got 9"),
    ("x", IMAGES[:-1], "expected 3920 bytes, got 3919"),
    ("x", IMAGES + b"\0", "expected 3920 bytes, got at least 3921"),
    ("x.gz", gzip.compress(IMAGES)[:-1], "Compressed file ended before the end-of-stream marker was reached"),
    ("x.gz", gzip.compress(IMAGES)[:-8] + bytes(8), "CRC check failed"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_idx(tmp_path / name, magic=IMAGE_MAGIC)
    assert str(tmp_path / name) in str(caught.value)


def test_every_truncation_is_found(tmp_path):
    packed = gzip.compress(IMAGES)
    for name, content in (("x", IMAGES), ("x.gz", packed)):
        for length in [*range(20), *(len(content) * part // 64 for part in range(64))]:
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(DataFormatError):
                read_idx(tmp_path / name, magic=IMAGE_MAGIC)


def test_flipped_bytes_in_gzip_are_found_or_harmless(tmp_path):
    packed = gzip.compress(IMAGES)
    for position in range(0, len(packed), 7):
        (tmp_path / "x.gz").write_bytes(packed[:position] + bytes([packed[position] ^ 0x10]) + packed[position + 1 :])
        try:
            read = read_idx(tmp_path / "x.gz", magic=IMAGE_MAGIC)
        except DataFormatError:
            continue
        np.testing.assert_array_equal(read, PIXELS)  # a byte of the gzip header that says nothing


@pytest.mark.slow
def test_a_gzip_bomb_stops_early(tmp_path):
    header = struct.pack(">4I", IMAGE_MAGIC, 1, 28, 28)
    (tmp_path / "x.gz").write_bytes(gzip.compress(header + bytes(200 << 20), 1))
    tracemalloc.start()
    with pytest.raises(DataFormatError, match="expected 784 bytes, got at least 785"):
        read_idx(tmp_path / "x.gz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path / "nothing.pkl.gz")
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)
    with pytest.raises(ValueError, match="null"):
        read_idx("a\0b")
    with pytest.raises(OSError, match="name too long"):
        read_idx("x" * 5000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataFormatError, match="not a regular file"):
            read_idx(tmp_path / "pipe")


def test_wrong_sum(folder):
    with pytest.raises(DataFormatError, match=r"SHA-256 is [0-9a-f]{64}, expected 00"):
        read_idx(folder / "train-images-idx3-ubyte", sha256="00")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([3, 10, 4, 1, 5], np.uint8), "label 10 at index 1, expected 0 to 9"),
        (np.array([3, 1, 4, 1, 255], np.uint8), "label 255 at index 4"),
        (LABELS[:4], "train-images-idx3-ubyte has 5 images, but .*train-labels-idx1-ubyte.gz has 4 labels"),
    ],
)
def test_bad_labels(folder, labels, message):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(DataFormatError, match=message):
        load_mnist(folder, 5, 5)


def test_floats_must_be_finite(tmp_path):
    (tmp_path / "x").write_bytes(idx(np.array([1, np.nan, np.inf], np.float32), 0x0D))
    with pytest.raises(DataFormatError, match="2 elements are NaN or infinite, the first at index 1"):
        read_idx(tmp_path / "x")
    (tmp_path / "y").write_bytes(idx(LABELS))
    with pytest.raises(DataFormatError, match="image file"):
        read_idx(tmp_path / "y", magic=IMAGE_MAGIC)
    assert read_idx(tmp_path / "y", magic=LABEL_MAGIC).tolist() == LABELS.tolist()


def test_one_hot():
    assert one_hot_encode([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    for y, n, error, message in [
        ([3], 3, ValueError, r"label 3 at row 0 outside \[0, 3\)"),
        ([0, -1], 3, ValueError, r"label -1 at row 1 outside \[0, 3\)"),
        ([0.0], 3, DTypeError, "y must hold integers"),
        ([[0]], 3, ShapeError, "y must be 1-D"),
        ([0], 0, ValueError, "num_class must be >= 1"),
    ]:
        with pytest.raises(error, match=message):
            one_hot_encode(y, n)


def test_scaled_images():
    images = ScaledImages(PIXELS)
    assert (len(images), images.shape, images.ndim, images.dtype) == (5, (5, 28, 28), 3, np.float32)
    expected = PIXELS.astype(np.float32) / np.float32(255)
    for index in (0, -1, slice(1, 4), np.array([4, 0, 0]), np.array([True, False, True, False, False])):
        np.testing.assert_array_equal(images[index], expected[index], strict=True)
    np.testing.assert_array_equal(np.asarray(images), expected, strict=True)
    for bad, error in ((PIXELS.astype(int), DTypeError), ([1], DTypeError), (PIXELS[0, 0], ShapeError)):
        with pytest.raises(error, match="images must"):
            ScaledImages(bad)
