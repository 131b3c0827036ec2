"""Studies at the edge: nobody reached the target, one seed, no evaluation; and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.records import TaskRecord
from metagd_optuna.report.results import build_results, merge_results

Factory = Callable[..., Any]


def test_nobody_reached_the_target(task_factory: Factory, study_factory: Factory) -> None:
    results = build_results(study_factory(task_factory(target=0.999)))
    verdict = results.tasks["breast_cancer"].verdict
    assert (verdict.speedup, verdict.p_value, verdict.label) == (1.0, 1.0, "tie")
    assert not results.tasks["breast_cancer"].resolution_limited


def test_one_seed(task_factory: Factory, study_factory: Factory) -> None:
    verdict = build_results(study_factory(task_factory(seeds=1))).tasks["breast_cancer"].verdict
    assert (verdict.label, verdict.p_value, verdict.detectable) == ("tie", 1.0, None)
    assert verdict.ci95 == (0.0, None)
    assert verdict.feedback == "not shown"


def test_the_policy_is_the_baseline(faster_task: TaskRecord, study_factory: Factory) -> None:
    by_name = {candidate.name: candidate for candidate in faster_task.candidates}
    twin = dataclasses.replace(by_name["meta-policy"], runs=by_name["adam-cosine"].runs)
    candidates = tuple(twin if c.name == "meta-policy" else c for c in faster_task.candidates)
    results = build_results(study_factory(dataclasses.replace(faster_task, candidates=candidates)))
    verdict = results.tasks["breast_cancer"].verdict
    assert (verdict.speedup, verdict.p_value, verdict.label) == (1.0, 1.0, "tie")
    assert verdict.ci95 == verdict.test_ci95 == (1.0, 1.0)
    # Its rates are a schedule's, the same on every seed.
    assert verdict.feedback == "open-loop"


@pytest.mark.parametrize("search_target", [0.5, None])
def test_calibration_at_chance(search_target: float | None, task_factory: Factory, study_factory: Factory) -> None:
    results = build_results(study_factory(task_factory(search_target=search_target, seeds=2)))
    assert results.tasks["breast_cancer"].search_target == search_target


def test_the_baseline_never_beats_guessing_on_test(task_factory: Factory, study_factory: Factory) -> None:
    task = build_results(study_factory(task_factory(tops={"adam-cosine": 0.4}, noise=0.0))).tasks["breast_cancer"]
    assert task.test_target is None
    assert task.verdict.test_speedup == 1.0


def test_a_run_without_any_evaluation(faster_task: TaskRecord, study_factory: Factory) -> None:
    empty = faster_task.candidates[0].runs[0].validation.__class__((), (), (), (), ())
    broken = faster_task.candidates[-1]
    runs = tuple(
        dataclasses.replace(run, validation=empty, test=empty, rates=(), steps=0, diverged=True) for run in broken.runs
    )
    candidates = (*faster_task.candidates[:-1], dataclasses.replace(broken, runs=runs))
    task = build_results(study_factory(dataclasses.replace(faster_task, candidates=candidates))).tasks
    found = task["breast_cancer"].candidate(broken.name)
    assert set(found.test.model_dump().values()) == {0.0}
    assert found.reached == 0
    assert set(found.curve.median) == {None}


def test_more_seeds_than_are_enumerated_are_judged_reproducibly(task_factory: Factory, study_factory: Factory) -> None:
    names = ("meta-policy", "adam-cosine")
    results = build_results(study_factory(task_factory(seeds=22, candidates=names)))
    assert results.tasks["breast_cancer"].verdict.label == "faster"
    assert merge_results([results]) == results


@pytest.mark.slow
def test_above_twenty_seeds_a_verdict_is_the_same_at_any_place(task_factory: Factory, study_factory: Factory) -> None:
    names = ("meta-policy", "adam-cosine")
    # Close enough that the sampled flips show in the p-value.
    tasks = [
        task_factory(name, seeds=22, noise=noise, candidates=names, rises={"meta-policy": 1.55})
        for name, noise in (("one", 0.004), ("two", 0.01))
    ]
    there, back = (build_results(study_factory(*order)).tasks for order in (tasks, tasks[::-1]))
    for name in ("one", "two"):
        verdict, winner = there[name].verdict, there[name].winner
        assert verdict == back[name].verdict
        assert 0.001 < verdict.p_value < 1
        assert verdict.p_value == winner.versus_best_baseline.p_value


def test_unpaired_seeds(faster_task: TaskRecord, study_factory: Factory) -> None:
    first, *rest = faster_task.candidates
    shuffled = dataclasses.replace(first, runs=tuple(reversed(first.runs)))
    with pytest.raises(MetaGDError, match="same seeds in the same order"):
        build_results(study_factory(dataclasses.replace(faster_task, candidates=(shuffled, *rest))))


def test_an_unknown_baseline_gets_a_suggestion(faster_task: TaskRecord, study_factory: Factory) -> None:
    with pytest.raises(MetaGDError, match=r"did you mean 'adam-cosine'\?"):
        build_results(study_factory(dataclasses.replace(faster_task, best_baseline="adam-cosin")))


def test_a_run_without_a_test_curve(faster_task: TaskRecord, study_factory: Factory) -> None:
    first, *rest = faster_task.candidates
    runs = tuple(dataclasses.replace(run, test=None) for run in first.runs)
    with pytest.raises(MetaGDError, match="has no test curve"):
        build_results(
            study_factory(dataclasses.replace(faster_task, candidates=(dataclasses.replace(first, runs=runs), *rest)))
        )


def test_double_names_no_runs_no_tasks(faster_task: TaskRecord, study_factory: Factory) -> None:
    doubled = dataclasses.replace(faster_task, candidates=faster_task.candidates * 2)
    with pytest.raises(MetaGDError, match="not unique"):
        build_results(study_factory(doubled))
    empty = tuple(dataclasses.replace(candidate, runs=()) for candidate in faster_task.candidates)
    with pytest.raises(MetaGDError, match="no confirmation run"):
        build_results(study_factory(dataclasses.replace(faster_task, candidates=empty)))
    with pytest.raises(MetaGDError, match="at least one task"):
        build_results(study_factory())
    with pytest.raises(MetaGDError, match="each with its own name"):
        build_results(study_factory(faster_task, faster_task))
