"""Saves that meet faults and each other: the order of flushes, an error at each call, links, two writers at once."""

import errno
import os
import posixpath
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

from cnn_ext import SGD, Callback, Checkpoint, Flatten, FullyConnected, NeuralNet, _files, fit
from cnn_ext.model_file import read_model, write_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="the calls of POSIX")]


def make_net(seed=0):
    return NeuralNet([Flatten(), FullyConnected(16, 3, rng=seed)])


def train(folder, checkpoint=None, **arguments):
    rng = np.random.default_rng(1)
    X, y = rng.random((20, 1, 4, 4), np.float32), rng.integers(0, 3, 20)
    net = make_net()
    checkpoint = checkpoint or Checkpoint(folder, every_steps=1)
    fit(net, X, y, optimizer=SGD(0.1, 0.9), epochs=2, batch_size=5, rng=3, checkpoint=checkpoint, **arguments)
    return net.layers[1].W


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def saved(tmp_path):
    """A network file, and what to call to save another over it."""
    path = tmp_path / "net"
    make_net(0).save(path)
    return path, lambda: make_net(1).save(path)


@pytest.fixture
def kept(tmp_path):
    """A folder with the two checkpoints of a run at its end, and a Checkpoint and what it writes next."""
    train(tmp_path)
    checkpoint = Checkpoint(tmp_path)
    file = checkpoint.load()
    return checkpoint, lambda: checkpoint.write(9, file.architecture["checkpoint"], file.tensors)


def traced(monkeypatch, action):
    """Return what is flushed and renamed in `action`: files with their size at that moment."""
    events = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def noted_fsync(descriptor):
        fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        events.append(("fsync", path, None if os.path.isdir(path) else os.stat(descriptor).st_size))

    def noted_replace(source, target):
        replace(source, target)
        events.append(("replace", source, target))

    def noted_unlink(path, **options):
        unlink(path, **options)
        events.append(("unlink", os.fspath(path)))

    with monkeypatch.context() as patch:
        for name, function in (("fsync", noted_fsync), ("replace", noted_replace), ("unlink", noted_unlink)):
            patch.setattr(os, name, function)
        action()
    return events


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_the_data_is_flushed_before_its_name_and_the_name_before_the_end(saved, monkeypatch):
    path, save = saved
    events = traced(monkeypatch, save)
    temporary = events[0][1]
    assert _files.TEMPORARY.fullmatch(os.path.basename(temporary)) and os.path.dirname(temporary) == str(path.parent)
    assert events == [
        ("fsync", temporary, path.stat().st_size),
        ("replace", temporary, str(path)),
        ("fsync", str(path.parent), None),
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_an_older_checkpoint_goes_only_when_the_new_one_is_flushed(kept, monkeypatch):
    checkpoint, write = kept
    events = traced(monkeypatch, write)
    newest, oldest = (checkpoint.folder / f"step-00000000{step}.safetensors" for step in (9, 7))
    assert [event[0] for event in events] == ["fsync", "replace", "fsync", "unlink"]
    assert events[0][2] == newest.stat().st_size
    assert events[1][1:] == (events[0][1], str(newest))
    assert events[2:] == [("fsync", str(checkpoint.folder), None), ("unlink", str(oldest))]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_a_new_folder_is_flushed_into_those_above_it(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "a" / "b")
    flushed = {event[1] for event in traced(monkeypatch, checkpoint.prepare) if event[0] == "fsync"}
    assert flushed == {str(tmp_path), str(tmp_path / "a")}
    assert [event[0] for event in traced(monkeypatch, checkpoint.prepare)] == ["unlink"]  # of what tried the folder


# The calls of a save, by the object that holds them: all but the last are made before the new file has its name.
BEFORE = [(posixpath.os, "lstat"), (os, "stat"), (os, "open"), (os, "fchmod"), (os, "fsync"), (os, "replace")]


def failing(monkeypatch, owner, name, number):
    """Let a function fail at its first call, and no more."""
    original, calls = getattr(owner, name), []

    def fail(*arguments, **options):
        if not calls:
            calls.append(arguments)
            raise OSError(number, os.strerror(number), "somewhere")
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, fail)
    return calls


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("owner, name", BEFORE, ids=[name for _, name in BEFORE])
def test_a_save_that_fails_at_a_call(saved, monkeypatch, owner, name, number):
    path, save = saved
    before = content_of(path.parent)
    with monkeypatch.context() as patch:
        calls = failing(patch, owner, name, number)
        with pytest.raises(OSError) as caught:
            save()
    assert calls and (caught.value.errno, caught.value.filename) == (number, str(path))
    assert content_of(path.parent) == before


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["lstat", "open", "fsync", "replace"])
def test_a_checkpoint_that_fails_at_a_call(kept, monkeypatch, name, number):
    checkpoint, write = kept
    before = content_of(checkpoint.folder)
    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="no checkpoint was written after step 9"):
        assert failing(patch, os, name, number) == []
        write()
    (error,) = checkpoint.errors
    assert (error.errno, error.filename) == (number, str(checkpoint.folder / "step-000000009.safetensors"))
    assert content_of(checkpoint.folder) == before


@pytest.mark.parametrize("name", ["listdir", "unlink"])
def test_older_checkpoints_that_cannot_be_removed_now_are_removed_later(kept, monkeypatch, name):
    checkpoint, write = kept
    with monkeypatch.context() as patch:
        calls = failing(patch, os, name, errno.EIO)
        write()
    assert calls and checkpoint.errors == []
    names = [f"step-00000000{step}.safetensors" for step in (7, 8, 9)]
    assert sorted(os.listdir(checkpoint.folder)) == names
    write()
    assert sorted(os.listdir(checkpoint.folder)) == names[1:]


def test_damaged_checkpoints_do_not_push_out_sound_ones(tmp_path):
    train(tmp_path)
    older, newest = sorted(tmp_path.iterdir())
    damaged = [newest, tmp_path / "step-000000098.safetensors", tmp_path / "step-000000099.safetensors"]
    for path in damaged:
        path.write_bytes(b"")

    class Look(Callback):
        def on_step(self, run):
            seen.extend(path.name for path in sorted(tmp_path.iterdir()))

    seen = []
    with pytest.warns(RuntimeWarning, match=f"going on from {older}"):
        train(tmp_path, callbacks=[Look()])
    assert older.name in seen and damaged[-1].name in seen  # step 8 was taken again, beside all that there was
    assert sorted(tmp_path.iterdir()) == [older, newest]
    assert read_model(newest).architecture["checkpoint"]["state"]["step"] == 8


def test_a_link_is_not_replaced_though_it_cannot_be_looked_at(saved, tmp_path, monkeypatch):
    path, _ = saved
    link = tmp_path / "link"
    link.symlink_to(path)
    before, lstat = path.read_bytes(), os.lstat

    def fail(name, **options):
        if name == str(link):
            raise OSError(errno.EIO, "Input/output error")
        return lstat(name, **options)

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"Input/output error.*link"):
        patch.setattr(os, "lstat", fail)
        make_net(1).save(link)
    assert link.is_symlink() and path.read_bytes() == before


def test_a_link_to_nothing_yet(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "net")
    make_net().save(link)
    assert link.is_symlink() and (tmp_path / "net").is_file()


RUNS = """
    import sys
    import numpy as np
    from cnn_ext import SGD, Checkpoint, Flatten, FullyConnected, NeuralNet, fit
    rng = np.random.default_rng(1)
    X, y = rng.random((60, 1, 4, 4), np.float32), rng.integers(0, 3, 60)
    net = NeuralNet([Flatten(), FullyConnected(16, 3, rng=0)])
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    checkpoint = Checkpoint(sys.argv[1], every_steps=1)
    fit(net, X, y, optimizer=SGD(0.1, 0.9), epochs=2, batch_size=5, rng=3, checkpoint=checkpoint)
    assert checkpoint.errors == []
    net.save(sys.argv[2])
"""


def test_two_runs_in_one_folder_at_once(tmp_path):
    """Not meant to be, and none the worse for it: both end, with the same network, and the folder holds that end."""
    folder, outputs = tmp_path / "run", [tmp_path / "a", tmp_path / "b"]

    def start(output):
        command = [sys.executable, "-c", textwrap.dedent(RUNS), str(folder), str(output)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    runs = [start(output) for output in outputs]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        run.communicate("\n", timeout=50)
        assert run.returncode == 0
    assert len({output.read_bytes() for output in outputs}) == 1
    assert sorted(os.listdir(folder)) == ["step-000000023.safetensors", "step-000000024.safetensors"]
    for path in folder.iterdir():
        assert f"step-{read_model(path).architecture['checkpoint']['state']['step']:09d}.safetensors" == path.name


def test_altered_checkpoints_are_found(kept):
    """A sample of what benchmarks/reliability/checkpoint_flips.py tries in full."""
    checkpoint, _ = kept
    older, newest = sorted(checkpoint.folder.iterdir())
    content = newest.read_bytes()
    changes = [content[:position] for position in range(0, len(content), 97)]
    for position in range(0, len(content), 53):
        changes.append(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
    for changed in changes:
        newest.write_bytes(changed)
        found = Checkpoint(checkpoint.folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.load()
        assert found.latest == older and len(caught) == 1


def test_names_of_other_folders_are_not_flushed_for_nothing(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_files, "_flush_folder", fail)
    Checkpoint(tmp_path).prepare()
    with pytest.raises(OSError, match="Input/output error"):
        Checkpoint(tmp_path / "new").prepare()
    with pytest.raises(OSError, match="Input/output error"):
        write_model(tmp_path / "net", {"layers": []}, {})
