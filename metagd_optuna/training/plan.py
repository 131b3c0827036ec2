"""When a run ticks, when it is evaluated, and which examples it sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The fixed timetable of every run of a study on one task.

    Args:
        train_examples: n, size of the training part.
        batch_size: examples per step, at most n.
        steps: budget; an entrant with a smaller batch takes several steps of the optimizer in each.
        evaluation_steps: steps after which a run is evaluated, increasing; the last is ``steps``.
        tick_ends: steps after which the controller looks, increasing; contains every evaluation.
    """

    train_examples: int
    batch_size: int
    steps: int
    evaluation_steps: tuple[int, ...]
    tick_ends: tuple[int, ...]

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps per pass over the training part, n / batch size."""
        return self.train_examples / self.batch_size

    @property
    def budget_epochs(self) -> float:
        """Passes over the training part in the whole budget."""
        return self.steps / self.steps_per_epoch

    def epochs(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return examples seen after ``steps`` steps, in passes over the training part."""
        return np.asarray(steps, dtype=np.float64) / self.steps_per_epoch

    def batches(self, seed: int) -> npt.NDArray[np.int32]:
        """Return the indices of every mini-batch, shape (steps, batch size), int32.

        Shuffled passes over the training part are laid end to end and cut into batches, so that no example is
        dropped and examples seen = steps x batch size exactly.
        """
        rng = np.random.default_rng((seed, self.train_examples))
        passes = -(-self.steps * self.batch_size // self.train_examples)
        order = np.concatenate([rng.permutation(self.train_examples) for _ in range(passes)])
        return order[: self.steps * self.batch_size].reshape(self.steps, self.batch_size).astype(np.int32)


def plan_run(
    *, train_examples: int, epochs: float, batch_size: int, evaluations: int, ticks_per_evaluation: int
) -> RunPlan:
    """Return the timetable for a budget of ``epochs`` passes, with evenly spaced evaluations and ticks.

    Very short runs are evaluated after every step at most.
    """
    batch_size = min(batch_size, train_examples)
    steps = max(1, round(epochs * train_examples / batch_size))

    def evenly(parts: int) -> tuple[int, ...]:
        return tuple(sorted({round(part * steps / parts) for part in range(1, parts + 1)} - {0}))

    evaluation_steps = evenly(evaluations)
    ticks = set(evenly(evaluations * ticks_per_evaluation)) | set(evaluation_steps)
    return RunPlan(train_examples, batch_size, steps, evaluation_steps, tuple(sorted(ticks)))
