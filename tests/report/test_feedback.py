"""What the controls show about feedback, and which rules have none."""

from __future__ import annotations

import dataclasses

import pytest

from metagd_optuna.records import TaskRecord
from metagd_optuna.report.evaluate import feedback_verdict
from metagd_optuna.report.measure import open_loop, steers_on_validation
from metagd_optuna.report.task_document import Speedup


def control(speedup: float, low: float | None, high: float | None, p_value: float) -> Speedup:
    return Speedup(speedup=speedup, ci95=(low, high), p_value=p_value)


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
def test_what_the_controls_show(is_open_loop: bool | None, evidence: dict[str, Speedup], expected: str) -> None:
    assert feedback_verdict(is_open_loop, evidence) == expected


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"replay": EQUAL, "frozen": CLEAR}, "not shown"),
        ({"replay": SLOWER, "frozen": EQUAL}, "feedback did not matter"),
        ({"replay": CLEAR, "frozen": CLEAR}, "feedback mattered"),
    ],
)
def test_equal_times_that_are_coarse_show_nothing(evidence: dict[str, Speedup], expected: str) -> None:
    assert feedback_verdict(False, evidence, coarse_times=True) == expected


def test_open_loop_is_read_off_the_traces(faster_task: TaskRecord) -> None:
    found = {candidate.name: open_loop(candidate) for candidate in faster_task.candidates}
    assert found["adam-cosine"] is True
    assert found["meta-policy"] is False
    adaptive = next(c for c in faster_task.candidates if c.name == "article")
    assert open_loop(dataclasses.replace(adaptive, runs=adaptive.runs[:1])) is None


def test_a_policy_whose_coefficients_ignore_performance_is_open_loop(faster_task: TaskRecord) -> None:
    winner = faster_task.candidates[0]
    still = {**winner.settings, "rate": {"form": "power", "coefficients": {"lr0": 0.004, "a": 0.0, "b": 0.0}}}
    assert open_loop(dataclasses.replace(winner, settings=still)) is True


def test_who_steers_on_validation(faster_task: TaskRecord) -> None:
    found = {candidate.name for candidate in faster_task.candidates if steers_on_validation(candidate)}
    assert found == {"article", "article-as-printed"}
    steered = dataclasses.replace(
        faster_task.candidates[0], settings={**faster_task.candidates[0].settings, "signal": "val-auc"}
    )
    assert steers_on_validation(steered)
    assert steers_on_validation(dataclasses.replace(faster_task.candidates[1], name="adam-plateau"))
