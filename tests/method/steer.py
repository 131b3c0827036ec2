"""Steer batch, momentum or rate of ScheduleFreeAdamW with performance or time: is it better than what is held?

python tests/method/steer.py rules.jsonl breastmnist bccd_cells3.npz --data-dir FOLDER --seeds 8

Each line of the file is a rule: {"name": "batch of 8", "rate": 0.0018, "batch_size": 8}. Instead of a value, each of
rate, batch_size, beta_1 and r may be a list of steps [[until, value], ...] over "by", or {"from": a, "to": b}, a line
over it, on a log scale for the rate. Unless said the batch is 32, beta_1 0.9 and r 1. What is steered changes at
evaluations. Tasks, seeds, targets and the table are those of explore.py. "by" is from 0 to 1, and one of

time         share of the budget
performance  p from the training loss L, clip(1 - L / H)
improvement  relative fall of the training loss from one evaluation to the next, 1 at a twentieth or more
gap          how much the validation loss exceeds the training loss, 1 at a fifth of H or more
norm         size of the gradient over the largest so far
agreement    the share of the gradients that the steps since the last evaluation have in common, 1 at a fifth or more

where H is the loss of chance level; all but the time are smoothed with a half-life of two evaluations.
"""

from __future__ import annotations

import math
from typing import Any

from explore import compare, parser_of, rules_in

HALF_LIFE = 2.0  # evaluations
BATCH = 32
LEVERS = {"rate": None, "batch_size": BATCH, "beta_1": 0.9, "r": 1.0}
BY = ("time", "performance", "improvement", "gap", "norm", "agreement")
IMPROVEMENT, GAP, AGREEMENT = 0.05, 0.2, 0.2  # what counts as 1


def main() -> None:
    """Train all rules on all tasks and print the times."""
    options = parser_of(__doc__).parse_args()
    compare(
        [checked(rule) for rule in rules_in(options.rules)],
        options,
        lambda task_trainer, *_: Steered(task_trainer).train,
    )


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


class Signal:
    """What a rule looks at, from 0 to 1; 0 before anything was seen.

    Args:
        by: its name.
        chance: H.
    """

    def __init__(self, by: str, chance: float) -> None:
        self._by, self._chance = by, chance
        self._before, self._largest = math.inf, 0.0
        self._smooth: float | None = None

    @property
    def value(self) -> float:
        """The signal after smoothing."""
        return self._smooth or 0.0

    def see(self, loss: float, validation_loss: float, total: float, squares: float, steps: int) -> None:
        """Take note of the steps since the last evaluation.

        Args:
            loss, validation_loss: means, in nats.
            total: squared length of the sum of the gradients.
            squares: sum of their squared lengths.
            steps: how many.
        """
        size = math.sqrt(squares / steps)
        self._largest = max(self._largest, size)
        found = {
            "time": 0.0,
            "performance": 1 - loss / self._chance,
            "improvement": (1 - loss / self._before) / IMPROVEMENT,
            "gap": (validation_loss - loss) / self._chance / GAP,
            "norm": size / self._largest if size else 0.0,
            # Independent gradients give 1 / steps in the mean.
            "agreement": (total / squares - 1) / (steps - 1) / AGREEMENT if steps > 1 and squares else 0.0,
        }[self._by]
        if self._by != "improvement" or math.isfinite(self._before):
            keep = 0.5 ** (1 / HALF_LIFE)
            found = min(max(found, 0.0), 1.0)
            self._smooth = found if self._smooth is None else keep * self._smooth + (1 - keep) * found
        self._before = loss


class Steered:
    """Trains steered rules on one task.

    Args:
        task_trainer: the task, ready for training.
    """

    def __init__(self, task_trainer: Any) -> None:
        import tensorflow as tf

        from metagd_optuna.policy.signal import entropy
        from metagd_optuna.training.programs import steps_of

        self._plan, self._engine = task_trainer.plan, task_trainer.trainer
        self._chance = entropy(task_trainer.class_frequencies)
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
        zeros = tf.zeros_like(weights)
        z, average, velocity, taken, begin = weights, weights, zeros, 0, 0
        signal, aucs = Signal(rule["by"], self._chance), []
        for end in self._plan.evaluation_steps:
            place = begin / self._plan.steps if rule["by"] == "time" else signal.value
            now = {lever: value_at(rule[lever], place, log=lever == "rate") for lever in LEVERS}
            mini = batches[begin:end].reshape(-1, int(now["batch_size"]))
            beta, r = (tf.fill(weights.shape, tf.constant(now[lever], tf.float32)) for lever in ("beta_1", "r"))
            weights, slots, state, noise, loss, _ = self._tick(
                (1 - beta) * z + beta * average,
                (z, average, velocity, beta, r, zeros, zeros),
                state,
                noise,
                tf.constant(taken),
                tf.constant(mini),
                tf.fill((len(mini), 1), tf.constant(now["rate"], tf.float32)),
            )
            z, average, velocity, *_, total, squares = slots
            taken, begin = taken + len(mini), end
            if not math.isfinite(float(loss[0])):
                break
            logits = self._engine.programs.forward(average, state, noise, self._validation).numpy()
            [(validation_loss, _, _, auc)] = evaluate_logits(logits, self._engine.images.validation[1])
            aucs.append(auc)
            signal.see(
                float(loss[0]),
                validation_loss,
                float(tf.reduce_sum(tf.square(total))),
                float(tf.reduce_sum(squares)),
                len(mini),
            )
        return self._plan.epochs(self._plan.evaluation_steps[: len(aucs)]), aucs


def _optimizer() -> Any:
    """Return ScheduleFreeAdamW with beta_1, r and sums of gradients and of their squares among its slots."""
    import tensorflow as tf

    from metagd_optuna.training.optimizers import UpdateRule

    def update(weights: Any, slots: Any, gradients: Any, rates: Any, step: Any) -> Any:
        z, average, velocity, beta, r, total, squares = slots
        velocity += (tf.square(gradients) - velocity) * (1 - 0.999)
        z -= rates * gradients / (tf.sqrt(velocity / (1 - tf.pow(0.999, step))) + 1e-8)
        share = (r + 1) / (step + r)
        average = (1 - share) * average + share * z
        return (1 - beta) * z + beta * average, (
            z,
            average,
            velocity,
            beta,
            r,
            total + gradients,
            squares + tf.square(gradients),
        )

    return UpdateRule(lambda w: (w,) * 7, update, lambda w, slots: slots[1])


if __name__ == "__main__":
    main()
