"""The engine for one task, with as many members to a program as suits the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metagd_optuna.contracts import RunPlan
from metagd_optuna.tasks import Task
from metagd_optuna.training.default_network import default_network
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.network import BuildNetwork
from metagd_optuna.training.population_size import PopulationSize, population_size


def open_trainer(
    task: Task,
    plan: RunPlan,
    device: Device,
    *,
    complexity: float,
    compute: str = "float32",
    jobs_at_once: int = 1,
    population: int = 0,
    stored_population: int = 0,
    build_network: BuildNetwork = default_network,
    log: Callable[[str], None] = lambda line: None,
) -> Engine:
    """Return what trains a network on a task.

    Args:
        task: the data.
        plan: the timetable of every run.
        device: what trains.
        complexity: of the task, which controllers are told.
        compute: what convolutions and matrix products multiply.
        jobs_at_once: how many trainings will be asked for together.
        population: members that share one program; 0 is one on a CPU, and measures what is fastest on a GPU.
        stored_population: what an earlier run of the same study began with; 0 if there was none.
        build_network: makes the network that is trained.
        log: called with a line about how members share programs, also if memory runs out; by default nothing is logged.

    Raises:
        MetaGDError: if the network is no classifier of this task's images, or cannot be trained so.
    """
    engine = Engine(
        images_of(task),
        classes=len(task.classes),
        class_frequencies=task.class_frequencies,
        complexity=complexity,
        plan=plan,
        lanes=device.lanes,
        compiled=device.compiled,
        layout=device.layout,
        compute=compute,
        build_network=build_network,
        log=log,
    )
    if engine.uncompiled:
        log(f"  {engine.uncompiled}, so nothing is, which is slower")
    size = _size(engine, device, jobs_at_once, population, stored_population, log)
    engine.population = size.members
    lanes, members = ("lane" if engine.lanes == 1 else "lanes"), ("member" if engine.population == 1 else "members")
    log(f"  {engine.lanes} {lanes} x {engine.population} {members} per program ({size.origin})")
    return engine


def images_of(task: Task) -> Images:
    """Return the three parts of a task as the engine wants them."""
    return Images(
        (task.train_images, task.train_labels.astype(np.int32)),
        (task.val_images, task.val_labels.astype(np.int32)),
        (task.test_images, task.test_labels.astype(np.int32)),
    )


def _size(
    engine: Engine, device: Device, jobs_at_once: int, population: int, stored: int, log: Callable[[str], None]
) -> PopulationSize:
    """Return how many members share one program: as stored, else as asked for, else one on a CPU, measured on a GPU."""
    # It decides rounding, so a resumed study keeps what it began with.
    given = stored or population
    if given and not engine.unfused:
        return PopulationSize(given, "as the study began" if stored else "as the study file says")
    if not device.compiled and not engine.unfused:
        return PopulationSize(1, "so that results do not depend on the number of cores")
    measured = population_size(engine, device, log)
    # It was measured with every lane busy; one that leaves lanes idle while a batch trains would be slower.
    share = -(-jobs_at_once // engine.lanes)
    if engine.lanes > 1 and share < measured.members:
        return PopulationSize(share, f"{measured.members} {measured.origin}, but a batch has to fill all lanes")
    return measured
