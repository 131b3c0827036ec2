"""The shortlist selects each method's setting among its best trials, by sequential halving on new seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.analysis import best_first, halving_rounds
from metagd_optuna.analysis.convergence import confirmation_target
from metagd_optuna.contracts import RunRecord
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.grid import run_grid
from metagd_optuna.tuning.methods import META_POLICY, methods_of
from metagd_optuna.tuning.own_trials import OwnView
from metagd_optuna.tuning.parts import SHORTLIST
from metagd_optuna.tuning.phases.task_state import Selected, TaskState
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.stored_trials import candidate_of_trial


@dataclass(frozen=True, slots=True)
class Shortlisted:
    """What the shortlist chose for one method.

    Args:
        number: of the trial.
        candidate: with the trial's coefficients, under the method's name.
        objective: mean over its runs, in epochs.
        runs: all that it had on the shortlist, in the order of the seeds.
    """

    number: int
    candidate: Candidate
    objective: float
    runs: tuple[RunRecord, ...]


class Shortlist:
    """Runs the best trials of every method on new seeds; fixes settings, best baseline and target."""

    waits_for_all = False
    first_seed = 20_000

    def planned_runs(self, settings: StudySettings) -> int:
        """Return the runs of all rounds of the halving, for every method."""
        rounds = halving_rounds(settings.shortlist_trials, settings.shortlist_seeds)
        return (len(settings.baselines) + 1) * sum(each.candidates * each.seeds for each in rounds)

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Run all rounds, and fix what is confirmed."""
        task.progress.phase(task.name, SHORTLIST)
        chosen = yield from run_shortlist(task)
        best_baseline = min(task.settings.baselines, key=lambda name: chosen[name].objective)
        with task.named():
            scores = [task.trainer.best_score(run) for run in chosen[best_baseline].runs]
            target = confirmation_target(task.metadata.chance, scores, share=task.settings.target_share)
        task.selected = Selected(
            settings={method: setting.candidate for method, setting in chosen.items()},
            trials={method: setting.number for method, setting in chosen.items()},
            best_baseline=best_baseline,
            target=target,
            traces=chosen[META_POLICY].runs,
        )


def run_shortlist(task: TaskState) -> Flow[dict[str, Shortlisted]]:
    """Return every method's setting, selected among its best trials by sequential halving.

    All methods take part in the same rounds on the same seeds, each with as many trials, so their settings
    have been run equally often.
    """
    settings, trainer = task.settings, task.trainer
    study = task.open(SHORTLIST)
    candidates: dict[str, Candidate] = {}
    numbers: dict[str, int] = {}
    remaining: dict[str, list[str]] = {}
    for method in (each.name for each in methods_of(settings)):
        remaining[method] = []
        for trial in best_trials(OwnView(task.open(method), settings.trials), settings.shortlist_trials):
            name = f"{method}#{trial.number}"
            candidates[name] = replace(candidate_of_trial(trial), name=name)
            numbers[name] = trial.number
            remaining[method].append(name)
    runs: dict[str, list[RunRecord]] = {name: [] for name in candidates}
    objectives: dict[str, list[float]] = {name: [] for name in candidates}
    rounds = halving_rounds(settings.shortlist_trials, settings.shortlist_seeds)
    count = sum(each.seeds for each in rounds)
    seeds = iter(phase_seeds(settings.seed, Shortlist.first_seed, count, task.store.look))
    for count, new_seeds in rounds:
        remaining = {method: _best(names, objectives)[:count] for method, names in remaining.items()}
        found = yield from run_grid(
            task.store,
            study,
            [candidates[name] for names in remaining.values() for name in names],
            list(islice(seeds, new_seeds)),
            trainer,
            value=lambda run: trainer.objective(run.validation, task.targets),
            progress=task.progress,
        )
        for name, records in found.items():
            runs[name] += records
            objectives[name] += [trainer.objective(run.validation, task.targets) for run in records]
    best = {method: _best(names, objectives)[0] for method, names in remaining.items()}
    return {
        method: Shortlisted(
            numbers[name],
            replace(candidates[name], name=method),
            float(np.mean(objectives[name])),
            tuple(runs[name]),
        )
        for method, name in best.items()
    }


def best_trials(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """Return the complete trials of the lowest objectives, the earlier one first where two are equal."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (trial.value, trial.number))[:count]


def _best(names: Sequence[str], objectives: Mapping[str, Sequence[float]]) -> list[str]:
    return best_first({name: objectives[name] for name in names})
