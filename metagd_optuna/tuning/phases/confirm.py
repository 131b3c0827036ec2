"""The confirmation: one candidate per method, the untuned ones and the controls, on fresh paired seeds."""

from __future__ import annotations

from collections.abc import Mapping

from metagd_optuna.analysis.convergence import time_to_target
from metagd_optuna.contracts import Context, RunRecord
from metagd_optuna.policy import (
    ARTICLES,
    DEFAULTS,
    Candidate,
    MetaPolicy,
    article_candidate,
    constant_complexity,
    default_candidate,
    frozen_candidate,
    mean_state,
    replay_of,
)
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.grid import run_grid
from metagd_optuna.tuning.importance import importance_intervals, importances
from metagd_optuna.tuning.metadata import Outcome
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.own_trials import OwnView
from metagd_optuna.tuning.parts import CONFIRM
from metagd_optuna.tuning.phases.task_state import Selected, TaskState
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings

CONTROLS = ("replay", "frozen")


class Confirm:
    """Runs everybody whom the report compares on seeds that no choice has seen, and measures the test part."""

    waits_for_all = False
    first_seed = 30_000

    def planned_runs(self, settings: StudySettings) -> int:
        """Return the runs of all candidates; what is selected elsewhere has one control more."""
        methods, controls = len(settings.baselines) + 1, len(CONTROLS) + settings.universal
        return (methods + len(DEFAULTS) + len(ARTICLES) + controls) * settings.confirmation_seeds

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Run them, and store what was fixed before."""
        selected, settings, trainer = task.selected, task.settings, task.trainer
        assert selected is not None, "the shortlist comes first"
        target = selected.target
        task.progress.phase(task.name, CONFIRM)
        study = task.store.open(CONFIRM, value=f"epochs to {settings.metric} {target:.4f}")
        winner = selected.settings[META_POLICY]
        candidates = [
            winner,
            *(selected.settings[name] for name in settings.baselines),
            *map(default_candidate, DEFAULTS),
            *map(article_candidate, ARTICLES),
            *_controls(task, winner, selected),
        ]

        def shown(run: RunRecord) -> float:
            """Return the epochs to the target; a miss is shown as twice the budget, because Optuna wants a number."""
            scores = run.validation.metric(settings.metric)
            time = time_to_target(trainer.plan.epochs(run.validation.steps), scores, target)
            return min(time, 2 * trainer.plan.budget_epochs)

        yield from run_grid(
            task.store,
            study,
            candidates,
            phase_seeds(settings.seed, self.first_seed, settings.confirmation_seeds, task.store.look),
            trainer,
            value=shown,
            progress=task.progress,
            test=True,
            resample=settings.resample_splits,
        )
        if task.store.is_complete:  # another task was cut off
            return
        searched = OwnView(task.open(META_POLICY), settings.trials)
        assert task.search_target is not None
        task.store.note_outcome(
            Outcome(
                search_target=task.search_target,
                target=target,
                best_baseline=selected.best_baseline,
                chosen_trials=dict(selected.trials),
                importances=importances(searched),
                importance_ci95=importance_intervals(searched),
            )
        )


def _controls(task: TaskState, winner: Candidate, selected: Selected) -> list[Candidate]:
    """Return the winner without feedback: its rates played back, and its p and d held still.

    A winner that was chosen on other tasks also runs without knowing how complex this one is.
    """
    plan = task.trainer.plan
    context = Context(
        task.trainer.complexity, task.trainer.class_frequencies, winner.optimizer, plan.steps, plan.steps_per_epoch
    )
    policy = MetaPolicy.from_dict(winner.settings)
    controls = [replay_of(selected.traces, winner.optimizer, batch_size=winner.batch_size)]
    means = mean_state(policy, context, selected.traces)
    # A rule that was chosen on other tasks may diverge on this one before it has seen anything.
    if means is not None:
        controls.append(frozen_candidate(policy, *means))
    if selected.elsewhere is not None:
        controls.append(constant_complexity(policy, selected.elsewhere))
    return controls
