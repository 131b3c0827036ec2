"""How what probes tell goes with the best rate: the arithmetic, and a real workload of the suite."""

import math

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError, Probe
from metagd_optuna.policy.probes import PROBED_RATES, trial_rates
from metagd_optuna.suite import signals
from metagd_optuna.suite.rate_settings import CONSTANTS, PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun
from metagd_optuna.suite.seeds import CHOOSING, JUDGING
from metagd_optuna.suite.signals import (
    LARGEST,
    PROBES,
    SEEDS,
    SIGNALS,
    ProbedRun,
    correlations,
    mean_signal,
    read_probes,
    run_signals,
    signal_of,
    signals_file,
)

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


def probed(critical, count=PROBES):
    """Return trainings whose steps gain up to a rate and no further."""
    rates = trial_rates(critical)
    losses = tuple(0.5 if rate < critical else LARGEST if rate > critical * 2 else 1.0 for rate in rates)
    fields = {"loss": 1.0, "rates": rates, "losses": losses, "gradient": 2.0, "direction": 1.0, "slope": 1.0}
    probes = [{"step": 2**number, **fields, "agreement": 0.5, "distance": 0.1} for number in range(1, count + 1)]
    return [ProbedRun.model_validate({"seed": seed, "probes": probes}) for seed in SEEDS]


@pytest.mark.parametrize(("order", "expected"), [(1, 1.0), (-1, -1.0)])
def test_a_signal_that_goes_with_the_best_rate_has_the_rank_correlation_of_its_order(order, expected):
    best = dict(zip("abcdef", RATES, strict=True))
    found = correlations(
        {name: explored(rate) for name, rate in best.items()},
        {name: probed(rate**order * 10) for name, rate in best.items()},
    )
    row = {(each.signal, each.probes): each for each in found}
    assert row["critical", 1].rank == pytest.approx(expected)
    assert row["critical", PROBES].rank == pytest.approx(expected)
    assert row["critical", 1].low <= row["critical", 1].rank <= row["critical", 1].high
    assert math.isnan(row["agreement", 1].rank)  # the same everywhere


def test_what_is_kept_is_read_again(tmp_path):
    run = probed(0.01)[0]
    file = tmp_path / "a.jsonl"
    file.write_text(run.model_dump_json() + "\n", encoding="utf-8")
    assert read_probes(file) == [run]


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_a_number_or_none(name):
    assert signal_of(name, probed(0.01)[0].probes[0].probe) > 0
    flat = Probe(1.0, trial_rates(0.1), (math.inf,) * 5, 1.0, 1.0, 0.0, 0.0, 0.0)
    found = signal_of(name, flat)
    assert math.isnan(found) if name == "polyak" else found >= 0


def test_rates_have_a_geometric_mean_and_others_a_plain_one():
    fast, slow = probed(0.16)[0].probes[0], probed(0.01)[0].probes[0]
    assert mean_signal("best", [fast, slow]) == pytest.approx(0.04 / 16)  # the smallest that gains as much as any
    flat = slow.model_copy(update={"slope": 0.0})  # on which Polyak tells nothing
    assert mean_signal("polyak", [flat, slow]) == mean_signal("polyak", [slow])
    assert mean_signal("polyak", [flat]) == PROBED_RATES["polyak"].usual
    other = slow.model_copy(update={"agreement": 0.1})
    assert mean_signal("agreement", [slow, other]) == pytest.approx(0.3)


def test_probes_behind_other_steps_are_told(tmp_path):
    """Those of an earlier version, which made them after 4, 16, 64 steps."""
    [name] = ["mlp-narrow_breast_cancer_8"]
    run = probed(0.01)[0]
    older = run.model_copy(update={"probes": tuple(each.model_copy(update={"step": 4}) for each in run.probes)})
    file = signals_file(tmp_path, name)
    file.parent.mkdir()
    file.write_text(older.model_dump_json() + "\n")
    with pytest.raises(MetaGDError, match=r"holds probes behind other steps than 2, 4, 8, 16, 32, .*remove the file"):
        run_signals(tmp_path, names=[name], log=pytest.fail)


@pytest.mark.slow
def test_a_workload_is_probed_once_and_reported(tmp_path, monkeypatch):
    [name] = ["mlp-narrow_breast_cancer_8"]
    monkeypatch.setattr(signals, "read_runs", lambda file: explored(PRESENT.rate))
    said = []
    page = run_signals(tmp_path, names=[name], log=said.append)
    assert [len(run.probes) for run in read_probes(tmp_path / "signals" / f"{name}.jsonl")] == [PROBES] * 4
    assert len(said) == 4
    assert run_signals(tmp_path, names=[name], log=said.append) == page
    assert len(said) == 4
    assert "| critical |" in page.read_text(encoding="utf-8")
