from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from altered import altered

from metagd_optuna.records import StudyRecord
from metagd_optuna.report.across import across_tasks
from metagd_optuna.report.document import Run
from metagd_optuna.report.results import Results, build_results, merge_results
from metagd_optuna.report.sentences import across_cautions, across_sentence, share_within
from metagd_optuna.report.task_document import CandidateResults, Mean, MedianTime, TaskResults

Factory = Callable[..., Any]
RUNS = {"study": Run(settings={"trials": 24}, versions={}, device="")}
METHODS = ("meta-policy", "adam-constant", "adam-cosine", "sgd-one-cycle", "keras-adam")


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


def small_task(times: dict[str, list[float | None]], *, best: str = "b", policy: str = "p") -> TaskResults:
    def median(values: list[float | None]) -> float | None:
        middle = sorted(math.inf if value is None else value for value in values)[len(values) // 2]
        return middle if math.isfinite(middle) else None

    kinds = {policy: "meta-policy", "keras-adam": "default", "replay": "control"}
    return TaskResults.model_construct(
        policy=policy,
        best_baseline=best,
        budget_epochs=8.0,
        spent_epochs=100.0,
        regrets=(),
        candidates=[
            CandidateResults.model_construct(
                name=name,
                kind=kinds.get(name, "baseline"),
                per_seed=values,
                epochs_to_target=MedianTime(median=median(values), ci95=(None, None)),
            )
            for name, values in times.items()
        ],
    )


def test_by_hand() -> None:
    two = small_task({"p": [1.0] * 3, "b": [2.0] * 3, "keras-adam": [4.0] * 3, "replay": [1.0] * 3})
    three = small_task({"p": [3.0] * 3, "b": [None] * 3, "keras-adam": [1.0] * 3})
    found = across_tasks({"two": two, "three": three}, RUNS)
    assert found is not None
    # A miss counts 16, twice the budget: speed-ups of 2 and 16/3.
    assert found.speedup == pytest.approx(math.sqrt(2 * 16 / 3))
    assert found.ci95 == pytest.approx([2, 16 / 3])
    assert found.probability_of_improvement == 1.0
    assert list(found.profile.shares) == ["p", "b", "keras-adam"]
    for method, shares in (("p", [0.5, 0.5, 1.0]), ("b", [0.0, 0.5, 0.5]), ("keras-adam", [0.5, 0.5, 0.5])):
        assert [share_within(found.profile, method, factor) for factor in (1, 2, 3)] == shares
    assert share_within(found.profile, "keras-adam", 4) == 1.0


def test_nothing_for_fewer_than_two_tasks() -> None:
    assert across_tasks({}, {}) is None
    assert across_tasks({"one": small_task({"p": [1.0], "b": [2.0]})}, RUNS) is None


def test_the_order_of_tasks_and_merging_do_not_matter(task_factory: Factory, study_factory: Factory) -> None:
    tasks = [task_factory(name, seeds=6, noise=noise) for name, noise in (("one", 0.004), ("two", 0.01))]
    together = build_results(study_factory(*tasks))
    alone = [build_results(study_factory(task, name=task.name)) for task in tasks]
    assert all("across" not in one.model_dump() for one in alone)
    assert merge_results(alone).across == merge_results(alone[::-1]).across == together.across
    assert merge_results([together]) == together


def test_at_most_five_headline_methods_the_policy_first(results: Results) -> None:
    assert next(iter(results.across.profile.shares)) == "meta-policy"
    assert set(results.across.profile.shares) == set(METHODS)
    many = {name: [2.0] for name in ("p", "keras-adam", "f", "e", "d", "c", "b")}
    found = across_tasks({"one": small_task(many, best="f"), "two": small_task(many, best="e")}, RUNS)
    assert found is not None
    assert list(found.profile.shares) == ["p", "e", "f", "b", "keras-adam"]


def test_who_did_not_run_on_all_tasks_is_named() -> None:
    one = small_task({"p": [1.0], "b": [2.0], "c": [3.0]})
    two = small_task({"q": [1.0], "c": [2.0], "keras-adam": [3.0]}, best="c", policy="q")
    found = across_tasks({"one": one, "two": two}, RUNS)
    assert found is not None
    assert list(found.profile.shares) == ["searched policy", "c"]
    assert found.profile_left_out == ("b",)
    assert any(note.endswith("missing from the profile: b.") for note in across_cautions(found))


def test_the_sentence_has_every_number(results: Results) -> None:
    known = {"speedup": 1.2, "ci95": (1.05, 1.4), "probability_of_improvement": 0.78, "spent_epochs": 1234.5}
    across = results.across.model_copy(update={**known, "over_keras_adam": None})
    assert across_sentence(across) == (
        "Over all 2 tasks, the searched policies converge 1.20 times as fast as the best baselines (geometric mean; "
        "95% interval 1.05 to 1.40), and a training with the policy is the faster one with a probability of 78%, "
        "equal times counting one half. All of it cost 1,234 epochs of training."
    )
    untuned = altered(across, "over_keras_adam", Mean(speedup=1.5, ci95=(1.0002, 2.0)))
    assert " Over Keras' own Adam it is 1.50 (95% interval 1.0002 to 2.00). All of it" in across_sentence(untuned)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"trials": 24, "tasks": ["b"]}, []),
        ({"trials": 64}, ["trials"]),
        ({"trials": 24, "median_pruning": True}, ["median_pruning"]),
    ],
)
def test_settings_that_differ_between_studies_are_named(others: dict[str, Any], expected: list[str]) -> None:
    tasks = {name: small_task({"p": [1.0], "b": [2.0]}) for name in ("one", "two")}
    found = across_tasks(tasks, RUNS | {"another": RUNS["study"].model_copy(update={"settings": others})})
    assert found is not None
    assert list(found.settings_that_differ) == expected
    assert found.spent_epochs == 200
    notes = [note for note in across_cautions(found) if "differ" in note]
    assert notes == (
        [f"The studies of this report differ in their settings, which its end has in full: {expected[0]}."]
        if expected
        else []
    )
