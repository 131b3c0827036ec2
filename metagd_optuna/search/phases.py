"""One task through all phases: calibrate, tune every method, shortlist, confirm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import optuna
from optuna.storages import BaseStorage

from metagd_optuna.analysis import FoldChoice, halving_rounds
from metagd_optuna.analysis.convergence import (
    final_best,
    headline_target,
    ladder_targets,
    search_target,
    time_to_target,
)
from metagd_optuna.contracts import Context, FloatArray, MetaGDError, RunRecord
from metagd_optuna.policy import (
    ARTICLES,
    DEFAULTS,
    Contender,
    MetaPolicy,
    article_contender,
    baseline_from_params,
    constant_complexity,
    default_contender,
    frozen_contender,
    mean_state,
    replay_of,
)
from metagd_optuna.search import trial_store
from metagd_optuna.search.columns import Columns
from metagd_optuna.search.grid import run_grid
from metagd_optuna.search.importance import importance_intervals, importances
from metagd_optuna.search.methods import META_POLICY, Method, methods_of
from metagd_optuna.search.own_trials import OwnView, finished_settings
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.seeds import phase_seeds
from metagd_optuna.search.shortlist import hold_shortlist
from metagd_optuna.search.study_file import UNIVERSAL, StudySpec
from metagd_optuna.search.tuning import Tuner
from metagd_optuna.search.workshop import Workshop

# Adam's usual 1e-3, half a decade and a decade around it.
CALIBRATION_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CONTROLS = ("replay", "frozen")


def planned_runs(spec: StudySpec) -> int:
    """Return how many runs a study has over all its tasks, pruned ones included."""
    methods = len(spec.baselines) + 1
    universal = spec.league == UNIVERSAL
    shortlist = spec.shortlist_seeds  # of the winner, for its controls
    if not universal:
        rounds = halving_rounds(spec.shortlist_trials, spec.shortlist_seeds)
        shortlist = methods * sum(each.candidates * each.seeds for each in rounds)
    controls = len(CONTROLS) + universal
    return len(spec.tasks) * (
        len(CALIBRATION_RATES) * spec.calibration_seeds
        + methods * spec.trials * spec.seeds_per_trial
        + shortlist
        + (methods + len(DEFAULTS) + len(ARTICLES) + controls) * spec.confirmation_seeds
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """What was fixed before the confirmation, by the shortlist or on other tasks.

    Args:
        settings: every method's contender, by the method's name.
        trials: the trial that it came from.
        best_baseline: name of the best tuned baseline.
        target: the headline target.
        traces: shortlist runs of the searched policy, in the order of the seeds.
        elsewhere: mean complexity of the tasks that it was chosen on; None if that is this task.
    """

    settings: Mapping[str, Contender]
    trials: Mapping[str, int]
    best_baseline: str
    target: float
    traces: tuple[RunRecord, ...]
    elsewhere: float | None = None


class TaskPhases:
    """Takes one task through all phases, going on wherever an earlier process stopped.

    Args:
        storage: where everything is kept.
        identity: of the study.
        spec: its settings.
        workshop: the task, ready for training.
        facts: what is known about the task before training, stored with it.
        progress: where to say how it goes.
    """

    def __init__(
        self,
        storage: BaseStorage,
        identity: trial_store.Identity,
        spec: StudySpec,
        workshop: Workshop,
        facts: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self._storage = storage
        self._identity = identity
        self._spec = spec
        self._workshop = workshop
        self._facts = dict(facts)
        self._progress = progress
        self._task = workshop.task.name

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known about the task before it trains."""
        return self._facts

    def check(self, files: Columns) -> None:
        """Check what the storage and a file of searches hold of this task; called for all before any trains.

        Args:
            files: where searches that are through are kept, and taken from if the storage does not hold them.

        Raises:
            MetaGDError: if the data or the network are not those that the study began with, or a file of searches
                does not fit this study.
        """
        self._check_facts(trial_store.stored_facts(self._storage, self._identity.name, self._task))
        files.check(self._task, self._facts)

    def run(self, files: Columns) -> None:
        """Run every phase of the per-task league.

        Args:
            files: as for ``check``.

        Raises:
            MetaGDError: as ``search``.
        """
        files.restore(self._task, self._facts)
        t_search = self.search(lambda: files.save(self._task))
        self._confirm(self._shortlist(ladder_targets(self._workshop.chance, t_search)), t_search)

    def search(self, after_method: Callable[[], None] = lambda: None) -> float:
        """Calibrate, and run all trials of every method; return the target of the searches.

        Args:
            after_method: called as soon as a method has all its trials.

        Raises:
            MetaGDError: if nothing learns.
        """
        t_search = self._calibrate()
        for method in methods_of(self._spec):
            self._tune(method, ladder_targets(self._workshop.chance, t_search))
            after_method()
        return t_search

    def judge(self, chosen: FoldChoice, elsewhere: float, t_search: float) -> None:
        """Confirm what was chosen on other tasks; no setting was tried on this one before it was chosen.

        The headline target follows from the calibration, because there is no shortlist to choose from.

        Args:
            chosen: every method's setting, and the best baseline.
            elsewhere: mean complexity of the other tasks.
            t_search: what ``search`` returned.
        """
        settings = {}
        for method, number in chosen.settings.items():
            trial = finished_settings(self._open(method).get_trials(deepcopy=False))[number]
            settings[method] = replace(trial_store.stored_contender(trial), name=method)
        with self._named():
            target = headline_target(self._workshop.chance, [t_search])
        traces = self._traces(settings[META_POLICY], chosen.settings[META_POLICY], t_search)
        choice = Choice(settings, chosen.settings, chosen.best_baseline, target, traces, elsewhere)
        self._confirm(choice, t_search)

    def _traces(self, winner: Contender, number: int, t_search: float) -> tuple[RunRecord, ...]:
        """Run a winner that was chosen elsewhere, for the rates and performances of its controls."""
        self._progress.phase(self._task, "shortlist")
        name = f"{META_POLICY}#{number}"
        targets = ladder_targets(self._workshop.chance, t_search)
        runs = run_grid(
            self._open("shortlist"),
            self._identity,
            [replace(winner, name=name)],
            phase_seeds(self._spec.seed, "shortlist", self._spec.shortlist_seeds),
            self._workshop,
            value=lambda run: self._workshop.objective(run.validation, targets),
            progress=self._progress,
        )
        return tuple(runs[name])

    def _calibrate(self) -> float:
        """Fix the target of the searches: Adam at constant rates, before anything is tuned."""
        self._progress.phase(self._task, "calibrate")
        study = trial_store.open_calibration(self._storage, self._identity, self._task)
        study.set_user_attr(trial_store.FACTS, self._facts)
        if trial_store.T_SEARCH in study.user_attrs:
            self._progress.runs(len(CALIBRATION_RATES) * self._spec.calibration_seeds, None)
            return float(study.user_attrs[trial_store.T_SEARCH])
        contenders = {
            rate: replace(
                baseline_from_params("adam-constant", {"adam-constant.lr0": rate}), name=f"adam-constant@{rate:g}"
            )
            for rate in CALIBRATION_RATES
        }
        runs = run_grid(
            study,
            self._identity,
            list(contenders.values()),
            phase_seeds(self._spec.seed, "calibrate", self._spec.calibration_seeds),
            self._workshop,
            value=self._final_best,
            progress=self._progress,
        )
        finals = {
            rate: [-math.inf if run.diverged else self._final_best(run) for run in runs[c.name]]
            for rate, c in contenders.items()
        }
        with self._named():
            t_search = search_target(self._workshop.chance, finals)
        study.set_user_attr(trial_store.T_SEARCH, t_search)
        return t_search

    def _tune(self, method: Method, targets: FloatArray) -> None:
        self._progress.phase(self._task, f"tune {method.name}")
        study = self._open(method.name)
        Tuner(study, self._storage, self._identity, method, self._spec, self._workshop, targets).run(self._progress)

    def _shortlist(self, targets: FloatArray) -> Choice:
        """Run the best trials of every method on new seeds; fix settings, best baseline and headline target."""
        self._progress.phase(self._task, "shortlist")
        chosen = hold_shortlist(
            self._open("shortlist"),
            {method.name: self._open(method.name) for method in methods_of(self._spec)},
            self._identity,
            self._spec,
            self._workshop,
            targets,
            self._progress,
        )
        best_baseline = min(self._spec.baselines, key=lambda name: chosen[name].objective)
        with self._named():
            target = headline_target(self._workshop.chance, [*map(self._final_best, chosen[best_baseline].runs)])
        return Choice(
            settings={method: setting.contender for method, setting in chosen.items()},
            trials={method: setting.number for method, setting in chosen.items()},
            best_baseline=best_baseline,
            target=target,
            traces=chosen[META_POLICY].runs,
        )

    def _confirm(self, choice: Choice, t_search: float) -> None:
        """Run one contender per method, and the untuned ones and the controls, on fresh seeds."""
        self._progress.phase(self._task, "confirm")
        value = f"epochs to {self._spec.metric} {choice.target:.4f}"
        study = trial_store.open_study(self._storage, self._identity, self._task, "confirm", value=value)
        winner = choice.settings[META_POLICY]
        contenders = [
            winner,
            *(choice.settings[name] for name in self._spec.baselines),
            *map(default_contender, DEFAULTS),
            *map(article_contender, ARTICLES),
            *self._controls(winner, choice),
        ]
        run_grid(
            study,
            self._identity,
            contenders,
            phase_seeds(self._spec.seed, "confirm", self._spec.confirmation_seeds),
            self._workshop,
            value=partial(self._time, target=choice.target),
            progress=self._progress,
            test=True,
        )
        if trial_store.OUTCOME in study.user_attrs:  # another task was cut off
            return
        searched = OwnView(self._open(META_POLICY), self._spec.trials)
        outcome = {
            "t_search": t_search,
            "target": choice.target,
            "best_baseline": choice.best_baseline,
            "chosen_trials": dict(choice.trials),
            "importances": importances(searched),
            "importance_ci95": importance_intervals(searched),
        }
        study.set_user_attr(trial_store.OUTCOME, outcome)

    def _controls(self, winner: Contender, choice: Choice) -> list[Contender]:
        """Return the winner without feedback: its rates played back, and its p and d held still.

        A winner that was chosen on other tasks also runs without knowing how complex this one is.
        """
        plan = self._workshop.plan
        context = Context(
            self._workshop.complexity,
            self._workshop.task.class_shares,
            winner.optimizer,
            plan.steps,
            plan.steps_per_epoch,
        )
        policy = MetaPolicy.from_dict(winner.settings)
        controls = [replay_of(choice.traces, winner.optimizer, batch_size=winner.batch_size)]
        means = mean_state(policy, context, choice.traces)
        # A rule that was chosen on other tasks may diverge on this one before it has seen anything.
        if means is not None:
            controls.append(frozen_contender(policy, *means))
        if choice.elsewhere is not None:
            controls.append(constant_complexity(policy, choice.elsewhere))
        return controls

    def _open(self, part: str) -> optuna.Study:
        return trial_store.open_study(self._storage, self._identity, self._task, part)

    def _final_best(self, run: RunRecord) -> float:
        """Return the confirmed best score of a run, or chance if it confirmed none."""
        return max(final_best(run.validation.metric(self._spec.metric)), self._workshop.chance)

    def _time(self, run: RunRecord, target: float) -> float:
        """Return the epochs to the target; a miss is shown as twice the budget, because Optuna wants a number."""
        epochs = self._workshop.plan.epochs(run.validation.steps)
        time = time_to_target(epochs, run.validation.metric(self._spec.metric), target)
        return min(time, 2 * self._workshop.plan.budget_epochs)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say in an error which task it is about."""
        try:
            yield
        except MetaGDError as error:
            raise MetaGDError(f"task {self._task!r}: {error}") from error

    def _check_facts(self, stored: Mapping[str, Any] | None) -> None:
        if stored is None:
            return
        was, now = stored[trial_store.NETWORK], self._facts[trial_store.NETWORK]
        if was.get("fingerprint", now["fingerprint"]) != now["fingerprint"]:  # the first storages have none
            raise MetaGDError(
                f"task {self._task!r}: the network changed since this study began (it was {was['text']}, now "
                f"{now['text']}); restore the old one, or start a new study with another --out"
            )
        if stored["fingerprint"] != self._facts["fingerprint"]:
            raise MetaGDError(
                f"the data of task {self._task!r} changed since this study began (its fingerprint was "
                f"{stored['fingerprint'][:12]}, now {self._facts['fingerprint'][:12]}); restore the old data, or "
                "start a new study with another --out"
            )
