"""Keras' running means since the start of an epoch, to means since the last tick."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

# The names that Keras gives the accuracy in its logs.
ACCURACY_LOGS = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")


class RunningMeans:
    """Means of the training loss and accuracy since the last tick.

    Exact while all batches are equally large. Keras weighs by examples and this by batches, so a smaller last batch
    leaves a tick's mean nearer to that of the epoch than it is. A train_step of the user's own may log the loss of its
    batch in place of a running mean: then no metric of the model holds what it logs.

    Args:
        model: compiled; what evaluates it between two steps disturbs its running means, which then begin anew.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        means = (metric for metric in model.metrics if isinstance(metric, keras.metrics.Mean))
        self._tracker = next((metric for metric in means if metric.name == "loss"), None)
        self._sum = (0.0, 0.0)  # behind Keras' mean of the loss after the last step: of losses, and of examples
        self._disturbed = False
        self._logs_means: bool | None = None  # whether the loss that is logged is a mean since the epoch began
        self._before = 0  # steps of the epoch before Keras' means begin
        self._epoch = (0, 0.0, 0.0)  # steps, sum of loss, sum of accuracy since then
        self._tick = (0, 0.0, 0.0)  # the same since the last tick

    def new_epoch(self) -> None:
        """Take note that Keras begins its means anew."""
        self._sum = (0.0, 0.0)
        self._begin_after(0)

    def before_step(self, batch: int) -> None:
        """Begin the means anew if something evaluated the model since the last step: they are of its data now.

        Args:
            batch: the number of the coming step in its epoch, from 0.
        """
        if self._disturbed or self._tracked() != self._sum:
            self._model.reset_metrics()
            self._begin_after(batch)

    def add(self, steps: int, logs: Mapping[str, Any]) -> int:
        """Take note of the means after ``steps`` steps of the epoch; return how many of them are new."""
        loss = float(logs.get("loss", math.nan))
        accuracy = float(next((logs[name] for name in ACCURACY_LOGS if name in logs), math.nan))
        since = steps - self._before
        if self._logs_means is None and since > 1 and math.isfinite(loss):  # after one step the two are the same
            self._logs_means = self._is_mean(loss)
        total = self._epoch[1] + loss * (since - self._epoch[0]) if self._logs_means is False else loss * since
        now = (since, total, accuracy * since)
        self._tick = (
            self._tick[0] + now[0] - self._epoch[0],
            self._tick[1] + now[1] - self._epoch[1],
            self._tick[2] + now[2] - self._epoch[2],
        )
        taken = now[0] - self._epoch[0]
        self._epoch = now
        self._sum = losses, examples = self._tracked()
        # Another callback may have evaluated the model already, after the step whose logs these are.
        told = "loss" in logs and examples > 0
        self._disturbed = told and not math.isclose(losses / examples, loss, rel_tol=1e-4, abs_tol=1e-6)
        return taken

    def mean_since_last(self) -> tuple[float, float | None]:
        """Return mean loss and accuracy (None if fit measures none) since the last call."""
        steps, loss, accuracy = self._tick
        self._tick = (0, 0.0, 0.0)
        return loss / steps, None if math.isnan(accuracy) else accuracy / steps

    def _is_mean(self, loss: float) -> bool | None:
        """Return whether a logged loss is the mean that a metric holds; None if the model's metrics cannot tell."""
        means = [metric for metric in self._model.metrics if isinstance(metric, keras.metrics.Mean)]
        values = [float(metric.result()) for metric in means if float(metric.count.numpy()) > 0]
        if not values:
            return False  # the model keeps no mean, so what it logs is none
        # The logged loss may be put together of several means, and what evaluated the model after the step has left
        # those of its own data in them.
        return any(math.isclose(value, loss, rel_tol=1e-4, abs_tol=1e-6) for value in values) or None

    def _begin_after(self, steps: int) -> None:
        self._before = steps
        self._epoch = (0, 0.0, 0.0)
        self._disturbed = False

    def _tracked(self) -> tuple[float, float]:
        """Return the sums behind Keras' mean of the loss; zeros if the model keeps none or they are not finite."""
        # Two sums are read faster than their mean, and this is done twice per step.
        if self._tracker is None:
            return 0.0, 0.0
        losses, examples = float(self._tracker.total.numpy()), float(self._tracker.count.numpy())
        return (losses, examples) if math.isfinite(losses) else (0.0, 0.0)
