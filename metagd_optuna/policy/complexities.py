"""What complexity c is measured on: the task, or a property of the network that trains."""

from __future__ import annotations

from collections.abc import Mapping

from metagd_optuna.contracts import Context, MetaGDError

TASK, BATCH_NORM = "task", "batch-norm"
# Name to meaning. All but the task's are measured on the model when training starts.
COMPLEXITIES: Mapping[str, str] = {
    TASK: "how hard the task is, measured on its training images",
    BATCH_NORM: "share of the hidden channels that train which batch normalisation normalises",
}


def complexity_of(name: str, context: Context) -> float:
    """Return c of a training.

    Args:
        name: a key of ``COMPLEXITIES``.
        context: of the training.

    Raises:
        MetaGDError: if it was not measured, or is no number from 0 to 1.

    >>> complexity_of("batch-norm", Context(0.5, (0.5, 0.5), "adam", 100, 10.0, network={"batch-norm": 1.0}))
    1.0
    """
    found = context.complexity if name == TASK else context.network.get(name)
    if found is None:
        raise MetaGDError(f"the rule depends on {name} of the network, which whoever trains has not measured")
    if not 0 <= found <= 1:
        raise MetaGDError(f"complexity is {found!r}; it must be a number from 0 to 1")
    return float(found)
