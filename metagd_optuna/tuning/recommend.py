"""Which policy a task should begin with, and why: one of a finished study on the same data, or a stored one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import Policy, load_policy, stored_policies
from metagd_optuna.tasks import fingerprint, load_task, measure_complexity
from metagd_optuna.tasks.properties import TaskProperties, task_properties
from metagd_optuna.tuning.settings import UNIVERSAL

# How a task is measured where the universal policy does not say.
MEASURED: Mapping[str, Any] = {"complexity": "knn", "max_train": 2500}


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


@dataclass(frozen=True, slots=True)
class OnTheseData:
    """The rule that a finished study on the same data says to use.

    Args:
        path: of its file.
        policy: the rule.
        why: in a sentence or two.
    """

    path: Path
    policy: Policy
    why: str


def of_finished_study(
    name_or_path: str | os.PathLike[str],
    runs: Path,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
    **how: Any,
) -> OnTheseData | None:
    """Return the rule to use of the newest finished study that was run on exactly these data, or None if none was.

    Args:
        name_or_path, data_dir: as for ``load_task``.
        log: called with a line of download progress, or on a policy's file that cannot be read, at a time.
        runs: the folder of studies' folders.
        how: the data are read, as for ``load_task``, with column names and the like; sizes are those of each study.
    """
    prints: dict[str, str] = {}
    for path in sorted(runs.glob("*/policies/*.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            policy = load_policy(path)
        except MetaGDError as error:  # one file of another version must not hide the others
            if log is not None:
                log(f"note: {error}")
            continue
        data, task = policy.provenance.get("data"), policy.provenance.get("task")
        # In the universal scope the rule of a task is a fold's, with which nobody trains.
        of_fold = policy.provenance.get("scope") == UNIVERSAL
        if not isinstance(data, Mapping) or of_fold or path.name != f"{task}.json":
            continue
        read_with = {**data.get("read_with", {}), **how}
        key = json.dumps(read_with, sort_keys=True)
        if key not in prints:
            try:
                found = load_task(name_or_path, data_dir=data_dir, log=log, **read_with)
            except MetaGDError:  # data that cannot be read as that study's were are not that study's
                prints[key] = ""
            else:
                prints[key] = fingerprint(found)
        if prints[key] == data.get("fingerprint"):
            return OnTheseData(path, policy, _why(policy))
    return None


def _why(policy: Policy) -> str:
    """Return what the study found that says to use a policy."""
    found = policy.provenance
    study, method = found.get("study"), found.get("method")
    verdict = found.get("result") or found.get("searched_policy") or {}
    low, high = verdict.get("ci95", (None, None))
    numbers = f"{verdict.get('speedup')} times as fast as the best tuned baseline, 95% interval {low} to {high}"
    if isinstance(verdict.get("speedup"), float) and isinstance(low, float) and isinstance(high, float):
        numbers = (
            f"{verdict['speedup']:.2f} times as fast as the best tuned baseline, 95% interval {low:.2f} to {high:.2f}"
        )
    if found.get("role") is None:
        return f"Study {study} was run on exactly these data, and its searched policy is faster there: {numbers}."
    return (
        f"Study {study} was run on exactly these data. Its searched policy is not shown to be faster there "
        f"({numbers}), so "
        f"it says to use {method}, the best tuned baseline."
    )


def package_policies() -> dict[str, Policy]:
    """Return the policies that come with the package, by name."""
    return {name: load_policy(name) for name in stored_policies()}


def measure(
    name_or_path: str | os.PathLike[str],
    stored: Mapping[str, Policy],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    log: Callable[[str], None] | None = None,
    **how: Any,
) -> TaskProperties:
    """Return the properties of a task, measured as those of the tasks that the universal policy was searched on.

    Args:
        name_or_path, data_dir, log: as for ``load_task``.
        stored: name to policy, the universal one among them.
        how: the data are read, as for ``load_task``.

    Raises:
        MetaGDError: if no universal policy is stored, or the task cannot be loaded.
    """
    measured = _measured(stored)
    task = load_task(
        name_or_path,
        data_dir=data_dir,
        max_train=measured["max_train"] or None,
        # Universal policies of before did not say; nothing was dropped for them.
        drop_duplicates=measured.get("drop_duplicates", False),
        drop_contradictions=measured.get("drop_contradictions", False),
        log=log,
        **how,
    )
    complexity = measure_complexity(task.train_images, task.train_labels, measured["complexity"])
    return task_properties(complexity, task.class_frequencies, task.sizes.train)


def measured_sentence(properties: TaskProperties, stored: Mapping[str, Policy]) -> str:
    """Return what was measured of a task, and whether all its training images were looked at.

    Args:
        properties: of the task, from ``measure``.
        stored: name to policy, the universal one among them.
    """
    most = _measured(stored)["max_train"]
    looked_at = ", the most that are looked at" if properties["train_images"] == most else ""
    return (
        f"measured: complexity {properties['complexity']:.3f}, {properties['classes']} classes, "
        f"{properties['train_images']:,} training images{looked_at}, balance {properties['balance']:.2f}"
    )


def _measured(stored: Mapping[str, Policy]) -> Mapping[str, Any]:
    """Return how tasks are measured: as those that the universal policy was searched on, if it says."""
    found: Mapping[str, Any] = _universal(stored).provenance.get("measure", MEASURED)
    return found


def _universal(stored: Mapping[str, Policy]) -> Policy:
    if UNIVERSAL not in stored:
        raise MetaGDError(
            "no universal policy is stored with this version, so there is nothing to recommend; search one with "
            'scope = "universal" in a study file'
        )
    return stored[UNIVERSAL]


def recommend(stored: Mapping[str, Policy]) -> Recommendation:
    """Return the universal policy, how well it does where it was not chosen, and what else is stored.

    Nothing else is chosen, whatever the task, until there are stored policies that are faster on tasks like their own.

    Args:
        stored: name to policy, the universal one among them.

    Raises:
        MetaGDError: if no universal policy is stored.
    """
    universal = _universal(stored)
    return Recommendation(UNIVERSAL, _worth(universal), tuple(name for name in stored if name != UNIVERSAL))


def _worth(policy: Policy) -> str:
    """Return what is known of a universal policy on tasks that had no say in it."""
    found = policy.provenance
    if "suite" in found:
        over_all = found["suite"]["over_all"]
        low, high = over_all["ci95"]
        return (
            f"On {len(found['results'])} workloads of the suite, which no choice had seen, it is "
            f"{over_all['speedup']:.2f} times as fast as {found['suite']['against']}, 95% interval {low:.2f} to "
            f"{high:.2f}."
        )
    factors: Mapping[str, float] = found["regrets"]
    mean = math.exp(math.fsum(map(math.log, factors.values())) / len(factors))
    return (
        f"It was chosen on {len(factors)} tasks together. With each of them left out in turn, the rule chosen on the "
        f"others took {mean:.2f} times as long there as the best setting that was tried on it."
    )
