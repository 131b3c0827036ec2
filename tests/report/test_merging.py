"""Reports on several studies as one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from metagd_optuna.analysis import holm
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.models import checked
from metagd_optuna.records import StudyRecord, TaskRecord
from metagd_optuna.report.json_values import json_text
from metagd_optuna.report.results import Results, build_results, merge_results

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


def test_judging_a_document_anew_changes_nothing(results: Results) -> None:
    assert merge_results([results]) == results
    assert merge_results([checked(Results, json.loads(json_text(results.model_dump())), "a file")]) == results


def test_merging_corrects_over_all_tasks(
    faster_task: TaskRecord, tied_task: TaskRecord, study_factory: Factory
) -> None:
    alone = [build_results(study_factory(task, name=task.name)) for task in (faster_task, tied_task)]
    merged = merge_results(alone)
    assert list(merged.tasks) == ["breast_cancer", "retinamnist"]
    assert merged.study == "breast_cancer + retinamnist"
    assert set(merged.runs) == set(merged.timing) == {"breast_cancer", "retinamnist"}
    p_values = [one.tasks[name].verdict.p_value for one, name in zip(alone, merged.tasks, strict=True)]
    p_holm = [task.verdict.p_holm for task in merged.tasks.values()]
    assert p_holm == pytest.approx(holm(p_values))
    # Alone, nothing is corrected; together the smaller p-value doubles.
    assert alone[0].tasks["breast_cancer"].verdict.p_holm == pytest.approx(p_values[0])
    assert p_holm[0] == pytest.approx(2 * p_values[0])


def test_merging_can_turn_faster_into_a_tie(task_factory: Factory, study_factory: Factory) -> None:
    # Six pairs have p = 2/64 at best: enough alone, not after correction over two tasks.
    small = [build_results(study_factory(task_factory(name, seeds=6), name=name)) for name in ("one", "two")]
    assert [one.tasks[one.study].verdict.label for one in small] == ["faster", "faster"]
    assert [task.verdict.label for task in merge_results(small).tasks.values()] == ["tie", "tie"]


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
    versions = merge_results([build_results(one), build_results(two)]).versions
    assert versions["optuna"] == "5.0.0 / 5.1.0"
    assert versions["tensorflow"] == "2.21.0 / absent"
