"""Which studies in Optuna's storage are the package's own, and which parts of which task they are.

There is one Optuna study for each part of each task, a phase or a method: ``<study>/<task>/calibrate``,
``.../<method>``, ``.../shortlist`` and ``.../confirm``. A study whose trials were raised has a look more, with a
shortlist and a confirmation of its own, ``.../shortlist-2`` and ``.../confirm-2``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.models import did_you_mean
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.storage import plain_content_errors

CALIBRATE, SHORTLIST, CONFIRM = "calibrate", "shortlist", "confirm"

# Attributes that every part has.
SETTINGS = "settings"
VERSIONS = "versions"
DEVICE = "device"
TASKS = "tasks"

PHASES = (CALIBRATE, SHORTLIST, CONFIRM)  # all other parts are methods
OF_A_LOOK = (SHORTLIST, CONFIRM)


def looked(part: str, look: int) -> str:
    """Return what a phase is called at a look.

    >>> looked("confirm", 1), looked("confirm", 2)
    ('confirm', 'confirm-2')
    """
    return part if look == 1 else f"{part}-{look}"


@plain_content_errors()
def held_tasks(storage: BaseStorage) -> dict[str, list[str]]:
    """Return the tasks of every study of metagd's in a storage, by the study's name, both sorted."""
    return tasks_among(held_studies(storage))


def tasks_among(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the tasks of every study of metagd's among Optuna studies, given by name with their attributes."""
    held: dict[str, set[str]] = {}
    for name, attributes in studies.items():
        if is_ours(name, attributes):
            study, task, _ = name.split("/")
            held.setdefault(study, set()).add(task)
    return {study: sorted(held[study]) for study in sorted(held)}


@plain_content_errors()
def held_studies(storage: BaseStorage) -> dict[str, dict[str, Any]]:
    """Return the attributes of all Optuna studies in a storage, by name.

    Optuna's summaries read every trial for it, which takes seconds in a storage that holds a universal study.
    """
    return {study.study_name: study.user_attrs for study in storage.get_all_studies()}


def is_ours(name: str, attributes: Mapping[str, Any]) -> bool:
    """Return whether a study was made by this package, and completely; a copy under another name was not."""
    if name.count("/") != 2 or not {SETTINGS, VERSIONS, DEVICE, TASKS} <= attributes.keys():
        return False
    _, task, part = name.split("/")
    settings, tasks = attributes[SETTINGS], attributes[TASKS]
    if not isinstance(settings, Mapping) or not isinstance(tasks, list) or task not in tasks:
        return False
    phase, _, look = part.rpartition("-")
    if phase in OF_A_LOOK and look.isdecimal():
        part = phase
    return part in (*PHASES, META_POLICY, *settings.get("baselines", ()))


def check_empty(study: optuna.Study) -> None:
    """Refuse a study that is somebody else's; without trials it may be one that was cut off while it was made."""
    if study.get_trials(deepcopy=False):
        raise MetaGDError(
            f"the storage already holds an Optuna study {study.study_name!r} that is not one of metagd's; "
            "name another storage with --storage or another folder with --out, rename the study file, or rename or "
            "delete that study"
        )


def begin(study: optuna.Study, *, value: str, maximize: bool) -> None:
    """Name the value of a new study's trials; refuse one that is somebody else's."""
    check_empty(study)
    if [direction.name for direction in study.directions] != ["MAXIMIZE" if maximize else "MINIMIZE"]:
        raise MetaGDError(
            f"the storage already holds an Optuna study {study.study_name!r} with another direction, so it is "
            "not one of metagd's; rename or delete it, in the dashboard or with optuna delete-study"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([value])


def check_among(what: str, name: str, held: Sequence[str]) -> None:
    """Refuse a name that the storage does not hold, naming those that it holds."""
    if name not in held:
        there = ", ".join(held) or "nothing of metagd"
        raise MetaGDError(f"the storage holds no {what} {as_given(name)}{did_you_mean(name, held)}; it holds: {there}")
