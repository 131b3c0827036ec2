"""An objective for studies of one's own: train a network under the meta-policy that a trial suggests."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.pruners import MedianPruner, NopPruner, PatientPruner, WilcoxonPruner

from metagd_optuna.analysis.convergence import search_target, targets_up_to
from metagd_optuna.analysis.scores import chance_level, standard_error
from metagd_optuna.contracts import Curve, FloatArray, MetaGDError
from metagd_optuna.given import as_given, validate_choice
from metagd_optuna.models import checked
from metagd_optuna.policy import Candidate, candidate_of
from metagd_optuna.tasks import Task, load_task, measure_complexity
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.phases.calibrate import Calibrate, calibration_candidates
from metagd_optuna.tuning.phases.search import Search
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.suggest import suggest_meta_policy
from metagd_optuna.tuning.task_trainer import TaskTrainer, open_task_trainer

if TYPE_CHECKING:
    from metagd_optuna.training.network import BuildNetwork

EVALUATIONS, SEEDS = "evaluations", "seeds"
WILCOXON_SEEDS = 5  # of up to three no difference is significant at the pruner's default level
# What a study file may say of trainings and of what is searched; the rest is said to Optuna.
KEYS = (
    "seed",
    "seeds_per_trial",
    "calibration_seeds",
    "examples_per_run",
    "batch_size",
    "evaluations",
    "rate_updates_per_evaluation",
    "metric",
    "difficulty_forms",
    "rate_forms",
    "optimizers",
    "signal",
    "complexity",
    "compute",
)


class MetaPolicyObjective:
    """The objective of a study of one's own: mean epochs to a list of targets, under a suggested meta-policy.

    Every trial trains from the same initial weights on the same mini-batches, on ``seeds_per_trial`` seeds. Its value
    is the mean over them of what ``metagd run`` searches by, the mean time to 26 targets from chance level up to the
    target of the search, where a miss counts twice the budget. The study has to minimise it. Any sampler, storage and
    ``n_jobs`` will do.

    Args:
        task: a ``Task``, or what ``load_task`` takes: a name, a path, ``(images, labels)``, a DataFrame.
        build_network: (input shape, classes, seed=...) -> a built Keras model that ends in logits; by default the
            article's CNN, or an MLP for rows of numbers.
        prefix: begins the names of all parameters; pass it to ``MetaPolicy.from_trial`` as well.
        report: what a pruner is told. ``evaluations``: after every evaluation the value that the trial would have if
            nothing more were reached, for Hyperband, Median and the like. ``seeds``: the value of every seed, with its
            number as the step, for Wilcoxon's, which is answered as Optuna advises, by the mean so far; five seeds,
            unless ``seeds_per_trial`` says otherwise, because fewer than four can end no trial. None: nothing.
        target: the score that the targets go up to; by default it is measured before the first trial, as ``metagd run``
            does, by Adam at four constant rates on ``calibration_seeds`` seeds.
        read: arguments of ``load_task``, such as ``{"target": "outcome", "patient": "case"}`` for a DataFrame.
        settings: keys of a study file that say how to train and what is searched, with their defaults: ``seed``,
            ``seeds_per_trial``, ``calibration_seeds``, ``examples_per_run``, ``batch_size``, ``evaluations``,
            ``rate_updates_per_evaluation``, ``metric``, ``difficulty_forms``, ``rate_forms``, ``optimizers``,
            ``signal``, ``complexity``, ``compute``.

    Raises:
        MetaGDError: for an argument out of range; a study that maximises or has several objectives; a pruner that does
            not fit ``report``; a network that is no classifier of the task; a calibration that shows that nothing
            learns.

    Example::

        objective = MetaPolicyObjective("breast_cancer", prefix="rate.", report="evaluations")
        study = optuna.create_study(pruner=optuna.pruners.MedianPruner())
        study.optimize(objective, n_trials=20)
        policy = MetaPolicy.from_trial(study.best_trial, prefix="rate.")
    """

    def __init__(
        self,
        task: Task | Any,
        *,
        build_network: BuildNetwork | None = None,
        prefix: str = "",
        report: Literal["evaluations", "seeds"] | None = None,
        target: float | None = None,
        read: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        for key in settings:
            validate_choice(key, KEYS, "an argument of MetaPolicyObjective")
        if report is not None:
            validate_choice(report, (EVALUATIONS, SEEDS), "report")
        if target is not None and not (isinstance(target, float) and math.isfinite(target)):
            raise MetaGDError(
                f"target={as_given(target)}; give a score such as 0.9, or leave it out to have it measured"
            )
        self._task = task if isinstance(task, Task) else load_task(task, **(read or {}))
        seeds = {"seeds_per_trial": WILCOXON_SEEDS} if report == SEEDS else {}
        given = {"tasks": [self._task.name], **seeds, **settings}
        self._settings = checked(StudySettings, given, "MetaPolicyObjective")
        chance = chance_level(self._settings.metric, self._task.class_frequencies)
        if target is not None and not chance < target <= 1:
            raise MetaGDError(
                f"target={target:g}; give a score above chance level ({chance:g}) and at most 1, or leave it out to "
                "have it measured"
            )
        self._build_network = build_network
        self._prefix = prefix
        self._report = report
        self._given_target = target
        self._opening = Lock()
        self._opened: _Opened | None = None

    @property
    def target(self) -> float:
        """The score that the targets go up to; measured now if it was not yet."""
        return self._open().target

    def __call__(self, trial: optuna.Trial) -> float:
        """Return the mean time to the targets, in epochs, of the meta-policy that the trial suggests.

        Raises:
            optuna.TrialPruned: where the study's pruner says so, with ``report="evaluations"``.
        """
        self._check_study(trial.study)
        spec = self._settings
        policy = suggest_meta_policy(
            trial,
            prefix=self._prefix,
            forms=spec.rate_forms,
            difficulty_forms=spec.difficulty_forms,
            optimizers=spec.optimizers,
            signal=spec.signal,
        )
        trial.set_user_attr("formula", policy.formula)
        opened = self._open()
        values: list[float] = []
        for number, seed in enumerate(phase_seeds(spec.seed, Search.first_seed, spec.seeds_per_trial)):
            values.append(self._trained(opened, trial, candidate_of(policy, META_POLICY), number, seed, values))
            if self._report == SEEDS:
                trial.report(values[-1], number)
                if trial.should_prune():
                    break
        return sum(values) / len(values)

    def _trained(
        self,
        opened: _Opened,
        trial: optuna.Trial,
        candidate: Candidate,
        number: int,
        seed: int,
        earlier: Sequence[float],
    ) -> float:
        """Return the mean time to the targets on one seed."""
        from metagd_optuna.training.device import repeatable

        trainer, targets = opened.trainer, opened.targets
        pruned = False

        def watch(curves: Mapping[int, Curve]) -> Collection[int]:
            nonlocal pruned
            [curve] = curves.values()
            if self._report == EVALUATIONS:
                plan = trainer.plan.evaluation_steps
                step = number * len(plan) + plan.index(curve.steps[-1]) + 1
                trial.report(self._so_far([*earlier, trainer.objective(curve, targets)], opened), step)
                pruned = trial.should_prune()
            # Once all targets are reached, training on cannot change the value.
            return [0] if pruned or trainer.reached(curve, float(targets[-1])) else []

        with repeatable(opened.device):
            [record] = trainer.train([candidate], [f"trial {trial.number}"], seed=seed, watch=watch)
        if pruned:
            raise optuna.TrialPruned(f"pruned on seed {number + 1} at step {record.steps}")
        value = trainer.objective(record.validation, targets)
        if self._report == EVALUATIONS:  # a run that ended early stands at its value for the rest of its evaluations
            evaluations = len(trainer.plan.evaluation_steps)
            for step in range(number * evaluations + len(record.validation.steps) + 1, (number + 1) * evaluations + 1):
                trial.report(self._so_far([*earlier, value], opened), step)
        return value

    def _so_far(self, values: Sequence[float], opened: _Opened) -> float:
        """Return the value of a trial that reaches nothing more: seeds to come count as a miss of every target."""
        seeds = self._settings.seeds_per_trial
        missed = 2 * opened.trainer.plan.budget_epochs
        return (sum(values) + (seeds - len(values)) * missed) / seeds

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is None:
                self._opened = _Opened(self._task, self._settings, self._build_network, self._given_target)
            return self._opened

    def _check_study(self, study: optuna.Study) -> None:
        names = [direction.name for direction in study.directions]
        if names != ["MINIMIZE"]:
            raise MetaGDError(
                f"{study.study_name} has the directions {', '.join(names)}; MetaPolicyObjective is a time, one value "
                'to be minimised: optuna.create_study(direction="minimize")'
            )
        pruner = study.pruner
        # Optuna has no public name for the pruner that a patient one asks.
        asked = pruner._wrapped_pruner if isinstance(pruner, PatientPruner) else pruner
        by_seeds = isinstance(asked, WilcoxonPruner)
        optunas = type(pruner).__module__.startswith("optuna.")
        # A study has a median pruner unless it is given another one.
        unasked = self._report is None and type(pruner) is MedianPruner
        if isinstance(pruner, NopPruner) or unasked or not optunas:
            return
        if self._report is None or by_seeds != (self._report == SEEDS):
            right = SEEDS if by_seeds else EVALUATIONS
            raise MetaGDError(
                f"report={self._report!r} does not fit the study's {type(pruner).__name__}, which compares "
                f"{'values of single seeds' if by_seeds else 'trials at the same step'}: give report={right!r}, or "
                "another pruner"
            )


class _Opened:
    """What trains, and the targets; made once, because both cost time.

    Args:
        task: the data.
        settings: of the trainings.
        build_network: makes the network; None for the default.
        target: the score that the targets go up to; None to measure it.
    """

    def __init__(
        self, task: Task, settings: StudySettings, build_network: BuildNetwork | None, target: float | None
    ) -> None:
        from metagd_optuna.training.device import prepare_device
        from metagd_optuna.training.startup import check_backend

        check_backend()
        self.device = prepare_device()
        complexity = measure_complexity(task.train_images, task.train_labels, settings.complexity)
        self.trainer: TaskTrainer = open_task_trainer(
            task, settings, self.device, complexity=complexity, population=1, build_network=build_network
        )
        self.target = self._calibrated(task, settings) if target is None else target
        self.targets: FloatArray = targets_up_to(self.trainer.chance, self.target)

    def _calibrated(self, task: Task, settings: StudySettings) -> float:
        from metagd_optuna.training.device import repeatable

        candidates = calibration_candidates()
        scores: dict[float, list[float]] = {rate: [] for rate in candidates}
        with repeatable(self.device):
            for seed in phase_seeds(settings.seed, Calibrate.first_seed, settings.calibration_seeds):
                runs = self.trainer.train(
                    list(candidates.values()), [each.name for each in candidates.values()], seed=seed
                )
                for rate, run in zip(candidates, runs, strict=True):
                    scores[rate].append(-math.inf if run.diverged else self.trainer.best_score(run))
        counts = np.bincount(task.val_labels, minlength=len(task.classes)).tolist()
        error = standard_error(settings.metric, self.trainer.chance, counts)
        return search_target(self.trainer.chance, scores, error=error)
