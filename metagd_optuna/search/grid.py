"""Run every one of some contenders on every one of some seeds: calibration, shortlist, confirmation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import optuna

from metagd_optuna.contracts import MetaGDError, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search import trial_store
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.workshop import Workshop


def run_grid(
    study: optuna.Study,
    identity: trial_store.Identity,
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    workshop: Workshop,
    *,
    value: Callable[[RunRecord], float],
    progress: Progress,
    test: bool = False,
) -> dict[str, list[RunRecord]]:
    """Return the runs of every contender, in the order of the seeds; runs that are stored are not trained again.

    Every run has the full budget. A seed that was cut off is trained again with all its contenders, so that rounding,
    which may depend on who trains together, does not depend on where a study was interrupted.

    Args:
        study: where each run is stored as one trial.
        contenders: with names of their own.
        value: what the dashboard shows for a run; finite.
        test: whether to measure the test part as well.

    Raises:
        MetaGDError: if runs are stored under a contender's name that were made with another setting.
    """
    names = [contender.name for contender in contenders]
    # A later round of a shortlist has fewer of the same contenders, and Optuna keeps the choices that it began with.
    if not set(names) <= set(study.user_attrs.get(trial_store.CONTENDERS, ())):
        study.set_user_attr(trial_store.CONTENDERS, names)
    _check_subjects(study, contenders)
    stored = trial_store.stored_runs(study)
    for seed in seeds:
        missing = [i for i, name in enumerate(names) if (name, seed) not in stored]
        if missing:
            began = time.perf_counter()
            records = workshop.train(contenders, names, seed=seed, test=test)
            seconds = (time.perf_counter() - began) / len(contenders)
            for i in missing:
                stored[names[i], seed] = records[i]
                trial_store.add_run(
                    study, identity, contenders[i], records[i], value=value(records[i]), seconds=seconds
                )
        progress.runs(len(contenders), workshop if workshop.seconds else None)
    return {name: [stored[name, seed] for seed in seeds] for name in names}


def _check_subjects(study: optuna.Study, contenders: Sequence[Contender]) -> None:
    """Refuse to go on with runs of another setting: an older version of the package may have chosen otherwise."""
    wanted = {contender.name: trial_store.describe_contender(contender) for contender in contenders}
    for trial in study.get_trials(deepcopy=False):
        # One that was taken from a column, without its curve, does not count as run, nor does somebody else's trial.
        if not (trial_store.is_own_run(trial) and trial_store.SUBJECT in trial.user_attrs):
            continue
        subject = trial.user_attrs[trial_store.SUBJECT]
        name = subject["name"]
        if name in wanted and subject != json.loads(json.dumps(wanted[name])):
            raise MetaGDError(
                f"{study.study_name} holds runs of {name} with other coefficients than are chosen now, so another "
                "version of metagd began it; finish it with that version, or start a new study with another --out"
            )
