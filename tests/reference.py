"""The slow twin of the population engine: one ``fit`` per candidate, all of it Keras' own.

The engine must give the same curves as this (tested). Nothing here is fast, and everything is plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import (
    Context,
    Controller,
    Curve,
    FloatArray,
    Observation,
    RunPlan,
    RunRecord,
    TrainingJob,
    Validation,
)
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.batch_norm import BATCH, BATCHES, mixed_rows, recalibrate_batch_norm
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.controller_callback import ControllerCallback
from metagd_optuna.training.engine import Images
from metagd_optuna.training.evaluation import evaluate_logits
from metagd_optuna.training.network import BuildNetwork
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW


class _Held:
    """A controller whose every rate is held for several steps of ``fit``, which are one step of the plan."""

    def __init__(self, controller: Controller, updates: int) -> None:
        self.controller = controller
        self.updates = updates

    def start(self, context: Context) -> Any:
        """Return the controller's state, told the plan's steps."""
        steps, per_epoch = context.steps // self.updates, context.steps_per_epoch / self.updates
        return self.controller.start(replace(context, steps=steps, steps_per_epoch=per_epoch))

    def rates(self, state: Any, observation: Observation, steps: int) -> tuple[FloatArray, Any]:
        """Return one rate per step of ``fit``, shape (steps,), and the new state."""
        seen = replace(observation, step=observation.step // self.updates)
        rates, state = self.controller.rates(state, seen, steps // self.updates)
        return np.repeat(rates, self.updates), state


class _Evaluate(keras.callbacks.Callback):
    """Measure the validation part at the plan's evaluations, as the engine does."""

    def __init__(self, plan: RunPlan, updates: int, images: Images, controller: ControllerCallback) -> None:
        super().__init__()
        self.plan = plan
        self.updates = updates
        self.images = images
        self.controller = controller
        self.rows: list[tuple[int, float, float, float, float]] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Evaluate after the step where the plan says so."""
        step, rest = divmod(batch + 1, self.updates)
        if rest == 0 and step in self.plan.evaluation_steps:
            pixels, labels = self.images.validation
            [row] = evaluate_logits(self._logits(scaled(pixels))[None], labels)
            self.rows.append((step, *row))
            self.controller.observe_validation(Validation(step, *row))

    def _logits(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict at the optimizer's evaluation point; only ScheduleFreeAdamW's differs from where it trains."""
        optimizer = self.model.optimizer
        if not isinstance(optimizer, ScheduleFreeAdamW):
            return np.asarray(self.model(pixels, training=False))
        optimizer.enter_average()
        train = self.images.train[0]
        size = min(BATCH, len(train))
        rows = mixed_rows(len(train))[: min(BATCHES, len(train) // size) * size].reshape(-1, size)
        recalibrate_batch_norm(self.model, (scaled(train[batch]) for batch in rows))
        logits = np.asarray(self.model(pixels, training=False))
        optimizer.leave_average()
        return logits


def scaled(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return images as float32: bytes divided by 255, floats as they are."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def train(
    images: Images,
    job: TrainingJob,
    *,
    plan: RunPlan,
    seed: int,
    classes: int,
    class_frequencies: tuple[float, ...],
    complexity: float,
    build_network: BuildNetwork = article_cnn,
) -> RunRecord:
    """Train one candidate with ``fit`` on the mini-batches and from the weights that the engine uses for ``seed``.

    The whole budget is laid out as one epoch of the plan's batches in order, so that Keras sees the same examples.

    Returns:
        the run's record, without a test curve.
    """
    model = build_network(images.train[0].shape[1:], classes, seed=seed)
    model.compile(
        optimizer=OPTIMIZERS[job.optimizer].build(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batch_size = job.batch_size or plan.batch_size
    updates = plan.batch_size // batch_size  # steps of fit per step of the plan
    callback = ControllerCallback(
        _Held(job.controller, updates),
        optimizer=job.optimizer,
        complexity=complexity,
        class_frequencies=class_frequencies,
        update_steps=tuple(updates * end for end in plan.update_steps),
        steps_per_epoch=updates * plan.steps_per_epoch,
        batch_norm_data=scaled(images.train[0]),
    )
    evaluate = _Evaluate(plan, updates, images, callback)
    order = plan.batches(seed).ravel()
    model.fit(
        scaled(images.train[0])[order],
        images.train[1][order],
        batch_size=batch_size,
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=[callback, evaluate],
    )
    columns = zip(*evaluate.rows, strict=True)
    return RunRecord(
        candidate=job.name,
        seed=seed,
        budget=plan.steps,
        steps=plan.steps,
        validation=Curve(*columns),
        test=None,
        update_steps=plan.update_steps,
        train_loss=tuple(o.train_loss for o in callback.observations if o.train_loss is not None),
        train_accuracy=tuple(o.train_accuracy for o in callback.observations if o.train_accuracy is not None),
        rates=tuple(callback.rates[::updates]),
    )
