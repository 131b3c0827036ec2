"""The training engine: jobs in, records out.

Jobs of one optimizer and batch size form populations, each trained by one compiled program. Populations run side by
side in lanes, one processor core each, and none waits for another; after each of its evaluations the caller may stop
members.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from threading import Event, Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.contracts import Context, MetaGDError, MetaGDWarning, RunPlan, RunRecord, TrainingJob, Watch
from metagd_optuna.policy.probes import with_probes
from metagd_optuna.training.architecture import network_fingerprint
from metagd_optuna.training.batch_norm import BatchStatistics
from metagd_optuna.training.default_network import default_network
from metagd_optuna.training.fused.activations import CannotFuseError
from metagd_optuna.training.fused.network import FusedNetwork
from metagd_optuna.training.lanes import Halted, open_lanes
from metagd_optuna.training.member import Member
from metagd_optuna.training.memory import MemoryLimit, too_large
from metagd_optuna.training.network import (
    BuildNetwork,
    Network,
    Start,
    check_classifier,
    not_compilable,
    own_random_numbers,
)
from metagd_optuna.training.network_complexity import network_complexity
from metagd_optuna.training.population import Population
from metagd_optuna.training.programs import Programs
from metagd_optuna.training.single import SingleNetwork

# A network is built from Keras' one random seed, and the engines of a process may train side by side.
_building = Lock()


@dataclass(frozen=True, slots=True)
class Images:
    """The three parts of a task as the engine wants them: images (n, h, w, c), labels int32 (n,)."""

    train: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
    validation: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
    test: tuple[npt.NDArray[Any], npt.NDArray[np.int32]]


class Engine:
    """Trains one network on one task under any number of controllers.

    Args:
        images: the task's images and labels.
        classes: K.
        class_frequencies: share of every class among the training labels, shape (K,).
        complexity: of the task, in [0, 1].
        plan: the timetable of every run.
        population: members that share one program, at most; see ``population_size``. Where memory runs out they are
            halved, for good.
        lanes: populations that train side by side.
        compiled: compile programs with XLA (for GPUs).
        build_network: what is trained, by default the article's CNN. A model with a layer that cannot be fused is
            trained one member at a time.
        log: called with a line if memory runs out; by default that is a ``MetaGDWarning``.

    Raises:
        MetaGDError: if the network is no classifier of this task's images.
    """

    def __init__(
        self,
        images: Images,
        *,
        classes: int,
        class_frequencies: tuple[float, ...],
        complexity: float,
        plan: RunPlan,
        population: int = 1,
        lanes: int = 1,
        compiled: bool = False,
        layout: str = "grouped",
        compute: str = "float32",
        build_network: BuildNetwork = default_network,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self._log = log or _warn
        self._class_frequencies = class_frequencies
        self._complexity = complexity
        self.lanes = lanes
        self.layout = layout
        self.compute = compute
        input_shape: tuple[int, ...] = images.train[0].shape[1:]
        # The seeds of a search come back with every trial, and building a model takes as long as a few steps. Those of
        # the other phases do not, and the weights of a large network fill a memory.
        self._start = lru_cache(maxsize=8)(lambda seed: Start.of(build_network(input_shape, classes, seed=seed)))
        with _building, own_random_numbers():
            self.model = model = build_network(input_shape, classes, seed=0)
        check_classifier(model, input_shape, classes)
        self._network_complexity = network_complexity(model)
        self.network, self.unfused = open_network(model, layout, compute)
        self.uncompiled = not_compilable(model) if compiled else ""
        self.compiled = compiled and not self.uncompiled
        self._memory = MemoryLimit()
        self.population = population
        self.programs = Programs(
            self.network,
            Start.of(model),
            *images.train,
            statistics=BatchStatistics.of(model),
            compiled=self.compiled,
        )
        self._hold(images)

    def _hold(self, images: Images) -> None:
        self.images = images
        self._validation = (tf.constant(images.validation[0]), images.validation[1])
        self._test = (tf.constant(images.test[0]), images.test[1])

    def on(self, images: Images, class_frequencies: tuple[float, ...]) -> Engine:
        """Return an engine with the same network, timetable and compiled programs for other data.

        Args:
            images: as many in training, all of the same shape and dtype.
            class_frequencies: of their training part.

        Raises:
            MetaGDError: if the shapes or dtypes differ.
        """
        for name in ("train", "validation", "test"):
            mine, other = getattr(self.images, name)[0], getattr(images, name)[0]
            fits = other.shape == mine.shape if name == "train" else other.shape[1:] == mine.shape[1:]
            if not fits or other.dtype != mine.dtype:
                raise MetaGDError(
                    f"these programs were compiled for {name} images of shape {mine.shape} and dtype {mine.dtype}, "
                    f"and those given are {other.shape} and {other.dtype}; open an engine for them"
                )
        engine = copy(self)
        engine.programs = self.programs.on(*images.train)
        engine._class_frequencies = class_frequencies
        engine._hold(images)
        return engine

    @property
    def population(self) -> int:
        """Members that share one program, at most; one if the network cannot be fused, fewer once memory ran out."""
        return min(self._population, self._memory.members)

    @population.setter
    def population(self, members: int) -> None:
        self._population = min(members, self.network.most_members or members)

    @property
    def weights(self) -> int:
        """How many weights the network has."""
        return int(self.model.count_params())

    @property
    def fingerprint(self) -> str:
        """What tells the network from others."""
        return network_fingerprint(self.model)

    def start(self, seed: int) -> Start:
        """Return where all members that train with ``seed`` begin."""
        with _building, own_random_numbers():
            return self._start(seed)

    def train(
        self, jobs: Sequence[TrainingJob], *, seed: int, test: bool = False, watch: Watch | None = None
    ) -> list[RunRecord]:
        """Train all jobs from the same initial weights on the same examples in the same order.

        A population that does not fit into the memory of the device is trained again in halves. The memory stays
        full for later trainings, so they begin with as few members.

        Args:
            jobs: at least one.
            seed: fixes initial weights and the order of the examples.
            test: whether to store the curve on the test part as well; nothing ever steers on it.
            watch: may stop members after an evaluation; what it says of one must not depend on populations that it has
                not seen yet.

        Returns:
            one record per job, in their order.

        Raises:
            MetaGDError: if the batch of a job does not divide the plan's, or not even one member fits into memory.
        """
        members = [Member.enter(i, job, self._context(job)) for i, job in enumerate(jobs)]
        start, batches = self.start(seed), self.plan.batches(seed)
        parts = [self._validation, self._test] if test else [self._validation]
        watching, halted = Lock(), Event()

        def run(group: Sequence[Member]) -> None:
            """Train members that share one program, in parts if there are more of them than memory allows by now."""
            if len(group) > self.population:
                for part in _cut(group, self.population):
                    run(part)
            elif group and not fits(group):
                gc.collect()  # what the error held of the group, so that its memory is free
                again = [
                    Member.enter(each.index, each.job, self._context(each.job)) for each in group if not each.stopped
                ]
                for member in again:
                    members[member.index] = member
                run(again)

        def fits(group: Sequence[Member]) -> bool:
            """Train a group, and return whether it went through; it did not if memory ran out."""
            try:
                advance(group)
            except Halted:
                return True  # whoever halted it answers for the rest
            except tf.errors.ResourceExhaustedError as error:
                if len(group) == 1:
                    raise too_large(self.model, self.images.train[0], self._batch_size(group[0].job), error) from error
                if line := self._memory.halve(self.population, len(group)):
                    self._log(line)
                return False
            return True

        def advance(group: Sequence[Member]) -> None:
            population = self._population_of(group, start, halted.is_set)
            updates = with_probes(self.plan.update_steps, group[0].probes)
            begin = 0
            for end in self.plan.evaluation_steps:
                population.advance(begin, [t for t in updates if begin < t <= end], batches, parts)
                with watching:
                    if halted.is_set():
                        return
                    try:
                        stop_some(group)
                    except BaseException:
                        halted.set()  # before another lane is let in; the caller's thread may hear of it later
                        raise
                if not population.training:
                    return
                begin = end

        def stop_some(group: Sequence[Member]) -> None:
            curves = {member.index: member.curve for member in group if member.training}
            for index in watch(curves) if watch is not None and curves else ():
                if index not in curves:
                    raise ValueError(f"watch stops {index}; it may stop {sorted(curves)}, which it was shown")
                members[index].stopped = True

        with open_lanes(self.lanes) as lanes:
            try:
                futures = [lanes.submit(run, group) for group in self._groups(members)]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                halted.set()  # an error or Ctrl-C: what runs ends at its next rate update
                raise
        return [member.record(seed, self.plan.steps, test=test) for member in members]

    def _context(self, job: TrainingJob) -> Context:
        return Context(
            self._complexity,
            self._class_frequencies,
            job.optimizer,
            self.plan.steps,
            self.plan.steps_per_epoch,
            network=self._network_complexity,
        )

    def _groups(self, members: Sequence[Member]) -> list[list[Member]]:
        """Put members of one optimizer, batch size and timetable together, in their order, ``population`` at most."""
        alike: dict[tuple[str, int, int], list[Member]] = {}
        for member in members:
            kind = member.job.optimizer, self._batch_size(member.job), member.probes
            alike.setdefault(kind, []).append(member)
        return [part for group in alike.values() for part in _cut(group, self.population)]

    def _batch_size(self, job: TrainingJob) -> int:
        size, most = job.batch_size or self.plan.batch_size, self.plan.batch_size
        if most % size:
            raise MetaGDError(
                f"{job.name} trains with batches of {size}, but a step of this training has {most} examples; give "
                f"it a batch that divides {most}"
            )
        return size

    def _population_of(self, group: Sequence[Member], start: Start, halted: Callable[[], bool]) -> Population:
        return Population(
            group,
            optimizer=group[0].job.optimizer,
            batch_size=self._batch_size(group[0].job),
            start=start,
            programs=self.programs,
            halving=self.compiled,
            halted=halted,
        )


def _cut(group: Sequence[Member], most: int) -> list[list[Member]]:
    return [list(group[i : i + most]) for i in range(0, len(group), most)]


def _warn(line: str) -> None:
    warnings.warn(line.strip(), MetaGDWarning, stacklevel=2)


def open_network(model: Any, layout: str, compute: str) -> tuple[Network, str]:
    """Return a model's forward pass for populations, fused if it can be, and the reason if it cannot."""
    try:
        return FusedNetwork(model, layout=layout, compute=compute), ""
    except CannotFuseError as reason:
        if compute != "float32":
            raise MetaGDError(
                f"compute is {compute!r}, which needs a network that can be fused: {reason}; use 'float32', or give "
                "the model a mixed-precision policy of its own"
            ) from reason
        return SingleNetwork(model), str(reason)
