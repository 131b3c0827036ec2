"""The benchmarks' arithmetic; what they measure is run by ``make bench``."""

import importlib
import math
from pathlib import Path

import keras
import numpy as np
import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_every_part_can_be_measured_and_the_headlines_come_from_them(benchmark_module):
    main = benchmark_module("headlines")
    for part in (*main.PARTS, *main.ON_REQUEST):
        assert callable(benchmark_module(part).measure)
    assert set(benchmark_module("tables").TABLES) == {*main.PARTS, *main.ON_REQUEST}
    parts = {
        "throughput": {"batch_32": {"ratio": 3.0, "peak_share": 0.6}},
        "quality": {"ratio": {"median": 12.0}},
        "memory": {"ours": {"mb_per_trial": 0.05}},
    }
    assert main.headlines(parts) == {
        "throughput_ratio": 3.0,
        "peak_share": 0.6,
        "time_to_quality_ratio": 12.0,
        "memory_mb_per_trial": 0.05,
    }
    assert main.headlines({}) == {}


def test_summary_keeps_the_samples(benchmark_module):
    summary = benchmark_module("sides").summary
    assert summary([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "min": 1.0, "max": 10.0, "samples": [3.0, 1.0, 2.0, 10.0]}
    assert summary([5.0, 1.0, 2.0])["median"] == 2.0


def test_growth_per_trial_ignores_the_caches_that_fill_first(benchmark_module):
    slope = benchmark_module("memory").slope
    trials = np.arange(100)
    assert slope(list(500 + 0.25 * trials + 50 * np.minimum(trials / 20, 1))) == pytest.approx(0.25)


def test_flop_of_the_network_follow_from_its_shapes(benchmark_module):
    from metagd_optuna.training.cnn import article_cnn

    flop, first = 0.0, True
    for layer in article_cnn((28, 28, 1), 2, seed=0).layers:
        if layer.weights:
            pixels = math.prod(layer.output.shape[1:-1]) if isinstance(layer, keras.layers.Conv2D) else 1
            flop += (2 if first else 3) * 2 * pixels * math.prod(layer.kernel.shape)
            first = False
    assert benchmark_module("throughput").megaflop_per_example() == pytest.approx(flop / 1e6)


def test_the_peer_trains_the_same_network_as_we_do(benchmark_module):
    from metagd_optuna.training.cnn import article_cnn

    ours, peers = article_cnn((28, 28, 1), 5, seed=0), benchmark_module("peer").article_cnn((28, 28, 1), 5)
    kinds = [[(type(layer), layer.output.shape) for layer in model.layers] for model in (ours, peers)]
    assert kinds[0] == kinds[1]
