"""How what probes tell goes with the best rate: the arithmetic, and a real workload of the suite."""

import math

import numpy as np
import pytest

from metagd_optuna.contracts import Probe
from metagd_optuna.policy.probes import trial_rates
from metagd_optuna.suite import signals
from metagd_optuna.suite.rate_settings import CONSTANTS, PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun
from metagd_optuna.suite.seeds import CHOOSING, JUDGING
from metagd_optuna.suite.signals import LARGEST, SIGNALS, ProbedRun, correlations, read_probes, run_signals, signal_of

EPOCHS = tuple(np.linspace(0.5, 10, 20))


def explored(best):
    """Return runs of a workload that is fastest at one of the six rates."""
    same = {"epochs": EPOCHS, "budget": 10.0, "batch_norm": False, "normalised": False, "batch_size": 32, "chance": 0.5}

    def scores(rate):
        speed = math.exp(-abs(math.log(rate / best)) / 2)
        return tuple(0.5 + 0.45 * (1 - math.exp(-speed * epoch)) for epoch in EPOCHS)

    return [
        SuiteRun(candidate=each.name, seed=seed, scores=scores(each.rate), **same)
        for each in CONSTANTS
        for seed in (*CHOOSING, *JUDGING)
    ]


def probed(critical, count=2):
    """Return trainings whose steps gain up to a rate and no further."""
    rates = trial_rates(critical)
    losses = tuple(0.5 if rate < critical else LARGEST if rate > critical * 2 else 1.0 for rate in rates)
    fields = {"loss": 1.0, "rates": rates, "losses": losses, "gradient": 2.0, "direction": 1.0, "slope": 1.0}
    probes = [{"step": 4**number, **fields, "agreement": 0.5, "distance": 0.1} for number in range(1, count + 1)]
    return [ProbedRun.model_validate({"seed": seed, "probes": probes}) for seed in CHOOSING]


@pytest.mark.parametrize(("order", "expected"), [(1, 1.0), (-1, -1.0)])
def test_a_signal_that_goes_with_the_best_rate_has_the_rank_correlation_of_its_order(order, expected):
    best = dict(zip("abcdef", RATES, strict=True))
    found = correlations(
        {name: explored(rate) for name, rate in best.items()},
        {name: probed(rate**order * 10, count=1 + (name == "a")) for name, rate in best.items()},
    )
    row = {(each.signal, each.number): each for each in found}
    assert row["critical", 1].rank == pytest.approx(expected)
    assert row["critical", 2].rank == pytest.approx(expected)  # the last one of those that had fewer
    assert row["critical", 1].low <= row["critical", 1].rank <= row["critical", 1].high
    assert math.isnan(row["agreement", 1].rank)  # the same everywhere


def test_what_is_kept_is_read_again(tmp_path):
    [run, _] = probed(0.01)
    file = tmp_path / "a.jsonl"
    file.write_text(run.model_dump_json() + "\n", encoding="utf-8")
    assert read_probes(file) == [run]


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_a_number_or_none(name):
    assert signal_of(name, probed(0.01)[0].probes[0].probe) > 0
    flat = Probe(1.0, trial_rates(0.1), (math.inf,) * 5, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert signal_of(name, flat) >= 0


@pytest.mark.slow
def test_a_workload_is_probed_once_and_reported(tmp_path, monkeypatch):
    [name] = ["mlp-narrow_breast_cancer_8"]
    monkeypatch.setattr(signals, "read_runs", lambda file: explored(PRESENT.rate))
    said = []
    page = run_signals(tmp_path, names=[name], log=said.append)
    assert [len(run.probes) for run in read_probes(tmp_path / "signals" / f"{name}.jsonl")] == [5, 5]
    assert len(said) == 2
    assert run_signals(tmp_path, names=[name], log=said.append) == page
    assert len(said) == 2
    assert "| critical |" in page.read_text(encoding="utf-8")
