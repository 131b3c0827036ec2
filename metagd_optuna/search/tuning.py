"""Tune one method: an Optuna study asked and told in batches, each trained together.

Everything that decides - proposals, who trains together, pruning - depends only on the trials of earlier batches and on
the batch itself. So a batch that was cut off is trained again with the parameters that its trials already have,
gives the same results, and only those that were not told are told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from metagd_optuna.contracts import Curve, FloatArray, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import Method
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.pruning import behind_median, handicap, optimistic_objective, threshold
from metagd_optuna.search.seeds import phase_seeds
from metagd_optuna.search.shared_design import SharedDesign
from metagd_optuna.search.steady_sampler import SteadySampler
from metagd_optuna.search.study_file import UNIVERSAL, StudySpec
from metagd_optuna.search.workshop import Workshop

# Intermediate values cost a storage write each, and a dashboard's curve needs no more points than this per run.
REPORTS_PER_RUN = 8


def startup_trials(spec: StudySpec) -> int:
    """Return how many trials TPE draws at random before it begins."""
    return max(4, spec.trials // 6)


@dataclass(slots=True)
class _Candidate:
    """One trial of a batch while it trains.

    Args:
        trial: the unfinished trial; None if an earlier process already told it.
        contender: with the trial's coefficients.
        objectives: of the seeds that are through, in epochs.
        runs: one per seed begun.
        pruned: whether it was stopped as hopeless.
        least: the best objective that it could still have had then, in epochs.
        reported: steps at which intermediate values are stored.
    """

    number: int
    trial: optuna.Trial | None
    contender: Contender
    objectives: list[float] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    pruned: bool = False
    least: float = 0.0
    seconds: float = 0.0
    reported: set[int] = field(default_factory=set)


class Tuner:
    """Tunes one method on one task.

    Args:
        study: the method's Optuna study.
        storage: where it lives.
        identity: what its trials carry along.
        method: what is tuned.
        spec: the study's settings.
        workshop: trains.
        targets: rungs of the ladder, shape (T,).
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        identity: trial_store.Identity,
        method: Method,
        spec: StudySpec,
        workshop: Workshop,
        targets: FloatArray,
    ) -> None:
        self._study = study
        if spec.league == UNIVERSAL:
            self._study.sampler = SharedDesign(spec.seed, method.name, spec.trials)
        else:
            self._study.sampler = SteadySampler(spec.seed, startup_trials(spec))
        self._storage = storage
        self._identity = identity
        self._method = method
        self._spec = spec
        self._workshop = workshop
        self._targets = targets
        self._seeds = phase_seeds(spec.seed, "search", spec.seeds_per_trial)

    def run(self, progress: Progress) -> None:
        """Run all trials that are still missing."""
        counted = 0
        while True:
            trials = self._study.get_trials(deepcopy=False)
            settled = sum(trial.state in trial_store.SETTLED for trial in trials)
            progress.trials(self._method.name, settled, self._spec.trials, self._best(trials))
            first = next((t.number for t in trials if t.state not in trial_store.SETTLED), len(trials))
            finished = settled >= self._spec.trials
            begin = self._spec.trials if finished else first - first % self._spec.trials_at_once
            # Batches that an earlier process settled; those trained here are counted as they train.
            progress.runs((begin - counted) * len(self._seeds), self._workshop if self._workshop.seconds else None)
            if finished:
                return
            numbers = range(begin, min(begin + self._spec.trials_at_once, self._spec.trials))
            earlier = [trial for trial in trials if trial.number < begin]
            batch = [self._candidate(number, trials) for number in numbers]
            self._train(batch, earlier, progress)
            for candidate in batch:
                self._tell(candidate)
            counted = begin + len(batch)

    def _best(self, trials: Sequence[optuna.trial.FrozenTrial]) -> float:
        values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
        return min(values, default=math.inf)

    def _candidate(self, number: int, before: Sequence[optuna.trial.FrozenTrial]) -> _Candidate:
        """Return trial ``number``: told, taken over unfinished, or asked now.

        Args:
            before: all trials as they were before the batch. They are not read again for every candidate, because
                Optuna reads all unfinished ones from the database each time.
        """
        # Parameters are suggested before the next trial is asked, so that the sampler's liar sees them.
        earlier = before[number] if number < len(before) else None
        if earlier is not None and earlier.state in trial_store.SETTLED:
            return _Candidate(number, None, trial_store.stored_contender(earlier))
        if earlier is not None:
            trial = trial_store.adopt(self._study, self._storage, earlier)
        else:
            if number < len(self._method.known):
                self._study.enqueue_trial(dict(self._method.known[number]))
            trial = self._study.ask()
        contender = self._method.suggest(trial)
        trial.set_user_attr(trial_store.SUBJECT, trial_store.describe_contender(contender))
        return _Candidate(number, trial, contender, reported=set(earlier.intermediate_values if earlier else ()))

    def _train(
        self, batch: Sequence[_Candidate], earlier: Sequence[optuna.trial.FrozenTrial], progress: Progress
    ) -> None:
        """Train a batch seed by seed; hopeless candidates leave early."""
        objectives = [t.value for t in earlier if t.state == TrialState.COMPLETE and t.value is not None]
        runs = [value for t in earlier for value in t.user_attrs.get(trial_store.OBJECTIVES, [])]
        for position, seed in enumerate(self._seeds):
            members = [candidate for candidate in batch if not candidate.pruned]
            if not members:
                break
            began = time.perf_counter()
            records = self._workshop.train(
                [member.contender for member in members],
                [f"{self._method.name}#{member.number}" for member in members],
                seed=seed,
                watch=partial(
                    self._watch,
                    members=members,
                    position=position,
                    limit=self._limit(objectives),
                    best_run=min(runs, default=0.0),
                    earlier=self._earlier_values(earlier, position),
                ),
            )
            seconds = (time.perf_counter() - began) / len(members)
            for member, record in zip(members, records, strict=True):
                member.runs.append(record)
                member.seconds += seconds
                if not member.pruned:
                    member.objectives.append(self._workshop.objective(record.validation, self._targets))
                    runs.append(member.objectives[-1])
                    if len(member.objectives) == len(self._seeds):
                        objectives.append(sum(member.objectives) / len(self._seeds))
            progress.runs(len(members), self._workshop)
        # Seeds that a pruned candidate was spared count as done.
        progress.runs(sum(len(self._seeds) - len(candidate.runs) for candidate in batch), self._workshop)

    def _limit(self, objectives: Sequence[float]) -> float:
        """Return the objective beyond which a candidate is hopeless, given those of the finished ones."""
        if self._spec.league == UNIVERSAL:
            return handicap(objectives)
        return threshold(objectives, self._spec.shortlist_trials)

    def _watch(
        self,
        curves: Mapping[int, Curve],
        *,
        members: Sequence[_Candidate],
        position: int,
        limit: float,
        best_run: float,
        earlier: FloatArray,
    ) -> Collection[int]:
        """Stop members whose objective is known, and those that cannot reach the shortlist or are behind the median."""
        stop = []
        for index, curve in curves.items():
            member = members[index]
            bound = self._workshop.bound(curve, self._targets)
            hopeful = optimistic_objective(member.objectives, [bound], best_run, len(self._seeds))
            # Seeds to come count as 0 here, so that the value only rises and never exceeds the objective.
            certain = optimistic_objective(member.objectives, [bound], 0.0, len(self._seeds))
            evaluation = self._workshop.plan.evaluation_steps.index(curve.steps[-1]) + 1
            total = len(self._workshop.plan.evaluation_steps)
            hopeless = (self._spec.pruning and hopeful > limit) or (
                # Where trials are few, enough have to be through for the shortlist before any is stopped for this.
                math.isfinite(limit)
                and behind_median(
                    certain, earlier[:, evaluation - 1], share=evaluation / total, least=startup_trials(self._spec)
                )
            )
            if hopeless or evaluation % max(1, total // REPORTS_PER_RUN) == 0:
                self._report(member, position * total + evaluation, certain)
            if hopeless:
                member.pruned = True
                member.least = hopeful
            if hopeless or self._reached_all(curve):
                stop.append(index)
        return stop

    def _earlier_values(self, earlier: Sequence[optuna.trial.FrozenTrial], position: int) -> FloatArray:
        """Return the intermediate values of earlier trials on one seed, shape (trials, evaluations), in epochs.

        No trials if the study does not ask for them.
        """
        values = [np.empty((0, len(self._workshop.plan.evaluation_steps)))]
        if self._spec.median_pruning:
            for trial in earlier:
                runs = trial_store.trial_records(trial)
                if len(runs) <= position:
                    continue
                curve = runs[position].validation
                through = trial.user_attrs[trial_store.OBJECTIVES][:position]
                value = (sum(through) + self._workshop.bounds(curve, self._targets)) / len(self._seeds)
                if trial.state == TrialState.PRUNED and len(runs) == position + 1:
                    value[len(curve.steps) :] = np.nan
                values.append(value[np.newaxis])
        return np.concatenate(values)

    def _reached_all(self, curve: Curve) -> bool:
        """Whether the whole ladder is climbed, so that training on cannot change the objective."""
        return self._workshop.reached(curve, float(self._targets[-1]))

    def _report(self, member: _Candidate, step: int, value: float) -> None:
        """Store an intermediate value, unless an earlier process did."""
        if member.trial is not None and step not in member.reported:
            member.trial.report(value, step)
            member.reported.add(step)

    def _tell(self, candidate: _Candidate) -> None:
        """Store a candidate's outcome; a diverged run is a result with its penalty, not a failure."""
        if candidate.trial is None:
            return
        trial = candidate.trial
        trial.set_user_attr(trial_store.RUNS, [record.to_dict() for record in candidate.runs])
        trial.set_user_attr(trial_store.OBJECTIVES, candidate.objectives)
        trial.set_user_attr(trial_store.SECONDS, candidate.seconds)
        trial.set_user_attr(trial_store.DEVICE, self._identity.device)
        trial.set_user_attr(trial_store.VERSIONS, dict(self._identity.versions))
        if candidate.pruned:
            trial.set_user_attr(trial_store.LEAST_OBJECTIVE, candidate.least)
            self._study.tell(candidate.number, state=TrialState.PRUNED)
        else:
            self._study.tell(candidate.number, sum(candidate.objectives) / len(self._seeds))
