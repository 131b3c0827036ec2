"""Which stored policy a new task should begin with, and why."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import Policy, load_policy, stored_policies
from metagd_optuna.search.settings import UNIVERSAL
from metagd_optuna.tasks import load_task, measure_complexity
from metagd_optuna.tasks.properties import TaskProperties, task_properties


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to begin with.

    Args:
        policy: name of the stored policy.
        why: in a sentence or two.
        alternatives: names of the other stored policies.
    """

    policy: str
    why: str
    alternatives: tuple[str, ...]


def package_policies() -> dict[str, Policy]:
    """Return the policies that come with the package, by name."""
    return {name: load_policy(name) for name in stored_policies()}


def measure(
    name_or_path: str | os.PathLike[str],
    stored: Mapping[str, Policy],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
) -> TaskProperties:
    """Return the properties of a task, measured as those of the tasks that the universal policy was searched on.

    Args:
        name_or_path, data_dir, log: as for ``load_task``.
        stored: name to policy, the universal one among them.

    Raises:
        MetaGDError: if no universal policy is stored, or the task cannot be loaded.
    """
    how = _universal(stored).provenance["measure"]
    task = load_task(
        name_or_path,
        data_dir=data_dir,
        max_train=how["max_train"] or None,
        # The first universal policies did not say; nothing was dropped for them.
        drop_duplicates=how.get("drop_duplicates", False),
        drop_contradictions=how.get("drop_contradictions", False),
        log=log,
    )
    complexity = measure_complexity(task.train_images, task.train_labels, how["complexity"])
    return task_properties(complexity, task.class_frequencies, task.sizes.train)


def measured_sentence(properties: TaskProperties, stored: Mapping[str, Policy]) -> str:
    """Return what was measured of a task, and whether all its training images were looked at.

    Args:
        properties: of the task, from ``measure``.
        stored: name to policy, the universal one among them.
    """
    most = _universal(stored).provenance["measure"]["max_train"]
    looked_at = ", the most that are looked at" if properties["train_images"] == most else ""
    return (
        f"measured: complexity {properties['complexity']:.3f}, {properties['classes']} classes, "
        f"{properties['train_images']:,} training images{looked_at}, balance {properties['balance']:.2f}"
    )


def _universal(stored: Mapping[str, Policy]) -> Policy:
    if UNIVERSAL not in stored:
        raise MetaGDError(
            "no universal policy is stored with this version, so there is nothing to recommend; search one with "
            'scope = "universal" in a study file'
        )
    return stored[UNIVERSAL]


def recommend(stored: Mapping[str, Policy]) -> Recommendation:
    """Return the universal policy, how well its choice does on tasks that it never saw, and what else is stored.

    Nothing else is chosen, whatever the task, until there are stored policies that are faster on tasks like their own.

    Args:
        stored: name to policy, the universal one among them.

    Raises:
        MetaGDError: if no universal policy is stored.
    """
    factors: Mapping[str, float] = _universal(stored).provenance["regrets"]
    mean = math.exp(math.fsum(map(math.log, factors.values())) / len(factors))
    why = (
        f"It was chosen on {len(factors)} tasks together. With each of them left out in turn, the rule chosen on the "
        f"others took {mean:.2f} times as long there as the best setting that was tried on it."
    )
    return Recommendation(UNIVERSAL, why, tuple(name for name in stored if name != UNIVERSAL))
