"""Studies from Python: settings as arguments, data in memory, one quiet bar, and what the results can do."""

import json
import shutil

import numpy as np
import plotly.graph_objects as go
import pytest

from metagd_optuna import MetaGDError, load_policy, load_task, run_study, search
from metagd_optuna.policy import BASELINES, DEFAULTS, MetaPolicy, policy_from_dict, with_provenance
from metagd_optuna.policy.controls import frozen_candidate
from metagd_optuna.policy.stored import stored_policies
from metagd_optuna.policy.words import in_words
from metagd_optuna.report.policy_figure import made_up_training
from metagd_optuna.report.results import read_results
from metagd_optuna.study import export_policy
from metagd_optuna.tuning.recommend import of_finished_study

RNG = np.random.default_rng(0)
Y = np.arange(150) % 2
X = (RNG.normal(size=(150, 8, 8, 1)) + 0.7 * Y[:, None, None, None]).astype(np.float32)
SHORT = {
    "trials": 4,
    "shortlist_trials": 1,
    "shortlist_seeds": 1,
    "confirmation_seeds": 6,
    "calibration_seeds": 1,
    "seeds_per_trial": 1,
    "examples_per_run": 500,
    "evaluations": 8,
    "baselines": ["adam-constant"],
    "optimizers": ["adam"],
    "rate_forms": ["power"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def found(runs):
    return search(X, Y, name="ours", out=runs / "ours", **SHORT)


@pytest.mark.slow
def test_a_search_in_memory_ends_with_what_to_use(found, runs):
    assert found.tasks == ("ours",)
    assert found.verdict.label in ("faster", "tie", "slower")
    used = "meta-policy" if found.verdict.label == "faster" else "adam-constant"
    assert found.used("ours") == used
    assert found.best.provenance["method"] == used
    assert found.best == load_policy(runs / "ours" / "policies" / "ours.json")
    assert found.searched["ours"] == runs / "ours" / "policies" / "ours.meta-policy.json"
    assert found["ours"].searched.provenance["result"]["label"] == found.verdict.label


@pytest.mark.slow
def test_the_same_call_goes_on_and_other_data_are_refused(found, runs, capsys):
    capsys.readouterr()
    again = search(X, Y, name="ours", out=runs / "ours", **SHORT)
    assert again.results == found.results
    assert "nothing to train" in again.log[0]
    said = capsys.readouterr()
    assert said.out == ""  # neither ours nor Optuna's
    assert "[I " not in said.err
    with pytest.raises(MetaGDError, match=r"study 'ours' was begun with other data; .* another name="):
        search(X[::-1].copy(), Y, name="ours", out=runs / "ours", **SHORT)
    search(X, Y, name="ours", out=runs / "ours", **SHORT)  # what was refused has cost nothing


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["learning_curves", "speed_ups", "surface", "search_history"])
def test_results_draw_themselves(found, figure):
    drawn = getattr(found, f"plot_{figure}")()
    assert isinstance(drawn, go.Figure)
    assert drawn.data
    assert drawn == getattr(found["ours"], f"plot_{figure}")()


@pytest.mark.slow
def test_results_are_saved_elsewhere_as_well(found, tmp_path):
    page = found.save(tmp_path / "paper")
    assert page.read_text(encoding="utf-8") == found.report.read_text(encoding="utf-8")
    assert read_results(tmp_path / "paper") == found.results
    saved = tmp_path / "paper" / "policies" / "ours.json"
    assert load_policy(saved) == found.best


@pytest.mark.slow
def test_any_method_of_a_study_is_exported(found, runs):
    storage = str(runs / "ours" / "optuna.db")
    for row in found.results.tasks["ours"].candidates:
        policy = export_policy("ours", "ours", storage, method=row.name)
        assert policy.formula == row.formula
        assert policy.provenance["method"] == row.name
        assert made_up_training(policy, 0.5)[1]
    assert export_policy("ours", "ours", storage) == found.best
    with pytest.raises(MetaGDError, match=r"the method of study 'ours' on task 'ours' is 'adam-cosine'; allowed: "):
        export_policy("ours", "ours", storage, method="adam-cosine")


@pytest.mark.slow
def test_the_verdict_decides_which_rule_is_used(found, runs, tmp_path):
    """The same study with another verdict in its storage."""
    from metagd_optuna.tuning.publish import save_policies
    from metagd_optuna.tuning.storage import opened_storage
    from metagd_optuna.tuning.store import StudyStore

    copy = shutil.copytree(runs / "ours", tmp_path / "copy")
    verdict = found.verdict.model_dump(mode="json")
    with opened_storage(copy / "optuna.db", must_exist=True) as storage:
        store = StudyStore.load(storage, "ours", "ours").task("ours")
        for label, method in (("faster", "meta-policy"), ("slower", "adam-constant"), ("tie", "adam-constant")):
            store.note_verdict(verdict | {"label": label})
            paths = save_policies(store, copy)
            assert load_policy(paths.use).provenance["method"] == method
            assert load_policy(paths.searched).provenance["method"] == "meta-policy"
            assert (load_policy(paths.use).provenance.get("role") is None) == (label == "faster")


@pytest.mark.slow
def test_a_finished_study_on_the_same_data_is_recommended_first(found, runs, tmp_path):
    data = tmp_path / "ours.npz"
    np.savez(data, images=X, labels=Y)
    (runs / "ours" / "policies" / "old.json").write_text("{}")
    lines = []
    own = of_finished_study(data, runs, log=lines.append)
    assert own.path == runs / "ours" / "policies" / "ours.json"
    assert "was run on exactly these data" in own.why
    assert own.policy.provenance["method"] in own.why or found.verdict.label == "faster"
    assert [line for line in lines if "old.json" in line]  # one that cannot be read hides no other
    np.savez(data, images=X[::-1], labels=Y)
    assert of_finished_study(data, runs) is None
    assert of_finished_study("breast_cancer", runs) is None


@pytest.mark.slow
def test_a_study_says_nothing_of_the_machine_and_can_be_moved(found, runs, tmp_path):
    text = (runs / "ours" / "report" / "results.json").read_text(encoding="utf-8")
    assert str(runs) not in text
    assert "./data/ours.npz" in text or "data/ours.npz" in text
    moved = tmp_path / "elsewhere"
    shutil.copytree(runs / "ours", moved)
    again = search(X, Y, name="ours", out=moved, **SHORT)
    assert again.results == found.results
    assert "nothing to train" in again.log[0]


@pytest.mark.slow
def test_what_cannot_be_saved_is_told(found, tmp_path):
    (tmp_path / "policies").write_text("in the way")
    with pytest.raises(MetaGDError, match=r"policies: .*; save writes a folder"):
        found.save(tmp_path)


@pytest.mark.slow
def test_a_rule_to_use_says_what_is_known_of_it(found):
    from metagd_optuna.policy.stored import measured_result
    from metagd_optuna.report.markdown import markdown
    from metagd_optuna.report.policy_page import policy_page

    rule = export_policy("ours", "ours", str(found.report.parents[1] / "optuna.db"), method="adam-constant")
    assert measured_result(rule) == "best tuned baseline"
    page = markdown(policy_page(rule, "ours.json"))
    assert "It is the best tuned baseline of its study" in page
    assert "nothing is known" not in page


@pytest.mark.slow
def test_a_rule_of_a_fold_is_not_recommended(found, runs, tmp_path):
    rule = load_policy(runs / "ours" / "policies" / "ours.json")
    data = tmp_path / "ours.npz"
    np.savez(data, images=X, labels=Y)
    for scope, wanted in (("per-task", True), ("universal", False)):
        place = tmp_path / scope / "all" / "policies" / "ours.json"
        place.parent.mkdir(parents=True)
        with_provenance(rule, {**rule.to_dict()["provenance"], "scope": scope}).save(place)
        assert (of_finished_study(data, tmp_path / scope) is not None) == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "has to serve as a folder's name"),
        ({"name": 5}, "name"),
        ({"trails": 4}, "did you mean 'trials'"),
        ({"tasks": ["breast_cancer"]}, "search was given tasks="),
    ],
)
def test_a_search_that_is_refused_writes_nothing(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaGDError, match=message):
        search(X, Y, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "tasks"),
        ({"tasks": ["breast_cancer"], "trails": 5}, "'trails'.*did you mean 'trials'"),
        ({"tasks": ["breast_cancr"]}, "did you mean 'breast_cancer'"),
        ({"tasks": ["breast_cancer"], "name": "a/b"}, "has to serve as a folder's name"),
        ({"study": "quick.toml", "trials": 5}, "was given a study and also trials"),
        ({"study": "quick.toml", "name": "mine"}, "was given a study and also name"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaGDError, match=message):
        run_study(**settings)
    assert list(tmp_path.iterdir()) == []


def test_a_task_holds_its_labels():
    with pytest.raises(MetaGDError, match="holds its labels and is read already; leave y and read out"):
        search(load_task("breast_cancer"), Y)


def rules():
    yield from (load_policy(name) for name in stored_policies())
    yield from (policy_from_dict({"schema": 2, "kind": "default", "name": name}) for name in DEFAULTS)
    for name, row in BASELINES.items():
        coefficients = {key.removeprefix(f"{name}."): value for key, value in row.initial_points[0].items()}
        yield policy_from_dict({"schema": 2, "kind": "baseline", "name": name, "coefficients": coefficients})


def test_a_complexity_that_probes_measure_is_drawn_as_it_is_before_them():
    policy = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5}, complexity="ngn-rate")
    assert policy.plot(complexity=0.9) == policy.plot(complexity=0.5)
    assert in_words(policy, 0.9) == in_words(policy, 0.5)


def test_a_control_of_a_rule_that_measures_the_network_is_drawn():
    policy = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5}, complexity="batch-norm")
    _, rates = made_up_training(frozen_candidate(policy, 0.5, 0.5).rule, 0.5)
    assert rates == [pytest.approx(0.005)] * len(rates)


@pytest.mark.parametrize("rule", list(rules()), ids=repr)
def test_every_policy_is_a_line_and_draws_itself(rule):
    assert len(repr(rule).splitlines()) == 1
    assert rule.formula in repr(rule) == str(rule)
    steps, rates = made_up_training(rule, 0.5)
    assert len(steps) == len(rates) == 1200
    assert all(0 <= rate < 10 for rate in rates)
    assert rates[600] > 0
    figure = rule.plot(complexity=0.3)
    assert list(figure.data[-1].y) == made_up_training(rule, 0.3)[1]
    json.loads(figure.to_json())
