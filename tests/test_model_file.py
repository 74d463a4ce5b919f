"""The model file: sound or refused, old or new, never in between."""

import errno
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from cnn_ext import CheckpointCorruptError, CheckpointError, DTypeError, _files
from cnn_ext.model_file import read_model, write_model

ARCHITECTURE = {"layers": [], "l2": 0.5}
TENSORS = {"b": np.array([1.5, -2.0], np.float32), "a": np.arange(6.0).reshape(2, 3)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model"
    write_model(path, ARCHITECTURE, TENSORS)
    return path


def assert_sound(path):
    model = read_model(path)
    assert model.architecture == ARCHITECTURE
    assert {n: (t.dtype, t.tolist()) for n, t in model.tensors.items()} == {
        n: (t.dtype, t.tolist()) for n, t in TENSORS.items()
    }


def test_round_trip(path):
    assert_sound(path)
    assert read_model(path).metadata["format_version"] == "1"


def test_other_tools_can_read_it(path):
    for name, tensor in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(tensor, TENSORS[name], strict=True)


def test_layout_and_byte_order_do_not_matter(tmp_path, path, layout):
    write_model(tmp_path / "other", ARCHITECTURE, {name: layout(tensor) for name, tensor in TENSORS.items()})
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_half_precision(tmp_path, path, layout):
    tensors = {"b": np.array([1 / 3, -65504, 65519, 1e-9, np.nan, np.inf], np.float32), "a": np.arange(6.0) / 7}
    write_model(path, ARCHITECTURE, tensors, np.float16)
    model = read_model(path)
    for name, tensor in tensors.items():
        rounded = np.where(tensor == 65519, 65504, tensor).astype(np.float16)
        np.testing.assert_array_equal(model.tensors[name], rounded, strict=True)
    for name, tensor in safetensors.numpy.load_file(path).items():
        np.testing.assert_array_equal(tensor, model.tensors[name], strict=True)
    write_model(tmp_path / "other", ARCHITECTURE, {name: layout(t) for name, t in tensors.items()}, "float16")
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_half_precision_halves_the_file(path):
    sizes = []
    for dtype in (None, np.float16):
        write_model(path, ARCHITECTURE, {"w": np.ones((100, 100), np.float32)}, dtype)
        sizes.append(path.stat().st_size)
    assert sizes[0] - sizes[1] == pytest.approx(20_000, abs=8)  # the header's length may differ by its padding


@pytest.mark.parametrize(
    ("dtype", "error", "message"),
    [
        (np.float16, ValueError, "w holds -65520.0, beyond the range of float16, which ends at 65504"),
        (np.float32, DTypeError, "storage_dtype must be float16 or None, got float32"),
        (np.int8, DTypeError, "storage_dtype must be float16 or None, got int8"),
        ("half a float", DTypeError, "storage_dtype must be float16 or None, got 'half a float'"),
    ],
)
def test_what_half_precision_cannot_hold(path, dtype, error, message):
    with pytest.raises(error, match=message):
        write_model(path, {}, {"b": np.zeros(2), "w": np.array([1.0, -65520, np.inf])}, dtype)
    assert_sound(path)


def test_text_that_looks_like_the_open_seal(path):
    architecture = {"zeros": "0" * 64, "number": 10**100}
    write_model(path, architecture, {"0" * 64: np.zeros(2)})
    assert read_model(path).architecture == architecture


def test_reading_holds_the_file_twice_and_no_more(path):
    write_model(path, ARCHITECTURE, {str(i): np.zeros(100_000) for i in range(10)})
    read_model(path)  # imports what it needs
    tracemalloc.start()
    tensors = read_model(path).tensors
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tensors) == 10 and peak < 2.1 * path.stat().st_size


def test_every_flipped_bit_is_found(path):
    content = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for position, byte in enumerate(content):
            for bit in range(8):
                file.seek(position)
                file.write(bytes([byte ^ 1 << bit]))
                with pytest.raises(CheckpointCorruptError):
                    read_model(path)
            file.seek(position)
            file.write(bytes([byte]))
    assert_sound(path)


def test_every_truncation_and_addition_is_found(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointCorruptError):
            read_model(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointCorruptError):
        read_model(path)


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


NOT_SAFETENSORS = {
    "random": bytes(range(256)) * 4,
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04\x95" + bytes(60),
    "huge header": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": file_of(b"{nonsense"),
    "a list": file_of([]),
    "deep": file_of(b"[" * 100_000),
    "not UTF-8": file_of(b'{"\xff": 1}'),
    "metadata of numbers": file_of({"__metadata__": {"sha256": 5}}),
    "huge shape": file_of({"x": entry([10**6] * 3, 0, 8)}, bytes(8)),
    "overlap": file_of({"x": entry([2], 0, 8), "y": entry([2], 4, 12)}, bytes(12)),
    "past the end": file_of({"x": entry([2], 0, 8)}, bytes(4)),
    "a key twice": file_of(b'{"x": %b, "x": %b}' % ((json.dumps(entry([2], 0, 8)).encode(),) * 2), bytes(8)),
    "part of ours": file_of({"__metadata__": {"format_version": "1", "sha256": "0" * 64}}),
}


@pytest.mark.parametrize("name", NOT_SAFETENSORS)
def test_what_is_no_model_file(tmp_path, name):
    (tmp_path / "x").write_bytes(NOT_SAFETENSORS[name])
    with pytest.raises(CheckpointCorruptError, match="x: "):
        read_model(tmp_path / "x")


def sealed(architecture="{}", data=b"", seal=None, **entries):
    """A file with a right seal, whatever else is wrong with it."""
    metadata = {"sha256": "0" * 64, "architecture": architecture, "cnn_ext_version": "1", "format_version": "1"}
    content = file_of({"__metadata__": metadata, **entries}, data)
    seal = hashlib.sha256(content).hexdigest() if seal is None else seal
    return content.replace(b"0" * 64, seal.encode(), 1)


FORGED = {
    "a huge axis beside none": (sealed(x=entry([0, 2**62], 0, 0)), "tensor x: "),
    "an axis past 63 bits": (sealed(x=entry([0, 2**64 - 1], 0, 0)), "tensor x: "),
    "65 axes": (sealed(x=entry([1] * 65, 0, 4), data=bytes(4)), "tensor x: "),
    "more than can be counted": (sealed(x=entry([2**32, 2**32], 0, 0)), "deserializing"),
    "a gap": (sealed(x=entry([1], 4, 8), data=bytes(8)), "deserializing"),
    "bytes left over": (sealed(x=entry([1], 0, 4), data=bytes(8)), "declares 4 bytes of tensors, the file has 8"),
    "offsets that are no sizes": (
        sealed(x={"dtype": "F32", "shape": [1], "data_offsets": [0, 4.0]}, data=bytes(4)),
        "offsets",
    ),
    "an entry that is a list": (sealed(x=[1]), "header is not that of"),
    "an architecture that is a list": (sealed("[]"), "not a JSON object"),
    "an architecture cut off": (sealed('{"a": 1'), "not JSON"),
    "a key twice in it": (sealed('{"a": 1, "a": 2}'), "a key is given twice"),
    "NaN in it": (sealed('{"a": NaN}'), "NaN is not a finite number"),
    "an infinity in it": (sealed('{"a": 1e999}'), "1e999 is not a finite number"),
    "6000 digits in it": (sealed('{"a": %s}' % ("9" * 6000)), "not JSON"),
    "100,000 levels in it": (sealed('{"a":' * 100_000), "not JSON"),
    "a seal beyond ASCII": (sealed(seal=r"\ud800" + "0" * 58), "SHA-256"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_right_seal_does_not_make_a_right_file(tmp_path, name):
    content, message = FORGED[name]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointCorruptError, match=f"x: .*{message}"):
        read_model(tmp_path / "x")


def test_other_precisions_are_refused_by_name(tmp_path):
    (tmp_path / "x").write_bytes(sealed(x=entry([2], 0, 4, "BF16"), data=bytes(4)))
    with pytest.raises(CheckpointError, match="tensor x has dtype BF16, F16, F32 or F64 expected"):
        read_model(tmp_path / "x")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_files_of_other_programs_and_versions(tmp_path, path, monkeypatch, dtype):
    safetensors.numpy.save_file({"x": np.zeros(2, dtype)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="not one that cnn_ext has written"):
        read_model(tmp_path / "other")
    monkeypatch.setattr("cnn_ext.model_file.FORMAT_VERSION", 2)
    write_model(path, ARCHITECTURE, TENSORS)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format version 2, written by cnn_ext .* reads version 1: install"):
        read_model(path)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        read_model(tmp_path)
    with pytest.raises(ValueError, match="null"):
        read_model("a\0b")
    with pytest.raises(DTypeError, match="got int"):
        read_model(0)  # open() would take a file descriptor
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointCorruptError, match="not a regular file"):
            read_model(tmp_path / "pipe")


UNWRITABLE = [
    ([1], TENSORS, DTypeError, "architecture must be a dict, got list"),
    ({"lr": float("nan")}, TENSORS, ValueError, "JSON"),
    ({"lr": np.float32(1)}, TENSORS, TypeError, "float32 is not JSON"),
    ({"text": "a" * (4 << 20)}, TENSORS, ValueError, "a header of 4194"),
    ({}, {"w": [1.0]}, DTypeError, r"tensors\['w'\] must be a numpy.ndarray, got list"),
    ({}, {"w": np.zeros(2, np.float16)}, DTypeError, r"tensors\['w'\] must be float32 or float64, got float16"),
    ({}, {"w": np.array([None])}, DTypeError, "got object"),
    ({}, {"w": np.ma.zeros(2)}, DTypeError, "masked"),
    ({}, {"__metadata__": np.zeros(2)}, ValueError, "got '__metadata__'"),
    ({}, {"a": np.zeros(2), 1: np.zeros(2)}, ValueError, "printable text other than '__metadata__', got 1"),
    ({}, {"\ud800": np.zeros(2)}, ValueError, "printable text"),
]


@pytest.mark.parametrize(("architecture", "tensors", "error", "message"), UNWRITABLE)
def test_what_cannot_be_written(path, architecture, tensors, error, message):
    with pytest.raises(error, match=message):
        write_model(path, architecture, tensors)
    assert_sound(path)
    assert [p.name for p in path.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("call", ["open", "fchmod", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(path, monkeypatch, call):
    if not hasattr(os, call):
        pytest.skip(f"no os.{call} on this system")

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_files.os, call, fail)
    with pytest.raises(OSError, match=r"Input/output error.*model"):
        write_model(path, {"layers": [1]}, {})
    monkeypatch.undo()
    assert_sound(path)
    assert [p.name for p in path.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(("number", "reported"), [(errno.EIO, True), (errno.EINVAL, False), (errno.EACCES, False)])
def test_a_folder_that_cannot_be_flushed(path, monkeypatch, number, reported):
    def fail(folder):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_files, "_flush_folder", fail)
    if reported:
        with pytest.raises(OSError, match="model"):
            write_model(path, ARCHITECTURE, {})
    else:
        write_model(path, ARCHITECTURE, {})
    assert read_model(path).tensors == {} and [p.name for p in path.parent.iterdir()] == ["model"]


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("n" * 255)
    write_model(path, ARCHITECTURE, TENSORS)
    assert_sound(path)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_links_and_permissions_are_kept(path):
    path.chmod(0o640)
    link = path.parent / "link"
    link.symlink_to(path)
    write_model(link, ARCHITECTURE, TENSORS)
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert_sound(path)


def test_targets_that_are_no_files(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_model(tmp_path, ARCHITECTURE, TENSORS)
    with pytest.raises(FileNotFoundError):
        write_model(tmp_path / "no" / "folder", ARCHITECTURE, TENSORS)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_replaced(tmp_path):
    """Nor is /dev/null, which no test may try: were it replaced, the machine would be without."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        write_model(path, ARCHITECTURE, TENSORS)
    assert [found.is_fifo() for found in tmp_path.iterdir()] == [True]


CHILD = """
    import os, resource, signal, sys
    import numpy as np
    from cnn_ext import _files
    from cnn_ext.model_file import write_model
    {before}
    write_model(sys.argv[1], {{"layers": ["new"], "l2": 0.5}}, {{"w": np.zeros(100_000)}})
"""


def run_child(path, before):
    code = textwrap.dedent(CHILD).format(before=before)
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits and signals")
def test_a_full_disk(path):
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    result = run_child(path, limit)
    assert "OSError: [Errno 27] File too large" in result.stderr
    assert_sound(path)
    assert [p.name for p in path.parent.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("call", "new"), [("open", False), ("fsync", False), ("replace", False), ("_flush_folder", True)]
)
def test_killed_while_saving(path, call, new):
    owner = "_files" if call.startswith("_") else "os"
    result = run_child(path, f"{owner}.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode == -9
    if new:
        assert read_model(path).architecture["layers"] == ["new"]
    else:
        assert_sound(path)


@pytest.mark.slow
def test_two_writers_one_whole_winner(path):
    code = textwrap.dedent("""
        import sys
        import numpy as np
        from cnn_ext.model_file import write_model
        for i in range(50):
            write_model(sys.argv[1], {"who": sys.argv[2]}, {"w": np.full(1000, float(sys.argv[2]))})
    """)
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(who)]) for who in (1, 2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    model = read_model(path)
    assert (model.tensors["w"] == float(model.architecture["who"])).all()
    assert [p.name for p in path.parent.iterdir()] == ["model"]
