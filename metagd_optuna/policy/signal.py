"""Performance p: a chance-normalised signal in [0, 1], where 0 is chance level and 1 is perfect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from metagd_optuna.contracts import Context, MetaGDError, Observation
from metagd_optuna.policy.coefficients import Coefficient

HALF_LIFE = Coefficient(0, 8)
IMPROVEMENT_SCALE = Coefficient(1e-3, 1e-1, log=True)


@dataclass(frozen=True, slots=True)
class Signal:
    """Where performance comes from.

    Args:
        uses_validation: whether it looks at the validation part, which a report has to flag.
        text: the formula of p.
    """

    uses_validation: bool
    text: str


SIGNALS: Mapping[str, Signal] = {
    "train-loss": Signal(False, "clip(1 - L / H, 0, 1), L the training loss since the last rate update"),
    "train-accuracy": Signal(False, "clip((A - m) / (1 - m), 0, 1), A the training accuracy, m the largest class"),
    "improvement": Signal(
        False, "clip(s / improvement_scale, 0, 1), s the relative fall of the training loss per rate update"
    ),
    "val-auc": Signal(True, "clip(2 AUC - 1, 0, 1), on validation"),
    "val-balanced-accuracy": Signal(True, "clip((B - 1/K) / (1 - 1/K), 0, 1), B on validation"),
    "val-accuracy": Signal(True, "clip((A - m) / (1 - m), 0, 1), A on validation, m the largest class"),
}


def entropy(class_frequencies: tuple[float, ...]) -> float:
    """Return H, the loss in nats of predicting the class frequencies for everyone.

    >>> round(entropy((0.5, 0.5)), 4)
    0.6931
    """
    return -sum(share * math.log(share) for share in class_frequencies if share > 0)


def reference(signal: str, context: Context) -> float:
    """Return what the signal is at chance level: H for the loss, chance for a metric, 0 for the improvement.

    Raises:
        MetaGDError: if the class frequencies do not sum to 1 over two or more classes present.

    >>> reference("val-auc", Context(0.5, (0.9, 0.1), "adam", 100, 10.0))
    0.5
    """
    shares = context.class_frequencies
    if not (all(0 <= share < 1 for share in shares) and abs(sum(shares) - 1) < 1e-6):
        raise MetaGDError(
            f"class_frequencies are {shares}; give the share of each of two or more classes, summing to 1"
        )
    if signal == "train-loss":
        return entropy(shares) if context.chance_loss is None else context.chance_loss
    if signal == "improvement":
        return 0.0
    if signal == "val-auc":
        return 0.5
    return 1 / len(shares) if signal == "val-balanced-accuracy" else max(shares)


def from_loss(loss: float, chance: float) -> float:
    """Return clip(1 - loss / chance level, 0, 1); a loss that is not finite is 0.

    >>> from_loss(0.25, 0.5)
    0.5
    """
    return min(max(1 - loss / chance, 0.0), 1.0) if math.isfinite(loss) else 0.0


def from_metric(metric: float, chance: float) -> float:
    """Return clip((metric - chance) / (1 - chance), 0, 1); a metric that is not finite is 0.

    >>> from_metric(0.75, 0.5)
    0.5
    """
    return min(max((metric - chance) / (1 - chance), 0.0), 1.0) if math.isfinite(metric) else 0.0


def relative_fall(before: float, loss: float) -> float:
    """Return (before - loss) / before, clipped to [-1, 1]; a loss that is not finite is -1.

    >>> relative_fall(0.5, 0.25)
    0.5
    """
    if not (math.isfinite(before) and math.isfinite(loss) and before > 0):
        return -1.0
    return min(max((before - loss) / before, -1.0), 1.0)


def measure(signal: str, observation: Observation, chance: float, before: float | None) -> float | None:
    """Return the signal before smoothing, or None if it has not been seen yet.

    For ``improvement`` that is the relative fall of the loss, in [-1, 1], which ``performance`` divides
    by improvement_scale after smoothing; for all others it is p itself.

    Args:
        signal: a name in ``SIGNALS``.
        observation: what the controller sees.
        chance: the value of ``reference``.
        before: training loss before the last rate update, if any.
    """
    if signal == "train-loss":
        return None if observation.train_loss is None else from_loss(observation.train_loss, chance)
    if signal == "train-accuracy":
        return None if observation.train_accuracy is None else from_metric(observation.train_accuracy, chance)
    if signal == "improvement":
        loss = observation.train_loss
        return None if loss is None or before is None else relative_fall(before, loss)
    validation = observation.validation
    if validation is None:
        return None
    if signal == "val-auc":
        return from_metric(validation.auc, chance)
    if signal == "val-balanced-accuracy":
        return from_metric(validation.balanced_accuracy, chance)
    return from_metric(validation.accuracy, chance)


def keep(half_life: float) -> float:
    """Return the weight of the past in an exponential moving average; 0 is no smoothing.

    The half-life is in rate updates.

    >>> keep(1.0)
    0.5
    """
    return 0.5 ** (1 / half_life) if half_life > 0 else 0.0


def smooth(past: float | None, value: float, weight: float) -> float:
    """Return the moving average; it starts at the first value.

    >>> smooth(0.0, 1.0, 0.75)
    0.25
    """
    return value if past is None else weight * past + (1 - weight) * value
