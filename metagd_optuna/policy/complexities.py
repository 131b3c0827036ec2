"""What complexity c is measured on: the task, or a property of the network that trains."""

from __future__ import annotations

import math
from collections.abc import Mapping

from metagd_optuna.contracts import Context, MetaGDError, Probe
from metagd_optuna.policy.probes import PROBED_RATES, disagreement, probed_logarithm

TASK, BATCH_NORM, DISAGREEMENT = "task", "batch-norm", "disagreement"
# How many probes a complexity is the mean of that they tell, and what it is before the first.
PROBES, UNPROBED = 3, 0.5
# "critical-rate" and the like: the rate that a probe tells.
_RATES = {f"{name}-rate": name for name in PROBED_RATES}
# Name to meaning. All but the task's are measured on the network: on the model when training starts, or by probes.
COMPLEXITIES: Mapping[str, str] = {
    TASK: "how hard the task is, measured on its training images",
    BATCH_NORM: "share of the hidden channels that train which batch normalisation normalises",
    **{full: f"how small it is, by the first three probes: {PROBED_RATES[name].text}" for full, name in _RATES.items()},
    DISAGREEMENT: "how far the gradients of two halves of some images differ, by the first three probes",
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
    if complexity_probes(name):
        return UNPROBED
    found = context.complexity if name == TASK else context.network.get(name)
    if found is None:
        raise MetaGDError(f"the rule depends on {name} of the network, which whoever trains has not measured")
    if not 0 <= found <= 1:
        raise MetaGDError(f"complexity is {found!r}; it must be a number from 0 to 1")
    return float(found)


def complexity_probes(name: str) -> int:
    """Return how many probes a complexity is measured by."""
    return PROBES if name in _RATES or name == DISAGREEMENT else 0


def told_by(name: str, probe: Probe) -> float:
    """Return what a probe tells of a complexity, of which ``probed_complexity`` takes the mean.

    It is log X / X0 of a rate X, X0 that of a usual network, and by how much the gradients' disagreement is above 0.5;
    0 where the probe tells nothing.
    """
    if name == DISAGREEMENT:
        share = disagreement(probe)
        return 0.0 if share is None else share - UNPROBED
    return probed_logarithm(_RATES[name], probe) or 0.0


def probed_complexity(name: str, told: float) -> float:
    r"""Return c of a network of which probes told so much on average.

    .. math:: c = 1 / (1 + X / X_0)

    It is 1/2 for a usual network, and near 1 for one that bears none but the smallest steps. The disagreement of
    gradients is c itself; of the workloads of the suite's exploring half it is 0.29 on average.

    >>> probed_complexity("critical-rate", 0.0), probed_complexity("disagreement", 0.25)
    (0.5, 0.75)
    """
    return UNPROBED + told if name == DISAGREEMENT else (1 - math.tanh(told / 2)) / 2
