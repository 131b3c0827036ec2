"""The benchmarks' arithmetic; what they measure is run by ``make bench``."""

import ast
import importlib
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metagd_optuna.tuning.pruning import optimistic_objective

FOLDER, METHOD = (Path(__file__).parent / name for name in ("benchmarks", "method"))


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


@pytest.mark.parametrize("path", sorted((*FOLDER.glob("*.py"), *METHOD.glob("*.py"))), ids=lambda path: path.stem)
def test_what_it_imports_of_the_package_is_there(path):
    """Inside functions, too, which only a whole run calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metagd_optuna"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


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


def test_ratios_of_searches_are_paired(benchmark_module):
    ratio = benchmark_module("samplers").ratio
    base = [{"true": value} for value in (1.0, 10.0, 100.0, 1.0)]
    found = ratio([{"true": value} for value in (0.5, 5.0, 50.0, 1.0)], base)
    assert found["ratio"] == pytest.approx(0.5**0.75)
    assert 0.5 <= found["low"] < found["ratio"] < found["high"] <= 1
    assert (found["wins"], found["losses"]) == (3, 0)


@given(
    bounds=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=1, max_size=6),
    limit=st.floats(0, 20) | st.just(math.inf),
    best=st.floats(0, 5),
)
def test_trials_of_the_benchmark_are_stopped_as_those_of_a_study(bounds, limit, best):
    table = np.sort(np.array(bounds).T, axis=1)
    objectives = list(table[:, -1])
    hopeful = [
        optimistic_objective(objectives[:row], [value], best, 2) for row in (0, 1) for value in table[row].tolist()
    ]
    expected = next((place for place, value in enumerate(hopeful) if value > limit), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        assert importlib.import_module("samplers").hopeless_at(objectives, table, limit, best) == expected


@pytest.mark.parametrize("name", ["Quadratic", "Logistic"])
def test_analytic_gradients_are_those_of_the_loss(benchmark_module, name):
    """Averaged over many batches, against central differences of the loss over all that the batches are drawn from."""
    model = getattr(benchmark_module("analytic"), name)()
    if name == "Logistic":
        model._validate = model._train
    seeds = range(60)
    weights = np.repeat(model.start([0]), len(seeds), axis=0)
    mean = np.mean([model.gradient(weights, seeds, step)[1] for step in range(100)], axis=(0, 1))
    moves = 1e-4 * np.eye(weights.shape[1])
    slope = (model.loss(weights[0] + moves) - model.loss(weights[0] - moves)) / 2e-4
    np.testing.assert_allclose(mean, slope, atol=0.05 * np.abs(slope).max())


@pytest.mark.parametrize(("name", "peer"), [("Adam", keras.optimizers.Adam), ("Nesterov", keras.optimizers.SGD)])
def test_analytic_optimizers_are_keras_own(benchmark_module, name, peer):
    ours = getattr(benchmark_module("analytic"), name)()
    theirs = peer(0.1) if name == "Adam" else peer(0.1, momentum=0.9, nesterov=True)
    weights, variable = np.array([[1.0, -2.0]]), keras.Variable([[1.0, -2.0]])
    for gradient in np.random.default_rng(0).normal(size=(5, 1, 2)):
        weights = ours(weights, gradient, np.array([[0.1]]))
        theirs.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
    np.testing.assert_allclose(weights, variable.numpy(), rtol=1e-5)


@pytest.mark.parametrize("sampler", ["TPE", "TPE and mutation", "TPE, independent", "random"])
def test_a_search_of_the_benchmark_can_be_repeated(benchmark_module, sampler):
    search = benchmark_module("samplers").search
    first, again = (search("quadratic", "one form", sampler, 12, seed=3) for _ in range(2))
    assert first["true"] == again["true"]
    assert 0 < first["seen"] <= 80


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_mutation_of_the_benchmark_stays_in_the_range(seed, share):
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        moved = importlib.import_module("mutation").moved
    for low, high, log in ((1e-5, 3e-2, True), (-3.0, 3.0, False), (2.0, 2.0, False)):
        assert low <= moved(low + share * (high - low), FloatDistribution(low, high, log=log), rng) <= high
    assert moved(round(8 * share), IntDistribution(0, 8), rng) in range(9)
    assert moved("b", CategoricalDistribution(("a", "b", "c")), rng) in ("a", "b", "c")
