"""Validation metrics in the logs of ``fit``: under which names they are, and which of two areas an AUC is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import keras

from metagd_optuna.contracts import MetaGDError, Validation
from metagd_optuna.training.measured import ACCURACY_LOGS, all_metrics

# The name in Validation, and the names that Keras gives the same number in its logs.
VALIDATION_LOGS = {
    "loss": ("val_loss",),
    "accuracy": tuple(f"val_{name}" for name in ACCURACY_LOGS),
    "balanced_accuracy": ("val_balanced_accuracy",),
    "auc": ("val_auc", "val_AUC"),
}


def read_validation(logs: Mapping[str, Any], model: keras.Model, step: int, needed: str | None) -> Validation | None:
    """Return the validation metrics in an epoch's logs, NaN where one is missing; None if there was no validation.

    Args:
        logs: of the end of an epoch.
        model: compiled; its metrics say which of two areas ``auc`` is.
        step: steps that are behind.
        needed: the field of ``Validation`` that the policy looks at; None if it looks at none.

    Returns:
        None as well if the one that is needed is missing.

    Raises:
        MetaGDError: if what is needed is an AUC, and the logs only hold the area under a precision-recall curve.
    """
    if "val_loss" not in logs:
        return None
    areas = _areas(model)
    found = {field: _value(logs, names) for field, names in VALIDATION_LOGS.items() if field != "auc"}
    receiver = [name for name, curve in areas.items() if curve == "ROC" and name in logs]
    if receiver:
        found["auc"] = float(logs[next((name for name in receiver if name in VALIDATION_LOGS["auc"]), receiver[0])])
    else:
        others = {name: value for name, value in logs.items() if areas.get(name) != "PR"}
        found["auc"] = _value(others, VALIDATION_LOGS["auc"])
    precision = [name for name, curve in areas.items() if curve == "PR" and name in logs]
    if needed == "auc" and math.isnan(found["auc"]) and precision:
        raise MetaGDError(
            f"the policy looks at the area under the ROC curve, and {', '.join(precision)} is that under the "
            "precision-recall curve; compile the model with metrics=[keras.metrics.AUC()]"
        )
    if needed in found and math.isnan(found[needed]) and not _names_in(logs, VALIDATION_LOGS[needed]):
        return None
    return Validation(step=step, **found)


def _value(logs: Mapping[str, Any], names: tuple[str, ...]) -> float:
    return next((float(logs[name]) for name in _names_in(logs, names)), math.nan)


def _names_in(logs: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return the logs of a metric, which Keras numbers from a process' second model on.

    >>> _names_in({"val_auc_3": 0.9}, ("val_auc", "val_AUC"))
    ['val_auc_3']
    """
    numbered = [log for log in logs if any(re.fullmatch(rf"{name}_\d+", log) for name in names)]
    return [name for name in names if name in logs] + (numbered if len(numbered) == 1 else [])


def _areas(model: keras.Model) -> dict[str, str]:
    """Return the curve, ROC or PR, under which each of a model's areas is, by the name in the logs of validation."""
    return {
        f"val_{metric.name}": str(metric.get_config()["curve"])
        for metric in all_metrics(model)
        if isinstance(metric, keras.metrics.AUC)
    }
