"""A controller in the user's own Keras training."""

from __future__ import annotations

import json
import math
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy.typing as npt

from metagd_optuna.contracts import (
    Context,
    Controller,
    MetaGDError,
    MetaGDWarning,
    Observation,
    Probing,
    Validation,
)
from metagd_optuna.policy import Replay, ScheduleController
from metagd_optuna.policy.probes import with_probes
from metagd_optuna.policy.signal import entropy
from metagd_optuna.training import arguments
from metagd_optuna.training.backend import check_backend
from metagd_optuna.training.batch_norm import BATCHES, batch_norm_layers, recalibrate_batch_norm
from metagd_optuna.training.chance_loss import Penalty, check_added_losses, measure_chance_loss
from metagd_optuna.training.keras_probe import opened_probe
from metagd_optuna.training.measured import Measured, Unmeasured
from metagd_optuna.training.network_complexity import network_complexity
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW
from metagd_optuna.training.steered_optimizer import RateWatch, check_optimizer, iterations_of, optimizer_of
from metagd_optuna.training.steering import Steering, found_state, holder_on
from metagd_optuna.training.validation_logs import VALIDATION_LOGS, read_validation

DEFAULT_UPDATES = 120


class ControllerCallback(keras.callbacks.Callback):
    """Let a controller set the learning rate of every step of ``fit``.

    Args:
        controller: a meta-policy's or a baseline's controller.
        optimizer: what the controller's rates are meant for, a key of ``policy.optimizers.OPTIMIZERS``.
        complexity: of the task, in [0, 1].
        class_frequencies: share of every class among the training labels, shape (K,), summing to 1.
        rate updates: how often per training the controller looks at the training loss.
        update_steps: the steps at which it looks, instead of evenly spaced ones; the last is the budget.
        steps_per_epoch: where an epoch of ``fit`` is not a pass over the training set.
        validation_freq: as given to ``fit``: epochs from one validation to the next.
        budget: epochs of the whole training, if it is made of several calls of ``fit``; without it, those of each call.
        budget_steps: the same in steps.
        class_weight: as given to ``fit``: class number to weight.
        chance_loss: loss that ``fit`` logs for a network which answers the class frequencies; measured if left out.
        batch_norm_data: training images to re-estimate the statistics of batch normalisation on: all of them where
            training ends, and with ScheduleFreeAdamW some hundred before every validation.
        probe: training images and their labels, of which 32 are used, for a controller that has the coming step probed.

    A training that begins at a later epoch (``initial_epoch``), or that has a ``budget``, goes on where the last one of
    the same model ended. The state travels with the weights of the model where Keras saves and loads them;
    ``get_state`` and ``set_state`` hand it over otherwise.

    With ScheduleFreeAdamW the model is taken to its average whenever ``fit`` validates or ends an epoch, and left there
    at the end. Callbacks that keep weights at the end of an epoch keep the average if ``fit`` validates, or if they
    come after this one.

    The logs of every epoch, and so the history, hold ``learning_rate``, and ``performance`` and ``difficulty`` where
    the controller has them: those behind the last rate of the epoch, NaN until something was seen. After training,
    ``rates`` holds the rate of every step taken and ``observations`` what was seen at every rate update.

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
        class_frequencies: npt.ArrayLike,
        rate_updates: int = DEFAULT_UPDATES,
        update_steps: tuple[int, ...] | None = None,
        steps_per_epoch: float | None = None,
        validation_freq: int = 1,
        budget: int | None = None,
        budget_steps: int | None = None,
        class_weight: Mapping[int, float] | None = None,
        chance_loss: float | None = None,
        batch_norm_data: Any = None,
        probe: tuple[Any, Any] | None = None,
    ) -> None:
        check_backend()
        super().__init__()
        self.controller = controller
        self.optimizer_family = optimizer
        self.complexity = arguments.complexity(complexity)
        self.class_frequencies = arguments.class_frequencies(class_frequencies)
        self.rate_updates = arguments.whole("rate_updates", rate_updates)
        self.update_steps = update_steps
        self.steps_per_epoch = steps_per_epoch
        self.validation_freq = arguments.validation_freq(validation_freq)
        self.budget, self.budget_steps = arguments.budget(budget, budget_steps)
        self.class_weight = arguments.class_weight(class_weight, len(self.class_frequencies))
        self.chance_loss = arguments.chance_loss(chance_loss)
        self.batch_norm_data = batch_norm_data
        self.probe = arguments.probe(probe)
        self.measures = True  # whether loss and accuracy since the last update are wanted at all
        self.reads_loss = False
        self.loss_is_performance = False
        self.open_loop = isinstance(controller, ScheduleController | Replay)
        self.needs: str | None = None
        self.rates: list[float] = []
        self.observations: list[Observation] = []
        self._steering: Steering | None = None
        self._given: Steering | None = None  # by set_state, for the next training
        self._trains = False
        self._may_stand_at_average = False

    def get_state(self) -> dict[str, Any]:
        """Return where the training stands as JSON-able values, for ``set_state`` of another callback.

        Raises:
            MetaGDError: if there was no training yet.
        """
        if self._steering is None:
            raise MetaGDError("there is no state before the first training; call fit() with this callback first")
        return self._steering.to_dict()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on, in the next training, where the one was after which ``get_state`` was called.

        Raises:
            MetaGDError: for anything else than what ``get_state`` returned; when training starts, if the state is that
                of another rule or task.
        """
        self._given = Steering.from_dict(state)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of a copy what belongs to the training that goes on."""
        running = ("_model", "_optimizer", "_measured", "_watch", "_penalty", "_probe")
        return {key: value for key, value in self.__dict__.items() if key not in running} | {"_model": None}

    def set_model(self, model: keras.Model) -> None:
        """Take the model, and let it carry the state, before any callback restores what it carried."""
        super().set_model(model)
        if model is not None:
            holder_on(model)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check what is to be trained, and start the controller."""
        self.rates = []
        self.observations = []
        self._in_step = False
        self._begun = False
        self._warned: set[str] = set()
        self._steps = int(self.params.get("steps") or 0)
        epochs = int(self.params.get("epochs") or 0)
        self._trains = epochs > 0
        if not self._trains:
            return
        check_optimizer(self.model, self.optimizer_family)
        self._optimizer = optimizer_of(self.model)
        self._averages = isinstance(self._optimizer, ScheduleFreeAdamW)
        if not self._steps:
            raise MetaGDError(
                "fit() does not know how many steps an epoch has, so there is no budget for the policy; "
                "pass arrays, a dataset of known length, or steps_per_epoch to fit()"
            )
        if self._averages:
            self._optimizer.check_variables(self.model.trainable_variables)
        if self._averages and not self.model.trainable_variables:
            raise MetaGDError(
                "the model has no weights before its first step, and ScheduleFreeAdamW averages from there; begin it "
                "with keras.Input(shape), or call model.build(shape) before fit()"
            )
        if self._averages and self.batch_norm_data is None and batch_norm_layers(self.model):
            self._warn(
                "batch norm",
                "the model has batch normalisation, and its moving statistics are those of the weights that train; "
                "the averaged weights that fit() validates and that stay at the end see their images otherwise: give "
                "the callback batch_norm_data=, some hundred training images or more",
            )
        steps = self.budget_steps or (self.budget or epochs) * self._steps
        count = min(self.rate_updates, steps)
        ends = self.update_steps or tuple(round(i * steps / count) for i in range(1, count + 1))
        probes = self.controller.probes if isinstance(self.controller, Probing) else 0
        self._probe = opened_probe(self.model, self.probe, self.class_weight) if probes else None
        self._ends = with_probes(ends, probes)
        per_epoch = self.steps_per_epoch or float(self._steps)
        self._chance = self._chance_loss()
        context = Context(
            self.complexity,
            self.class_frequencies,
            self.optimizer_family,
            self._ends[-1],
            per_epoch,
            self._chance,
            network_complexity(self.model),
        )
        self._fresh = Steering(self._training(), 0, self.controller.start(context), Observation(step=0))
        self._measured = Measured(self.model) if self.measures else Unmeasured()
        self._watch = RateWatch(self._optimizer)
        self._may_stand_at_average = True

    def _chance_loss(self) -> float | None:
        """Return what chance level costs under the loss, if performance is read off it."""
        self._penalty: Penalty | None = None
        if not self.loss_is_performance or self.chance_loss is not None:
            return self.chance_loss
        measured = measure_chance_loss(self.model, self.class_frequencies, self.class_weight)
        self._penalty = Penalty(self.model)
        return measured

    def _training(self) -> str:
        """Return what a state is the state of."""
        task = {
            "complexity": self.complexity,
            "class_frequencies": self.class_frequencies,
            "optimizer": self.optimizer_family,
        }
        return json.dumps({"rule": self._rule(), **task}, sort_keys=True)

    def _rule(self) -> Any:
        settings = json.dumps(vars(self.controller), default=lambda value: type(value).__name__, sort_keys=True)
        return [type(self.controller).__name__, settings]

    def _begin(self, epoch: int) -> None:
        """Find where the training begins: at its start, or where an earlier part of it ended."""
        self._begun = True
        iterations, carried = iterations_of(self._optimizer), holder_on(self.model).steering
        # Keras begins an epoch anew that was cut off, with the weights of its middle; the first one is epoch 0 again.
        restored = carried is not None and carried.optimizer is None and carried.step < self._steps
        goes_on = epoch > 0 or restored or bool(self.budget or self.budget_steps)
        candidates = [self._steering, carried] if goes_on else []
        found = found_state(self._given, candidates, self._training(), self._optimizer, iterations)
        self._given = None
        step = epoch * self._steps if epoch or found is None else found.step - found.step % self._steps
        if found is None:
            self._steering = replace(self._fresh, step=step, observation=Observation(step=step))
            if step and not self.open_loop:
                self._warn(
                    "unseen",
                    f"this training goes on at step {step} of its budget, and what the policy had seen before is not "
                    "known, so it begins as one that has seen nothing; fit the same model on, or hand the state over: "
                    "callback.set_state(the_other.get_state())",
                )
        else:
            self._steering = found.at(step, self._fresh.controller, self._ends)
            self._measured.sums = self._steering.sums
            if self._penalty is not None and self._steering.planned:
                self._penalty.begin(self.model, len(self._steering.planned) - self._steering.used)
        self._steering.optimizer = weakref.ref(self._optimizer)
        self._steering.iterations, self._steering.since = iterations, 0
        end = step + (int(self.params["epochs"]) - epoch) * self._steps
        if end > self._ends[-1]:
            raise MetaGDError(
                f"this fit() would end after step {end} of a training whose budget is {self._ends[-1]} steps, and "
                f"{step} are behind; give the callback a larger budget, say initial_epoch= to fit(), or compile the "
                "model anew for a new training"
            )
        holder_on(self.model).steering = self._steering

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the model of an optimizer that averages at its average, with the statistics that belong to it."""
        if not self._trains:
            return
        self._probe = None  # a copy of all weights, and programs
        self._enter_average()
        if self.batch_norm_data is not None:
            recalibrate_batch_norm(self.model, self.batch_norm_data)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Let ``fit`` validate the average, if the optimizer averages, with the statistics that belong to it."""
        self._enter_average()

    def _enter_average(self) -> None:
        optimizer = optimizer_of(self.model)
        if not isinstance(optimizer, ScheduleFreeAdamW):
            return
        optimizer.enter_average()
        if self._may_stand_at_average:
            return
        self._may_stand_at_average = True
        if self.batch_norm_data is not None:
            recalibrate_batch_norm(self.model, self.batch_norm_data, batches=BATCHES)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Find where a training begins that goes on, and count the steps of the epoch anew."""
        if not self._begun:
            self._begin(epoch)
        self._of_epoch = 0
        self._in_step = False  # data that ran out leave a step that was begun and not ended
        self._may_stand_at_average = True

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the rate of the coming step; at a rate update, ask the controller first."""
        if self._in_step:
            raise MetaGDError("this callback stands in callbacks=[...] twice; name it once")
        self._in_step = True
        if self._begun and self._leaves_alone(self._state_now()):
            return
        model = self._with_values()
        if not self._begun:
            self.on_epoch_begin(0)
        if self._may_stand_at_average and self._averages:
            self._optimizer.leave_average()
        self._may_stand_at_average = False
        self._measured.before_step()
        now = self._state_now()
        if now.used == len(now.planned):
            # Asking as late as this lets the controller see validation metrics measured since the last step.
            end = next((end for end in self._ends if end > now.step), now.step + 1)
            seen = replace(now.observation, step=now.step, validation=now.validation)
            if self._probe is not None and isinstance(self.controller, Probing):
                tried = self.controller.trial_rates(now.controller, now.step)
                seen = replace(seen, probe=self._probe(tried) if tried else None)
            planned, now.controller = self.controller.rates(now.controller, seen, end - now.step)
            now.planned, now.used = [float(rate) for rate in planned], 0
            if self._penalty is not None:
                self._penalty.begin(model, end - now.step)
        other = self._watch.set(now.planned[now.used])
        if other is not None:
            self._warn(
                "rate",
                f"something else has set the learning rate to {other:.3g} (ReduceLROnPlateau, LearningRateScheduler or "
                "another callback), and this callback sets it at every step, so that has no effect; leave one of the "
                "two out",
            )

    def _with_values(self) -> keras.Model:
        """Return the model; on JAX, asking for it is what gives its variables their values back after a step."""
        return self.model

    def _leaves_alone(self, now: Steering) -> bool:
        """Return whether the coming step needs nothing of the model: nothing is measured, and the rate is the last one.

        On JAX alone, where to ask for the model takes all of its variables out of the step that is behind, and Keras
        keeps them elsewhere meanwhile.
        """
        elsewhere = (
            None if getattr(self._model, "_jax_state_synced", True) else getattr(self._model, "_jax_state", None)
        )
        if elsewhere is None or self.measures or self._may_stand_at_average or now.used == len(now.planned):
            return False
        variables = self._model.optimizer.variables
        return self._watch.is_set(now.planned[now.used], variables, elsewhere["optimizer_variables"])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take note of the loss; at a rate update, make it the controller's next observation."""
        self._in_step = False
        logs, now = logs or {}, self._state_now()
        if self.measures:
            self._with_values()
        # With steps_per_execution, several steps at once; where it does not divide an epoch, Keras counts past its end.
        done = min(batch + 1, self._steps)
        taken = max(done - self._of_epoch, 1)
        self._of_epoch += taken
        self._measured.after_step(taken, logs, last=self._of_epoch >= self._steps)
        self.rates.extend([now.planned[now.used]] * taken)
        now.step += taken
        now.since += taken
        now.used = min(now.used + taken, len(now.planned))
        if self._penalty is not None:
            self._penalty.after_steps(self.model, taken)
        if now.used == len(now.planned):
            self._observe(logs)
        now.sums = self._measured.sums

    def _observe(self, logs: Mapping[str, Any]) -> None:
        """Make what was measured since the last update the next observation."""
        now = self._state_now()
        loss, accuracy = self._measured.take()
        if self.reads_loss and loss is None:
            raise MetaGDError(self._measured.loss_problem)
        if self.needs == "train_accuracy" and accuracy is None:
            raise MetaGDError(
                self._measured.accuracy_problem
                or "the policy looks at the training accuracy, which is not among what fit() measures, "
                f"{sorted(logs)}; compile the model with metrics=['accuracy']"
            )
        if self._penalty is not None and loss is not None:
            check_added_losses(self.model)  # what a call of the model's own adds is seen after a step only
            loss -= self._penalty.mean(self.model)
            self._check_weights(loss, accuracy)
        now.observation = Observation(now.step, loss, accuracy, now.validation, self.rates[-1])
        self.observations.append(now.observation)

    def _check_weights(self, loss: float, accuracy: float | None) -> None:
        """Log so where a cross-entropy is too low for its accuracy: the images are weighted, and this was not told.

        An image that is misclassified gets at most half of the probability, so that at most L / log 2 of them are.
        """
        plain = self._chance is not None and math.isclose(self._chance, entropy(self.class_frequencies), rel_tol=1e-6)
        if plain and self.class_weight is None and accuracy is not None and 1 - accuracy > loss / math.log(2) + 0.01:
            self._warn(
                "weights",
                f"the training loss {loss:.3g} is too low for an accuracy of {accuracy:.3g}, so images are weighted, "
                "and performance is read off as if they were not; give the callback the class_weight= that fit() gets, "
                "or chance_loss=, the loss that fit() logs for a network which answers the class frequencies",
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take note of the validation metrics that Keras measured, if any, and log the rate."""
        logs = {} if logs is None else logs
        now = self._state_now()
        self._check_averages()
        self._enter_average()  # so that callbacks that come later keep the average
        wanted = VALIDATION_LOGS.get(self.needs or "", ())
        validation = read_validation(logs, self.model, now.step, self.needs)
        now.unvalidated = 0 if validation is not None else now.unvalidated + 1
        # What observe_validation was given counts as well.
        blind = bool(wanted) and now.validation is None and validation is None
        if blind and ("val_loss" in logs or now.unvalidated >= self.validation_freq):
            raise MetaGDError(
                f"the policy looks at {' or '.join(wanted)}, which is not among what fit() measures, {sorted(logs)}; "
                "pass validation_data to fit() and a metric of that name to compile(), and validation_freq, if fit() "
                "has one, to this callback, too"
            )
        if validation is not None:
            now.validation = validation
        now.iterations, now.since = iterations_of(self._optimizer), 0
        logs["learning_rate"] = self.rates[-1] if self.rates else math.nan
        logs.update(self._logged(now.controller))

    def _logged(self, state: Any) -> dict[str, float]:
        """Return what an epoch's logs say of a controller's state: p and d where it has them."""
        return {}

    def _check_averages(self) -> None:
        """Log so where the average of some layer is one step, because something sets its weights at every step."""
        if not self._averages or self._of_epoch < 4 or "average" in self._warned:
            return
        written = [path for path, steps in self._optimizer.averaged_steps().items() if steps == 1]
        if written:
            self._warn(
                "average",
                f"the weights {', '.join(written[:5])} are set at every step by something else than the optimizer "
                "(SpectralNormalization, or a callback), so there is no average of them: their last value is used",
            )

    def observe_validation(self, validation: Validation) -> None:
        """Take note of validation metrics measured elsewhere; the controller sees them at its next look."""
        self._state_now().validation = validation

    def _state_now(self) -> Steering:
        if self._steering is None:
            raise MetaGDError(
                "the training has not begun; call on_train_begin() and on_epoch_begin() first, as fit() does"
            )
        return self._steering

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, MetaGDWarning, stacklevel=2)
