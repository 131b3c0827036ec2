"""The search for rules that look at probes: its arithmetic, and what it leaves out."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from metagd_optuna.contracts import Context, MetaGDError, Observation
from metagd_optuna.policy import MetaPolicy, load_policy
from metagd_optuna.policy.probes import PROBED_RATES
from metagd_optuna.suite.probed_rules import Explored, Found, found_with, search_rules, searched
from metagd_optuna.suite.rate_settings import PRESENT, RATES
from metagd_optuna.suite.signals import PROBES, read_probes, run_signals, signals_file, signals_of
from metagd_optuna.suite.workloads import EXPLORE, workloads_of

STORED = Path(__file__).parents[2] / "docs" / "results" / "suite"
LOG_RATES = np.log(RATES)
RULE = {"lr0": PRESENT.rate, "probed": "critical", "b": 1.0, "probes": 3, "least": 1.0, "most": 10.0}


def made_up(best, told=1.0):
    """Return workloads whose best rates are given and told by every signal, as many times too large.

    log J is |log(rate / best)|, and every other workload is of another network.
    """
    times = np.abs(LOG_RATES - np.log(best)[:, None])
    times -= times[:, [RATES.index(PRESENT.rate)]]
    signals = {
        (name, count): np.repeat(np.log(best)[:, None] - np.log(PRESENT.rate / found.usual) + np.log(told), 2, axis=1)
        for name, found in PROBED_RATES.items()
        for count in range(1, PROBES + 1)
    }
    names = [f"w{place}" for place in range(len(best))]
    return Explored(tuple(names), tuple(f"n{place // 2}" for place in range(len(best))), times, signals)


def test_a_rule_that_is_told_the_best_rate_costs_what_the_best_rate_does():
    found = made_up(np.array(RATES[2:]))
    assert found.rates(RULE) == pytest.approx(np.repeat(np.array(RATES[2:])[:, None], 2, axis=1).clip(max=0.025))
    assert found.cost(RULE)[:3] == pytest.approx(found.times.min(axis=1)[:3], abs=1e-9)


def test_a_rule_that_only_raises_loses_nothing_where_the_best_rate_is_lower():
    found = made_up(np.array(RATES[:3]))
    assert found.rates(RULE) == pytest.approx(np.full((3, 2), PRESENT.rate))
    assert found.cost(RULE) == pytest.approx([0, 0, 0], abs=1e-9)


@pytest.mark.parametrize("signal", PROBED_RATES)
def test_a_search_finds_what_signals_tell(signal):
    found = made_up(np.array([0.0025, 0.0045, 0.011, 0.026, 0.0045, 0.011]))
    best = searched(found, range(6), signal)
    assert best["probed"] == signal
    assert found.cost(best).mean() < 0.8 * found.times.min(axis=1).mean()
    assert (best["lr0"], best["least"]) == (PRESENT.rate, 1.0)


def test_a_search_among_signals_that_tell_nothing_keeps_the_constant():
    found = made_up(np.full(6, PRESENT.rate), told=8.0)
    assert found.cost(searched(found, range(6), "critical")) == pytest.approx(np.zeros(6), abs=1e-9)


def test_the_control_is_the_mean_rate_on_every_network():
    found = made_up(np.array(RATES[2:]))
    rule = Found("critical", RULE, {}, np.zeros(4), np.zeros(4))
    assert rule.replay(found).first_rate(0.5) == pytest.approx(np.exp(np.log(found.rates(RULE)).mean()), rel=1e-2)


def test_what_a_network_says_has_no_part_in_the_rule_that_it_is_judged_with():
    best = np.array([0.0045, 0.011, 0.0045, 0.011, 0.0025, 0.026])
    one = found_with(made_up(best), "best")
    other = made_up(best)
    other.times[:2] = -other.times[:2]
    again = found_with(other, "best")
    assert set(one.without) == {"n0", "n1", "n2"}
    assert one.without["n0"] == again.without["n0"]
    assert one.without["n1"] != again.without["n1"]
    assert one.apart[:2] == pytest.approx(made_up(best).cost(one.without["n0"])[:2])


@pytest.mark.parametrize("probes", [1, 2, 4])
@pytest.mark.parametrize("signal", PROBED_RATES)
def test_the_rates_are_those_that_a_controller_sets(shared_signals, signal, probes):
    """The arithmetic on tables against the rule itself, on the stored probes of all real trainings."""
    names, probed = shared_signals
    rule = {"lr0": 0.005, "probed": signal, "b": 1.4, "probes": probes, "least": 0.5, "most": 9.0}
    signals = {(signal, n): np.log(signals_of(signal, n, probed)) for n in range(1, probes + 1)}
    rates = Explored(tuple(names), tuple(names), np.zeros((len(names), len(RATES))), signals).rates(rule)
    controller = MetaPolicy(PRESENT.optimizer, "probed", rule).controller()
    for runs, of_workload in zip(probed, rates, strict=True):
        for run, expected in zip(runs, of_workload, strict=True):
            state = controller.start(Context(0.5, (0.5, 0.5), PRESENT.optimizer, 100, 10.0))
            _, state = controller.rates(state, Observation(0), 2)
            for each in run.probes[:probes]:
                found, state = controller.rates(state, Observation(each.step, 0.5, probe=each.probe), 2)
            assert found == pytest.approx(expected)


@pytest.fixture
def shared_signals():
    names = [each.name for each in workloads_of(EXPLORE)]
    return names, [read_probes(signals_file(STORED, name)) for name in names]


@pytest.mark.slow
def test_the_pages_are_written_from_what_is_stored(tmp_path):
    for folder in ("runs", "signals"):
        shutil.copytree(STORED / folder, tmp_path / folder)
    assert search_rules(tmp_path).read_text(encoding="utf-8") == (STORED / "probed.md").read_text(encoding="utf-8")
    for signal in PROBED_RATES:
        for file in (f"rules/probed-{signal}.json", f"rules/replay-{signal}.json"):
            assert load_policy(tmp_path / file) == load_policy(STORED / file)
    page = run_signals(tmp_path, log=pytest.fail)  # nothing is left to train
    assert page.read_text(encoding="utf-8") == (STORED / "signals.md").read_text(encoding="utf-8")


def test_a_folder_without_all_runs_and_probes_is_told(tmp_path):
    with pytest.raises(MetaGDError, match=r"lacks runs or probes of article-cnn_breastmnist_32, .*suite signals"):
        search_rules(tmp_path)
    for folder in ("runs", "signals"):
        shutil.copytree(STORED / folder, tmp_path / folder)
    for file, kept in (("signals/mlp-narrow_breast_cancer_8.jsonl", 3), ("runs/mlp-wide_mednist6_128.jsonl", 30)):
        path = tmp_path / file
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(MetaGDError, match="lacks runs or probes of mlp-narrow_breast_cancer_8, mlp-wide_mednist6_128;"):
        search_rules(tmp_path)
