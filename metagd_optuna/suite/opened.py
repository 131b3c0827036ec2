"""A workload ready to train: its data, its network and the engine."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from metagd_optuna.analysis import chance_level
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import make_folder, write_bytes
from metagd_optuna.suite.networks import NETWORKS
from metagd_optuna.suite.workloads import Workload
from metagd_optuna.tasks import CATALOGUE, Task, load_task
from metagd_optuna.training.batch_norm import batch_norm_layers
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine
from metagd_optuna.training.network import BuildNetwork
from metagd_optuna.training.open_trainer import open_trainer
from metagd_optuna.training.plan import plan_run

# One size for all: half the sets have about as many images, and 10,000 examples take seconds to a minute on a CPU.
MOST_TRAIN, MOST_EVALUATED = 2500, 500
EXAMPLES, EVALUATIONS, RATE_UPDATES = 10_000, 25, 4
METRIC = "auc"
PRETRAINING_EXAMPLES, PRETRAINING_BATCH, PRETRAINING_RATE, PRETRAINING_SEED = 20_000, 64, 1e-3, 99
_NORMALISING = (keras.layers.LayerNormalization, keras.layers.GroupNormalization)

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """A workload with what trains it.

    Args:
        workload: which one.
        engine: trains, one member to a program, so that who trains together decides nothing.
        chance: of the metric.
        batch_norm: whether the network has batch normalisation that trains.
        normalised: whether it has normalisation of any kind that trains.
    """

    workload: Workload
    engine: Engine
    chance: float
    batch_norm: bool
    normalised: bool


def open_workload(workload: Workload, device: Device, out: Path, *, data_dir: Path | None, log: Log) -> Opened:
    """Return a workload ready to train.

    Args:
        workload: which one.
        device: what trains.
        out: where pre-trained weights are kept.
        data_dir: where data files are looked for.
        log: called with lines about how it goes.

    Raises:
        MetaGDError: if its data are not to be had.
    """
    task = suite_task(workload.task, data_dir)
    build = NETWORKS[workload.network]
    if workload.pretrained_on:
        source = suite_task(workload.pretrained_on, data_dir)
        build = transferred(build, pretrained(workload, source, out, log), frozen=workload.frozen)
    examples = len(task.train_labels)
    plan = plan_run(
        train_examples=examples,
        epochs=EXAMPLES / examples,
        batch_size=workload.batch_size,
        evaluations=EVALUATIONS,
        rate_updates_per_evaluation=RATE_UPDATES,
    )
    engine = open_trainer(task, plan, device, complexity=0.5, population=1, build_network=build)
    layers = list(engine.model._flatten_layers())
    batch_norm = bool(batch_norm_layers(engine.model))
    other = any(isinstance(layer, _NORMALISING) and layer.trainable for layer in layers)
    return Opened(workload, engine, chance_level(METRIC, task.class_frequencies), batch_norm, batch_norm or other)


def suite_task(name: str, data_dir: Path | None) -> Task:
    """Return a task of the suite, cut to the suite's size.

    Raises:
        MetaGDError: if it is not of the catalogue, and there is no file of its name among the data.
    """
    place: str | Path = name
    if name not in CATALOGUE:
        place = (data_dir or Path()) / f"{name}.npz"
        if not place.is_file():
            raise MetaGDError(
                f"the suite's task {name!r} is not of the catalogue, and there is no file {place}; give the folder "
                "that has it with --data-dir, or leave its workloads out by naming others with --workload"
            )
    return load_task(place, data_dir=data_dir, max_train=MOST_TRAIN, max_eval=MOST_EVALUATED)


def pretrained(workload: Workload, source: Task, out: Path, log: Log) -> list[Any]:
    """Return the weights of a network that was trained on another task, all but those of its last layer.

    They are kept in a file, so that a suite that was stopped goes on from the same ones.
    """
    file = out / "pretrained" / f"{workload.network}_{workload.pretrained_on}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as held:
            return [held[f"arr_{i}"] for i in range(len(held.files))]
    log(f"  {workload.network} is trained on {workload.pretrained_on} first, once")
    images, labels = source.train_images, source.train_labels
    model = NETWORKS[workload.network](images.shape[1:], len(source.classes), seed=PRETRAINING_SEED)
    model.compile(keras.optimizers.Adam(PRETRAINING_RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(PRETRAINING_SEED)
    rows = np.concatenate([rng.permutation(len(labels)) for _ in range(-(-PRETRAINING_EXAMPLES // len(labels)))])
    pixels = images[rows[:PRETRAINING_EXAMPLES]].astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    model.fit(pixels, labels[rows[:PRETRAINING_EXAMPLES]], batch_size=PRETRAINING_BATCH, shuffle=False, verbose=0)
    weights = [np.asarray(value) for value in model.get_weights()[: -len(model.layers[-1].weights)]]
    packed = io.BytesIO()
    np.savez(packed, *weights)
    make_folder(file.parent)
    write_bytes(packed.getvalue(), file)
    return weights


def transferred(build: BuildNetwork, weights: list[Any], *, frozen: bool) -> BuildNetwork:
    """Return what builds a network whose layers but the last begin with given weights, and may be frozen."""

    def build_transferred(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        model = build(input_shape, classes, seed=seed)
        drawn = model.get_weights()
        model.set_weights([*weights, *drawn[len(weights) :]])
        if frozen:
            for layer in model.layers[:-1]:
                layer.trainable = False
        return model

    return build_transferred
