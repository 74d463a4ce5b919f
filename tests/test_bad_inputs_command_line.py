"""Bad input to the command line: an exit code, one line that names the flag, and nothing written."""

import os
import subprocess
import sys

import pytest

from cnn_ext import train_mnist

pytestmark = pytest.mark.slow

SMALL = ["--epochs", "1", "--train-size", "20", "--test-size", "10", "--quiet"]
LONG = "9" * 30
COUNTS = ["--epochs", "--batch-size", "--train-size", "--test-size", "--validation-size", "--early-stopping"]
SHARES = ["--momentum", "--label-smoothing", "--average"]
CHOICES = ["--recipe", "--model", "--optimizer", "--schedule"]
VALUED = [*COUNTS, *SHARES, *CHOICES, "--lr", "--l2", "--max-norm", "--warmup-steps", "--seed", "--threads"]

# Flags, and the values that each of them refuses, all with exit code 2.
BAD_VALUES = [
    (COUNTS, ["0", "-1", "2.0", "1e3", "two", "", "nan", "inf", "0x10", LONG, "9" * 5000, "none"], "an int "),
    (["--warmup-steps", "--seed"], ["-1", "2.0", "two", "", "nan", LONG], "an int "),
    (["--threads"], ["0", "257", "-1", "2.0", "two", "", LONG], "an int "),
    (["--lr"], ["0", "-1", "nan", "inf", "1e400", "fast", "", "0,1", "none"], r"a number in (0, inf) expected"),
    (["--max-norm"], ["0", "-1", "nan", "inf", "", "0,1"], r"a number in (0, inf) expected"),
    (["--l2"], ["-1", "-0.001", "nan", "inf", "none", ""], "a number in [0, inf) expected"),
    (SHARES, ["-0.1", "1", "1.5", "nan", "inf", "half", ""], "a number in [0, 1) expected"),
    (CHOICES, ["", "none", "SERIES", "best ", "0"], "invalid choice"),
    (
        ["--augment"],
        ["", "Blur", "randomflip", "RandomFlip:p=1", "Cutout", "Cutout:size=0", "Cutout:size=2.0", "Cutout:3",
         f"Cutout:size={LONG}", "RandomCrop:padding=-1", "RandomAffine:rotation=nan", "Compose:transforms=3",
         "RandomAffine:scale=1e400", "RandomErasing:area=0.1", "RandomErasing:area=(0.2,0.1)"],
        "argument --augment: ",
    ),
]  # fmt: skip


def run(arguments, capsys):
    """Return the exit code and what stands on the error output."""
    return train_mnist.main(arguments), capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "values", "message"),
    [pytest.param(flag, values, message, id=flag) for flags, values, message in BAD_VALUES for flag in flags],
)
def test_values_replaced(flag, values, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for value in values:
        code, error = run([flag, value, "--output", "net", "--log", "log"], capsys)
        assert (code, error.count("\n")) == (2, 1), (value, error)
        assert error.startswith(f"train_mnist: argument {flag}: ") and message in error
    assert not any(tmp_path.iterdir())


def test_every_flag_with_a_value_needs_one(capsys):
    for flag in [*VALUED, "--augment", "--data", "--output", "--log", "--evaluate"]:
        code, error = run([flag], capsys)
        assert (code, error.count("\n")) == (2, 1) and f"argument {flag}: expected" in error


# Arguments, the exit code, what the one line says.
BAD_CALLS = [
    (["--nonsense"], 2, "unrecognized arguments: --nonsense (--help"),
    (["extra"], 2, "unrecognized arguments: extra"),
    (["--quiet=yes"], 2, "argument --quiet: ignored explicit argument 'yes'"),
    (["--epoch", "1"], 2, "unrecognized arguments: --epoch 1, did you mean --epochs? (--help"),  # no abbreviations
    (["--batchsize=1", "x"], 2, "unrecognized arguments: --batchsize=1 x, did you mean --batch-size? (--help"),
    (["--lr", "1e39", *SMALL], 1, "training diverged (a lower --lr may help): step 1: the rate "),
    (["--l2", "1e300", *SMALL], 1, "training diverged"),
    (["--train-size", "999999", "--epochs", "1"], 2, "--train-size asks for 999999 images, only 60000 are there"),
    (["--validation-size", "60000", *SMALL], 2, "--validation-size 60000 leaves no images to train on"),
    (["--data", "", *SMALL], 66, "--data cannot be read: [Errno 2]"),
    (["--data", "nowhere", *SMALL], 66, "--data cannot be read: [Errno 2]"),
    (["--data", "x" * 5000, *SMALL], 66, "File name too long"),
    (["--data", "a file", *SMALL], 65, "--data: a file: "),
    (["--data", "/dev/zero", *SMALL], 65, "--data: /dev/zero: not a regular file"),
    (["--output", "", *SMALL], 73, "--output cannot be written"),
    (["--output", "no/folder", *SMALL], 73, "--output cannot be written"),
    (["--output", "a file/net", *SMALL], 73, "--output cannot be written"),
    (["--output", "x" * 5000, *SMALL], 73, "File name too long"),
    (["--log", "", *SMALL], 73, "--log cannot be written"),
    (["--log", "no/folder", *SMALL], 73, "--log cannot be written"),
    (["--resume", "a file", *SMALL], 73, "--resume cannot be written: [Errno 20] Not a directory: 'a file'"),
    (["--checkpoint", "a file/run", *SMALL], 73, "--checkpoint cannot be written: [Errno 20] Not a directory: "),
    (["--output", "net", "--log", "net", *SMALL], 2, "--output and --log name the same file"),
    (["--evaluate", ""], 66, "--evaluate: neither a file nor one of mnist-best, mnist-small"),
    (["--evaluate", "nowhere"], 66, "--evaluate: neither a file nor one of mnist-best, mnist-small"),
    (["--evaluate", "mnist-bset"], 66, "one of mnist-best, mnist-small, did you mean mnist-best?: [Errno 2]"),
    (["--evaluate", "a file"], 65, "--evaluate: a file"),
    (["--evaluate", "/dev/zero"], 65, "--evaluate: /dev/zero: not a regular file"),
    (["--evaluate", "mnist-small", "--data", "nowhere"], 66, "--data cannot be read"),
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
@pytest.mark.parametrize(("arguments", "code", "message"), BAD_CALLS, ids=lambda value: str(value)[:40])
def test_calls_that_fail(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_bytes(b"no data")
    found, error = run(arguments, capsys)
    assert (found, error.count("\n")) == (code, 1) and error.startswith("train_mnist: ")
    assert message in error
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a file", b"no data")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("flag", ["--output", "--log"])
def test_a_pipe_is_not_written_to(flag, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    code, error = run([flag, str(tmp_path / "pipe"), *SMALL], capsys)
    assert code == 73 and f"{flag} cannot be written" in error and "not a regular file" in error
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("arguments", [["--lr", "nan"], ["--data", "nowhere"], ["--output", "no/folder/net"]])
def test_in_a_process_of_its_own_there_is_no_traceback(arguments):
    command = [sys.executable, "-m", "cnn_ext.train_mnist", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode in (2, 66, 73) and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


BAD_VARIABLES = [
    ("CNN_EXT_NUM_THREADS", "0", "ValueError: CNN_EXT_NUM_THREADS must be an int in [1, 256], got '0'"),
    ("CNN_EXT_NUM_THREADS", "257", "ValueError: CNN_EXT_NUM_THREADS must be an int in [1, 256], got '257'"),
    ("CNN_EXT_NUM_THREADS", "2.0", "ValueError: CNN_EXT_NUM_THREADS must be an int in [1, 256], got '2.0'"),
    ("CNN_EXT_NUM_THREADS", "9" * 5000, "ValueError: CNN_EXT_NUM_THREADS must be an int in [1, 256], got '99"),
    ("CNN_EXT_NUM_THREADS", "١", "ValueError: CNN_EXT_NUM_THREADS must be an int in [1, 256], got "),
    ("CNN_EXT_SIMD", "avx1024", "ImportError: CNN_EXT_SIMD"),
]


@pytest.mark.parametrize(("variable", "value", "message"), BAD_VARIABLES, ids=lambda value: str(value)[:20])
def test_bad_environment_variables(variable, value, message):
    environment = {**os.environ, variable: value, "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        [sys.executable, "-c", "import cnn_ext"], env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert result.returncode == 1 and message in result.stderr.strip().splitlines()[-1]


def test_modules_built_for_something_else_are_named_with_the_way_out(tmp_path):
    """As for another Python or another machine: the file is there, but cannot be loaded."""
    package = os.path.dirname(train_mnist.__file__)
    code = f"""
import importlib.abc, importlib.util, sys

class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "cnn_ext._conv" else None
    def create_module(self, spec):
        raise ImportError("cnn_ext/_conv.so: undefined symbol: PyOldABI")
    def exec_module(self, module):
        pass

sys.path.insert(0, {os.path.dirname(package)!r})
sys.meta_path.insert(0, Broken())
import cnn_ext
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the compiled modules of cnn_ext are missing or were built for another Python")
    assert "undefined symbol" in last and "pip install -e ." in last
