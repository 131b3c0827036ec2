"""Which stored policy a new task should begin with, and why: the article's learning of strategies."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from metagd_optuna.analysis import NEAREST, UNIVERSAL, distances
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import Policy, load_policy, stored_policies
from metagd_optuna.search.study_file import PER_TASK
from metagd_optuna.tasks import load_task, measure_complexity
from metagd_optuna.tasks.properties import TaskProperties, properties_vector, task_properties


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to begin with.

    Args:
        policy: name of the stored policy.
        why: in a sentence or two.
        alternatives: the other stored policies by how far their tasks are from the new one, nearest first; the
            universal one is about no task and has no distance.
    """

    policy: str
    why: str
    alternatives: Mapping[str, float | None]


def package_policies() -> dict[str, Policy]:
    """Return the policies that come with the package, by name."""
    return {name: load_policy(name) for name in stored_policies()}


def measure(
    name_or_path: str | os.PathLike[str],
    stored: Mapping[str, Policy],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> TaskProperties:
    """Return the properties of a task, measured as those of the tasks that the universal policy was searched on.

    Args:
        name_or_path, data_dir, say: as for ``load_task``.
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
        say=say,
    )
    complexity = measure_complexity(task.train_images, task.train_labels, how["complexity"])
    return task_properties(complexity, task.class_shares, task.sizes.train)


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
            'league = "universal" in a study file'
        )
    return stored[UNIVERSAL]


def recommend(properties: TaskProperties, stored: Mapping[str, Policy]) -> Recommendation:
    """Return the stored policy that is expected to converge fastest on a task, the alternatives, and why.

    Two ways to choose were tried while the universal policy was searched, leaving out one task at a time: the rule of
    the most similar task, and the rule that is best over all. The better one answers. Known tasks are those that the
    universal policy was searched on, and those of the other stored policies; if the most similar one has no policy of
    its own, or is less similar than known tasks are to each other, the universal one answers.

    Args:
        properties: of the new task.
        stored: name to policy, the universal one among them.

    Raises:
        MetaGDError: if no universal policy is stored.
    """
    universal = _universal(stored).provenance
    found: Mapping[str, Any] = universal["regrets"]
    # A rule that was chosen without its task, as the folds of the universal league do, is no rule of that task.
    own = {
        name: policy.provenance["properties"]
        for name, policy in stored.items()
        if "properties" in policy.provenance and policy.provenance.get("league") == PER_TASK
    }
    # Of a task of both, those that were measured as the new one is. Tasks without a rule of their own count: the most
    # similar of one is always that one.
    known = {name: properties_vector(each) for name, each in {**own, **universal["properties"]}.items()}
    far = distances(known, properties_vector(properties))
    nearest = next(iter(far))
    # From a known task to the one that is most similar to it, at most; every task is at no distance from itself.
    usual = max(sorted(distances(known, each).values())[1] for each in known.values())
    means = {way: _geometric_mean(found[way]) for way in (NEAREST, UNIVERSAL)}
    tried = (
        f"Left out one at a time, {len(found[UNIVERSAL])} tasks took {means[UNIVERSAL]:.2f} times as long with the "
        f"universal rule as with the best setting that was tried on them, and {means[NEAREST]:.2f} times with the rule "
        "of the most similar task"
    )
    others: dict[str, float | None] = {UNIVERSAL: None, **{name: far[name] for name in far if name in own}}
    chosen, why = UNIVERSAL, f"{tried}."
    if found["better"] == NEAREST:
        why += f" The most similar task is {nearest}, at a distance of {far[nearest]:.2f}"
        if nearest not in own:
            why += ", and no rule of its own is stored."
        elif far[nearest] > usual:
            why += f", while no known task is farther than {usual:.2f} from the one most similar to it."
        else:
            chosen = nearest
            why += "."
    return Recommendation(chosen, why, {name: distance for name, distance in others.items() if name != chosen})


def _geometric_mean(factors: Mapping[str, float]) -> float:
    return math.exp(math.fsum(map(math.log, factors.values())) / len(factors))
