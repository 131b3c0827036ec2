"""Steer batch, momentum or rate of ScheduleFreeAdamW with performance or time: is it better than what is held?

python tests/method/steer.py rules.jsonl breastmnist bccd_cells3.npz --data-dir FOLDER --seeds 8

Each line of the file is a rule: {"name": "batch of 8", "rate": 0.0018, "batch_size": 8}. Instead of a value, each of
rate, batch_size, beta_1 and r may be a list of steps [[until, value], ...] over "by", which is "performance" (p from
the training loss, with a half-life of two evaluations) or "time" (share of the budget); or {"from": a, "to": b}, a line
over it, on a log scale for the rate. Unless said the batch is 32, beta_1 0.9 and r 1. What is steered changes at
evaluations. Tasks, seeds, targets and the table are those of explore.py.
"""

from __future__ import annotations

import math
from typing import Any

from explore import compare, parser_of, rules_in

HALF_LIFE = 2.0  # evaluations
BATCH = 32
LEVERS = {"rate": None, "batch_size": BATCH, "beta_1": 0.9, "r": 1.0}
BY = ("time", "performance")


def main() -> None:
    """Train all rules on all tasks and print the times."""
    options = parser_of(__doc__).parse_args()
    compare([checked(rule) for rule in rules_in(options.rules)], options, lambda workshop, *_: Steered(workshop).train)


def checked(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule with all its levers, or say what is wrong with it."""
    found = {**LEVERS, "by": "time", **rule}
    batch = found["batch_size"]
    steps = batch if isinstance(batch, list) else [[1, batch]]
    if set(rule) - {"name", "by", *LEVERS} or not {"name", "rate"} <= set(rule) or found["by"] not in BY:
        raise SystemExit(f"{rule}: needs a name and a rate, may have {', '.join(LEVERS)} and by, {' or '.join(BY)}")
    if isinstance(batch, dict) or any(BATCH % size for _, size in steps):
        raise SystemExit(f"{rule}: a batch is a number that divides {BATCH}, or a list of steps between such numbers")
    return found


def value_at(lever: Any, place: float, *, log: bool) -> float:
    """Return what a lever is at a place from 0 to 1 of time or performance.

    >>> value_at([[0.5, 4], [1, 8]], 0.5, log=False), value_at({"from": 0.001, "to": 0.1}, 0.5, log=True)
    (8, 0.01)
    """
    if isinstance(lever, list):
        return next((value for until, value in lever if place < until), lever[-1][1])
    if isinstance(lever, dict):
        low, high = lever["from"], lever["to"]
        return low * (high / low) ** place if log else low + (high - low) * place
    return lever


class Steered:
    """Trains steered rules on one task.

    Args:
        workshop: the task, ready for training.
    """

    def __init__(self, workshop: Any) -> None:
        import tensorflow as tf

        from metagd_optuna.policy.signal import entropy
        from metagd_optuna.training.programs import steps_of

        self._plan, self._engine = workshop.plan, workshop.engine
        self._guessing = entropy(workshop.task.class_shares)
        images, labels = self._engine.images.train
        steps = steps_of(self._engine.network, _optimizer())
        pixels, classes = tf.constant(images), tf.constant(labels)
        # Shapes are left open, so that one program serves every batch.
        self._tick = tf.function(lambda *state: steps(pixels, classes, *state), reduce_retracing=True, autograph=False)
        self._validation = tf.constant(self._engine.images.validation[0])

    def train(self, rule: dict[str, Any], seed: int) -> tuple[Any, list[float]]:
        """Return epochs and AUC at every evaluation of a run."""
        import tensorflow as tf

        from metagd_optuna.training.evaluation import evaluate_logits

        start, batches = self._engine.start(seed), self._plan.batches(seed)
        weights, state = tf.constant(start.weights[None]), tf.constant(start.state[None])
        noise = tuple(map(tf.constant, start.noise))
        z, average, velocity, taken, performance, begin = weights, weights, tf.zeros_like(weights), 0, 0.0, 0
        keep, aucs = 0.5 ** (1 / HALF_LIFE), []
        for evaluation, end in enumerate(self._plan.evaluation_steps):
            place = performance if rule["by"] == "performance" else begin / self._plan.steps
            now = {lever: value_at(rule[lever], place, log=lever == "rate") for lever in LEVERS}
            mini = batches[begin:end].reshape(-1, int(now["batch_size"]))
            beta, r = (tf.fill(weights.shape, tf.constant(now[lever], tf.float32)) for lever in ("beta_1", "r"))
            weights, slots, state, noise, loss, _ = self._tick(
                (1 - beta) * z + beta * average,
                (z, average, velocity, beta, r),
                state,
                noise,
                tf.constant(taken),
                tf.constant(mini),
                tf.fill((len(mini), 1), tf.constant(now["rate"], tf.float32)),
            )
            z, average, velocity, *_ = slots
            taken, begin = taken + len(mini), end
            if not math.isfinite(float(loss[0])):
                break
            seen = min(max(1 - float(loss[0]) / self._guessing, 0.0), 1.0)
            performance = seen if evaluation == 0 else keep * performance + (1 - keep) * seen
            logits = self._engine.programs.forward(average, state, noise, self._validation).numpy()
            aucs.append(evaluate_logits(logits, self._engine.images.validation[1])[0][3])
        return self._plan.epochs(self._plan.evaluation_steps[: len(aucs)]), aucs


def _optimizer() -> Any:
    """Return ScheduleFreeAdamW with beta_1 and r among its slots, so that they may change between ticks."""
    import tensorflow as tf

    from metagd_optuna.training.optimizers import Optimizer

    def update(weights: Any, slots: Any, gradients: Any, rates: Any, step: Any) -> Any:
        z, average, velocity, beta, r = slots
        velocity += (tf.square(gradients) - velocity) * (1 - 0.999)
        z -= rates * gradients / (tf.sqrt(velocity / (1 - tf.pow(0.999, step))) + 1e-8)
        share = (r + 1) / (step + r)
        average = (1 - share) * average + share * z
        return (1 - beta) * z + beta * average, (z, average, velocity, beta, r)

    return Optimizer(lambda w: (w,) * 5, update, lambda w, slots: slots[1], None)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
