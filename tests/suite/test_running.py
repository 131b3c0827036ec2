"""The suite from its command to its page, on trainings of seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from metagd_optuna import MetaGDError
from metagd_optuna.cli import metagd
from metagd_optuna.policy import load_policy
from metagd_optuna.report.policy_page import policy_page
from metagd_optuna.suite import opened, rate_settings, running
from metagd_optuna.suite.exploration import (
    EXPLORED,
    MEASURES,
    OBJECTIVE,
    explored,
    targets_of,
    trained_rules,
    tuned_constant,
)
from metagd_optuna.suite.networks import NETWORKS
from metagd_optuna.suite.rate_settings import CONSTANTS
from metagd_optuna.suite.runs import SuiteRun, read_runs, runs_file
from metagd_optuna.suite.seeds import CHOOSING, CONFIRMING, JUDGING
from metagd_optuna.suite.workloads import CONFIRM, EXPLORE, WORKLOADS, workloads_of

SMALL = {EXPLORE: "mlp-narrow_breast_cancer_8", CONFIRM: "mlp-wide_breast_cancer_32"}


@pytest.fixture
def small(monkeypatch):
    """Runs of a few steps."""
    monkeypatch.setattr(opened, "EXAMPLES", 320)
    monkeypatch.setattr(opened, "EVALUATIONS", 10)
    monkeypatch.setattr(opened, "RATE_UPDATES", 1)


def lines_of(out, half):
    return runs_file(out, SMALL[half]).read_text().splitlines()


@pytest.mark.slow
def test_both_halves_run_to_their_pages_and_go_on_where_they_were_stopped(small, tmp_path):
    said = []
    place = running.run_suite(EXPLORE, tmp_path, names=[SMALL[EXPLORE]], log=said.append)
    whole = lines_of(tmp_path, EXPLORE)
    assert len(whole) == 4 * len(EXPLORED)
    assert said[0].startswith("constant rates: to train: 48 runs, 0.0 million examples, about 0.0 h")
    assert "Rules are compared over 3 workloads or more" in place.read_text()
    assert "ScheduleFreeAdamW" in place.read_text()
    assert (tmp_path / "explore.md").is_file()
    # Cut off within a line, it trains what is missing, and nothing else, to the same digits.
    runs_file(tmp_path, SMALL[EXPLORE]).write_text("\n".join(whole[:-20]) + '\n{"candidate": "ad')
    said.clear()
    running.run_suite(EXPLORE, tmp_path, names=[SMALL[EXPLORE]], log=said.append)
    assert sorted(lines_of(tmp_path, EXPLORE)) == sorted(whole)
    assert said[0] == "constant rates: all runs are stored"

    policy = tmp_path / "mine.json"
    policy.write_text(json.dumps(RULE))
    page = running.run_suite(EXPLORE, tmp_path, names=[SMALL[EXPLORE]], policies=[policy], log=said.append)
    assert len(lines_of(tmp_path, EXPLORE)) == len(whole) + 4
    assert "| mine |" in page.with_suffix(".md").read_text()
    page = running.run_suite(CONFIRM, tmp_path, names=[SMALL[CONFIRM]], policies=[policy], log=said.append)
    runs = read_runs(runs_file(tmp_path, SMALL[CONFIRM]))
    mine = [run for run in runs if run.candidate == "mine"]
    assert sorted(run.seed for run in mine) == list(CONFIRMING)
    assert all(len(run.test_scores) == len(run.scores) == 10 for run in mine)
    table = page.with_suffix(".md").read_text()
    assert "| mine |" in table
    assert "| a constant tuned on the workload |" in table
    running._save_with_results({"mine": load_policy(policy)}, {SMALL[CONFIRM]: runs}, tmp_path / "confirmed")
    saved = load_policy(tmp_path / "confirmed" / "mine.json")
    assert replace(saved, provenance={}) == load_policy(policy)
    [result] = saved.provenance["results"].values()
    assert result["label"] in ("faster", "tie", "slower")
    assert f"| mine | {saved.provenance['suite']['over_all']['speedup']:.2f} (" in table
    assert "on 10 paired seeds of workloads that no choice had seen" in str(policy_page(saved, "mine"))


@pytest.mark.slow
def test_runs_of_another_rule_of_that_name_are_told(small, tmp_path):
    """Runs name their rule and no more; a file that was written anew must not take the results of the old one."""
    policy, half = tmp_path / "mine.json", {"names": [SMALL[CONFIRM]], "log": lambda line: None}
    policy.write_text(json.dumps(RULE))
    running.run_suite(CONFIRM, tmp_path, policies=[policy], **half)
    assert not (tmp_path / "confirmed").exists()  # of one workload
    other = RULE | {"rate": {"form": "schedule", "coefficients": {"base": "constant", "lr0": 0.01, "k": 0.0}}}
    policy.write_text(json.dumps(other))
    with pytest.raises(MetaGDError, match=r"has runs of another rule called mine, which is kept in .*mine\.json; give"):
        running.run_suite(CONFIRM, tmp_path, policies=[policy], **half)
    # Runs of a workload that is not named now are of the old rule as well.
    kept = runs_file(tmp_path, SMALL[CONFIRM])
    kept.rename(runs_file(tmp_path, "another"))
    with pytest.raises(MetaGDError, match="has runs of another rule called mine"):
        running.run_suite(CONFIRM, tmp_path, policies=[policy], **half)
    (tmp_path / "trained" / "mine.json").unlink()
    with pytest.raises(
        MetaGDError, match=r"has runs of a rule called mine, and .*mine\.json, which would say of which"
    ):
        running.run_suite(CONFIRM, tmp_path, policies=[policy], **half)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.json").write_text(json.dumps(RULE))
    with pytest.raises(MetaGDError, match="two rules have one name; rename a file"):
        running.run_suite(CONFIRM, tmp_path, policies=[policy, tmp_path / "elsewhere" / "mine.json"], **half)


RULE = {
    "schema": 2,
    "kind": "meta-policy",
    "optimizer": "schedule-free-adamw-r1",
    "rate": {"form": "schedule", "coefficients": {"base": "constant", "lr0": 0.005, "k": 0.0}},
    "difficulty": {"form": "gap", "coefficients": {}},
}


def test_rules_that_were_trained_are_compared_with_the_constant_on_the_same_seeds():
    """A rule that does everything in half the time; one that lacks a seed is left out."""

    def run(name, seed, speed):
        epochs = tuple(np.linspace(0.05, 10, 200))
        scores = tuple(0.5 + 0.4 * (1 - np.exp(-speed * epoch)) for epoch in epochs)
        same = {"budget": 10.0, "batch_norm": False, "normalised": False, "batch_size": 32, "chance": 0.5}
        return SuiteRun(candidate=name, seed=seed, epochs=epochs, scores=scores, **same)

    seeds = (*CHOOSING, *JUDGING)
    held = [run(each.name, seed, 0.5) for each in CONSTANTS for seed in seeds]
    held += [run("twice", seed, 1.0) for seed in seeds] + [run("lacks", seed, 1.0) for seed in seeds[:3]]
    found = trained_rules({"a": held, "b": held}, MEASURES[OBJECTIVE])
    assert set(found) == {"twice"}
    assert np.exp(found["twice"]) == pytest.approx([2, 2], rel=0.05)


def test_a_suite_needs_its_data(small, tmp_path):
    name = "deep-plain_bccd_cells3_32"
    with pytest.raises(MetaGDError, match=r"'bccd_cells3' is not of the catalogue, and there is no file .*--data-dir"):
        running.run_suite(CONFIRM, tmp_path, data_dir=tmp_path, names=[name])


def test_every_network_task_and_batch_stands_in_both_halves():
    halves = [workloads_of(half) for half in (EXPLORE, CONFIRM)]
    assert len(WORKLOADS) >= 24
    assert min(map(len, halves)) >= 12
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    for part in ("network", "task", "batch_size", "frozen"):
        explored, kept = ({getattr(workload, part) for workload in half} for half in halves)
        assert explored == kept
    assert {workload.network for workload in WORKLOADS} == set(NETWORKS)


def test_the_list_names_them_all():
    said = CliRunner().invoke(metagd, ["suite", "list"], catch_exceptions=False).output
    assert all(workload.name in said for workload in WORKLOADS)


def test_a_workload_that_there_is_not_is_told():
    with pytest.raises(MetaGDError, match=r"no workload to explore \(did you mean 'mlp-wide_mednist6_128'\?\)"):
        workloads_of(EXPLORE, ["mlp-wide_mednist6_12"])
    with pytest.raises(MetaGDError, match="is no workload to explore"):
        workloads_of(EXPLORE, [SMALL[CONFIRM]])  # of the half that is kept


def test_pretrained_weights_begin_a_network_and_may_be_frozen(tmp_path):
    build = NETWORKS["mlp-narrow"]
    source = build((8, 8, 1), 5, seed=7)
    weights = source.get_weights()[:-2]
    for frozen in (False, True):
        model = opened.transferred(build, weights, frozen=frozen)((8, 8, 1), 3, seed=1)
        for ours, theirs in zip(model.get_weights()[:-2], weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(model.get_weights()[-2], build((8, 8, 1), 3, seed=1).get_weights()[-2])
        assert len(model.trainable_variables) == (2 if frozen else 6)


def made_up(times, chance=0.5):
    """Runs of every constant rate on every seed that reach 1.0 after the given evaluations, by rate."""
    runs = []
    for candidate in rate_settings.CONSTANTS:
        for seed in (0, 1, 1000, 1001):
            hit = times[candidate.rate]
            scores = tuple(float(np.clip(0.5 + 0.5 * step / hit, 0.5, 1.0)) for step in range(1, 26))
            runs.append(
                running.SuiteRun(
                    candidate=candidate.name,
                    seed=seed,
                    epochs=tuple(float(step) for step in range(1, 26)),
                    scores=scores,
                    budget=25.0,
                    batch_norm=False,
                    normalised=False,
                    batch_size=32,
                    chance=chance,
                )
            )
    return runs


def test_it_tells_what_one_constant_costs():
    slow_at_low = dict(zip(rate_settings.RATES, (20, 16, 12, 8, 4, 2), strict=True))
    slow_at_high = dict(zip(rate_settings.RATES, (2, 4, 8, 12, 16, 20), strict=True))
    alike = {name: made_up(slow_at_low) for name in "abc"}
    assert tuned_constant(alike["a"]).rate == rate_settings.RATES[-1]
    assert targets_of(alike["a"]).one == pytest.approx(0.5 + 0.95 * 0.5)
    for measure in MEASURES.values():
        [one] = [r for r in explored(alike, measure) if (r.family, r.rule.name) == ("adam constant", "one constant")]
        assert one.regret.speedup == pytest.approx(1.0)
        assert one.reference.speedup < 0.5  # than 0.0025, which is slow there
        [torn] = [
            r
            for r in explored(alike | {"d": made_up(slow_at_high)}, measure)
            if (r.family, r.rule.name) == ("adam constant", "one constant")
        ]
        assert torn.regret.speedup > 1.3
