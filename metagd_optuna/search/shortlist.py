"""The second look: which of a method's best trials is its setting, decided on seeds that no search has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.analysis import best_first, halving_rounds
from metagd_optuna.contracts import FloatArray, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search import trial_store
from metagd_optuna.search.grid import run_grid
from metagd_optuna.search.own_trials import OwnView
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.seeds import phase_seeds
from metagd_optuna.search.study_file import StudySpec
from metagd_optuna.search.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Shortlisted:
    """What the shortlist chose for one method.

    Args:
        number: of the trial.
        contender: with the trial's coefficients, under the method's name.
        objective: mean over its runs, in epochs.
        runs: all that it had on the shortlist, in the order of the seeds.
    """

    number: int
    contender: Contender
    objective: float
    runs: tuple[RunRecord, ...]


def hold_shortlist(
    study: optuna.Study,
    searched: Mapping[str, optuna.Study],
    identity: trial_store.Identity,
    spec: StudySpec,
    workshop: Workshop,
    targets: FloatArray,
    progress: Progress,
) -> dict[str, Shortlisted]:
    """Return every method's setting: what sequential halving leaves of its best trials.

    All methods take part in the same rounds on the same seeds, each with as many trials, so their settings
    have been run equally often.

    Args:
        study: where each run is stored as one trial.
        searched: every method's study, tuned.
        targets: rungs of the ladder, shape (T,).
    """
    contenders: dict[str, Contender] = {}
    numbers: dict[str, int] = {}
    left: dict[str, list[str]] = {}
    for method, its_study in searched.items():
        left[method] = []
        for trial in best_trials(OwnView(its_study, spec.trials), spec.shortlist_trials):
            name = f"{method}#{trial.number}"
            contenders[name] = replace(trial_store.stored_contender(trial), name=name)
            numbers[name] = trial.number
            left[method].append(name)
    runs: dict[str, list[RunRecord]] = {name: [] for name in contenders}
    objectives: dict[str, list[float]] = {name: [] for name in contenders}
    rounds = halving_rounds(spec.shortlist_trials, spec.shortlist_seeds)
    seeds = iter(phase_seeds(spec.seed, "shortlist", sum(each.seeds for each in rounds)))
    for candidates, new_seeds in rounds:
        left = {method: _best(names, objectives)[:candidates] for method, names in left.items()}
        found = run_grid(
            study,
            identity,
            [contenders[name] for names in left.values() for name in names],
            list(islice(seeds, new_seeds)),
            workshop,
            value=lambda run: workshop.objective(run.validation, targets),
            progress=progress,
        )
        for name, records in found.items():
            runs[name] += records
            objectives[name] += [workshop.objective(run.validation, targets) for run in records]
    best = {method: _best(names, objectives)[0] for method, names in left.items()}
    return {
        method: Shortlisted(
            numbers[name],
            replace(contenders[name], name=method),
            float(np.mean(objectives[name])),
            tuple(runs[name]),
        )
        for method, name in best.items()
    }


def best_trials(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """Return the finished trials of the lowest objectives, the earlier one first where two are equal."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(finished, key=lambda trial: (trial.value, trial.number))[:count]


def _best(names: Sequence[str], objectives: Mapping[str, Sequence[float]]) -> list[str]:
    return best_first({name: objectives[name] for name in names})
