"""Between the training loop and scikit-learn: the score of held back rows, and scikit-learn's own callbacks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ._types import Array
from .callbacks import Callback, Run


class ValidationAccuracy(Callback):
    """Record the accuracy, weighted if there are weights, as `validation_accuracy`."""

    def __init__(self, X: Any, y: Array, weights: Array | None) -> None:
        self.X: Any = X
        self.y: Array = y
        self.weights: Array | None = weights

    def on_epoch(self, run: Run) -> None:
        right = run.net.predict(self.X) == self.y
        run.record["validation_accuracy"] = float(np.average(right, weights=self.weights))


class SklearnCallbacks(Callback):
    """Tell scikit-learn's callbacks of each epoch, as a task of the fit; one of them may stop it.

    Parameters
    ----------
    estimator : estimator
        With all that a copy of it needs to predict, but for the network.
    context : sklearn.callback.CallbackContext
        Of the fit.
    data : dict
        What callbacks may ask for: X, y and metadata.
    """

    def __init__(self, estimator: Any, context: Any, data: dict[str, Any]) -> None:
        self.estimator: Any = estimator
        self.context: Any = context
        self.data: dict[str, Any] = data
        self.epoch: Any = None

    def on_start(self, run: Run) -> None:
        self.context.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self._begin()

    def on_epoch(self, run: Run) -> None:
        def fitted() -> dict[str, Any]:  # only for a callback that wants to see an estimator that predicts
            return {"net_": copy.deepcopy(run.net), "n_iter_": run.epoch, "loss_": run.record["loss"]}

        if self.epoch.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=fitted):
            run.stop = True
        if not run.is_last_epoch():
            self._begin()

    def finish(self) -> None:
        """Tell that the estimator is fitted."""
        self.context.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes={})

    def _begin(self) -> None:
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)
