from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from altered import altered
from pydantic import ValidationError

from metagd_optuna.records import StudyRecord
from metagd_optuna.report.json_values import json_text, json_value
from metagd_optuna.report.results import Results, build_results, results_schema
from metagd_optuna.report.task_document import Verdict

Factory = Callable[..., Any]
LARGEST = float(np.finfo(np.float64).max)
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
    "scope",
    "metric",
    "target",
    "test_target",
    "search_target",
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
    "candidates",
    "levels",
    "optimism",
    "regrets",
    "searches",
    "importances",
    "importance_ci95",
    "surface",
    "resampled",
    "target_share",
    "verdict",
}


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, tuple | list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, float) else []


def test_schema(results: Results) -> None:
    written = json.loads(json_text(results.model_dump()))
    assert list(written) == ["schema", "study", "versions", "device", "runs", "timing", "across", "tasks"]
    assert written["schema"] == 1
    for name, task in results.tasks.items():
        assert set(written["tasks"][name]) == TASK_KEYS
        assert set(written["tasks"][name]["verdict"]) == VERDICT_KEYS
        assert len(task.candidates) == 10
        for candidate in task.candidates:
            assert len(candidate.per_seed) == len(candidate.per_seed_test) == len(task.seeds)
            curve = candidate.curve.model_dump()
            assert {len(values) for values in curve.values()} == {len(task.evaluation_epochs)}
            drawn = [value for values in curve.values() for value in values if value is not None]
            assert drawn == [float(f"{value:.5g}") for value in drawn]


def test_only_finite_numbers_and_valid_json(results: Results) -> None:
    found = numbers_in(results.model_dump())
    assert all(math.isfinite(number) for number in found)
    assert numbers_in(json.loads(json_text(results.model_dump()))) == found


def test_labels_are_what_the_curves_were_made_to_show(results: Results) -> None:
    faster, tied = results.tasks["breast_cancer"], results.tasks["retinamnist"]
    assert (faster.verdict.label, tied.verdict.label) == ("faster", "tie")
    assert faster.verdict.reasons == ()
    assert faster.verdict.feedback == "feedback mattered"
    assert faster.verdict.payback_trainings > 0
    assert tied.verdict.payback_trainings is None
    assert tied.verdict.reasons


def test_misses_and_divergence(results: Results) -> None:
    slow = results.tasks["breast_cancer"].candidate("keras-sgd")
    assert slow.per_seed == (None,) * 10
    assert slow.reached == 0
    assert (slow.epochs_to_target.median, slow.epochs_to_target.ci95) == (None, (None, None))
    broken = results.tasks["breast_cancer"].candidate("article-as-printed")
    assert broken.diverged == 3


def test_the_median_is_that_of_the_seeds(results: Results) -> None:
    for candidate in results.tasks["breast_cancer"].candidates:
        times = [math.inf if time is None else time for time in candidate.per_seed]
        median = candidate.epochs_to_target.median
        assert (math.inf if median is None else median) == pytest.approx(float(np.median(times)))


@pytest.mark.parametrize(
    ("value", "held"),
    [(1 / 3, 0.3333333333), (math.inf, None), (math.nan, None), (LARGEST, LARGEST), (5e-324, 5e-324)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_float_keeps_ten_digits_and_is_finite_if_it_was(value, held, sign):
    assert json_value([np.float64(sign * value)]) == [None if held is None else sign * held]


def test_same_records_give_the_same_bytes(study: StudyRecord) -> None:
    assert json_text(build_results(study).model_dump()) == json_text(build_results(copy.deepcopy(study)).model_dump())


def test_wall_clock_is_in_timing_and_nowhere_else(study: StudyRecord, results: Results) -> None:
    other = build_results(dataclasses.replace(study, timing={"total_seconds": 1.0}))
    assert other.timing != results.timing
    assert altered(other, "timing", None) == altered(results, "timing", None)


def test_spending_and_searches_add_up(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    assert task.spent_epochs == pytest.approx(sum(task.spent_by_phase.values()))
    for search in task.searches.values():
        assert search.completed + search.pruned == search.trials == len(search.objectives) == 24
        known = [value for value in search.objectives if value is not None]
        assert known == sorted(known, reverse=True)
        assert known[-1] == search.best_objective


def test_the_json_schema_is_that_of_the_file(results: Results) -> None:
    schema = results_schema()
    assert list(schema["properties"]) == list(results.model_dump())
    assert set(schema["$defs"]["TaskResults"]["properties"]) == TASK_KEYS | {"earlier_looks"}  # absent from most files
    json.dumps(schema, allow_nan=False)


def test_parts_of_the_results_are_checked_and_rounded_as_they_are_made(results: Results) -> None:
    verdict = results.tasks["breast_cancer"].verdict
    made = Verdict.of(**{**verdict.model_dump(), "speedup": np.float64(4 / 3), "ci95": [1.0, math.inf]})
    assert (made.speedup, made.ci95) == (1.333333333, (1.0, None))
    for wrong in ({"speedup": -1.0}, {"label": "best"}, {"reasons": "text"}, {"labl": "tie"}):
        with pytest.raises(ValidationError):
            Verdict.of(**{**verdict.model_dump(), **wrong})
    with pytest.raises(ValidationError, match="frozen"):
        verdict.label = "tie"
