"""The command line with --checkpoint and --resume: signals, exit codes, and the same files as without them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

SMALL = ["--epochs", "2", "--train-size", "300", "--test-size", "100"]  # 6 steps an epoch
AUGMENTED = ["--augment", "RandomAffine:rotation=10", "--average", "0.9", "--model", "small", "--standardize"]

# The command line in a process that sends itself signals where it is told to: "step 4 SIGINT", "epoch 1 SIGTERM".
SIGNALLING = """
import signal, sys, time
from cnn_ext import callbacks, keeper, train_mnist

where, number, name = sys.argv[1].split()
after_step, on_epoch = keeper.Keeper.after_step, callbacks.TrainingAccuracy.on_epoch

def after_step_with_signal(self):
    if where in ("step", "twice") and self._state.run.step == int(number):
        signal.raise_signal(getattr(signal, name))
        if where == "twice":
            signal.raise_signal(getattr(signal, name))
    after_step(self)

def on_epoch_with_signal(self, run):
    if where == "epoch" and run.epoch == int(number):
        signal.raise_signal(getattr(signal, name))
        time.sleep(60)  # an evaluation that takes long
    on_epoch(self, run)

keeper.Keeper.after_step = after_step_with_signal
callbacks.TrainingAccuracy.on_epoch = on_epoch_with_signal
sys.exit(train_mnist.main(sys.argv[2:]))
"""


def run(*arguments, sends=None, **options):
    start = ["-m", "cnn_ext.train_mnist"] if sends is None else ["-c", SIGNALLING, sends]
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, **options)


def losses(path):
    """Return what a log holds, but for the times and the machine."""
    settings, *epochs = map(json.loads, path.read_text().splitlines())
    del settings["run"]["machine"]
    return settings, [{k: v for k, v in epoch.items() if "second" not in k} for epoch in epochs]


@pytest.mark.parametrize(
    "flags, sends",
    [
        ([], "step 6 SIGTERM"),
        ([], "step 9 SIGINT"),
        ([], "epoch 1 SIGTERM"),
        ([], "epoch 2 SIGINT"),
        (AUGMENTED, "step 4 SIGTERM"),
        (AUGMENTED, "step 12 SIGINT"),
    ],
)
def test_stopped_by_a_signal_and_resumed_the_files_are_the_same(tmp_path, flags, sends):
    arguments = [*SMALL, *flags, "--log", tmp_path / "log", "--output", tmp_path / "net"]
    assert run(*arguments).returncode == 0
    wanted = (tmp_path / "net").read_bytes(), losses(tmp_path / "log")

    folder = tmp_path / "a folder"
    stopped = run(*arguments, "--checkpoint", folder, "--threads", 1, sends=sends)
    where, number, name = sends.split()
    step = int(number) * (6 if where == "epoch" else 1)
    word, code = {"SIGINT": ("interrupted", 130), "SIGTERM": ("terminated", 143)}[name]
    assert stopped.returncode == code, stopped.stderr
    newest = folder / f"step-{step:09d}.safetensors"
    assert stopped.stderr.startswith(f"train_mnist: {word}, kept in {newest}; to go on: python -m cnn_ext.train_mnist ")
    assert stopped.stderr.count("\n") == 1
    assert stopped.stderr.rstrip().endswith(f"--threads 1 --resume '{folder}'")

    resumed = run(*arguments, "--resume", folder)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert resumed.stdout.startswith(f"going on after step {step} of 12\n")
    assert ((tmp_path / "net").read_bytes(), losses(tmp_path / "log")) == wanted

    (tmp_path / "net").unlink()
    complete = run(*arguments, "--resume", folder)
    assert (complete.returncode, complete.stderr) == (0, "")
    assert f"already complete: {folder / 'step-000000012.safetensors'}" in complete.stdout
    assert ((tmp_path / "net").read_bytes(), losses(tmp_path / "log")) == wanted


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_ends_at_once(tmp_path, name, code):
    result = run(*SMALL, "--checkpoint", tmp_path, "--checkpoint-every", 2, sends=f"twice 5 {name}")
    assert result.returncode == code
    assert f"kept in {tmp_path / 'step-000000004.safetensors'}; to go on: " in result.stderr
    assert max(os.listdir(tmp_path)) == "step-000000004.safetensors"


@pytest.mark.skipif(os.name != "posix", reason="signals to other processes are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_from_outside_it_ends_within_two_seconds(tmp_path, number):
    command = [sys.executable, "-m", "cnn_ext.train_mnist", "--checkpoint", str(tmp_path), "--checkpoint-every", "1"]
    with subprocess.Popen([*command, "--quiet"], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not any(name.startswith("step") for name in os.listdir(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(number)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert "; to go on: python -m cnn_ext.train_mnist --checkpoint-every 1 --quiet --resume " in error
    assert time.monotonic() - began < 2


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_kill_9_and_resume_in_one_command(tmp_path):
    arguments = [*SMALL, "--output", tmp_path / "net", "--checkpoint-every", 1]
    assert run(*arguments, "--resume", tmp_path / "a", sends="step 8 SIGKILL").returncode == -signal.SIGKILL
    result = run(*arguments, "--resume", tmp_path / "a")
    assert result.returncode == 0 and "going on after step 7 of 12" in result.stdout
    killed = (tmp_path / "net").read_bytes()
    result = run(*arguments, "--resume", tmp_path / "b")
    assert result.returncode == 0 and result.stdout.startswith(f"no run in {tmp_path / 'b'} yet: starting anew\n")
    assert (tmp_path / "net").read_bytes() == killed


def test_another_run_is_refused_with_the_differences(tmp_path):
    assert run(*SMALL, "--checkpoint", tmp_path / "run").returncode == 0
    may_change = "(allow_changes, on the command line --allow-changes, lets it go on where its state fits)"
    for flag, value, message in [
        ("--seed", 3, f"seed: 0, now 3 {may_change}"),
        ("--batch-size", 20, "recipe.batch_size: 50, now 20 (batch_size cannot change on the way)"),
        ("--model", "small", "recipe.model: mnist, now small (network cannot change on the way)"),
        ("--lr", 0.2, f"recipe.lr: 0.1, now 0.2 {may_change}"),
    ]:
        result = run(*SMALL, flag, value, "--resume", tmp_path / "run")
        file = tmp_path / "run" / "step-000000012.safetensors"
        assert (result.returncode, result.stderr) == (
            65,
            f"train_mnist: --resume: {file} is of another run: {message}\n",
        )
    result = run(*SMALL, "--lr", 0.2, "--resume", tmp_path / "run", "--allow-changes")
    assert result.returncode == 0 and "now 0.2; going on with those of now" in result.stderr
    result = run(*SMALL, "--checkpoint", tmp_path / "run")
    assert result.returncode == 73 and "resume it, or choose another folder" in result.stderr


def test_a_damaged_checkpoint_is_told_of_in_one_line(tmp_path):
    assert run(*SMALL, "--checkpoint", tmp_path / "run", sends="step 8 SIGINT").returncode == 130
    older, newest = sorted((tmp_path / "run").iterdir())
    newest.write_bytes(b"")
    result = run(*SMALL, "--resume", tmp_path / "run")
    assert (result.returncode, result.stderr.count("\n")) == (0, 1)
    assert f"{newest}: not a safetensors file" in result.stderr and f"going on from {older}" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX")
def test_a_disk_that_is_full_lets_the_run_end_but_not_well(tmp_path):
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = run(*SMALL, "--checkpoint", tmp_path / "run", "--log", tmp_path / "log", preexec_fn=limit)
    assert result.returncode == 74 and "test accuracy" in result.stdout
    first, second, last = result.stderr.splitlines()
    assert "no checkpoint was written after step 6: [Errno 27] File too large" in first and "training goes on" in first
    assert "after step 12" in second and "trained to the end, but 2 checkpoints were not written" in last
    assert os.listdir(tmp_path / "run") == []


BAD_FLAGS = {
    "every without a folder": (["--checkpoint-every", "3"], 2, "--checkpoint-every needs --checkpoint or --resume"),
    "changes without a folder": (["--allow-changes"], 2, "--allow-changes needs --checkpoint or --resume"),
    "every 0": (["--checkpoint", "x", "--checkpoint-every", "0"], 2, "--checkpoint-every"),
    "two folders": (["--checkpoint", "x", "--resume", "y"], 2, "--checkpoint and --resume name two folders"),
    "a file": (["--checkpoint", "file"], 73, "--checkpoint cannot be written"),
    "below a file": (["--resume", "file/x"], 73, "--resume cannot be written"),
    "empty": (["--resume", ""], 73, "--resume cannot be written"),
}


@pytest.mark.parametrize("arguments, code, message", BAD_FLAGS.values(), ids=BAD_FLAGS)
def test_bad_flags(tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("")
    result = run(*SMALL, *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n"), result.stdout) == (code, 1, "")
    assert message in result.stderr
    assert os.listdir(tmp_path) == ["file"]
