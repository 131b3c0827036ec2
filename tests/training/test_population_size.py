"""How many members share one program: chosen from speeds, measured, remembered."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from metagd_optuna.training import population_size as module
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.plan import plan_run
from metagd_optuna.training.population_cache import MOST_ENTRIES, cache_file, read_sizes, write_sizes
from metagd_optuna.training.population_size import (
    LARGEST,
    PopulationSize,
    cache_key,
    fastest_size,
    measured_size,
    member_examples_per_second,
    population_size,
)

CPU = Device("CPU: made up, 2 cores", compiled=False, lanes=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("METAGD_CACHE_DIR", str(folder))
    return folder / "population.json"


@pytest.fixture
def said():
    return []


@pytest.fixture
def speeds(monkeypatch):
    """Let sizes have the speeds of a table, or raise its errors; returns the sizes that were asked for."""

    def pretend(table):
        asked = []

        def speed(engine, members):
            asked.append(members)
            if isinstance(table[members], Exception):
                raise table[members]
            return table[members]

        monkeypatch.setattr(module, "member_examples_per_second", speed)
        return asked

    return pretend


@pytest.fixture
def no_measuring(monkeypatch):
    monkeypatch.setattr(module, "member_examples_per_second", lambda *_: pytest.fail("it measured"))


def out_of_memory():
    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("speeds", "largest", "expected"),
    [
        ({1: 100.0, 2: 100.0}, 512, 1),  # a tie goes to the smaller
        ({1: 100.0, 2: 109.9}, 512, 1),  # as does noise
        ({1: 100.0, 2: 110.1, 4: 110.2}, 512, 2),
        ({1: 100.0, 2: 190.0, 4: 150.0, 8: 9999.0}, 512, 2),  # stops at the first that does not pay
        ({1: 100.0, 2: 200.0, 4: 400.0, 8: 0.0}, 512, 4),  # 8 does not fit
        ({1: 100.0, 2: 200.0, 4: 400.0, 8: 800.0}, 4, 4),
        ({1: 100.0, 2: 200.0, 4: 400.0}, 7, 4),
        ({1: 0.0, 2: 0.0}, 512, 1),  # nothing fits: the training will say so
    ],
)
def test_size_chosen_from_speeds(speeds, largest, expected):
    assert fastest_size(speeds.__getitem__, largest) == expected


def test_largest_size():
    assert fastest_size(float) == LARGEST == 512


def test_slow_moment_of_the_smaller_size_is_no_gain():
    readings = {1: [50.0, 100.0], 2: [100.0]}
    assert fastest_size(lambda size: readings[size].pop(0)) == 1


def test_stops_where_memory_ends(engine, speeds, said):
    asked = speeds({1: 1.0, 2: 2.0, 4: 4.0, 8: out_of_memory()})
    assert measured_size(engine, CPU, said.append) == 4
    assert max(asked) == 8


def test_stops_before_a_share_of_the_free_memory(engine, speeds, said, monkeypatch):
    """Every member takes 100 bytes: 8 would pass a quarter of 3,000."""
    asked = speeds({2**i: float(2**i) for i in range(10)})
    monkeypatch.setattr(module, "_free_bytes", lambda: 3000)
    monkeypatch.setattr(module, "_peak_bytes", lambda: 7 + 100 * max(asked, default=0))
    assert measured_size(engine, CPU, said.append) == 4
    assert max(asked) == 4


def test_stops_before_a_share_of_a_gpus_memory(engine, speeds, said, monkeypatch):
    """No GPU is here to be asked, so its answers are made up: 100 bytes per member, and 1,000 in all."""
    asked = speeds({2**i: float(2**i) for i in range(10)})
    memory = tf.config.experimental
    monkeypatch.setattr(memory, "reset_memory_stats", lambda device: None)
    monkeypatch.setattr(memory, "get_memory_info", lambda device: {"current": 0, "peak": 100 * max(asked)})
    devices = [SimpleNamespace(device_type=kind, memory_limit=limit) for kind, limit in (("CPU", 8), ("GPU", 1000))]
    monkeypatch.setattr(module.device_lib, "list_local_devices", lambda: devices)
    assert measured_size(engine, Device("GPU: made up", compiled=True, lanes=1), said.append) == 8
    assert max(asked) == 8
    assert len(said) == 1
    assert "takes a while" in said[0]


def test_free_memory_that_nothing_tells_sets_no_limit(engine, speeds, said, monkeypatch):
    speeds({2**i: float(2**i) for i in range(10)})
    monkeypatch.setattr(module, "_free_bytes", lambda: None)
    assert measured_size(engine, CPU, said.append) == LARGEST


def test_memory_is_told_in_bytes():
    assert 50e6 < module._peak_bytes() < 1e12
    free = module._free_bytes()
    assert free is None or 50e6 < free < 1e14


@pytest.mark.parametrize("error", [tf.errors.UnimplementedError, tf.errors.InvalidArgumentError])
def test_no_gradient_of_grouped_convolution_means_one(engine, speeds, said, error):
    speeds({1: 100.0, 2: error(None, None, "{{function_node f_1}} no grouped gradient\nmore")})
    assert measured_size(engine, CPU, said.append) == 1
    assert said == ["  grouped convolution has no gradient on this device (no grouped gradient)"]


def test_error_at_another_size_is_an_error(engine, speeds, said):
    speeds({1: 100.0, 2: 200.0, 4: tf.errors.InvalidArgumentError(None, None, "odd")})
    with pytest.raises(tf.errors.InvalidArgumentError, match="odd"):
        measured_size(engine, CPU, said.append)


def test_measured_once_then_remembered(engine, speeds, said, cache):
    asked = speeds({1: 100.0, 2: 190.0, 4: 190.0})
    assert population_size(engine, CPU, said.append) == PopulationSize(2, "measured")
    assert json.loads(cache.read_text(encoding="utf-8")) == {cache_key(engine, CPU): 2}
    times = len(asked)
    assert population_size(engine, CPU, said.append) == PopulationSize(2, "measured earlier")
    assert len(asked) == times
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]  # no temporary file is left
    assert said == []


def test_other_device_is_measured_beside(engine, speeds, said, cache):
    speeds({1: 100.0, 2: 100.0})
    other = replace(CPU, name="CPU: another")
    write_sizes(cache, {cache_key(engine, other): 8})
    assert population_size(engine, CPU, said.append).members == 1
    assert read_sizes(cache) == {cache_key(engine, other): 8, cache_key(engine, CPU): 1}


def test_real_measurement(engine, said):
    size = population_size(engine, CPU, said.append)
    assert np.log2(size.members) in range(int(np.log2(LARGEST)) + 1)
    assert population_size(engine, CPU, said.append) == (size.members, "measured earlier")
    assert said == []


def test_measurement_changes_nothing_that_is_trained(engine, images, plan, loss_driven):
    from metagd_optuna.contracts import TrainingJob

    fresh = Engine(images, classes=3, class_frequencies=(0.5, 0.3, 0.2), complexity=0.4, plan=plan, lanes=2)
    assert member_examples_per_second(fresh, 2) > 0
    jobs = [TrainingJob("m", loss_driven(1e-3), "adam")]
    engine_alone = Engine(images, classes=3, class_frequencies=(0.5, 0.3, 0.2), complexity=0.4, plan=plan, lanes=2)
    assert fresh.train(jobs, seed=1) == engine_alone.train(jobs, seed=1)


def test_key_changes_with_each_part(engine, images, monkeypatch):
    base = SimpleNamespace(
        images=images,
        lanes=2,
        compiled=False,
        layout="grouped",
        compute="float32",
        plan=engine.plan,
        model=engine.model,
    )
    wider = Images((np.zeros((4, 18, 20, 1), np.uint8), images.train[1][:4]), images.validation, images.test)
    floats = Images((images.train[0].astype(np.float32), images.train[1]), images.validation, images.test)
    changes = [
        {"lanes": 1},
        {"compiled": True},
        {"layout": "patches"},
        {"compute": "bfloat16"},
        {"plan": plan_run(train_examples=90, epochs=3, batch_size=8, evaluations=6, rate_updates_per_evaluation=2)},
        {"model": keras.Sequential([keras.layers.Input((18, 19, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])},
        {"images": wider},
        {"images": floats},
    ]
    keys = {cache_key(SimpleNamespace(**{**vars(base), **change}), CPU) for change in [{}, *changes]}
    keys.add(cache_key(base, replace(CPU, name="GPU: made up")))
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    keys.add(cache_key(base, CPU))
    monkeypatch.setattr(tf, "__version__", "99.0")
    keys.add(cache_key(base, CPU))
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "99.1")
    keys.add(cache_key(base, CPU))
    assert len(keys) == len(changes) + 5


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": 0}',
        '{"a": true}',
        '{"a": 2.5}',
        '{"a": "2"}',
        '{"a": {}}',
        b"\xff\xfe\x00",
        "[" * 100_000,
    ],
)
def test_broken_cache_is_said_and_rewritten(engine, speeds, said, cache, text):
    asked = speeds({1: 100.0, 2: 100.0})
    cache.parent.mkdir()
    cache.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert population_size(engine, CPU, said.append) == PopulationSize(1, "measured")
    assert asked == [1, 2]
    assert len(said) == 1
    assert f"{cache} cannot be read" in said[0]
    assert read_sizes(cache) == {cache_key(engine, CPU): 1}


def test_folder_that_cannot_be_written_costs_a_line(engine, speeds, said, cache):
    """A file stands where the folder should be; permissions would not stop root."""
    speeds({1: 100.0, 2: 190.0, 4: 190.0})
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("in the way", encoding="utf-8")
    assert population_size(engine, CPU, said.append) == PopulationSize(2, "measured")
    assert f"{cache} cannot be written" in said[-1]


def test_write_that_fails_leaves_the_old_file(cache, monkeypatch):
    from pathlib import Path

    write_sizes(cache, {"a": 1})

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_sizes(cache, {"a": 2})
    assert read_sizes(cache) == {"a": 1}
    assert os.listdir(cache.parent) == [cache.name]  # noqa: PTH208 - names are what is compared


def test_cache_stays_small(cache):
    sizes = {str(number): 1 for number in range(MOST_ENTRIES + 5)}
    write_sizes(cache, sizes)
    assert list(read_sizes(cache)) == list(sizes)[5:]


def test_cache_is_in_the_users_cache_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv("METAGD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file().name == "population.json"
    assert cache_file().parent.name == "metagd_optuna"
    assert list(tmp_path.iterdir()) == []  # asking makes no folder


class Unheard(keras.layers.Layer):
    """A layer without a fused form."""

    def call(self, inputs):
        return inputs


def test_network_that_cannot_be_fused_is_not_measured(images, plan, said, no_measuring):
    def build(input_shape, classes, *, seed):
        layers = [
            keras.layers.Input(input_shape),
            Unheard(name="unheard"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
        ]
        return keras.Sequential(layers)

    options = {"classes": 3, "class_frequencies": (0.5, 0.3, 0.2), "complexity": 0.4, "plan": plan}
    single = Engine(images, build_network=build, population=8, **options)
    assert single.population == 1
    size = population_size(single, CPU, said.append)
    assert size.members == 1
    assert size.origin.startswith("cannot be fused: layer 'unheard'")
    single.population = 16
    assert single.population == 1
