"""Stopping a trial of Optuna from within the user's own ``fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import optuna

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given


class PruningCallback(keras.callbacks.Callback):
    """Report a metric to a trial after every epoch, and end the trial where the study's pruner says so.

    Optuna's own callback for Keras is no longer maintained. Put it behind the callbacks whose work is to be done when a
    trial ends, because it raises ``optuna.TrialPruned``.

    Args:
        trial: that trains.
        monitor: name of a metric in the logs of ``fit``, such as ``val_loss``. The study's direction says whether less
            of it is better.

    Raises:
        MetaGDError: when training starts, for a trial of several objectives, which Optuna cannot prune; after an epoch,
            if ``fit`` does not log the metric.
    """

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        if not hasattr(trial, "should_prune"):
            raise MetaGDError(f"the trial is {as_given(trial)}; pass the one that Optuna gives your objective")
        if not isinstance(monitor, str):
            raise MetaGDError(f"monitor={as_given(monitor)}; name a metric of the logs, such as 'val_loss'")
        self._trial = trial
        self._monitor = monitor

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check that the trial can be pruned."""
        study = self._trial.study
        if len(study.directions) > 1:
            raise MetaGDError(
                f"{study.study_name} has {len(study.directions)} objectives, and Optuna prunes trials of one only; "
                "leave PruningCallback out"
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the metric, and end the trial if it is to be pruned."""
        found = logs or {}
        if self._monitor not in found:
            said = ", ".join(sorted(found)) or "nothing"
            raise MetaGDError(
                f"fit logs no {self._monitor!r} after epoch {epoch + 1}; it logs {said}: monitor one of these, or "
                "give fit validation data"
            )
        self._trial.report(float(found[self._monitor]), epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch + 1}")
