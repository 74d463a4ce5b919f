"""The recipes of docs/callbacks.md write what their libraries read back; each is run where its library is installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "callbacks.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")

# Behind the page's program: `history` is what its last call of `train` gave.
TENSORBOARD = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator("runs/first").Reload()
steps, losses = events.Scalars("step/loss"), events.Scalars("epoch/loss")
assert [event.step for event in steps] == list(range(1, 21))
assert [event.step for event in losses] == [10, 20]
assert [event.value for event in losses] == [np.float32(record["loss"]) for record in history]
assert len(events.Scalars("epoch/validation_accuracy")) == 2
"""
MLFLOW = """
(found,) = mlflow.search_runs(experiment_names=["digits"], output_format="list")
assert found.info.status == "FINISHED" and found.data.params["lr"] == "0.05" and found.data.params["model"] == "mnist"
kept = mlflow.MlflowClient().get_metric_history(found.info.run_id, "validation_accuracy")
assert [(metric.step, metric.value) for metric in kept] == list(enumerate(history.validation_accuracy, 1))

class Fails(Callback):
    def on_epoch(self, run):
        raise RuntimeError

try:
    train(MLflow(), Fails())
except RuntimeError:
    pass
assert sorted(r.info.status for r in mlflow.search_runs(output_format="list")) == ["FAILED", "FINISHED"]
"""
WANDB = """
import glob, json
from wandb.proto.wandb_internal_pb2 import Record

def records(data):
    # A header of 7 bytes, then pieces of records (checksum, length, which piece of how many) in blocks of 32 KiB.
    place, record = 7, b""
    while place < len(data):
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        if kind in (1, 4):
            yield Record.FromString(record)
            record = b""
        place += 7 + length
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768

wandb.teardown()  # ends the process that writes
(path,) = glob.glob("wandb/offline-run-*/run-*.wandb")
with open(path, "rb") as file:
    written = list(records(file.read()))
rows = [
    {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
    for record in written if record.WhichOneof("record_type") == "history"
]
assert [(row["_step"], row["loss"]) for row in rows] == list(enumerate(history.loss, 1))
(exit,) = [record.exit.exit_code for record in written if record.WhichOneof("record_type") == "exit"]
(start,) = [record.run for record in written if record.WhichOneof("record_type") == "run"]
settings = {item.key: item.value_json for item in start.config.update}
assert (exit, start.project, settings["lr"], settings["batch_size"]) == (0, "digits", "0.05", "50")
"""


@pytest.mark.parametrize(
    ("title", "library", "check"),
    [("TensorBoard", "tensorboardX", TENSORBOARD), ("MLflow", "mlflow", MLFLOW), ("Weights & Biases", "wandb", WANDB)],
)
def test_what_a_recipe_writes_can_be_read_back(tmp_path, title, library, check):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    text = PAGE.read_text(encoding="utf-8")
    sections = {section.partition("\n")[0]: section for section in text.split("\n## ")}
    blocks = [
        re.search(r"^```python\n(.*?)^```", sections[name], re.MULTILINE | re.DOTALL)[1]
        for name in ("One of one's own", title)
    ]
    program = "\n".join(["import numpy as np", *blocks]).replace("\ntrain(", "\nhistory = train(") + check
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"^\d of 20 epochs, loss [01]\.\d\d$", result.stdout, re.MULTILINE
    )  # the page's own callback stops
