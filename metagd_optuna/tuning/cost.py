"""What a study is about to cost, said before its first training."""

from __future__ import annotations

from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.own_trials import finished_runs, finished_settings
from metagd_optuna.tuning.parts import CALIBRATE, CONFIRM, SHORTLIST
from metagd_optuna.tuning.phases import TaskState, planned_runs
from metagd_optuna.tuning.phases.calibrate import calibration_candidates


def cost_sentence(states: list[TaskState]) -> str:
    """Return what the study is about to cost: runs, examples and, from a measured speed, the time."""
    candidate = next(iter(calibration_candidates().values()))
    runs = examples = stored = 0
    seconds = 0.0
    for state in states:
        planned = planned_runs(state.settings)
        done = min(_stored_runs(state), planned)
        plan = state.trainer.plan
        left = (planned - done) * plan.steps * plan.batch_size
        runs, examples, stored = runs + planned - done, examples + left, stored + done
        if left:
            seconds += left / state.trainer.measured_speed(candidate, state.settings.trials_at_once)
    begun = f"; {stored:,} runs are stored already" if stored else ""
    return (
        f"to train: {runs:,} runs, {_rounded(examples)} examples, about {_duration(seconds)} at the speed "
        f"measured here, less what pruning saves{begun}"
    )


def _stored_runs(state: TaskState) -> int:
    runs = sum(len(finished_runs(state.store.trials(part))) for part in (CALIBRATE, SHORTLIST, CONFIRM))
    trials = sum(len(finished_settings(state.store.trials(method.name))) for method in methods_of(state.settings))
    return runs + trials * state.settings.seeds_per_trial


def _rounded(examples: int) -> str:
    """Return a number of examples as one says it.

    >>> _rounded(27_840), _rounded(6_060_000)
    ('27,840', '6.1 million')
    """
    return f"{examples:,}" if examples < 1_000_000 else f"{examples / 1e6:,.1f} million"


def _duration(seconds: float) -> str:
    """Return a time as one says it.

    >>> _duration(41.2), _duration(1300), _duration(40_000)
    ('41 s', '22 min', '11.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
