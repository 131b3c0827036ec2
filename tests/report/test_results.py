from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagd_optuna.analysis import holm
from metagd_optuna.contracts import MetaGDError, StudyRecord, TaskRecord
from metagd_optuna.report.json_values import json_text
from metagd_optuna.report.judge import feedback_verdict
from metagd_optuna.report.markdown import markdown_report
from metagd_optuna.report.measure import open_loop, steers_on_validation
from metagd_optuna.report.page_parts import contender_table, verdict_card
from metagd_optuna.report.results import build_results, merge_results, read_results
from metagd_optuna.report.styles import contender_styles

Factory = Callable[..., Any]
VERDICT_KEYS = {
    "speedup",
    "ci95",
    "p_value",
    "p_holm",
    "test_speedup",
    "test_ci95",
    "detectable",
    "label",
    "reasons",
    "feedback",
    "feedback_evidence",
    "complexity_evidence",
    "payback_trainings",
}
TASK_KEYS = {
    "study",
    "league",
    "metric",
    "target",
    "test_target",
    "t_search",
    "chance",
    "complexity",
    "complexity_measure",
    "population",
    "network",
    "classes",
    "sizes",
    "source",
    "audit",
    "steps_per_epoch",
    "budget_epochs",
    "evaluations",
    "evaluation_epochs",
    "resolution_limited",
    "seeds",
    "spent_epochs",
    "spent_by_phase",
    "policy",
    "policy_in_words",
    "best_baseline",
    "baselines_left_out",
    "contenders",
    "levels",
    "optimism",
    "regrets",
    "searches",
    "importances",
    "importance_ci95",
    "surface",
    "verdict",
}


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> dict[str, Any]:
    return build_results(study)


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, float) else []


def row(task: dict[str, Any], name: str) -> dict[str, Any]:
    return next(contender for contender in task["contenders"] if contender["name"] == name)


def test_schema(results: dict[str, Any]) -> None:
    assert set(results) == {"schema", "study", "versions", "device", "runs", "timing", "across", "tasks"}
    assert results["schema"] == 1
    for task in results["tasks"].values():
        assert set(task) == TASK_KEYS
        assert set(task["verdict"]) == VERDICT_KEYS
        assert len(task["contenders"]) == 10
        for contender in task["contenders"]:
            assert len(contender["per_seed"]) == len(contender["per_seed_test"]) == len(task["seeds"])
            assert set(contender["test"]) == {"auc", "accuracy", "balanced_accuracy"}
            assert {len(values) for values in contender["curve"].values()} == {len(task["evaluation_epochs"])}
            drawn = [value for values in contender["curve"].values() for value in values if value is not None]
            assert drawn == [float(f"{value:.5g}") for value in drawn]


def test_only_finite_numbers_and_valid_json(results: dict[str, Any]) -> None:
    assert all(math.isfinite(number) for number in numbers_in(results))
    assert json.loads(json_text(results)) == results


def test_labels_are_what_the_curves_were_made_to_show(results: dict[str, Any]) -> None:
    faster, tied = results["tasks"]["breast_cancer"], results["tasks"]["retinamnist"]
    assert (faster["verdict"]["label"], tied["verdict"]["label"]) == ("faster", "tie")
    assert faster["verdict"]["reasons"] == []
    assert faster["verdict"]["feedback"] == "feedback mattered"
    assert faster["verdict"]["payback_trainings"] > 0
    assert tied["verdict"]["payback_trainings"] is None
    assert tied["verdict"]["reasons"]


def test_misses_and_divergence(results: dict[str, Any]) -> None:
    slow = row(results["tasks"]["breast_cancer"], "keras-sgd")
    assert slow["per_seed"] == [None] * 10
    assert slow["reached"] == 0
    assert slow["epochs_to_target"] == {"median": None, "ci95": [None, None]}
    broken = row(results["tasks"]["breast_cancer"], "article-as-printed")
    assert broken["diverged"] == 3


def test_the_median_is_that_of_the_seeds(results: dict[str, Any]) -> None:
    for contender in results["tasks"]["breast_cancer"]["contenders"]:
        times = [math.inf if time is None else time for time in contender["per_seed"]]
        median = contender["epochs_to_target"]["median"]
        assert (math.inf if median is None else median) == pytest.approx(float(np.median(times)))


def test_same_records_give_the_same_bytes(study: StudyRecord) -> None:
    assert json_text(build_results(study)) == json_text(build_results(copy.deepcopy(study)))


def test_wall_clock_is_in_timing_and_nowhere_else(study: StudyRecord, results: dict[str, Any]) -> None:
    other = build_results(dataclasses.replace(study, timing={"total_seconds": 1.0}))
    assert other["timing"] != results["timing"]
    assert {**other, "timing": None} == {**results, "timing": None}


def test_judging_a_document_anew_changes_nothing(results: dict[str, Any]) -> None:
    assert merge_results([results]) == results
    assert merge_results([json.loads(json_text(results))]) == results


def test_merging_corrects_over_all_tasks(
    faster_task: TaskRecord, tied_task: TaskRecord, study_factory: Factory
) -> None:
    alone = [build_results(study_factory(task, name=task.name)) for task in (faster_task, tied_task)]
    merged = merge_results(alone)
    assert list(merged["tasks"]) == ["breast_cancer", "retinamnist"]
    assert merged["study"] == "breast_cancer + retinamnist"
    assert set(merged["runs"]) == set(merged["timing"]) == {"breast_cancer", "retinamnist"}
    p_values = [one["tasks"][name]["verdict"]["p_value"] for one, name in zip(alone, merged["tasks"], strict=True)]
    p_holm = [task["verdict"]["p_holm"] for task in merged["tasks"].values()]
    assert p_holm == pytest.approx(holm(p_values))
    # Alone, nothing is corrected; together the smaller p-value doubles.
    assert alone[0]["tasks"]["breast_cancer"]["verdict"]["p_holm"] == pytest.approx(p_values[0])
    assert p_holm[0] == pytest.approx(2 * p_values[0])


def test_merging_can_turn_faster_into_a_tie(task_factory: Factory, study_factory: Factory) -> None:
    # Six pairs have p = 2/64 at best: enough alone, not after correction over two tasks.
    small = [build_results(study_factory(task_factory(name, seeds=6), name=name)) for name in ("one", "two")]
    assert [one["tasks"][one["study"]]["verdict"]["label"] for one in small] == ["faster", "faster"]
    assert [task["verdict"]["label"] for task in merge_results(small)["tasks"].values()] == ["tie", "tie"]


def test_merging_the_same_task_twice_names_both_runs(task_factory: Factory, study_factory: Factory) -> None:
    task = task_factory(seeds=2)
    runs = [build_results(study_factory(task, name=name)) for name in ("first", "second")]
    with pytest.raises(MetaGDError, match=r"'breast_cancer' is in both 'first' and 'second'"):
        merge_results(runs)


def test_merging_runs_of_one_name_is_refused(task_factory: Factory, study_factory: Factory) -> None:
    runs = [build_results(study_factory(task_factory(name, seeds=2), name="same")) for name in ("a", "b")]
    with pytest.raises(MetaGDError, match="two runs are called 'same'"):
        merge_results(runs)
    with pytest.raises(MetaGDError, match="no results to merge"):
        merge_results([])


def test_different_versions_are_both_named(task_factory: Factory, study_factory: Factory) -> None:
    one = study_factory(task_factory("a", seeds=2), name="a")
    two = dataclasses.replace(study_factory(task_factory("b", seeds=2), name="b"), versions={"optuna": "5.1.0"})
    versions = merge_results([build_results(one), build_results(two)])["versions"]
    assert versions["optuna"] == "5.0.0 / 5.1.0"
    assert versions["tensorflow"] == "2.21.0 / absent"


def test_spending_and_searches_add_up(results: dict[str, Any]) -> None:
    task = results["tasks"]["breast_cancer"]
    assert task["spent_epochs"] == pytest.approx(sum(task["spent_by_phase"].values()))
    for search in task["searches"].values():
        assert search["completed"] + search["pruned"] == search["trials"] == len(search["objectives"]) == 24
        known = [value for value in search["objectives"] if value is not None]
        assert known == sorted(known, reverse=True)
        assert known[-1] == search["best_objective"]


class TestDegenerate:
    def test_nobody_reached_the_target(self, task_factory: Factory, study_factory: Factory) -> None:
        results = build_results(study_factory(task_factory(target=0.999)))
        verdict = results["tasks"]["breast_cancer"]["verdict"]
        assert (verdict["speedup"], verdict["p_value"], verdict["label"]) == (1.0, 1.0, "tie")
        assert not results["tasks"]["breast_cancer"]["resolution_limited"]

    def test_one_seed(self, task_factory: Factory, study_factory: Factory) -> None:
        verdict = build_results(study_factory(task_factory(seeds=1)))["tasks"]["breast_cancer"]["verdict"]
        assert (verdict["label"], verdict["p_value"], verdict["detectable"]) == ("tie", 1.0, None)
        assert verdict["ci95"] == [0.0, None]
        assert verdict["feedback"] == "not shown"

    def test_the_policy_is_the_baseline(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        by_name = {contender.name: contender for contender in faster_task.contenders}
        twin = dataclasses.replace(by_name["meta-policy"], runs=by_name["adam-cosine"].runs)
        contenders = tuple(twin if c.name == "meta-policy" else c for c in faster_task.contenders)
        results = build_results(study_factory(dataclasses.replace(faster_task, contenders=contenders)))
        verdict = results["tasks"]["breast_cancer"]["verdict"]
        assert (verdict["speedup"], verdict["p_value"], verdict["label"]) == (1.0, 1.0, "tie")
        assert verdict["ci95"] == verdict["test_ci95"] == [1.0, 1.0]
        # Its rates are a schedule's, the same on every seed.
        assert verdict["feedback"] == "open-loop"

    @pytest.mark.parametrize("t_search", [0.5, None])
    def test_calibration_at_chance(self, t_search: float | None, task_factory: Factory, study_factory: Factory) -> None:
        results = build_results(study_factory(task_factory(t_search=t_search, seeds=2)))
        assert results["tasks"]["breast_cancer"]["t_search"] == t_search

    def test_the_baseline_never_beats_guessing_on_test(self, task_factory: Factory, study_factory: Factory) -> None:
        task = build_results(study_factory(task_factory(tops={"adam-cosine": 0.4}, noise=0.0)))["tasks"][
            "breast_cancer"
        ]
        assert task["test_target"] is None
        assert task["verdict"]["test_speedup"] == 1.0

    def test_a_run_without_any_evaluation(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        empty = faster_task.contenders[0].runs[0].validation.__class__((), (), (), (), ())
        broken = faster_task.contenders[-1]
        runs = tuple(
            dataclasses.replace(run, validation=empty, test=empty, rates=(), steps=0, diverged=True)
            for run in broken.runs
        )
        contenders = (*faster_task.contenders[:-1], dataclasses.replace(broken, runs=runs))
        task = build_results(study_factory(dataclasses.replace(faster_task, contenders=contenders)))["tasks"]
        found = row(task["breast_cancer"], broken.name)
        assert found["test"] == {"auc": 0.0, "accuracy": 0.0, "balanced_accuracy": 0.0}
        assert found["reached"] == 0
        assert set(found["curve"]["median"]) == {None}

    def test_more_seeds_than_are_enumerated_are_judged_reproducibly(
        self, task_factory: Factory, study_factory: Factory
    ) -> None:
        names = ("meta-policy", "adam-cosine")
        results = build_results(study_factory(task_factory(seeds=22, contenders=names)))
        assert results["tasks"]["breast_cancer"]["verdict"]["label"] == "faster"
        assert merge_results([results]) == results

    def test_above_twenty_seeds_a_verdict_is_the_same_at_any_place(
        self, task_factory: Factory, study_factory: Factory
    ) -> None:
        names = ("meta-policy", "adam-cosine")
        # Close enough that the sampled flips show in the p-value.
        tasks = [
            task_factory(name, seeds=22, noise=noise, contenders=names, rises={"meta-policy": 1.55})
            for name, noise in (("one", 0.004), ("two", 0.01))
        ]
        there, back = (build_results(study_factory(*order))["tasks"] for order in (tasks, tasks[::-1]))
        for name in ("one", "two"):
            verdict, winner = there[name]["verdict"], row(there[name], "meta-policy")
            assert verdict == back[name]["verdict"]
            assert 0.001 < verdict["p_value"] < 1
            assert verdict["p_value"] == winner["versus_best_baseline"]["p_value"]


class TestRefused:
    def test_unpaired_seeds(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        first, *rest = faster_task.contenders
        shuffled = dataclasses.replace(first, runs=tuple(reversed(first.runs)))
        with pytest.raises(MetaGDError, match="same seeds in the same order"):
            build_results(study_factory(dataclasses.replace(faster_task, contenders=(shuffled, *rest))))

    def test_an_unknown_baseline_gets_a_suggestion(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        with pytest.raises(MetaGDError, match=r"did you mean 'adam-cosine'\?"):
            build_results(study_factory(dataclasses.replace(faster_task, best_baseline="adam-cosin")))

    def test_a_run_without_a_test_curve(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        first, *rest = faster_task.contenders
        runs = tuple(dataclasses.replace(run, test=None) for run in first.runs)
        with pytest.raises(MetaGDError, match="has no test curve"):
            build_results(
                study_factory(
                    dataclasses.replace(faster_task, contenders=(dataclasses.replace(first, runs=runs), *rest))
                )
            )

    def test_double_names_no_runs_no_tasks(self, faster_task: TaskRecord, study_factory: Factory) -> None:
        doubled = dataclasses.replace(faster_task, contenders=faster_task.contenders * 2)
        with pytest.raises(MetaGDError, match="not unique"):
            build_results(study_factory(doubled))
        empty = tuple(dataclasses.replace(contender, runs=()) for contender in faster_task.contenders)
        with pytest.raises(MetaGDError, match="no confirmation run"):
            build_results(study_factory(dataclasses.replace(faster_task, contenders=empty)))
        with pytest.raises(MetaGDError, match="at least one task"):
            build_results(study_factory())
        with pytest.raises(MetaGDError, match="each with its own name"):
            build_results(study_factory(faster_task, faster_task))


def control(speedup: float, low: float | None, high: float | None, p_value: float) -> dict[str, Any]:
    return {"speedup": speedup, "ci95": [low, high], "p_value": p_value}


CLEAR = control(1.4, 1.2, 1.7, 0.002)
EQUAL = control(1.01, 0.95, 1.08, 0.8)
VAGUE = control(1.2, 0.9, 1.5, 0.2)
SLOWER = control(0.8, 0.7, 0.9, 0.002)
UNBOUNDED = control(1.4, 0.0, None, 0.06)


@pytest.mark.parametrize(
    ("is_open_loop", "evidence", "expected"),
    [
        (True, {"replay": CLEAR, "frozen": CLEAR}, "open-loop"),
        (False, {"replay": CLEAR, "frozen": CLEAR}, "feedback mattered"),
        (None, {"replay": CLEAR, "frozen": CLEAR}, "feedback mattered"),
        (False, {"replay": CLEAR, "frozen": EQUAL}, "feedback did not matter"),
        (False, {"replay": EQUAL, "frozen": CLEAR}, "feedback did not matter"),
        (False, {"replay": SLOWER, "frozen": CLEAR}, "feedback did not matter"),
        (False, {"replay": CLEAR, "frozen": VAGUE}, "not shown"),
        (False, {"replay": UNBOUNDED, "frozen": UNBOUNDED}, "not shown"),
        (False, {"replay": CLEAR}, "not shown"),
        (False, {}, "not shown"),
    ],
)
def test_what_the_controls_show(is_open_loop: bool | None, evidence: dict[str, dict[str, Any]], expected: str) -> None:
    assert feedback_verdict(is_open_loop, evidence) == expected


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"replay": EQUAL, "frozen": CLEAR}, "not shown"),
        ({"replay": SLOWER, "frozen": EQUAL}, "feedback did not matter"),
        ({"replay": CLEAR, "frozen": CLEAR}, "feedback mattered"),
    ],
)
def test_equal_times_that_are_coarse_show_nothing(evidence: dict[str, dict[str, Any]], expected: str) -> None:
    assert feedback_verdict(False, evidence, coarse_times=True) == expected


def test_open_loop_is_read_off_the_traces(faster_task: TaskRecord) -> None:
    found = {contender.name: open_loop(contender) for contender in faster_task.contenders}
    assert found["adam-cosine"] is True
    assert found["meta-policy"] is False
    adaptive = next(c for c in faster_task.contenders if c.name == "article")
    assert open_loop(dataclasses.replace(adaptive, runs=adaptive.runs[:1])) is None


def test_a_policy_whose_coefficients_ignore_performance_is_open_loop(faster_task: TaskRecord) -> None:
    winner = faster_task.contenders[0]
    still = {**winner.settings, "rate": {"form": "power", "coefficients": {"lr0": 0.004, "a": 0.0, "b": 0.0}}}
    assert open_loop(dataclasses.replace(winner, settings=still)) is True


def test_who_steers_on_validation(faster_task: TaskRecord) -> None:
    found = {contender.name for contender in faster_task.contenders if steers_on_validation(contender)}
    assert found == {"article", "article-as-printed"}
    steered = dataclasses.replace(
        faster_task.contenders[0], settings={**faster_task.contenders[0].settings, "signal": "val-auc"}
    )
    assert steers_on_validation(steered)
    assert steers_on_validation(dataclasses.replace(faster_task.contenders[1], name="adam-plateau"))


class TestReading:
    def test_from_a_file_a_report_and_a_run(self, results: dict[str, Any], tmp_path: Path) -> None:
        report = tmp_path / "report"
        report.mkdir()
        (report / "results.json").write_text(json_text(results), encoding="utf-8")
        for path in (report / "results.json", report, tmp_path):
            assert read_results(path) == results

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"schema": 1, "tasks"', "not valid JSON"),
            ('{"schema": 2}', "schema 2 is unknown"),
            ("[]", "schema None is unknown"),
            ('{"schema": 1, "tasks": {}}', "keys .*'runs'.* are missing"),
            ('{"schema": 1, "tasks": NaN}', "NaN is no number of JSON"),
            ("[" * 100_000, "not valid JSON"),
        ],
    )
    def test_garbled(self, text: str, message: str, tmp_path: Path) -> None:
        file = tmp_path / "results.json"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(MetaGDError, match=message) as error:
            read_results(tmp_path)
        assert str(file) in str(error.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MetaGDError, match=r"no results\.json in"):
            read_results(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            (("tasks",), {}, r": tasks is \{\}, but must be an object with at least 1 entry"),
            (("tasks",), [1], r": tasks is \[1\], but must be an object"),
            (("tasks", "breast_cancer"), 1, ": tasks.breast_cancer is 1, but must be an object"),
            (("tasks", "breast_cancer"), {}, ": tasks.breast_cancer: the keys .*'contenders'.* are missing"),
            (("tasks", "breast_cancer", "verdict"), 1, r"breast_cancer\.verdict is 1, but must be an object"),
            (("tasks", "breast_cancer", "verdict", "label"), "best", r"verdict\.label is 'best', .* one of \['faster'"),
            (("tasks", "breast_cancer", "contenders"), [], r"contenders is \[\], but must be a list of at least 1"),
            (("tasks", "breast_cancer", "contenders", 2), "x", r"contenders\[2\] is 'x', but must be an object"),
            (("tasks", "breast_cancer", "contenders", 1, "name"), "adam-cosine", "are not unique"),
            (
                ("tasks", "breast_cancer", "policy"),
                "other",
                r"policy 'other' is not among the contenders \['meta-policy'",
            ),
            (("tasks", "breast_cancer", "best_baseline"), "other", "best_baseline 'other' is not among the contenders"),
            (("tasks", "breast_cancer", "budget_epochs"), "8", "budget_epochs is '8', but must be a number above 0"),
            (("tasks", "breast_cancer", "resolution_limited"), None, "must be true or false"),
            (("tasks", "breast_cancer", "seeds"), [1], "per_seed of meta-policy has 10 times for 1 seeds"),
            (("tasks", "breast_cancer", "contenders", 0, "per_seed", 3), 0, r"per_seed\[3\] is 0, but must be a time"),
            (("tasks", "breast_cancer", "contenders", 0, "per_seed", 3), 10**400, r"per_seed\[3\] is 1000.*a time"),
            (("tasks", "breast_cancer", "contenders", 0, "per_seed", 3), 500, r"holds 500, but a run has .* epochs"),
            (
                ("tasks", "breast_cancer", "contenders", 0, "reached"),
                3.0,
                r"reached of meta-policy is 3\.0, but per_seed",
            ),
            (
                ("tasks", "breast_cancer", "contenders", 0, "epochs_to_target", "median"),
                0.5,
                r"epochs_to_target\.median of meta-policy is 0\.5, but per_seed says",
            ),
            (("tasks", "breast_cancer", "seeds"), [1] * 10, r"seeds \[1, 1, .* are not unique"),
            (("tasks", "breast_cancer", "best_baseline"), "keras-adam", "'keras-adam' is a 'default' and no baseline"),
            (("timing",), {}, "timing holds no study 'synthetic'"),
            (("across", "profile"), None, r"across\.profile is None, but must be an object"),
        ],
    )
    def test_damaged(
        self, place: tuple[str | int, ...], value: Any, message: str, results: dict[str, Any], tmp_path: Path
    ) -> None:
        file = tmp_path / "results.json"
        file.write_text(json.dumps(changed(results, place, value)), encoding="utf-8")
        with pytest.raises(MetaGDError, match=message) as error:
            read_results(tmp_path)
        assert str(error.value).startswith(f"{file}: ")
        assert "run the study again" in str(error.value)

    def test_without_some_of_its_tasks_a_study_is_refused(self, results: dict[str, Any], tmp_path: Path) -> None:
        """Holm's correction would be over fewer tasks, and a tie could turn into a claim."""
        copied = copy.deepcopy(results)
        del copied["tasks"]["retinamnist"], copied["across"]
        (tmp_path / "results.json").write_text(json.dumps(copied), encoding="utf-8")
        with pytest.raises(MetaGDError, match=r"about the tasks .*'retinamnist'\], but holds \['breast_cancer'\]"):
            read_results(tmp_path)

    @pytest.mark.slow
    def test_no_damage_ends_in_a_traceback(self, task_factory: Factory, study_factory: Factory, tmp_path: Path) -> None:
        names = ("meta-policy", "adam-cosine", "keras-adam", "replay")
        tasks = [task_factory(name, seeds=2, contenders=names) for name in ("one", "two")]
        sound = json.loads(json_text(build_results(study_factory(*tasks))))
        file = tmp_path / "results.json"
        refused = passed = 0
        for place in places_in(sound):
            if place[:2] == ("tasks", "two"):
                continue
            for value in (None, -1, "text", []):
                file.write_text(json.dumps(changed(sound, place, value)), encoding="utf-8")
                try:
                    found = read_results(file)
                    judged = merge_results([found])
                except MetaGDError:
                    refused += 1
                    continue
                for one in (found, judged):
                    markdown_report(one)
                    styles = contender_styles(one)
                    for name, task in one["tasks"].items():
                        verdict_card(name, task, "a")
                        contender_table(task, styles)
                passed += 1
        assert refused > passed > 0


def changed(document: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy of a document with another value at one place."""
    copied = copy.deepcopy(document)
    inner: Any = copied
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return copied


def places_in(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the places of all values within one, of lists only those of the first items."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:1]))
    return [found for key, item in items for found in [(*place, key), *places_in(item, (*place, key))]]
