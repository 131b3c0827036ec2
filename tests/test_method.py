"""The resampled studies of ``make verify-method``: they see what is there, and nothing where there is nothing."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def method_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "method"))
    return importlib.import_module


@pytest.fixture
def pool(method_module):
    """Forty made-up runs that rise from 0.5 to about 0.9, each at a pace of its own."""
    rng = np.random.default_rng(0)
    epochs = np.arange(1, 41) / 4

    def curves():
        pace = np.exp(0.15 * rng.normal(size=(40, 1)))
        return 0.9 - 0.4 * np.exp(-epochs * pace / 2) + 0.004 * rng.normal(size=(40, 40))

    return method_module("pools").Pool("made up", 0.5, 10.0, epochs, curves(), curves())


def labels(method_module, pairs, design, count=40):
    return method_module("resample").studies(pairs, design, np.random.SeedSequence(1).spawn(count))


def test_identical_rules_are_hardly_ever_told_apart(method_module, pool):
    design = method_module("resample").Design(baselines=3, seeds=8)
    found = labels(method_module, [(pool, pool)], design, 100)
    assert sum(label != ["tie"] for label in found) <= 12  # at 5%, more than that has a chance of 1 in 700
    assert found == labels(method_module, [(pool, pool)], design, 100)


@pytest.mark.parametrize(("speedup", "label"), [(2.0, "faster"), (0.5, "slower")])
def test_what_differs_by_half_is_seen(method_module, pool, speedup, label):
    other = method_module("pools").accelerated(pool, speedup)
    found = labels(method_module, [(pool, other)], method_module("resample").Design(baselines=3, seeds=10), 20)
    assert sum(one == [label] for one in found) >= 19


def test_acceleration_divides_times(method_module, pool):
    from metagd_optuna.analysis import time_to_target

    faster = method_module("pools").accelerated(pool, 2.0)
    for slow, quick in zip(pool.validation, faster.validation, strict=True):
        times = [time_to_target(pool.epochs, curve, 0.7) for curve in (slow, quick)]
        assert times[1] == pytest.approx(times[0] / 2, abs=0.5)  # two evaluations
    assert np.array_equal(method_module("pools").accelerated(pool, 1.0).validation, pool.validation)


def test_curves_are_kept_to_a_tenth_of_a_thousandth(method_module, pool, monkeypatch, tmp_path):
    pools = method_module("pools")
    monkeypatch.setattr(pools, "CURVES", tmp_path)
    pool.save()
    [again] = pools.load_pools()
    assert again.task == "made up"
    assert np.allclose(again.validation, pool.validation, atol=0.5001e-4)
    assert np.allclose(again.test, pool.test, atol=0.5001e-4)
    assert np.array_equal(again.epochs, pool.epochs)


def test_as_many_rates_are_calibrated_as_in_a_study(method_module):
    from metagd_optuna.tuning.phases.calibrate import CALIBRATION_RATES

    assert len(CALIBRATION_RATES) == method_module("resample").RATES


def test_counts_and_bounds(method_module):
    spec = importlib.util.spec_from_file_location("method_main", ROOT / "tests" / "method" / "__main__.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    assert main.count([["tie", "tie"], ["faster", "slower"], ["tie", "slower"]]) == {"faster": 1, "slower": 2, "any": 2}
    assert main.share_faster([["faster"], ["tie"], ["slower"], ["faster"]]) == 0.5
    write = method_module("write")
    assert write.lower_bound(0, 100) == 0.0
    assert write.upper_bound(100, 100) == 1.0
    # Clopper and Pearson's limits for 10 of 20 at one-sided 95%, from the F distribution: 0.3020 and 0.6980.
    assert write.lower_bound(10, 20) == pytest.approx(0.3020, abs=5e-5)
    assert write.upper_bound(10, 20) == pytest.approx(0.6980, abs=5e-5)


def test_the_document_holds_the_protocol(method_module):
    """What is committed: at least 2,000 studies per row, and no upper bound above 5%."""
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert int(re.search(r"Each row: ([\d,]+) reports", text)[1].replace(",", "")) >= 2000
    rows = re.findall(r"^\| \d+ \| \d+ \|.*\| ([\d.]+)% \|$", text, re.MULTILINE)
    assert len(rows) >= 3
    assert all(float(bound) <= 5 for bound in rows)
    for pool in method_module("pools").load_pools():
        assert f"| {pool.task} | {pool.runs} | {len(pool.epochs)} |" in text


@pytest.mark.parametrize(
    ("lever", "place", "log", "value"),
    [
        (8, 0.7, False, 8),
        ([[0.25, 4], [0.5, 8], [1, 16]], 0.0, False, 4),
        ([[0.25, 4], [0.5, 8], [1, 16]], 0.25, False, 8),
        ([[0.25, 4], [0.5, 8], [1, 16]], 1.0, False, 16),
        ({"from": 0.8, "to": 0.9}, 0.5, False, 0.85),
        ({"from": 0.001, "to": 0.1}, 0.5, True, 0.01),
    ],
)
def test_what_a_steered_lever_is(method_module, lever, place, log, value):
    assert method_module("steer").value_at(lever, place, log=log) == pytest.approx(value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "a"}, "needs a name and a rate"),
        ({"rate": 1}, "needs a name and a rate"),
        ({"name": "a", "rate": 1, "bath_size": 8}, "may have rate, batch_size"),
        ({"name": "a", "rate": 1, "by": "p"}, "time or performance"),
        ({"name": "a", "rate": 1, "batch_size": 12}, "divides 32"),
        ({"name": "a", "rate": 1, "batch_size": [[0.5, 64], [1, 8]]}, "divides 32"),
        ({"name": "a", "rate": 1, "batch_size": {"from": 4, "to": 32}}, "divides 32"),
    ],
)
def test_a_rule_that_cannot_be_steered_is_refused(method_module, rule, message):
    with pytest.raises(SystemExit, match=message):
        method_module("steer").checked(rule)


@pytest.mark.parametrize("look", ["fifth", "sixth"])
def test_the_rules_of_a_look_can_be_steered(method_module, look):
    rules = method_module("explore").rules_in(ROOT / "tests" / "method" / f"{look}_look.jsonl")
    assert len({method_module("steer").checked(rule)["name"] for rule in rules}) == len(rules) >= 10


@pytest.mark.parametrize(
    ("by", "seen", "value"),
    [
        ("performance", (0.25, 0.3, 4.0, 4.0, 4), 0.75),
        ("performance", (2.0, 2.0, 4.0, 4.0, 4), 0.0),
        ("gap", (0.3, 0.4, 4.0, 4.0, 4), 0.5),
        ("norm", (0.5, 0.5, 4.0, 4.0, 4), 1.0),
        ("agreement", (0.5, 0.5, 16.0, 4.0, 4), 1.0),  # four times the same gradient of length 1
        ("agreement", (0.5, 0.5, 4.0, 4.0, 4), 0.0),  # four gradients at right angles
        ("agreement", (0.5, 0.5, 1.0, 1.0, 1), 0.0),  # of one alone nothing is known
    ],
)
def test_what_a_rule_looks_at(method_module, by, seen, value):
    signal = method_module("steer").Signal(by, chance=1.0)
    assert signal.value == 0.0
    signal.see(*seen)
    assert signal.value == pytest.approx(value)


def test_signals_compare_with_what_was_before_and_are_smoothed(method_module):
    signals = {by: method_module("steer").Signal(by, chance=1.0) for by in ("improvement", "norm")}
    for loss, squares in ((1.0, 4.0), (0.98, 1.0), (0.98, 4.0)):
        for signal in signals.values():
            signal.see(loss, loss, 1.0, squares, 1)
    keep = 0.5**0.5
    assert signals["improvement"].value == pytest.approx(keep * 0.4)  # a fall of 2%, then none
    assert signals["norm"].value == pytest.approx(keep * (keep + (1 - keep) * 0.5) + (1 - keep))


@pytest.mark.parametrize("batch_size", [32, 8])
def test_a_lever_that_is_held_trains_as_the_engine_does(method_module, batch_size):
    from metagd_optuna.policy import baseline_from_params
    from metagd_optuna.tasks import load_task
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    spec = StudySpec(name="s", tasks=("breast_cancer",), examples_per_run=480, evaluations=6, population=1)
    task_trainer = open_task_trainer(load_task("breast_cancer", max_train=120), spec, prepare_device(), complexity=0.5)
    params = {"schedule-free-r1.lr0": 1e-3, "schedule-free-r1.warmup": 0.0, "schedule-free-r1.batch_size": batch_size}
    [expected] = task_trainer.train([baseline_from_params("schedule-free-r1", params)], ["held"], seed=5)
    steer = method_module("steer")
    steered = steer.Steered(task_trainer)
    held = steer.checked({"name": "held", "rate": 1e-3, "batch_size": batch_size})
    epochs, aucs = steered.train(held, 5)
    np.testing.assert_allclose(epochs, task_trainer.plan.epochs(expected.validation.steps))
    np.testing.assert_allclose(aucs, expected.validation.auc, atol=5e-3)
    growing = held | {"batch_size": [[0.5, 4], [1, 32]], "beta_1": {"from": 0.8, "to": 0.95}, "by": "performance"}
    assert steered.train(growing, 5)[1] != aucs


def test_the_table_on_few_cases_is_that_of_the_stored_runs(method_module):
    few = method_module("few_cases")
    runs = [json.loads(line) for line in few.FILE.read_text(encoding="utf-8").splitlines()]
    assert len(runs) == 2 * (few.SETS + 1)
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    shown = page.split("<!-- table of docs/results/few-cases.jsonl -->")[1].split("<!-- end of table -->")[0]
    assert shown.strip() == few.table(runs)
