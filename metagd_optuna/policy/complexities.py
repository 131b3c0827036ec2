"""What complexity c is measured on: the task, or a property of the network that trains."""

from __future__ import annotations

from collections.abc import Mapping

from metagd_optuna.contracts import Context, MetaGDError

TASK, BATCH_NORM, CRITICAL = "task", "batch-norm", "critical-rate"
# How many probes the complexity of that name is the mean of, and what it is before the first.
CRITICAL_PROBES, UNPROBED = 3, 0.5
# Name to meaning. All but the task's are measured on the network: on the model when training starts, or by probes.
COMPLEXITIES: Mapping[str, str] = {
    TASK: "how hard the task is, measured on its training images",
    BATCH_NORM: "share of the hidden channels that train which batch normalisation normalises",
    CRITICAL: "how small the smallest rate is whose step gains nothing, by the first three probes",
}


def complexity_of(name: str, context: Context) -> float:
    """Return c of a training at its beginning.

    Args:
        name: a key of ``COMPLEXITIES``.
        context: of the training.

    Raises:
        MetaGDError: if it was not measured, or is no number from 0 to 1.

    >>> complexity_of("batch-norm", Context(0.5, (0.5, 0.5), "adam", 100, 10.0, network={"batch-norm": 1.0}))
    1.0
    """
    if name == CRITICAL:
        return UNPROBED
    found = context.complexity if name == TASK else context.network.get(name)
    if found is None:
        raise MetaGDError(f"the rule depends on {name} of the network, which whoever trains has not measured")
    if not 0 <= found <= 1:
        raise MetaGDError(f"complexity is {found!r}; it must be a number from 0 to 1")
    return float(found)


def complexity_probes(name: str) -> int:
    """Return how many probes a complexity is measured by."""
    return CRITICAL_PROBES if name == CRITICAL else 0


def critical_complexity(ratio: float) -> float:
    r"""Return c of a network whose critical rate is so many times the usual one.

    .. math:: c = 1 / (1 + X / X_0)

    It is 1/2 for a usual network, and near 1 for one that bears none but the smallest steps.

    >>> critical_complexity(1.0), critical_complexity(3.0)
    (0.5, 0.25)
    """
    return 1 / (1 + ratio)
