"""Run every one of some candidates on every one of some seeds: calibration, shortlist, confirmation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime

import optuna

from metagd_optuna.contracts import MetaGDError, RunRecord
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.flow import Flow, side_by_side
from metagd_optuna.tuning.jobs import Job
from metagd_optuna.tuning.own_trials import finished_runs
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.store import CANDIDATES, TaskStore
from metagd_optuna.tuning.stored_trials import described, is_own_run, records_of, run_trial, subject_of
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.trial_page import picture_attributes, write_note


def run_grid(
    store: TaskStore,
    study: optuna.Study,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    trainer: TaskTrainer,
    *,
    value: Callable[[RunRecord], float],
    progress: Progress,
    test: bool = False,
    resample: bool = False,
) -> Flow[dict[str, list[RunRecord]]]:
    """Return the runs of every candidate, in the order of the seeds; runs that are stored are not trained again.

    Every run has the full budget, and seeds do not wait for one another. A seed that was cut off is trained again with
    all its candidates, so that rounding, which may depend on who trains together, does not depend on where a study was
    interrupted.

    Args:
        store: of the task.
        study: where each run is stored as one trial.
        candidates: with names of their own.
        value: what the dashboard shows for a run; finite.
        test: whether to measure the test part as well.
        resample: whether every seed also deals the cases into other parts.

    Raises:
        MetaGDError: if runs are stored under a candidate's name that were made with another setting.
    """
    names = [candidate.name for candidate in candidates]
    # A later round of a shortlist has fewer of the same candidates, and Optuna keeps the choices that it began with.
    if not set(names) <= set(study.user_attrs.get(CANDIDATES, ())):
        study.set_user_attr(CANDIDATES, names)
    _check_subjects(study, candidates)
    found = finished_runs(study.get_trials(deepcopy=False))
    stored = {(run.candidate, run.seed): run for trial in found for run in records_of(trial)}

    def run_seed(seed: int) -> Flow[None]:
        missing = [i for i, name in enumerate(names) if (name, seed) not in stored]
        if missing:
            began_at = datetime.now()  # local and naive, as all of Optuna's
            found = yield from trainer.trained(Job(tuple(candidates), seed, test=test, resample=resample))
            trained = began_at, datetime.now()
            for i in missing:
                record = stored[names[i], seed] = found.records[i]
                run = run_trial(
                    candidates[i],
                    record,
                    candidates=study.user_attrs[CANDIDATES],
                    value=value(record),
                    seconds=found.seconds[i],
                    trained=trained,
                )
                for key, held in store.evidence.items():
                    run.set_user_attr(key, held)
                run.system_attrs |= picture_attributes(store, [record], trainer.plan.steps_per_epoch)
                identifier = store.add_run(study, run)
                write_note(store, study, identifier)
        progress.runs(len(candidates), trainer.throughput)

    yield from side_by_side(run_seed(seed) for seed in seeds)
    return {name: [stored[name, seed] for seed in seeds] for name in names}


def _check_subjects(study: optuna.Study, candidates: Sequence[Candidate]) -> None:
    """Refuse to go on with runs of another setting: an older version of the package may have chosen otherwise."""
    wanted = {candidate.name: described(candidate) for candidate in candidates}
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
