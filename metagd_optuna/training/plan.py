"""When a run rate updates, when it is evaluated, and which examples it sees."""

from __future__ import annotations

from metagd_optuna.contracts import RunPlan


def plan_run(
    *, train_examples: int, epochs: float, batch_size: int, evaluations: int, rate_updates_per_evaluation: int
) -> RunPlan:
    """Return the timetable for a budget of ``epochs`` passes, with evenly spaced evaluations and rate updates.

    Very short runs are evaluated after every step at most.
    """
    batch_size = min(batch_size, train_examples)
    steps = max(1, round(epochs * train_examples / batch_size))

    def evenly(parts: int) -> tuple[int, ...]:
        return tuple(sorted({round(part * steps / parts) for part in range(1, parts + 1)} - {0}))

    evaluation_steps = evenly(evaluations)
    updates = set(evenly(evaluations * rate_updates_per_evaluation)) | set(evaluation_steps)
    return RunPlan(train_examples, batch_size, steps, evaluation_steps, tuple(sorted(updates)))
