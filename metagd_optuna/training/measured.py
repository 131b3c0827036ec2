"""What a training measured: the mean loss and accuracy over exactly the examples since the last update of the rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras

# The names that Keras gives the accuracy in its logs.
ACCURACY_LOGS = ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy")

_REMEDY = (
    "keep it in a keras.metrics.Mean(name='loss') that the model lists in its metrics, or use a policy with the signal "
    "train-accuracy or one of validation"
)

Totals = tuple[float, float]


class Measured:
    """Mean loss and accuracy over the steps since the last update, from the totals and counts of Keras' metrics.

    Keras adds the loss of every batch, times its examples, to the total of a ``keras.metrics.Mean``. The difference of
    two totals is exact, whoever begins them anew in between: an epoch, ``train_on_batch``, an evaluation.

    A ``train_step`` of the user's own may log the loss of its batch and keep no mean of it. Then that is what is taken,
    and where no accuracy counts the examples, every batch weighs the same.

    Args:
        model: compiled.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._loss = _Quantity(model, ("loss",))
        self._accuracy = _Quantity(model, ACCURACY_LOGS)

    def before_step(self) -> None:
        """Take note of the totals before a step."""
        self._model.stop_evaluating = True  # evaluate() begins by taking it back, which tells that it was called
        self._loss.before_step()
        self._accuracy.before_step()

    def after_step(self, taken: int, logs: Mapping[str, Any], *, last: bool) -> None:
        """Add what was measured in the step that is behind.

        Args:
            taken: how many steps of the optimizer it was, with ``steps_per_execution``.
            logs: what the training logged.
            last: whether it was the last one of an epoch, whose batch may be smaller.
        """
        evaluated = not self._model.stop_evaluating
        examples = self._accuracy.after_step(taken, logs, last=last, evaluated=evaluated)
        self._loss.after_step(taken, logs, last=last, evaluated=evaluated, examples=examples)

    def take(self) -> tuple[float | None, float | None]:
        """Return mean loss and accuracy since the last call, None where they are not known, and begin anew."""
        return self._loss.take(), self._accuracy.take()

    @property
    def loss_problem(self) -> str:
        """Why the loss of some step is not known, and what to do; empty if all are."""
        return self._loss.problem

    @property
    def accuracy_problem(self) -> str:
        """The same for the accuracy."""
        return self._accuracy.problem

    @property
    def sums(self) -> list[float]:
        """Loss and its weight, accuracy and its weight, since the last update: what a training that goes on needs."""
        return [*self._loss.sums, *self._accuracy.sums]

    @sums.setter
    def sums(self, values: list[float]) -> None:
        self._loss.sums = values[0], values[1]
        self._accuracy.sums = values[2], values[3]


class Unmeasured:
    """What a rule is shown that looks at neither loss nor accuracy: to read them off at every step would cost time."""

    loss_problem = accuracy_problem = ""

    def __init__(self) -> None:
        self.sums = [0.0] * 4

    def before_step(self) -> None:
        """Take note of nothing."""

    def after_step(self, taken: int, logs: Mapping[str, Any], *, last: bool) -> None:
        """Add nothing."""

    def take(self) -> tuple[None, None]:
        """Return that loss and accuracy are not known."""
        return None, None


class _Quantity:
    """The sum of one quantity over the examples since the last update.

    Before a step a small fraction is added to the count of the metric that keeps the mean, and taken away after it.
    Where it is gone, something has begun the metric anew in between: two totals alone do not say so.

    Args:
        model: compiled.
        names: under which it may be logged, and which the metric that keeps it may have, the first that is there first.
    """

    def __init__(self, model: keras.Model, names: tuple[str, ...]) -> None:
        self._model = model
        self._names = names
        self._keeper: Any = None  # the metric that keeps the mean, once it is known
        self._before: dict[int, Totals] = {}  # before the step, by the metric's id
        self._mark = 0.0  # what the count of the keeper was raised by
        self._begins_anew: bool | None = None  # whether every step begins its means anew, as train_on_batch does
        self._per_step = 0.0  # examples of the last step, for each of those that Keras took at once
        self.sums: Totals = (0.0, 0.0)
        self.problem = ""

    def before_step(self) -> None:
        watched = _means(self._model) if self._keeper is None else (self._keeper,)
        self._before = {id(metric): _totals(metric) for metric in watched}
        self._mark = 0.0
        if self._keeper is not None:
            _, count = self._before[id(self._keeper)]
            self._mark = _mark_of(count, count + 4 * self._per_step)
            if self._mark:
                self._keeper.count.assign(count + self._mark)

    def after_step(
        self, taken: int, logs: Mapping[str, Any], *, last: bool, evaluated: bool, examples: float = 0.0
    ) -> float:
        """Add what a step measured; return over how many examples, 0 if that is not known.

        Args:
            evaluated: whether the model was evaluated between ``before_step`` and now.
            examples: in the step, if something else has counted them.
        """
        self._keeper = self._keeper or self._found(logs)
        if self._keeper is None:
            self._add_batch(taken, examples, logs)
            return 0.0
        total, count = self._difference(self._logged(logs, self._keeper.name), taken, last=last, evaluated=evaluated)
        self._per_step = count / taken
        self.sums = self.sums[0] + total, self.sums[1] + count
        return count

    def take(self) -> float | None:
        (total, count), self.sums = self.sums, (0.0, 0.0)
        return total / count if count and not self.problem else None

    def _logged(self, logs: Mapping[str, Any], name: str = "") -> float | None:
        return next((float(logs[known]) for known in (name, *self._names) if known in logs), None)

    def _found(self, logs: Mapping[str, Any]) -> Any:
        """Return the metric that keeps the mean: one of the names, or one that has the mean that is logged."""
        logged = self._logged(logs)
        before = self._before
        means = _means(self._model)
        moved = [metric for metric in means if _totals(metric) != before.get(id(metric), (0.0, 0.0))]
        named = [metric for name in self._names for metric in moved if metric.name == name]
        alike = [metric for metric in moved if logged is not None and _is_near(_totals(metric), logged)]
        if not named and not alike and logged is not None:
            # What is logged may be put together of several means, or be that of the batch alone.
            kept = sorted(metric.name for metric in moved if type(metric) is keras.metrics.Mean)
            if kept:
                self.problem = (
                    f"train_step logs a {self._names[0]!r} that none of the means which the model keeps "
                    f"({', '.join(kept)}) holds, so it is not known over which examples it is; {_REMEDY}"
                )
        return next(iter([*named, *alike]), None)

    def _difference(self, logged: float | None, taken: int, *, last: bool, evaluated: bool) -> Totals:
        """Return what a step added to total and count."""
        total, count = _totals(self._keeper)
        total_before, count_before = self._before.get(id(self._keeper), (0.0, 0.0))
        kept = bool(self._mark) and (count - count_before) % 1 == self._mark
        if kept:
            count -= self._mark
            self._keeper.count.assign(count)
            self._begins_anew = False
        elif logged is not None and count and not _is_near((total, count), logged):
            # Another callback has evaluated the model since the step: these totals are of other data.
            if self._per_step == 0 or last:
                self.problem = (
                    "another callback evaluates the model between a step and this callback, so it is not known how "
                    "many examples that step had; put this callback first in callbacks=[...]"
                )
            count = (0.0 if self._begins_anew else count_before) + self._per_step * taken
            total = logged * (count if self._begins_anew else count + self._mark)
        elif evaluated or (self._mark and self._begins_anew is False):
            self.problem = (
                "another callback evaluates the model as a step begins, so the totals of the training hold those of "
                "other data; evaluate it at the end of a step or of an epoch"
            )
        elif self._mark or 0 < count <= count_before:
            self._begins_anew = True
        return (total, count) if self._begins_anew else (total - total_before, count - count_before)

    def _add_batch(self, taken: int, examples: float, logs: Mapping[str, Any]) -> None:
        """Add the value that was logged, as that of the batch."""
        name, logged = self._names[0], self._logged(logs)
        if logged is None:
            self.problem = self.problem or (
                f"the policy looks at the training {name}, which is not among what the training measures, "
                f"{sorted(logs)}; let train_step return it as {name!r}, or {_REMEDY}"
            )
            return
        if taken > 1:
            self.problem = self.problem or (
                f"train_step logs the {name} of a batch, and with steps_per_execution only that of the last of {taken} "
                f"batches is seen; {_REMEDY}"
            )
        if self._model.train_function is None:  # a loop of the user's own, which may log anything
            self.problem = self.problem or (
                f"no metric of the model keeps the {name} that this loop logs, and whether that is of the batch, or a "
                f"mean since some beginning, is not known; {_REMEDY}"
            )
        weight = examples or float(taken)
        self.sums = self.sums[0] + logged * weight, self.sums[1] + weight


def _mark_of(count: float, largest: float) -> float:
    """Return a fraction that float32 holds beside a whole count up to ``largest``; 0 if the count is no whole number.

    >>> _mark_of(12.0, 60.0), _mark_of(60_000.0, 60_128.0), _mark_of(12.5, 60.0)
    (1.52587890625e-05, 0.015625, 0.0)
    """
    bits = 22 - math.ceil(math.log2(largest + 2))
    return 2.0 ** -min(bits, 16) if bits > 0 and count % 1 == 0 else 0.0


def all_metrics(model: keras.Model) -> Iterator[Any]:
    """Yield every metric of a model, those inside of others included."""
    waiting = list(model.metrics)
    while waiting:
        metric = waiting.pop(0)
        yield metric
        waiting.extend(getattr(metric, "metrics", ()))  # the compiled metrics are one metric that holds the others


def _means(model: keras.Model) -> list[Any]:
    return [metric for metric in all_metrics(model) if isinstance(metric, keras.metrics.Mean)]


def _totals(metric: Any) -> Totals:
    to_numpy = keras.ops.convert_to_numpy
    return float(to_numpy(metric.total)), float(to_numpy(metric.count))


def _is_near(totals: Totals, logged: float) -> bool:
    mean = totals[0] / totals[1] if totals[1] else math.nan
    return math.isclose(mean, logged, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(mean) and math.isnan(logged))
