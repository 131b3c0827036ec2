"""Run every one of some contenders on every one of some seeds: calibration, shortlist, confirmation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import optuna

from metagd_optuna.contracts import MetaGDError, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search.own_trials import finished_runs
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.store import CONTENDERS, TaskStore
from metagd_optuna.search.stored_trials import described, is_own_run, records_of, subject_of
from metagd_optuna.search.task_trainer import TaskTrainer


def run_grid(
    store: TaskStore,
    study: optuna.Study,
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    trainer: TaskTrainer,
    *,
    value: Callable[[RunRecord], float],
    progress: Progress,
    test: bool = False,
) -> dict[str, list[RunRecord]]:
    """Return the runs of every contender, in the order of the seeds; runs that are stored are not trained again.

    Every run has the full budget. A seed that was cut off is trained again with all its contenders, so that rounding,
    which may depend on who trains together, does not depend on where a study was interrupted.

    Args:
        store: of the task.
        study: where each run is stored as one trial.
        contenders: with names of their own.
        value: what the dashboard shows for a run; finite.
        test: whether to measure the test part as well.

    Raises:
        MetaGDError: if runs are stored under a contender's name that were made with another setting.
    """
    names = [contender.name for contender in contenders]
    # A later round of a shortlist has fewer of the same contenders, and Optuna keeps the choices that it began with.
    if not set(names) <= set(study.user_attrs.get(CONTENDERS, ())):
        study.set_user_attr(CONTENDERS, names)
    _check_subjects(study, contenders)
    found = finished_runs(study.get_trials(deepcopy=False))
    stored = {(run.contender, run.seed): run for trial in found for run in records_of(trial)}
    for seed in seeds:
        missing = [i for i, name in enumerate(names) if (name, seed) not in stored]
        if missing:
            began = time.perf_counter()
            records = trainer.train(contenders, names, seed=seed, test=test)
            seconds = (time.perf_counter() - began) / len(contenders)
            for i in missing:
                stored[names[i], seed] = records[i]
                store.add_run(study, contenders[i], records[i], value=value(records[i]), seconds=seconds)
        progress.runs(len(contenders), trainer if trainer.seconds else None)
    return {name: [stored[name, seed] for seed in seeds] for name in names}


def _check_subjects(study: optuna.Study, contenders: Sequence[Contender]) -> None:
    """Refuse to go on with runs of another setting: an older version of the package may have chosen otherwise."""
    wanted = {contender.name: described(contender) for contender in contenders}
    for trial in study.get_trials(deepcopy=False):
        # One that was taken from a snapshot, without its curve, does not count as run, nor does somebody else's trial.
        subject = subject_of(trial) if is_own_run(trial) else None
        if subject is None or subject["name"] not in wanted:
            continue
        if subject != json.loads(json.dumps(wanted[subject["name"]])):
            raise MetaGDError(
                f"{study.study_name} holds runs of {subject['name']} with other coefficients than are chosen now, so "
                "another version of metagd began it; finish it with that version, or start a new study with another "
                "--out"
            )
