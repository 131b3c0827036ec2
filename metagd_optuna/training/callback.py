"""A policy in the user's own Keras training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy, Policy, PolicyState
from metagd_optuna.training import arguments
from metagd_optuna.training.controller_callback import DEFAULT_UPDATES, ControllerCallback

# What a policy's signal is read from: a field of Observation, or of its Validation.
SIGNAL_FIELDS = {
    "train-accuracy": "train_accuracy",
    "val-auc": "auc",
    "val-balanced-accuracy": "balanced_accuracy",
    "val-accuracy": "accuracy",
    "val-loss": "loss",
}

# Signals that are read from the training loss: its height, which has to be a cross-entropy's, or how it falls.
LOSS_SIGNALS = ("train-loss", "improvement")

# By how much a training's budget, and the number of updates in it, may differ from the search's without a warning.
FAR_BUDGET, FAR_UPDATES = 4.0, 2.0


class MetaPolicyCallback(ControllerCallback):
    """Steer the learning rate of ``fit`` by a meta-policy, d = f(c, p), rate = g(d, p), or by any other policy.

    Args:
        policy: what ``load_policy`` returned.
        complexity: c of your task, from ``measure_complexity(x, y)``. A policy without f needs none, nor does a
            baseline or one whose c is of the network, which is measured on the model.
        class_frequencies: share of every class among your labels, from ``class_frequencies(y)``.
        rate_updates: how often per training the policy looks; by default as often as where it was searched.
        validation_freq: as given to ``fit``, for a policy that looks at validation metrics.
        budget: epochs of the whole training, if it is made of several calls of ``fit``; without it, those of each call.
        budget_steps: the same in steps.
        class_weight: as given to ``fit``: class number to weight.
        chance_loss: loss that ``fit`` logs for a network which answers the class frequencies; without it, it is
            measured under the compiled loss.
        batch_norm_data: training images to re-estimate the statistics of batch normalisation on: with ScheduleFreeAdamW
            before every validation, and with any optimizer where training ends, as
            ``recalibrate_batch_norm`` does.
        probe: training images and their labels as ``fit`` gets them, (x, y), for a policy that has the coming step
            probed: it needs 32 of them, and none of validation.

    Raises:
        MetaGDError: for arguments out of range; when training starts, if the model's optimizer is not the policy's.

    Example::

        callback = MetaPolicyCallback(
            policy, complexity=measure_complexity(x, y), class_frequencies=class_frequencies(y)
        )
        model.fit(x, y, batch_size=policy.batch_size, epochs=10, callbacks=[callback])

    Keras tells a callback nothing about the batch, so it is not checked.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        complexity: float | None = None,
        class_frequencies: npt.ArrayLike,
        rate_updates: int | None = None,
        validation_freq: int = 1,
        budget: int | None = None,
        budget_steps: int | None = None,
        class_weight: Mapping[int, float] | None = None,
        chance_loss: float | None = None,
        batch_norm_data: Any = None,
        probe: tuple[Any, Any] | None = None,
    ) -> None:
        policy = arguments.policy(policy)
        if not policy.needs_complexity:
            # Whatever it is, the rate does not follow it: a training may go on without, or with another.
            if complexity is not None:
                arguments.complexity(complexity)
            complexity = 0.0
        super().__init__(
            policy.controller(),
            optimizer=policy.optimizer,
            complexity=complexity,  # type: ignore[arg-type]
            class_frequencies=class_frequencies,
            rate_updates=rate_updates
            if rate_updates is not None
            else arguments.searched_updates(policy, DEFAULT_UPDATES),
            validation_freq=validation_freq,
            budget=budget,
            budget_steps=budget_steps,
            class_weight=class_weight,
            chance_loss=chance_loss,
            batch_norm_data=batch_norm_data,
            probe=probe,
        )
        self.policy = policy
        self.open_loop = policy.reads is None and not (isinstance(policy, MetaPolicy) and policy.probes)
        # An open-loop rule with an f logs performance and difficulty as well, where there is one.
        signal = policy.signal if isinstance(policy, MetaPolicy) and policy.difficulty is not None else policy.reads
        self.measures = signal is not None
        self.loss_is_performance = signal == "train-loss"
        if policy.reads is not None:
            self.needs = SIGNAL_FIELDS.get(policy.reads)
            self.reads_loss = policy.reads in LOSS_SIGNALS

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Check what is to be trained, and start the controller."""
        super().on_train_begin(logs)
        if self._trains and (not self.open_loop or self.policy.timed):
            self._compare_with_search()

    def _compare_with_search(self) -> None:
        """Log so where the training is far longer or shorter than those that the policy was found in."""
        found = arguments.searched(self.policy)
        epochs = self._ends[-1] / self._steps
        for what, here, there, far in (
            ("epochs", epochs, found.get("budget_epochs"), FAR_BUDGET),
            ("updates of the rate", float(len(self._ends)), found.get("rate_updates"), FAR_UPDATES),
        ):
            if there and not 1 / far <= here / there <= far:
                self._warn(
                    what,
                    f"this training has {here:.3g} {what}, and the policy was found in trainings of {there:.3g}: what "
                    "was measured of the policy need not hold here",
                )

    def _chance_loss(self) -> float | None:
        if self.policy.reads is not None:
            return super()._chance_loss()
        try:
            return super()._chance_loss()
        except MetaGDError:  # the rate does not depend on it: any loss will do, and p is not logged
            self._penalty = None
            return None

    def _rule(self) -> Any:
        return {key: value for key, value in self.policy.to_dict().items() if key != "provenance"}

    def _logged(self, state: Any) -> dict[str, float]:
        if not self.measures or not isinstance(state, PolicyState):
            return {}
        if self.loss_is_performance and self._chance is None:
            return {}
        values = {"performance": state.performance}
        if not isinstance(self.policy, MetaPolicy) or self.policy.difficulty is not None:
            values["difficulty"] = state.difficulty
        return {name: math.nan if value is None else float(value) for name, value in values.items()}
