"""Run every one of some contenders on every one of some seeds: calibration, shortlist, confirmation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import optuna

from metagd_optuna.contracts import RunRecord
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
    """
    names = [contender.name for contender in contenders]
    # A later round of a shortlist has fewer of the same contenders, and Optuna keeps the choices that it began with.
    if not set(names) <= set(study.user_attrs.get(trial_store.CONTENDERS, ())):
        study.set_user_attr(trial_store.CONTENDERS, names)
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
