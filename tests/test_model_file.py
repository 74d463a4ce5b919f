"""The model file: sound or refused, old or new, never in between."""

import errno
import json
import os
import stat
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy

from cnn_ext import CheckpointCorruptError, CheckpointError, _files
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


def test_every_flipped_bit_is_found(path):
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
            with pytest.raises(CheckpointCorruptError):
                read_model(path)


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
    "part of ours": file_of({"__metadata__": {"format_version": "1", "sha256": "0" * 64}}),
}


@pytest.mark.parametrize("name", NOT_SAFETENSORS)
def test_what_is_no_model_file(tmp_path, name):
    (tmp_path / "x").write_bytes(NOT_SAFETENSORS[name])
    with pytest.raises(CheckpointCorruptError, match="x: "):
        read_model(tmp_path / "x")


def test_files_of_other_programs_and_versions(tmp_path, path, monkeypatch):
    safetensors.numpy.save_file(TENSORS, tmp_path / "other")
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
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointCorruptError, match="not a regular file"):
            read_model(tmp_path / "pipe")


@pytest.mark.parametrize("call", ["open", "fchmod", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_files.os, call, fail)
    with pytest.raises(OSError, match=r"Input/output error.*model"):
        write_model(path, {"layers": [1]}, {})
    monkeypatch.undo()
    assert_sound(path)
    assert [p.name for p in path.parent.iterdir()] == ["model"]


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
    with pytest.raises(OSError, match="not a regular file"):
        write_model("/dev/null", ARCHITECTURE, TENSORS)
    with pytest.raises(FileNotFoundError):
        write_model(tmp_path / "no" / "folder", ARCHITECTURE, TENSORS)
    assert not list(tmp_path.iterdir())


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
