"""The command line: its output, its files, its exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import cnn_ext
from cnn_ext import NeuralNet, train_mnist
from cnn_ext.recipes import RECIPES

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "cnn_ext.train_mnist"]
SMALL = ["--epochs", "2", "--train-size", "300", "--test-size", "100"]
STOPPING = ["--validation-size", "100", "--early-stopping", "1"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, **options)


def test_a_run_its_log_and_its_weights(tmp_path):
    weights, log = tmp_path / "net.safetensors", tmp_path / "run.jsonl"
    result = run(*SMALL, "--output", weights, "--log", log, "--threads", 2)
    assert (result.returncode, result.stderr) == (0, "")
    first, second, last = result.stdout.splitlines()
    assert first.startswith("epoch 1/2  loss ") and second.startswith("epoch 2/2  loss ")
    assert last.startswith("test accuracy ") and last.endswith(f"weights in {weights}")
    settings, *epochs = map(json.loads, log.read_text().splitlines())
    assert settings["run"]["recipe"] == {**RECIPES["series"].config(), "epochs": 2, "train_size": 300}
    assert settings["run"]["command"] == "python -m cnn_ext.train_mnist --epochs 2 --train-size 300 --test-size 100"
    assert settings["run"]["machine"]["cnn_ext"] == cnn_ext.__version__
    assert settings["run"]["machine"]["threads"] == 2
    names = ["epoch", "loss", "running_accuracy", "train_accuracy", "test_loss", "test_accuracy"]
    names += ["seconds", "images_per_second"]
    assert [list(epoch) for epoch in epochs] == [names, names]
    assert f"test accuracy {epochs[1]['test_accuracy']:.2%}" in last
    net = NeuralNet.load(weights)
    assert net.notes["recipe"] == settings["run"]["recipe"]
    assert net.notes["test_accuracy"] == epochs[1]["test_accuracy"]
    (_, _), (X, y) = cnn_ext.load_mnist(None, 0, 100)
    assert net.evaluate(X, y) == (epochs[1]["test_loss"], epochs[1]["test_accuracy"])


def test_the_seed_decides_everything_and_quiet_is_quiet(tmp_path):
    def losses_and_weights(name, *arguments):
        result = run(*SMALL, "--quiet", "--output", tmp_path / name, "--log", tmp_path / f"{name}.log", *arguments)
        assert (result.stdout, result.stderr) == ("", "")
        lines = (tmp_path / f"{name}.log").read_text().splitlines()[1:]
        return [json.loads(line)["loss"] for line in lines], (tmp_path / name).read_bytes()

    assert losses_and_weights("a") == losses_and_weights("b", "--threads=1")
    assert losses_and_weights("a")[0] == losses_and_weights("c", "--seed", "0")[0]
    assert losses_and_weights("a")[0] != losses_and_weights("d", "--seed", "1")[0]


def test_help_and_version():
    began = time.perf_counter()
    result = run("--help")
    seconds = time.perf_counter() - began
    assert result.returncode == 0 and seconds < 3  # the target of 0.3 s is for a machine that does nothing else
    flags = "epochs batch-size lr momentum l2 schedule seed threads train-size test-size data output log quiet"
    for flag in flags.split():
        assert f"--{flag}" in result.stdout
    assert run("--version").stdout == f"cnn_ext {cnn_ext.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["--epochs", "-1"], 2, r"argument --epochs: an int in [1, inf) expected, got '-1'"),
        (["--epochs", "two"], 2, "argument --epochs: an int in [1, inf) expected, got 'two'"),
        (["--batch-size", "0"], 2, "argument --batch-size: an int in [1, inf)"),
        (["--lr", "nan"], 2, "argument --lr: a number in (0, inf)"),
        (["--lr", "0"], 2, "argument --lr: a number in (0, inf)"),
        (["--lr", "inf"], 2, "argument --lr: a number in (0, inf)"),
        (["--momentum", "1"], 2, "argument --momentum: a number in [0, 1)"),
        (["--l2", "-1"], 2, "argument --l2: a number in [0, inf)"),
        (["--seed", "-1"], 2, "argument --seed: an int in [0, inf)"),
        (["--threads", "0"], 2, "argument --threads: an int in [1, 256]"),
        (["--threads", "257"], 2, "argument --threads: an int in [1, 256]"),
        (["--schedule", "warp"], 2, "argument --schedule: invalid choice"),
        (["--epoch", "1"], 2, "unrecognized arguments: --epoch 1"),
        (["--train-size", "60001"], 2, "--train-size asks for 60001 images, only 60000 are there"),
        (["--output", "a", "--log", "a"], 2, "--output and --log name the same file"),
        (["--output", "a", "--log", "./a"], 2, "--output and --log name the same file"),
        (["--data", "nowhere"], 66, "No such file or directory: 'nowhere'"),
        (["--data", "."], 66, "train-images-idx3-ubyte.gz"),
        (["--data", "bad.pkl.gz"], 65, "bad.pkl.gz: not gzip"),
        (["--output", "no/folder/net"], 73, "--output cannot be written"),
        (["--output", "."], 73, "--output cannot be written"),
        (["--lr", "1e30", *SMALL], 1, "training diverged (a lower --lr may help): step 2"),
        (["--recipe", "x"], 2, "argument --recipe: invalid choice: 'x'"),
        (["--model", "x"], 2, "argument --model: invalid choice: 'x'"),
        (["--label-smoothing", "1.5"], 2, "argument --label-smoothing: a number in [0, 1) expected, got '1.5'"),
        (["--average", "1"], 2, "argument --average: a number in [0, 1)"),
        (["--max-norm", "0"], 2, "argument --max-norm: a number in (0, inf)"),
        (["--max-norm", "nothing"], 2, "argument --max-norm: a number in (0, inf) expected, got 'nothing'"),
        (["--warmup-steps", "-1"], 2, "argument --warmup-steps: an int in [0, inf)"),
        (["--validation-size", "0"], 2, "argument --validation-size: an int in [1, inf)"),
        (["--validation-size", "60000"], 2, "--validation-size 60000 leaves no images to train on"),
        (["--validation-size", "60001"], 2, "asks for 60001 images, only 60000 are there"),
        (["--validation-size", "9", "--train-size", "59992"], 2, "--train-size asks for 59992 images, only 59991"),
        (["--early-stopping", "2"], 2, "--early-stopping needs --validation-size"),
        ([*STOPPING, "--test-last-only"], 2, "--early-stopping looks at the images after each epoch"),
        (["--evaluate", "nowhere"], 66, "--evaluate: neither a file nor one of mnist-best, mnist-small: [Errno 2]"),
        (["--evaluate", "."], 66, "--evaluate: neither a file nor one of mnist-best, mnist-small"),
        (["--evaluate", "bad.pkl.gz"], 65, "--evaluate: bad.pkl.gz"),
    ],
)
def test_failures_are_one_line_and_a_code(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pkl.gz").write_bytes(b"no gzip")
    found = train_mnist.main(arguments)
    error = capsys.readouterr().err
    assert (found, error.count("\n")) == (code, 1)
    assert message in error
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pkl.gz"]


def test_a_failed_run_leaves_the_old_output(tmp_path, monkeypatch):
    output = tmp_path / "net"
    output.write_text("old")
    assert train_mnist.main([*SMALL, "--lr", "1e30", "--output", str(output)]) == 1
    assert output.read_text() == "old"


def test_a_full_disk_at_the_end(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device", "net")

    monkeypatch.setattr("cnn_ext.network.write_network", fail)
    assert train_mnist.main([*SMALL, "--output", str(tmp_path / "net")]) == 74
    assert "writing failed: [Errno 28] No space left on device: 'net'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupted(tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen([*COMMAND, "--log", log], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not log.exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        error.strip()
        == "train_mnist: interrupted; nothing more was saved (a run started with --resume FOLDER is kept there, and can be continued)"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar():
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a new one is 0 wide: no room for a bar
    with subprocess.Popen([*COMMAND, *SMALL], stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                output += os.read(master, 4096)
            except OSError:  # the other end is closed
                break
        os.close(master)
        assert process.wait() == 0
    assert re.search(rb"\repoch 1/2:  50%\|.*images/s, loss [12]\.", output)  # drawn anew behind the line of an epoch
    assert re.search(rb"epoch 2/2  loss [12]\.\d{4}  train .*images/s", output)
    assert b"test accuracy" in output
    assert not re.search(rb"\x1b\[[0-9;]*m", output)  # no colours, so that NO_COLOR has nothing to turn off


def test_the_package_alone_tells_which_commands_there_are():
    package = [sys.executable, "-m", "cnn_ext"]
    told = subprocess.run(package, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"python -m (cnn_ext\.\w+)", told)
    assert commands == ["cnn_ext.train_mnist", "cnn_ext.predict", "cnn_ext.demo"]
    for command in commands:
        assert subprocess.run([sys.executable, "-m", command, "--help"], capture_output=True).returncode == 0
    wrong = subprocess.run([*package, "train_mnist"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "cnn_ext: unrecognized arguments: train_mnist (--help lists the flags)\n"
