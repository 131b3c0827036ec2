"""What trains: one thread to an operation on a CPU, and as many lanes as there are cores, or as were asked for."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from killed_study import CHILDREN

from metagd_optuna.contracts import MetaGDError, TrainingJob
from metagd_optuna.policy.open_loop import ScheduleController
from metagd_optuna.tasks import load_task
from metagd_optuna.training import device as module
from metagd_optuna.training.device import prepare_device, repeatable
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.open_trainer import open_trainer
from metagd_optuna.training.plan import plan_run

# Not every operating system tells, or lets a process do without some.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@pytest.fixture
def cores(monkeypatch):
    """Let the machine have some cores, and no GPU."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    return lambda count: monkeypatch.setattr(module, "usable_cores", lambda: count)


@pytest.mark.parametrize(
    ("count", "asked", "lanes"),
    [(1, None, 1), (2, None, 2), (8, None, 8), (64, None, 64), (64, 1, 1), (2, 1, 1), (2, 5, 5)],
)
def test_every_core_is_a_lane_unless_fewer_are_asked_for(cores, count, asked, lanes):
    cores(count)
    found = prepare_device(asked)
    assert (found.lanes, found.compiled) == (lanes, False)
    assert found.name.endswith(f", {count} cores")


@pytest.mark.parametrize("lanes", [0, -1])
def test_no_lane_is_refused(lanes):
    with pytest.raises(MetaGDError, match=rf"^lanes: {lanes} is not allowed; give a whole number from 1"):
        prepare_device(lanes)


def _trained(answers, cores, lanes):
    """Train three rates of the article's CNN on some cores; send the records, and the threads of an operation."""
    os.sched_setaffinity(0, cores)
    prepared = prepare_device(lanes)
    task = load_task("breast_cancer", max_train=48, max_eval=40)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(48, 20, 20, 1), dtype=np.uint8), np.arange(48, dtype=np.int32) % 2
    plan = plan_run(train_examples=48, epochs=2, batch_size=16, evaluations=3, rate_updates_per_evaluation=1)
    with repeatable(prepared):
        opened = open_trainer(task, plan, prepared, complexity=0.5)
        engine = Engine(
            Images(images, images, images),
            classes=2,
            class_frequencies=(0.5, 0.5),
            complexity=0.5,
            plan=plan,
            lanes=opened.lanes,
            population=opened.population,
        )
        jobs = [TrainingJob(f"m{rate}", ScheduleController("constant", rate), "adam") for rate in (1e-4, 1e-3, 1e-2)]
        records = [trainer.train(jobs, seed=1, test=True) for trainer in (opened, engine)]
    answers.send((records, engine.lanes, tf.config.threading.get_intra_op_parallelism_threads()))


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core, or no way to leave one out")
def test_results_do_not_depend_on_the_number_of_cores():
    """In processes of their own, because TensorFlow takes the number of its threads before it is used."""
    found = []
    for cores, lanes in ((CORES[:1], None), (CORES, None), (CORES, 1)):
        reading, answers = CHILDREN.Pipe(duplex=False)
        child = CHILDREN.Process(target=_trained, args=(answers, cores, lanes))
        child.start()
        answers.close()
        found.append(reading.recv())
        child.join()
    records, lanes, threads = zip(*found, strict=True)
    assert records[0] == records[1] == records[2]
    assert lanes == (1, len(CORES), 1)
    assert threads == (1, 1, 1)


TWO_MEMBERS = """
import sys
import numpy as np, tensorflow as tf
from metagd_optuna.contracts import TrainingJob
from metagd_optuna.policy.open_loop import ScheduleController
from metagd_optuna.training.device import prepare_device
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.plan import plan_run

device = prepare_device()
rng = np.random.default_rng(0)
images = rng.integers(0, 256, size=(48, 20, 20, 1), dtype=np.uint8), np.arange(48, dtype=np.int32) % 2
plan = plan_run(train_examples=48, epochs=2, batch_size=16, evaluations=3, rate_updates_per_evaluation=1)
engine = Engine(
    Images(images, images, images), classes=2, class_frequencies=(0.5, 0.5), complexity=0.5, plan=plan,
    population=2, layout=device.layout,
)
jobs = [TrainingJob(f"m{rate}", ScheduleController("constant", rate), "adam") for rate in (1e-4, 1e-3)]
print(device.layout, *(f"{record.train_loss[-1]:.9f}" for record in engine.train(jobs, seed=1)))
"""


def test_two_members_train_where_tensorflow_has_no_grouped_convolutions():
    """As on a Mac, or where TensorFlow was loaded first on a CPU for which it leaves oneDNN off."""
    found = []
    for onednn in ("0", "1"):
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}
        done = subprocess.run(
            [sys.executable, "-c", TWO_MEMBERS], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(done.stdout.split())
    (without, *losses), (_, *expected) = found
    assert without == "patches"
    np.testing.assert_allclose(np.array(losses, float), np.array(expected, float), rtol=1e-4)
