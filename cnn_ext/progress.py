"""A callback that tells on a terminal, or in plain lines, how a run goes."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from .callbacks import Callback, Run


class Progress(Callback):
    """One line an epoch on standard output; on a terminal or in a notebook, a bar over the whole run as well.

    The bar shows images a second, a running mean of the loss, and the time left.

    Parameters
    ----------
    tested : str
        What the images are called that the network is evaluated on.
    """

    def __init__(self, tested: str = "test") -> None:
        self._tested = tested
        self._bar: Any = None
        self._loss: float | None = None

    def on_start(self, run: Run) -> None:
        self._loss = None
        if run.step:
            print(f"going on after step {run.step:,} of {run.epochs * run.steps_per_epoch:,}", flush=True)
        if sys.stderr.isatty() or _in_notebook():
            whole_epochs, steps = divmod(run.step, run.steps_per_epoch)
            done = whole_epochs * run.n_images + steps * run.batch_size
            total = run.epochs * run.n_images
            self._bar = _bar_type()(total=total, initial=done, unit=" images", unit_scale=True, leave=False)

    def on_step(self, run: Run) -> None:
        if self._bar is None:
            return
        self._loss = run.loss if self._loss is None else 0.98 * self._loss + 0.02 * run.loss
        in_epoch = run.step % run.steps_per_epoch
        last_size = run.n_images - (run.steps_per_epoch - 1) * run.batch_size
        self._bar.set_description(f"epoch {run.epoch}/{run.epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {self._loss:.4f}", refresh=False)
        self._bar.update(last_size if in_epoch == 0 else run.batch_size)

    def on_epoch(self, run: Run) -> None:
        record = run.record
        train, tested = record.get("train_accuracy"), record.get("validation_accuracy")
        parts = [f"epoch {run.epoch:>{len(str(run.epochs))}}/{run.epochs}", f"loss {record['loss']:.4f}"]
        parts.append(f"running {record['running_accuracy']:.2%}" if train is None else f"train {train:.2%}")
        if tested is not None:
            parts.append(f"{self._tested} {tested:.2%}")
        line = "  ".join([*parts, f"{record['images_per_second']:,.0f} images/s"])
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line)

    def on_end(self, run: Run) -> None:
        if self._bar is not None:
            self._bar.close()


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})


def _bar_type() -> Any:
    """Return the bar that suits the place: of widgets in a notebook that has them, else of characters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns where there are no widgets, but its other bar does as well
        from tqdm.auto import tqdm  # slow to import, and only wanted where there is something to draw on
    return tqdm
