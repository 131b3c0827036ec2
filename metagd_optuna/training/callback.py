"""A controller in the user's own Keras training."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import Context, Controller, MetaGDError, Observation, Validation
from metagd_optuna.policy import MetaPolicy, PolicyController
from metagd_optuna.training.loss_check import check_loss
from metagd_optuna.training.running_means import ACCURACY_LOGS, RunningMeans
from metagd_optuna.training.schedule_free import AveragePoint, ScheduleFreeAdamW

# Keras optimizers whose rates mean the same as those that a policy was searched with.
OPTIMIZER_FAMILIES = {
    "adam": ("Adam", "AdamW", "Nadam"),
    "sgd-nesterov": ("SGD",),
    "sgd": ("SGD",),
    "schedule-free-adamw": ("ScheduleFreeAdamW",),
    "schedule-free-adamw-r1": ("ScheduleFreeAdamW",),
}

# The power r by which the average of ScheduleFreeAdamW weighs its iterates, of the engine's two kinds of it.
AVERAGING_POWER = {"schedule-free-adamw": 0, "schedule-free-adamw-r1": 1}

# Momentum and whether it is Nesterov's, of the engine's two kinds of SGD.
SGD_MOMENTUM = {"sgd-nesterov": (0.9, True), "sgd": (0.0, False)}

# The name in Validation, and the names that Keras gives the same number in its logs.
VALIDATION_LOGS = {
    "loss": ("val_loss",),
    "accuracy": tuple(f"val_{name}" for name in ACCURACY_LOGS),
    "balanced_accuracy": ("val_balanced_accuracy",),
    "auc": ("val_auc", "val_AUC"),
}

# What a policy's signal is read from: a field of Observation, or of its Validation.
SIGNAL_FIELDS = {
    "train-accuracy": "train_accuracy",
    "val-auc": "auc",
    "val-balanced-accuracy": "balanced_accuracy",
    "val-accuracy": "accuracy",
}

# Signals that are read from the training loss: its height, which has to be a cross-entropy's, or how it falls.
LOSS_SIGNALS = ("train-loss", "improvement")

DEFAULT_TICKS = 120


class ControllerCallback(keras.callbacks.Callback):
    """Let a controller set the learning rate of every step of ``fit``.

    Args:
        controller: a meta-policy's or a baseline's controller.
        optimizer: what the controller's rates are meant for, a key of ``OPTIMIZER_FAMILIES``.
        complexity: of the task, in [0, 1].
        class_shares: share of every class among the training labels, shape (K,), summing to 1.
        ticks: how often per training the controller looks at the training loss.
        tick_ends: the steps at which it looks, instead of evenly spaced ones; the last is the budget.
        steps_per_epoch: where an epoch of ``fit`` is not a pass over the training set.
        validation_freq: as given to ``fit``: epochs from one validation to the next.

    A training that begins at a later epoch (``initial_epoch``) goes on in the schedule at that epoch; what was seen
    before is not known, so that until the first tick the network counts as one that guesses.

    With ScheduleFreeAdamW the model is taken to its average whenever ``fit`` validates or ends an epoch, and left there
    at the end. Callbacks that keep weights at the end of an epoch keep the average if ``fit`` validates, or if they
    come after this one.

    After training, ``rates`` holds the rate of every step taken and ``observations`` what was seen at every tick.

    Raises:
        MetaGDError: when training starts, if the model's optimizer is of another family than ``optimizer``, has a
            schedule for a rate, if Keras does not know the number of steps, or the loss is not one that performance
            can be read off; while it trains, if ``fit`` does not measure what the policy looks at.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        optimizer: str,
        complexity: float,
        class_shares: npt.ArrayLike,
        ticks: int = DEFAULT_TICKS,
        tick_ends: tuple[int, ...] | None = None,
        steps_per_epoch: float | None = None,
        validation_freq: int = 1,
    ) -> None:
        super().__init__()
        shares = np.asarray(class_shares, dtype=np.float64)
        adds_up = math.isclose(shares.sum(), 1.0, abs_tol=1e-6)
        if shares.ndim != 1 or len(shares) < 2 or not np.all(shares >= 0) or not adds_up:
            raise MetaGDError(
                f"class_shares={class_shares!r} must be the share of each of at least 2 classes, summing to 1; "
                "metagd_optuna.class_shares(labels) computes them"
            )
        if not _is_a(Real, complexity) or not 0.0 <= complexity <= 1.0:
            raise MetaGDError(
                f"complexity={complexity!r} must be a number in [0, 1]; metagd_optuna.measure_complexity(x, y) "
                "computes it"
            )
        if not _is_a(Integral, ticks) or ticks < 1:
            raise MetaGDError(f"ticks={ticks!r} must be a whole number of at least 1")
        if not _is_a(Integral, validation_freq) or validation_freq < 1:
            raise MetaGDError(
                f"validation_freq={validation_freq!r} must be a whole number of at least 1; pass what fit() gets, and "
                "for a list of epochs the longest way from one to the next"
            )
        self.controller = controller
        self.optimizer_family = optimizer
        self.complexity = float(complexity)
        self.class_shares = tuple(float(share) for share in shares)
        self.ticks = ticks
        self.tick_ends = tick_ends
        self.steps_per_epoch = steps_per_epoch
        self.validation_freq = validation_freq
        self.reads_loss = False
        self.loss_is_performance = False
        self.needs: str | None = None
        self.rates: list[float] = []
        self.observations: list[Observation] = []
        self._average: AveragePoint | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forget any earlier training and start the controller."""
        steps_per_epoch = self.params.get("steps")
        if not steps_per_epoch:
            raise MetaGDError(
                "fit() does not know how many steps an epoch has, so there is no budget for the policy; "
                "pass arrays, a dataset of known length, or steps_per_epoch to fit()"
            )
        self._holder = self._rate_holder()
        steps = int(self.params["epochs"]) * int(steps_per_epoch)
        count = min(self.ticks, steps)
        self._ends = self.tick_ends or tuple(round(i * steps / count) for i in range(1, count + 1))
        context = Context(
            self.complexity,
            self.class_shares,
            self.optimizer_family,
            self._ends[-1],
            self.steps_per_epoch or float(steps_per_epoch),
        )
        if self.loss_is_performance:
            check_loss(self.model, len(self.class_shares))
        self._state = self.controller.start(context)
        self._begin: int | None = None  # steps of the budget before the first one here
        self._observation = Observation(step=0)
        self._validation: Validation | None = None
        self._planned: npt.NDArray[np.float64] = np.empty(0)  # rates of the current tick
        self._used = 0  # steps of the current tick taken
        self._running = RunningMeans(self.model)
        self._unvalidated = 0  # epochs in a row
        self.rates = []
        self.observations = []
        self._average = self._average_point()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the model of an optimizer that averages at its average."""
        if self._average is not None:
            self._average.enter()

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Let ``fit`` validate the average, if the optimizer averages."""
        if self._average is not None:
            self._average.enter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note that Keras starts its running means anew, and where a training goes on that was interrupted."""
        if self._begin is None:
            self._begin = epoch * int(self.params["steps"])
            self._observation = Observation(step=self._begin)
        self._running.new_epoch()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate of the coming step; where a tick begins, ask the controller first."""
        if self._average is not None:
            self._average.leave()
        self._running.before_step(batch)
        if self._used == len(self._planned):
            # Asking as late as this lets the controller see validation metrics measured since the last step.
            step = self._step()
            end = next((end for end in self._ends if end > step), step + 1)
            observation = replace(self._observation, validation=self._validation)
            self._planned, self._state = self.controller.rates(self._state, observation, end - step)
            self._used = 0
        self._holder.learning_rate = float(self._planned[self._used])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take note of the loss; where a tick ends, make it the controller's next observation."""
        # With steps_per_execution, several steps at once; where it does not divide an epoch, Keras counts past its end.
        taken = self._running.add(min(batch + 1, int(self.params["steps"])), logs or {})
        self.rates.extend([float(self._planned[self._used])] * taken)
        self._used = min(self._used + taken, len(self._planned))
        if self._used == len(self._planned):
            loss, accuracy = self._running.mean_since_last()
            self._observation = Observation(self._step(), loss, accuracy, self._validation, self.rates[-1])
            self.observations.append(self._observation)
            if self.needs == "train_accuracy" and accuracy is None:
                raise MetaGDError(
                    f"the policy looks at the training accuracy, which is not among what fit() measures, "
                    f"{sorted(logs or {})}; compile the model with metrics=['accuracy']"
                )
            if self.reads_loss and "loss" not in (logs or {}):
                raise MetaGDError(
                    f"the policy looks at the training loss, which is not among what fit() measures, "
                    f"{sorted(logs or {})}; let train_step return it as 'loss'"
                )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take note of the validation metrics that Keras measured, if any."""
        if self._average is not None:
            self._average.enter()  # so that callbacks that come later keep the average
        logs = logs or {}
        known = {field: _names_in(logs, names) for field, names in VALIDATION_LOGS.items()}
        wanted = known.get(self.needs or "", ())
        measured = "val_loss" in logs and (not wanted or any(name in logs for name in wanted))
        self._unvalidated = 0 if measured else self._unvalidated + 1
        # What observe_validation was given counts as well.
        blind = bool(wanted) and self._validation is None
        if blind and not measured and ("val_loss" in logs or self._unvalidated >= self.validation_freq):
            raise MetaGDError(
                f"the policy looks at {' or '.join(wanted)}, which is not among what fit() measures, {sorted(logs)}; "
                "pass validation_data to fit() and a metric of that name to compile(), and validation_freq, if fit() "
                "has one, to this callback, too"
            )
        if measured:
            values = {
                field: float(next((logs[name] for name in names if name in logs), math.nan))
                for field, names in known.items()
            }
            self.observe_validation(Validation(step=self._step(), **values))

    def observe_validation(self, validation: Validation) -> None:
        """Take note of validation metrics measured elsewhere; the controller sees them at its next look."""
        self._validation = validation

    def _step(self) -> int:
        """Return how many steps of the budget are behind."""
        return (self._begin or 0) + len(self.rates)

    def _average_point(self) -> AveragePoint | None:
        """Return what takes the model to its average, ready for training; None if the optimizer does not average."""
        if not isinstance(self._holder, ScheduleFreeAdamW):
            return None
        if not self.model.trainable_variables:
            raise MetaGDError(
                "the model has no weights before its first step, and ScheduleFreeAdamW averages from there; begin it "
                "with keras.Input(shape), or call model.build(shape) before fit()"
            )
        if not self._holder.built:
            self._holder.build(self.model.trainable_variables)
        average = AveragePoint(self._holder)
        average.begin()
        return average

    def _check_averaging(self, optimizer: Any) -> None:
        """Refuse a ScheduleFreeAdamW that averages otherwise than the one that the policy was searched with."""
        r = AVERAGING_POWER.get(self.optimizer_family)
        if r is None:
            return
        wanted = f"metagd_optuna.ScheduleFreeAdamW(2.5e-3{', r=1' if r else ''})"
        if not isinstance(optimizer, ScheduleFreeAdamW):
            raise MetaGDError(
                f"this policy sets the rates of this package's ScheduleFreeAdamW with r={r}, but the model is compiled "
                f"with Keras' own, which departs from the paper in two ways; compile it with {wanted}"
            )
        if optimizer.r != r:
            raise MetaGDError(
                f"this policy was searched with r={r} in the average of ScheduleFreeAdamW, but the model is compiled "
                f"with r={optimizer.r}; compile it with {wanted}"
            )

    def _rate_holder(self) -> Any:
        """Return the optimizer that holds the rate; a mixed-precision wrapper only passes it on."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        allowed = OPTIMIZER_FAMILIES[self.optimizer_family]
        given = type(optimizer).__name__
        if given not in allowed:
            raise MetaGDError(
                f"this policy sets the rates of {self.optimizer_family}, but the model is compiled with {given}; "
                f"compile it with one of {', '.join(allowed)}"
            )
        self._check_averaging(optimizer)
        momentum = getattr(optimizer, "momentum", 0.0), getattr(optimizer, "nesterov", False)
        expected = SGD_MOMENTUM.get(self.optimizer_family, momentum)
        if momentum != expected:
            raise MetaGDError(
                f"this policy sets the rates of SGD with momentum={expected[0]}, nesterov={expected[1]}, but the model "
                f"is compiled with momentum={momentum[0]}, nesterov={momentum[1]}, where the same rate is a step of "
                f"another size; compile it with SGD(1e-2, momentum={expected[0]}, nesterov={expected[1]})"
            )
        if not isinstance(optimizer._learning_rate, keras.Variable):
            raise MetaGDError(
                f"the optimizer's learning_rate is a {type(optimizer._learning_rate).__name__}, which a callback "
                f"cannot steer; compile the model with a plain number, e.g. {given}(1e-3)"
            )
        return optimizer


class MetaPolicyCallback(ControllerCallback):
    """Steer the learning rate of ``fit`` by a meta-policy: d = f(c, p), rate = g(d, p).

    Args:
        policy: what ``load_policy`` returned.
        complexity: c of your task, from ``measure_complexity(x, y)``.
        class_shares: share of every class among your labels, from ``class_shares(y)``.
        ticks: how often per training the policy looks; by default as often as where it was searched.
        validation_freq: as given to ``fit``, for a policy that looks at validation metrics.

    Raises:
        MetaGDError: for arguments out of range; when training starts, if the model's optimizer is not the policy's.

    Example::

        callback = MetaPolicyCallback(policy, complexity=measure_complexity(x, y), class_shares=class_shares(y))
        model.fit(x, y, batch_size=policy.batch_size, epochs=20, callbacks=[callback])

    Keras tells a callback nothing about the batch, so it is not checked.
    """

    def __init__(
        self,
        policy: MetaPolicy,
        *,
        complexity: float,
        class_shares: npt.ArrayLike,
        ticks: int | None = None,
        validation_freq: int = 1,
    ) -> None:
        super().__init__(
            PolicyController(policy),
            optimizer=policy.optimizer,
            complexity=complexity,
            class_shares=class_shares,
            ticks=ticks if ticks is not None else _searched_ticks(policy),
            validation_freq=validation_freq,
        )
        self.policy = policy
        if policy.depends_on_performance:
            self.needs = SIGNAL_FIELDS.get(policy.signal)
            self.reads_loss = policy.signal in LOSS_SIGNALS
            self.loss_is_performance = policy.signal == "train-loss"


def _is_a(kind: type, value: object) -> bool:
    """Return whether a user's argument is a number of that kind, NumPy's included, which annotations cannot say."""
    return isinstance(value, kind)


def _names_in(logs: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of a metric with that under which Keras logs it, which it numbers from a process' second model on.

    >>> _names_in({"val_auc_3": 0.9}, ("val_auc", "val_AUC"))
    ('val_auc', 'val_AUC', 'val_auc_3')
    """
    numbered = [log for log in logs if any(re.fullmatch(rf"{name}_\d+", log) for name in names)]
    return (*names, *numbered) if len(numbered) == 1 else names


def _searched_ticks(policy: MetaPolicy) -> int:
    """Return how often per training a policy looked where it was searched; the default for one written by hand."""
    ticks = policy.provenance.get("ticks", DEFAULT_TICKS)
    if isinstance(ticks, bool) or not isinstance(ticks, int):
        raise MetaGDError(
            f"the policy's provenance says ticks={ticks!r}, which must be a whole number of at least 1; "
            "correct the policy's file, or pass ticks= to the callback"
        )
    return ticks
