"""The universal league: one rule for all tasks, judged on tasks that its choice never saw."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from optuna.storages import BaseStorage

from metagd_optuna.analysis import best_elsewhere
from metagd_optuna.search.columns import Columns
from metagd_optuna.search.methods import methods_of
from metagd_optuna.search.phases import TaskPhases
from metagd_optuna.search.record import column_of
from metagd_optuna.search.study_file import StudySpec
from metagd_optuna.search.trial_store import Identity


def run_universal(
    tasks: Mapping[str, TaskPhases], storage: BaseStorage, identity: Identity, spec: StudySpec, files: Columns
) -> None:
    """Train every setting of the shared design on every task, then confirm, task by task, what the others chose.

    Args:
        tasks: their phases, by name.
        storage, identity, spec: of the study.
        files: where each task's column is kept, and taken from if the storage does not hold it, so that a design can
            be trained on several machines.
    """
    targets = {}
    for name, phases in tasks.items():
        files.restore(name, phases.facts)
        targets[name] = phases.search()
        files.save(name)
    methods = [method.name for method in methods_of(spec)]
    columns = {name: column_of(storage, identity.name, name, methods) for name in tasks}
    for name, phases in tasks.items():
        elsewhere = fmean(other.facts["complexity"] for task, other in tasks.items() if task != name)
        phases.judge(best_elsewhere(columns, name, spec.baselines), elsewhere, targets[name])
