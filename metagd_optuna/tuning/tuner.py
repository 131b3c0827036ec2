"""Tune one method: an Optuna study asked and told in batches, each trained together.

Everything that decides - proposals, who trains together, pruning - depends only on the trials of earlier batches and on
the batch itself. So a batch that was cut off is trained again with the parameters that its trials already have,
gives the same results, and only those that were not told are told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.contracts import FloatArray, RunRecord
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.jobs import Job, StoppingRule
from metagd_optuna.tuning.methods import Method
from metagd_optuna.tuning.own_trials import OwnView, check_ranges, places, refusal_in_design, refusal_of
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.pruning import handicap, threshold
from metagd_optuna.tuning.resumable_sampler import ResumableTPESampler
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.shared_design import SharedDesign, designed
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.stored_trials import (
    FINISHED,
    LEAST_OBJECTIVE,
    OBJECTIVES,
    SECONDS,
    candidate_of_trial,
    note_runs,
    note_subject,
    records_of,
    run_objectives,
)
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.trial_page import add_picture, write_note


def startup_trials(settings: StudySettings) -> int:
    """Return how many trials TPE draws at random before it begins."""
    return max(4, settings.trials // 6)


@dataclass(slots=True)
class _BatchTrial:
    """One trial of a batch while it trains.

    Args:
        trial: the unfinished trial; None if an earlier process already told it.
        candidate: with the trial's coefficients.
        objectives: of the seeds that are through, in epochs.
        runs: one per seed begun.
        pruned: whether it was stopped as hopeless.
        least: the best objective that it could still have had then, in epochs.
        ended_elsewhere: whether somebody else told Optuna its outcome meanwhile, so that it is nobody's trial.
    """

    number: int
    trial: optuna.Trial | None
    candidate: Candidate
    objectives: list[float] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    pruned: bool = False
    least: float = 0.0
    seconds: float = 0.0
    ended_elsewhere: bool = False


class Tuner:
    """Tunes one method on one task.

    Args:
        store: of the task.
        study: the method's Optuna study.
        method: what is tuned.
        settings: of the study.
        trainer: trains.
        targets: targets, shape (T,).
        seeds: of every trial's runs.
    """

    def __init__(
        self,
        store: TaskStore,
        study: optuna.Study,
        method: Method,
        settings: StudySettings,
        trainer: TaskTrainer,
        targets: FloatArray,
        seeds: Sequence[int],
    ) -> None:
        self._store = store
        self._study = study
        self._method = method
        self._settings = settings
        self._trainer = trainer
        self._targets = targets
        self._seeds = seeds
        self._design: SharedDesign | None = None
        if settings.universal:
            self._design = self._study.sampler = SharedDesign(settings.seed, method.name, settings.trials)
            self._refusal = refusal_in_design(designed(method, settings.seed, settings.trials))
        else:
            self._study.sampler = ResumableTPESampler(settings.seed, startup_trials(settings), view=OwnView)
            self._refusal = refusal_of(method)
        self._proposed: list[Mapping[str, Any]] = []  # what was enqueued so far, by anyone
        # Intermediate values of finished trials, by number and seed: they do not change, and are asked for every batch.
        self._values: dict[tuple[int, int], FloatArray | None] = {}

    def run(self, progress: Progress) -> Flow[None]:
        """Run all trials that are still missing."""
        counted = 0
        check_ranges(self._study, self._method, self._study.get_trials(deepcopy=False))
        while True:
            everyones = self._study.get_trials(deepcopy=False)
            found = places(everyones, self._settings.trials, self._refusal)
            for trial, why in found.refused:
                progress.log(self._store.refuse(self._study, trial, why))
            self._proposed = [given for trial in everyones if (given := trial.system_attrs.get("fixed_params"))]
            finished_trials = {place: trial for place, trial in found.own.items() if trial.state in FINISHED}
            progress.trials(
                self._store.name,
                self._method.name,
                len(finished_trials),
                self._settings.trials,
                self._best(list(finished_trials.values())),
            )
            first = next(place for place in range(self._settings.trials + 1) if place not in finished_trials)
            finished = first == self._settings.trials
            begin = self._settings.trials if finished else first - first % self._settings.trials_at_once
            # Batches that an earlier process settled; those trained here are counted as they train.
            progress.runs((begin - counted) * len(self._seeds), self._trainer.throughput)
            if finished:
                if found.others:
                    progress.log(
                        f"  note: {self._study.study_name} also holds trials that are not the search's own or have no "
                        f"place in it, {found.others} of them; they are left alone"
                    )
                return
            taken = range(begin, min(begin + self._settings.trials_at_once, self._settings.trials))
            batch = [self._entry(place, found.own.get(place), progress) for place in taken]
            yield from self._train(batch, [finished_trials[place] for place in range(begin)], progress)
            for entry in batch:
                self._tell(entry)
                if entry.ended_elsewhere:
                    progress.log(
                        f"  note: trial {entry.number} of {self._study.study_name} was ended by somebody else "
                        "while it trained; another one takes its place"
                    )
            counted = begin + len(batch)

    def _best(self, trials: Sequence[FrozenTrial]) -> float:
        values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
        return min(values, default=math.inf)

    def _entry(self, place: int, earlier: FrozenTrial | None, progress: Progress) -> _BatchTrial:
        """Return the trial of a place: told, taken over unfinished, or asked now.

        Args:
            earlier: the place's trial as it was before the batch, if there was one. It is not read again for every
                entry, because Optuna reads all unfinished ones from the database each time.
        """
        # Parameters are suggested before the next trial is asked, so that the sampler's liar sees them.
        if earlier is not None and earlier.state in FINISHED:
            return _BatchTrial(earlier.number, None, candidate_of_trial(earlier))
        trial = self._ask(place, progress) if earlier is None else self._store.resume(self._study, earlier)
        if self._design is not None:
            self._design.places[trial.number] = place
        candidate = self._method.suggest(trial)
        note_subject(trial, candidate, place)
        return _BatchTrial(trial.number, trial, candidate)

    def _ask(self, place: int, progress: Progress) -> optuna.Trial:
        """Return a new trial, with the next of the initial points as long as there are some.

        Optuna hands out what waits first, so it may be a setting that somebody enqueued this very moment.
        """
        if self._design is not None:
            known = self._method.initial_points[place : place + 1]
        else:
            known = tuple(each for each in self._method.initial_points if dict(each) not in self._proposed)[:1]
        for setting in known:
            self._proposed.append(dict(setting))
            self._study.enqueue_trial(dict(setting))
        while True:
            trial = self._study.ask()
            asked = self._store.stored(trial)
            why = self._refusal(asked, place)
            if not why:
                return trial
            progress.log(self._store.refuse(self._study, asked, why))

    def _train(self, batch: Sequence[_BatchTrial], earlier: Sequence[FrozenTrial], progress: Progress) -> Flow[None]:
        """Train a batch seed by seed; hopeless entries leave early."""
        objectives = [t.value for t in earlier if t.state == TrialState.COMPLETE and t.value is not None]
        runs = [value for t in earlier for value in run_objectives(t)]
        for position, seed in enumerate(self._seeds):
            members = [entry for entry in batch if not entry.pruned]
            if not members:
                break
            rule = StoppingRule(
                self._targets,
                through=tuple(tuple(member.objectives) for member in members),
                seeds=len(self._seeds),
                limit=self._limit(objectives),
                best_run=min(runs, default=0.0),
                pruning=self._settings.pruning,
                earlier=self._earlier_values(earlier, position),
                least=startup_trials(self._settings),
            )
            named = tuple(replace(each.candidate, name=f"{self._method.name}#{each.number}") for each in members)
            found = yield from self._trainer.trained(Job(named, seed, stop=rule))
            for place, (member, record) in enumerate(zip(members, found.records, strict=True)):
                member.runs.append(record)
                member.seconds += found.seconds[place]
                # A training ends at the first evaluation where it is hopeless, so its last one says whether it was.
                least = rule.hopeless(place, record.validation, self._trainer)
                if least is not None:
                    member.pruned, member.least = True, least
                else:
                    member.objectives.append(self._trainer.objective(record.validation, self._targets))
                    runs.append(member.objectives[-1])
                    if len(member.objectives) == len(self._seeds):
                        objectives.append(sum(member.objectives) / len(self._seeds))
            progress.runs(len(members), self._trainer.throughput)
        # Seeds that a pruned entry was spared count as done.
        progress.runs(sum(len(self._seeds) - len(entry.runs) for entry in batch), self._trainer.throughput)

    def _limit(self, objectives: Sequence[float]) -> float:
        """Return the objective beyond which a entry is hopeless, given those of the finished ones."""
        if self._settings.universal:
            return handicap(objectives)
        return threshold(objectives, self._settings.shortlist_trials)

    def _earlier_values(self, earlier: Sequence[FrozenTrial], position: int) -> FloatArray:
        """Return the intermediate values of earlier trials on one seed, shape (trials, evaluations), in epochs.

        No trials if the study does not ask for them.
        """
        values = [np.empty((0, len(self._trainer.plan.evaluation_steps)))]
        if self._settings.median_pruning:
            for trial in earlier:
                key = trial.number, position
                if key not in self._values:
                    self._values[key] = self._values_of(trial, position)
                if (value := self._values[key]) is not None:
                    values.append(value[np.newaxis])
        return np.concatenate(values)

    def _values_of(self, trial: FrozenTrial, position: int) -> FloatArray | None:
        """Return the intermediate values of a finished trial on one seed; None if it did not come as far."""
        runs = records_of(trial)
        if len(runs) <= position:
            return None
        curve = runs[position].validation
        through = run_objectives(trial)[:position]
        value: FloatArray = (sum(through) + self._trainer.bounds(curve, self._targets)) / len(self._seeds)
        if trial.state == TrialState.PRUNED and len(runs) == position + 1:
            value[len(curve.steps) :] = np.nan
        return value

    def _tell(self, entry: _BatchTrial) -> None:
        """Store a entry's outcome; a diverged run is a result with its penalty, not a failure."""
        if entry.trial is None or entry.ended_elsewhere:
            return
        trial = entry.trial
        try:
            note_runs(self._store.study.storage, trial, entry.runs)
        except UpdateFinishedTrialError:
            entry.ended_elsewhere = True
            return
        trial.set_user_attr(OBJECTIVES, entry.objectives)
        trial.set_user_attr(SECONDS, entry.seconds)
        for key, value in self._store.evidence.items():
            trial.set_user_attr(key, value)
        if entry.pruned:
            trial.set_user_attr(LEAST_OBJECTIVE, entry.least)
        add_picture(self._store, trial, entry.runs, self._trainer.plan.steps_per_epoch)
        write_note(self._store, self._study, trial._trial_id)
        if entry.pruned:
            self._study.tell(entry.number, state=TrialState.PRUNED)
        else:
            self._study.tell(entry.number, sum(entry.objectives) / len(self._seeds))
