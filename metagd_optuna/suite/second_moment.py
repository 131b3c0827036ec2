"""Optimizers whose second moment remembers as many examples at every batch size: beta_2^(B/32).

Marek et al. 2025, arXiv 2507.07101, propose it for small batches.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from metagd_optuna.policy.optimizers import OPTIMIZERS, Optimizer, imported, register_optimizer
from metagd_optuna.suite.fixed_rules import REFERENCE_BATCH

BETA_2 = 0.999
# Optimizer to the update rule that takes beta_2.
_RULES = {
    "adam": "metagd_optuna.training.optimizers:adam",
    "schedule-free-adamw-r1": "metagd_optuna.training.optimizers:schedule_free_r1",
}


def optimizer_at(name: str, batch_size: int) -> str:
    """Return the name of an optimizer with beta_2 for a batch size; it is registered if it was not yet.

    Args:
        name: ``adam`` or ``schedule-free-adamw-r1``.
        batch_size: examples per step; at 32 beta_2 is 0.999, and the optimizer is the one that was given.

    >>> optimizer_at("adam", 32)
    'adam'
    """
    if batch_size == REFERENCE_BATCH:
        return name
    own = f"{name}-memory-of-batch-{batch_size}"
    if own not in OPTIMIZERS:
        register_optimizer(_with_beta_2(own, OPTIMIZERS[name], BETA_2 ** (batch_size / REFERENCE_BATCH)))
    return own


def _with_beta_2(name: str, optimizer: Optimizer, beta_2: float) -> Optimizer:
    rule = partial(imported(_RULES[optimizer.name]), beta_2=beta_2)
    settings = {**optimizer.settings, "beta_2": beta_2}
    return replace(optimizer, name=name, settings=settings, rule=rule, searched=False)
