"""Members whose weights are in one tensor, trained by one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.contracts import TRIALS
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.evaluation import evaluate_logits
from metagd_optuna.training.lanes import Halted
from metagd_optuna.training.member import Member
from metagd_optuna.training.network import Start, Tensor
from metagd_optuna.training.probing import probe_of
from metagd_optuna.training.programs import Programs

# Member-images per forward pass: more would leave the caches, fewer would be all overhead.
FORWARD_CHUNK = 512
COMPILED_FORWARD_CHUNK = 8192

# Images (n, h, w, c) on the device, labels int32 (n,) on the host.
Part = tuple[Tensor, npt.NDArray[np.int32]]


class Population:
    """A few members in training, from the same initial weights on the same mini-batches.

    Stopped and diverged members leave the tensors, so they cost nothing from then on; the others do not notice.

    Args:
        members: of one optimizer and batch size, at least one.
        optimizer: a key of ``OPTIMIZERS``.
        batch_size: examples per step of the optimizer.
        start: where all of them begin.
        programs: compiled for their network and task.
        halving: let leavers ride along until half of the population can go; see ``survivors``.
        halted: asked before every rate update and in an evaluation whether the training is to end.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        optimizer: str,
        batch_size: int,
        start: Start,
        programs: Programs,
        halving: bool,
        halted: Callable[[], bool],
    ) -> None:
        self._aboard = list(members)
        self._optimizer = optimizer
        self._rule = OPTIMIZERS[optimizer].rule()
        self._batch_size = batch_size
        self._train_steps = programs.train_steps(optimizer, batch_size)
        self._programs = programs
        self._halving = halving
        self._halted = halted
        self._origin = tf.constant(start.weights)
        self._weights = tf.repeat(start.weights[None], len(members), axis=0)
        self._state = tf.repeat(start.state[None], len(members), axis=0)
        self._noise: Any = tuple(tf.constant(array) for array in start.noise)
        self._slots = self._rule.slots(self._weights)

    @property
    def training(self) -> bool:
        """Whether any member still takes part."""
        return any(member.training for member in self._aboard)

    def advance(
        self, begin: int, update_steps: Sequence[int], batches: npt.NDArray[np.int32], parts: Sequence[Part]
    ) -> None:
        """Train from step ``begin`` to the given ones, with new rates at each, then measure the parts.

        Raises:
            Halted: if the training is to end.
            tf.errors.ResourceExhaustedError: if memory ran out.
        """
        for end in update_steps:
            self._go_on()
            self._let_go()
            if not self.training:
                return
            updates = batches.shape[1] // self._batch_size  # per step of the plan
            self._probe(begin, begin * updates)
            rates = np.stack([member.rates_for(end - begin) for member in self._aboard], axis=1)
            self._weights, self._slots, self._state, self._noise, loss, accuracy = self._train_steps(
                self._weights,
                self._slots,
                self._state,
                self._noise,
                tf.constant(begin * updates),
                tf.constant(batches[begin:end].reshape(-1, self._batch_size)),
                tf.constant(np.repeat(rates, updates, axis=0), tf.float32),
            )
            for member, member_loss, hits in zip(self._aboard, loss.numpy(), accuracy.numpy(), strict=True):
                if member.training:
                    member.observe_update(end, float(member_loss), float(hits))
            begin = end
        self._evaluate(begin, parts)

    def _probe(self, step: int, taken: int) -> None:
        """Probe the coming step for the members whose controllers ask for it.

        Args:
            step: of the plan; taken: steps of the optimizer.
        """
        asked = [member.trial_rates(step) for member in self._aboard]
        if not any(asked):
            return
        # One program probes all of them; what nobody asked for is thrown away.
        rates = np.array([each or (1.0,) * TRIALS for each in asked], np.float32)
        measured = self._programs.probe(
            self._optimizer, self._weights, self._slots, self._state, self._noise, taken, rates, self._origin
        )
        for place, (member, tried) in enumerate(zip(self._aboard, asked, strict=True)):
            if tried:
                member.observe_probe(probe_of(tried, *(array[place] for array in measured)))

    def _go_on(self) -> None:
        if self._halted():
            raise Halted

    def _let_go(self) -> None:
        """Take members that no longer train out of the tensors."""
        if not self.training:
            return
        staying = survivors([member.training for member in self._aboard], halving=self._halving)
        if len(staying) < len(self._aboard):
            self._aboard = [self._aboard[i] for i in staying]
            self._weights = tf.gather(self._weights, staying)
            self._state = tf.gather(self._state, staying)
            self._slots = tuple(tf.gather(slot, staying) for slot in self._slots)

    def _evaluate(self, step: int, parts: Sequence[Part]) -> None:
        weights, state = self._rule.evaluation_point(self._weights, self._slots), self._state
        if self._rule.averages:
            state = self._programs.state_at(weights, state, self._noise)
        measured = [evaluate_logits(self._logits(weights, state, images), labels) for images, labels in parts]
        for member, validation, *test in zip(self._aboard, *measured, strict=True):
            if member.training:
                member.observe_evaluation((step, *validation), (step, *test[0]) if test else None)

    def _logits(self, weights: Tensor, state: Tensor, images: Tensor) -> npt.NDArray[np.float32]:
        """Return logits (P, n, K) of a whole part."""
        chunk = max(1, (COMPILED_FORWARD_CHUNK if self._halving else FORWARD_CHUNK) // len(self._aboard))
        pieces = []
        for i in range(0, len(images), chunk):
            self._go_on()
            pieces.append(self._programs.forward(weights, state, self._noise, images[i : i + chunk]).numpy())
        return np.concatenate(pieces, axis=1)


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
