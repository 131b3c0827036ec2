"""The population engine: members trained together by one compiled program.

Between two ticks nothing leaves the graph: a loop gathers the mini-batches, takes the steps and sums the
losses. At a tick the host asks every member's controller for its rates; at an evaluation it also measures the
validation part and lets the caller stop members. Stopped and diverged members leave the population, so they
cost nothing from then on; the others do not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.analysis.scores import accuracy, balanced_accuracy, cross_entropy, macro_auc
from metagd_optuna.contracts import Context, Controller, Curve, Observation, RunRecord, Validation
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.fused import FusedNetwork, flat_weights
from metagd_optuna.training.optimizers import OPTIMIZERS
from metagd_optuna.training.plan import RunPlan

Tensor = Any  # TensorFlow ships no types

# Activations of a forward pass over this many member-images fit into a cache-friendly few hundred MB.
FORWARD_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Entrant:
    """What enters a population: a named controller.

    Args:
        name: of the contender, copied into the run's record.
        controller: sets the rate of every step.
    """

    name: str
    controller: Controller


@dataclass(frozen=True, slots=True)
class Images:
    """The three parts of a task as the engine wants them: images (n, h, w, c), labels int32 (n,)."""

    train: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
    validation: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
    test: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]


# Called after every evaluation with the curves so far of the members still in training, by their index among
# the entrants; answers with the indices to stop.
Watch = Callable[[Mapping[int, Curve]], Collection[int]]


def scale(images: Tensor) -> Tensor:
    """Return images as float32: bytes divided by 255, floats as they are."""
    values = tf.cast(images, tf.float32)
    return values / 255.0 if images.dtype == tf.uint8 else values


@dataclass(slots=True)
class _Member:
    """The host's side of one member."""

    index: int
    entrant: Entrant
    state: Any
    observation: Observation
    rates: list[float] = field(default_factory=list)
    tick_ends: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    test: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    steps: int = 0
    stopped: bool = False
    diverged: bool = False

    @property
    def training(self) -> bool:
        """Whether it still takes part."""
        return not (self.stopped or self.diverged)


def _curve(rows: Sequence[tuple[int, float, float, float, float]]) -> Curve:
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Curve(*columns)


class Engine:
    """Trains populations of one network on one task.

    Args:
        images: the task's images and labels.
        classes: K.
        class_shares: share of every class among the training labels, shape (K,).
        complexity: of the task, in [0, 1].
        plan: the timetable of every run.
        compiled: compile ticks with XLA (for GPUs).
    """

    def __init__(
        self,
        images: Images,
        *,
        classes: int,
        class_shares: tuple[float, ...],
        complexity: float,
        plan: RunPlan,
        compiled: bool = False,
    ) -> None:
        self.plan = plan
        self._classes = classes
        self._class_shares = class_shares
        self._complexity = complexity
        self._compiled = compiled
        self._input_shape: tuple[int, int, int] = images.train[0].shape[1:]
        self._network = FusedNetwork(article_cnn(self._input_shape, classes, seed=0))
        self._train_images = tf.constant(images.train[0])
        self._train_labels = tf.constant(images.train[1], tf.int32)
        # All data is put on the device once.
        self._validation = (tf.constant(images.validation[0]), images.validation[1])
        self._test = (tf.constant(images.test[0]), images.test[1])
        self._ticks: dict[str, Any] = {}
        self._forward = tf.function(
            lambda weights, images: self._network.logits(weights, scale(images)),
            input_signature=[
                tf.TensorSpec((None, self._network.size), tf.float32),
                tf.TensorSpec((None, *self._input_shape), self._train_images.dtype),
            ],
            jit_compile=compiled,
            autograph=False,
        )

    def train(
        self, entrants: Sequence[Entrant], *, optimizer: str, seed: int, test: bool = False, watch: Watch | None = None
    ) -> list[RunRecord]:
        """Train all entrants from the same initial weights on the same mini-batches.

        Args:
            entrants: the members of the population, at least one.
            optimizer: a key of ``OPTIMIZERS``, the same for all of them.
            seed: fixes initial weights and mini-batch order.
            test: whether to store the curve on the test part as well; nothing ever steers on it.
            watch: may stop members after an evaluation.

        Returns:
            one record per entrant, in their order.
        """
        rule = OPTIMIZERS[optimizer]
        context = Context(self._complexity, self._class_shares, optimizer, self.plan.steps, self.plan.steps_per_epoch)
        members = [
            _Member(i, entrant, entrant.controller.start(context), Observation(step=0))
            for i, entrant in enumerate(entrants)
        ]
        initial = flat_weights(article_cnn(self._input_shape, self._classes, seed=seed))
        weights = tf.repeat(initial[None], len(members), axis=0)
        slots = rule.slots(weights)
        batches = self.plan.batches(seed)
        evaluation_steps = set(self.plan.evaluation_steps)
        aboard = list(members)  # those whose weights are in the tensors
        begin = 0
        for end in self.plan.tick_ends:
            rates = np.stack([_ask(member, end - begin) for member in aboard], axis=1)
            weights, slots, loss, hits = self._tick(optimizer)(
                weights, slots, tf.constant(begin), tf.constant(batches[begin:end]), tf.constant(rates, tf.float32)
            )
            for member, member_loss, member_hits in zip(aboard, loss.numpy(), hits.numpy(), strict=True):
                if member.training:
                    _observe_tick(member, end, float(member_loss), float(member_hits))
            if end in evaluation_steps:
                self._evaluate(aboard, end, rule.evaluation_point(weights, slots), test=test)
                if watch is not None:
                    curves = {member.index: _curve(member.validation) for member in aboard if member.training}
                    for index in watch(curves) if curves else ():
                        members[index].stopped = True
            if not any(member.training for member in aboard):
                break
            staying = survivors([member.training for member in aboard], halving=self._compiled)
            if len(staying) < len(aboard):
                aboard = [aboard[i] for i in staying]
                weights = tf.gather(weights, staying)
                slots = tuple(tf.gather(slot, staying) for slot in slots)
            begin = end
        return [_record(member, seed, self.plan.steps, test=test) for member in members]

    def _tick(self, optimizer: str) -> Any:
        """Return the compiled program that takes the steps of one tick; traced once per optimizer."""
        if optimizer not in self._ticks:
            rule = OPTIMIZERS[optimizer]
            row = tf.TensorSpec((None, self._network.size), tf.float32)
            slots = tuple(row for _ in rule.slots(tf.zeros((1, 1))))

            def tick(weights: Tensor, slots: Any, begin: Tensor, batches: Tensor, rates: Tensor) -> Any:
                steps = tf.shape(batches)[0]
                zeros = tf.zeros_like(rates[0])

                def step(i: Tensor, weights: Tensor, slots: Any, losses: Tensor, hits: Tensor) -> Any:
                    gradients, loss, correct = self._gradients(weights, batches[i])
                    number = tf.cast(begin + i + 1, tf.float32)
                    weights, slots = rule.update(weights, slots, gradients, rates[i][:, None], number)
                    return i + 1, weights, slots, losses + loss, hits + correct

                _, weights, slots, losses, hits = tf.while_loop(
                    lambda i, *_: i < steps, step, (0, weights, slots, zeros, zeros)
                )
                count = tf.cast(steps, tf.float32)
                return weights, slots, losses / count, hits / count

            self._ticks[optimizer] = tf.function(
                tick,
                input_signature=[
                    row,
                    slots,
                    tf.TensorSpec((), tf.int32),
                    tf.TensorSpec((None, self.plan.batch_size), tf.int32),
                    tf.TensorSpec((None, None), tf.float32),
                ],
                jit_compile=self._compiled,
                autograph=False,
            )
        return self._ticks[optimizer]

    def _gradients(self, weights: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradients (P, D), mean loss (P,) and accuracy (P,) on one mini-batch of indices."""
        images = scale(tf.gather(self._train_images, batch))
        labels = tf.gather(self._train_labels, batch)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = self._network.logits(weights, images)
            everyones = tf.broadcast_to(labels, tf.shape(logits)[:2])
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(everyones, logits), axis=1)
            # Members share no weights, so the gradient of the sum holds every member's own gradient.
            total = tf.reduce_sum(loss)
        correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), everyones)
        return tape.gradient(total, weights), loss, tf.reduce_mean(tf.cast(correct, tf.float32), axis=1)

    def _logits(self, weights: Tensor, images: Tensor) -> npt.NDArray[np.float32]:
        """Return logits (P, n, K) of a whole part."""
        chunk = max(1, FORWARD_CHUNK // len(weights))
        pieces = [self._forward(weights, images[i : i + chunk]).numpy() for i in range(0, len(images), chunk)]
        return np.concatenate(pieces, axis=1)

    def _evaluate(self, members: Sequence[_Member], step: int, weights: Tensor, *, test: bool) -> None:
        """Append the metrics at ``step`` to every member's curve; a member without finite logits has diverged."""
        parts = [self._validation, self._test] if test else [self._validation]
        rows = [evaluate_logits(self._logits(weights, images), labels) for images, labels in parts]
        for member, *measured in zip(members, *rows, strict=True):
            if not member.training:
                continue
            if not all(np.isfinite(row[0]) for row in measured):
                member.diverged = True
                continue
            member.validation.append((step, *measured[0]))
            member.observation = replace(member.observation, validation=Validation(step, *measured[0]))
            if test:
                member.test.append((step, *measured[1]))


def survivors(training: Sequence[bool], *, halving: bool) -> list[int]:
    """Return the places to keep once some members no longer train; at least one does.

    With ``halving`` the population only ever halves, because XLA compiles every size anew; until half can go,
    those that have left ride along.

    >>> survivors([True, False, True, True], halving=False), survivors([True, False, True, True], halving=True)
    ([0, 2, 3], [0, 1, 2, 3])
    >>> survivors([False, False, True, True, False], halving=True)
    [2, 3]
    """
    staying = [place for place, trains in enumerate(training) if trains]
    if not halving:
        return staying
    size = len(training)
    while size // 2 >= len(staying):
        size //= 2
    riders = [place for place, trains in enumerate(training) if not trains][: size - len(staying)]
    return sorted(staying + riders)


def evaluate_logits(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]
) -> list[tuple[float, float, float, float]]:
    """Return (loss, accuracy, balanced accuracy, AUC) per member; a loss of inf marks logits that are not finite."""
    finite: npt.NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=(1, 2)))
    safe = np.where(finite[:, None, None], logits, 0.0).astype(np.float64)
    loss = np.where(finite, cross_entropy(safe, labels), np.inf)
    auc = macro_auc(safe, labels, from_logits=True)
    columns = (loss, accuracy(safe, labels), balanced_accuracy(safe, labels), auc)
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)]


def _ask(member: _Member, steps: int) -> npt.NDArray[np.float64]:
    """Return the member's rates for the coming tick, shape (steps,)."""
    if not member.training:
        return np.zeros(steps)
    rates, member.state = member.entrant.controller.rates(member.state, member.observation, steps)
    if rates.shape != (steps,) or not np.all(np.isfinite(rates)) or np.any(rates < 0):
        raise ValueError(
            f"controller of {member.entrant.name!r} answered {rates!r}; "
            f"it must answer with {steps} finite rates of at least 0"
        )
    member.rates.extend(float(rate) for rate in rates)
    return rates


def _observe_tick(member: _Member, step: int, loss: float, hits: float) -> None:
    """Take note of a tick's mean loss and accuracy; a loss that is not finite means divergence."""
    member.steps = step
    if not np.isfinite(loss):
        member.diverged = True
        return
    member.tick_ends.append(step)
    member.train_loss.append(loss)
    member.train_accuracy.append(hits)
    member.observation = replace(
        member.observation, step=step, train_loss=loss, train_accuracy=hits, rate=member.rates[-1]
    )


def _record(member: _Member, seed: int, budget: int, *, test: bool) -> RunRecord:
    return RunRecord(
        contender=member.entrant.name,
        seed=seed,
        budget=budget,
        steps=member.steps,
        validation=_curve(member.validation),
        test=_curve(member.test) if test else None,
        tick_ends=tuple(member.tick_ends),
        train_loss=tuple(member.train_loss),
        train_accuracy=tuple(member.train_accuracy),
        rates=tuple(member.rates),
        diverged=member.diverged,
    )
