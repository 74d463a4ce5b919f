"""Kill -9 at random moments of a short run with frequent checkpoints, until it has come to its end; over and over.

    python -m benchmarks.reliability.kills [--kills 600] [--seed 0] [--json FILE]

After each kill the folder must hold a sound checkpoint, at most the interval behind the last step taken, and under
checkpoints' names nothing else. Now and then the newest one is damaged: the one before must then do. The run's end must
be that of a run never stopped: weights, optimizer state, states of generators, the log's losses. The number of threads
changes on the way.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from benchmarks import _timing
from benchmarks.reliability import _runs
from benchmarks.reliability._runs import require
from cnn_ext import Checkpoint, CheckpointCorruptError
from cnn_ext._files import TEMPORARY
from cnn_ext.checkpoint import GENERATIONS, NAME
from cnn_ext.model_file import read_model

FORK = multiprocessing.get_context("fork")  # from a process that has all imported, and no thread of the pool yet
LONGEST = 0.5
"""The longest time until a kill, as a share of what a run takes that is not killed."""
FROM_FIRST_STEP = 0.8
"""How many of the kills wait for the first step: reading a checkpoint takes longer than a step."""


class Trial:
    """A run in a folder of its own, from its start through all kills to its end."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.run, self.log, self.result, self.notes = (folder / name for name in ("run", "log", "result", "notes"))
        self._draw = draw
        self.every_steps = draw.randint(1, 8)
        self.kept = 0  # the step of the newest checkpoint known to be sound
        self._n_kept = 0
        self._damaged: Path | None = None
        self.counts: Counter[str] = Counter()
        self.most_lost = 0

    def start(self, seconds: float) -> bool:
        """Start or go on; kill after so many seconds, most often counted from the first step on.

        Returns whether it came to its end before.
        """
        child = FORK.Process(target=self._child, args=(self._draw.randint(1, 2),))
        self.notes.write_bytes(b"")
        child.start()
        if self._draw.random() < FROM_FIRST_STEP:
            while b"step" not in self.notes.read_bytes() and child.is_alive():
                time.sleep(0.001)
        child.join(seconds)
        child.kill()
        child.join()
        require(child.exitcode in (0, -9), f"the run ended with {child.exitcode}")
        return child.exitcode == 0

    def _child(self, threads: int) -> None:
        warnings.simplefilter("ignore")  # the damage done here
        notes = _runs.Notes(self.notes)
        checkpoint = _runs.NotedCheckpoint(self.run, self.every_steps, notes)
        self.result.write_text(_runs.train(checkpoint, self.log, [notes], threads))
        notes.note("end")

    def after_kill(self) -> None:
        """Look at what the kill has left."""
        notes = self.notes.read_text().split("\n")[:-1]
        taken = max([self.kept, *(int(note.split()[1]) for note in notes if note.startswith("step"))])
        self.counts[phase(notes)] += 1
        steps = self._steps_kept()
        # One more than there were, where the kill came before the removal of older ones.
        require(len(steps) <= max(GENERATIONS, self._n_kept) + 1, f"{len(steps)} checkpoints are left")
        self._n_kept = len(steps)
        lost = taken - max(steps, default=0)
        require(0 <= lost <= self.every_steps, f"{lost} steps lost, checkpoints every {self.every_steps}")
        self.most_lost = max(self.most_lost, lost)
        self.kept = max(steps, default=0)
        warned = self._damaged is not None and self._damaged > self.run / file_name(self.kept)
        require(loaded(self.run) == (self.kept, int(warned)), f"step {self.kept} was not what was loaded")
        if self._damaged is None and len(steps) > 1 and self._draw.random() < 0.1:
            self._damage_newest(steps)

    def _steps_kept(self) -> list[int]:
        """Return the steps of all checkpoints; each must be sound, and all other files temporary ones."""
        steps = []
        if self._damaged is not None and (not self._damaged.exists() or is_sound(self._damaged)):
            self._damaged = None  # removed, or written again
        for path in self.run.iterdir() if self.run.exists() else ():
            if path == self._damaged:
                continue
            if match := NAME.fullmatch(path.name):
                step = read_model(path).architecture["checkpoint"]["state"]["step"]
                require(step == int(match[1]), f"{path.name} holds step {step}")
                steps.append(step)
            else:
                require(TEMPORARY.fullmatch(path.name), f"{path.name} was left")
                self.counts["temporary files left"] += 1
                path.unlink()
        return sorted(steps)

    def _damage_newest(self, steps: list[int]) -> None:
        self._damaged = newest = self.run / file_name(steps[-1])
        content = bytearray(newest.read_bytes())
        if self._draw.random() < 0.5:
            del content[self._draw.randrange(len(content)) :]
        else:
            content[self._draw.randrange(len(content))] ^= 1 << self._draw.randrange(8)
        newest.write_bytes(content)
        self.kept = steps[-2]
        require(loaded(self.run) == (self.kept, 1), "the checkpoint before the damaged one was not loaded")
        self.counts["newest damaged"] += 1


def file_name(step: int) -> str:
    return f"step-{step:09d}.safetensors"


def is_sound(path: Path) -> bool:
    try:
        read_model(path)
    except CheckpointCorruptError:
        return False
    return True


def loaded(folder: Path) -> tuple[int, int]:
    """Return the step of the checkpoint that a run would go on from, 0 where there is none, and how often it warned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = Checkpoint(folder).load()
    return (0 if file is None else file.architecture["checkpoint"]["state"]["step"]), len(caught)


def phase(notes: list[str]) -> str:
    """Return what a run was at, from its notes."""
    what, _, number = notes[-1].partition(" ") if notes else ("start", "", "")
    if what == "write":
        return "killed while a checkpoint was written"
    if what in ("step", "written"):
        epoch, rest = divmod(int(number), _runs.STEPS_PER_EPOCH)
        if rest == 0 and f"epoch {epoch}" not in notes:
            return "killed in an evaluation"
    return {"start": "killed at the start", "end": "killed at the end"}.get(what, "killed between or in steps")


def main() -> None:
    parser = _timing.parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, began = random.Random(args.seed), time.perf_counter()
    counts: Counter[str] = Counter()
    most_lost: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted, whole = never_stopped(folder, draw)
        kills = runs = 0
        while kills < args.kills:
            (folder / f"run{runs}").mkdir()
            trial = Trial(folder / f"run{runs}", draw)
            while not trial.start(draw.uniform(0, LONGEST * whole)):
                kills += 1
                trial.after_kill()
            runs += 1
            found = trial.result.read_text(), _runs.logged(trial.log)
            require(found == wanted, f"run {runs}, checkpoints every {trial.every_steps} steps: another end")
            counts += trial.counts
            most_lost[trial.every_steps] = max(most_lost[trial.every_steps], trial.most_lost)
    figures = {
        "kills": kills,
        "runs": runs,
        **dict(sorted(counts.items())),
        "most_steps_lost_by_interval": dict(sorted(most_lost.items())),
        "ends_that_differ": 0,
        "seed": args.seed,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(figures, indent=2))
    _timing.append_json(args.json, figures)


def never_stopped(folder: Path, draw: random.Random) -> tuple[tuple[str, list[dict[str, object]]], float]:
    """Return the end of a run without checkpoints, and the seconds of one with them, in processes of their own."""

    def child() -> None:
        (folder / "result").write_text(_runs.train(None, folder / "log"))

    process = FORK.Process(target=child)
    process.start()
    process.join()
    (folder / "whole").mkdir()
    began = time.perf_counter()
    require(Trial(folder / "whole", draw).start(600), "a run that was not killed did not end in ten minutes")
    return ((folder / "result").read_text(), _runs.logged(folder / "log")), time.perf_counter() - began


if __name__ == "__main__":
    main()
