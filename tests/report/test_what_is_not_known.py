"""Runs that missed or ended early say nothing, and the report must not say that they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from altered import altered

from metagd_optuna.analysis import Comparison, verdicts
from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.records import CandidateRecord, StudyRecord, TaskRecord
from metagd_optuna.report.cautions import cautions
from metagd_optuna.report.content import comparison_table
from metagd_optuna.report.markdown import markdown, markdown_report, overview
from metagd_optuna.report.results import build_results, merge_results
from metagd_optuna.report.sentences import (
    across_cautions,
    detectable_sentence,
    feedback_sentence,
    label_words,
    short_flags,
    trained_alike,
    verdict_sentence,
    versus_best_baseline,
)
from metagd_optuna.report.styles import candidate_styles
from metagd_optuna.report.task_content import candidate_table, levels_table
from metagd_optuna.report.task_document import Evidence

TaskFactory = Callable[..., TaskRecord]
StudyFactory = Callable[..., StudyRecord]
ALIKE = {"adam-cosine": "baseline", "replay": "control", "constant-complexity": "control"}
NOTHING = Curve((), (), (), (), ())


def with_runs(task: TaskRecord, name: str, change: Callable[[int, RunRecord], RunRecord]) -> TaskRecord:
    """Return a task with other runs of one candidate."""

    def changed(candidate: CandidateRecord) -> CandidateRecord:
        if candidate.name != name:
            return candidate
        return replace(candidate, runs=tuple(change(i, run) for i, run in enumerate(candidate.runs)))

    return replace(task, candidates=tuple(map(changed, task.candidates)))


def test_times_that_cancel_are_ties_after_they_were_rounded(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    """Whole numbers of evaluations whose logarithms cancel on paper, at a distance that is none in decimals."""
    hits = {"meta-policy": [6, 6, 8, 3, 9, 7, 10, 3, 8, 8], "adam-cosine": [8, 5, 12, 4, 12, 10, 10, 6, 6, 12]}
    task = replace(task_factory("t", candidates=tuple(hits)), steps_per_epoch=546 / 32, budget_epochs=480 / (546 / 32))
    for name, evaluations in hits.items():

        def reach(i: int, run: RunRecord, evaluations: list[int] = evaluations) -> RunRecord:
            # Confirmed by the evaluation after the first good one.
            scores = tuple(0.95 if k + 1 >= evaluations[i] - 1 else 0.6 for k in range(40))
            curve = Curve(tuple(12 * (k + 1) for k in range(40)), *[scores] * 4)
            return replace(run, validation=curve, test=curve, rates=(0.001,) * 480, steps=480, budget=480)

        task = with_runs(task, name, reach)
    found = build_results(study_factory(task)).tasks["t"].verdict
    times = {name: [float(k) for k in evaluations] for name, evaluations in hits.items()}
    policy, baseline = times["meta-policy"], times["adam-cosine"]
    [exact] = verdicts([Comparison(40, policy, baseline, {}, policy, baseline)])
    assert (found.label, found.p_value) == (exact.label, exact.p_value) == ("tie", pytest.approx(0.05078125))
    assert found.ci95[0] <= 1  # as p is above 0.05


def test_a_task_of_few_seeds_may_be_faster_in_a_merged_report(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    many = build_results(study_factory(task_factory("a", seeds=20), name="A"))
    few = build_results(study_factory(task_factory("b", seeds=6, rises={"meta-policy": 0.5}), name="B"))
    task = merge_results([many, few]).tasks["b"]
    assert (task.verdict.label, task.verdict.detectable) == ("faster", None)
    assert "is sure to pass Holm's correction over all tasks" in detectable_sentence(task)
    [alone] = build_results(study_factory(task_factory("c", seeds=3))).tasks.values()
    assert detectable_sentence(alone) == "With 3 paired seeds no speed-up, however large, could have been shown."


@pytest.mark.parametrize(
    "options", [{"tops": {"meta-policy": 0.7, "replay": 0.7, "frozen": 0.7}}, {"target": 0.99999, "noise": 0.0}]
)
def test_two_that_both_miss_on_every_seed_are_not_equally_fast(
    task_factory: TaskFactory, study_factory: StudyFactory, options: dict[str, Any]
) -> None:
    task = build_results(study_factory(task_factory("t", **options))).tasks["t"]
    assert task.verdict.feedback_evidence == {}
    assert feedback_sentence(task) == "Whether feedback mattered is not shown."
    assert task.verdict.detectable is None or "noise" not in options
    nobody = all(row.reached == 0 for row in task.candidates)
    assert ("Neither of the two reached the target" in detectable_sentence(task)) == nobody
    assert nobody == ("noise" in options)


@pytest.mark.parametrize("going_on", [0, 1])
def test_a_rule_that_ended_before_it_saw_anything_is_not_open_loop(
    task_factory: TaskFactory, study_factory: StudyFactory, going_on: int
) -> None:
    def burst(i: int, run: RunRecord) -> RunRecord:
        if i < going_on:
            return run
        return replace(
            run, steps=2, validation=NOTHING, test=NOTHING, update_steps=(), train_loss=(), train_accuracy=(),
            rates=task.candidates[0].runs[0].rates[:2], diverged=True,
        )  # fmt: skip

    task = task_factory("t")
    found = build_results(study_factory(with_runs(task, "meta-policy", burst))).tasks["t"]
    assert found.candidates[0].name == "meta-policy"
    assert found.candidates[0].open_loop is None
    assert "open-loop:" not in feedback_sentence(found)


def test_a_difference_that_was_shown_is_not_denied(task_factory: TaskFactory, study_factory: StudyFactory) -> None:
    results = build_results(study_factory(task_factory("t", rises={"sgd-one-cycle": 0.9})))
    task = results.tasks["t"]
    assert task.verdict.label == "tie"
    assert task.verdict.p_holm <= 0.05
    assert "no difference" not in verdict_sentence("t", task)
    assert "but that is not called faster: the speed-up against sgd-one-cycle is" in verdict_sentence("t", task)
    assert label_words(task.verdict) == "no verdict"
    assert "**no verdict**" in overview(results)


def test_a_rule_that_is_the_best_baseline_is_called_so(task_factory: TaskFactory, study_factory: StudyFactory) -> None:
    """Equal times of one rule are no finding, and their spread of nothing promises nothing."""
    task = task_factory("t", scope="universal")
    winner = next(candidate for candidate in task.candidates if candidate.name == "meta-policy")
    others = tuple(c for c in task.candidates if c.name not in ("adam-cosine", "replay"))
    alike = [replace(winner, name=name, kind=kind) for name, kind in ALIKE.items()]
    results = build_results(study_factory(replace(task, candidates=(*others, *alike))))
    found = results.tasks["t"]
    assert trained_alike(found.winner, found.candidate("adam-cosine"))
    assert not trained_alike(found.winner, found.candidate("adam-constant"))
    assert found.verdict.label == "tie"
    text = markdown_report(results)
    assert "meta-policy does what adam-cosine, the best baseline, does" in text
    assert "The two are one rule here" in text
    assert "**no difference shown**, the same rule |" in overview(results)
    assert "Knowing this task's complexity changes nothing" in text
    assert "would be shown with 80% power" not in text
    assert short_flags(found)[0] == "the same rule as adam-cosine"


def test_two_that_diverged_at_once_are_not_one_rule(task_factory: TaskFactory, study_factory: StudyFactory) -> None:
    def burst(_: int, run: RunRecord) -> RunRecord:
        return replace(
            run, steps=2, validation=NOTHING, test=NOTHING, update_steps=(), train_loss=(), train_accuracy=(),
            rates=(0.9, 0.9), diverged=True,
        )  # fmt: skip

    task = with_runs(with_runs(task_factory("t"), "meta-policy", burst), "adam-cosine", burst)
    found = build_results(study_factory(task)).tasks["t"]
    assert not trained_alike(found.winner, found.candidate("adam-cosine"))
    assert "neither meta-policy nor adam-cosine" in verdict_sentence("t", found)


def test_where_neither_reached_the_target_no_number_compares_them(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    tops = {"meta-policy": 0.7, "adam-cosine": 0.7, "sgd-one-cycle": 0.7}
    results = build_results(study_factory(task_factory("lost", tops=tops), task_factory("won")))
    lost, won = (results.tasks[name] for name in ("lost", "won"))
    assert verdict_sentence("lost", lost) == (
        "On lost, neither meta-policy nor adam-cosine, the best baseline, reached the target on any seed, so their "
        "speed cannot be compared."
    )
    assert [versus_best_baseline(lost, lost.candidate(name)) for name in ("meta-policy", "sgd-one-cycle")] == [
        "not comparable"
    ] * 2
    assert versus_best_baseline(lost, lost.candidate("adam-constant")).startswith("4.6")
    assert levels_table(lost).rows[-1][2:] == ("not reached (0 of 10)", "not reached (0 of 10)", "not comparable")
    assert levels_table(won).rows[0][3].endswith(" (10 of 10)")
    assert "In brackets: how many runs got there." in levels_table(won).caption
    assert "| lost | `adam-cosine` | not comparable |" in overview(results)
    assert "not comparable" in [row[4] for row in candidate_table(lost, candidate_styles(results)).rows]
    assert results.across.not_comparable == ("lost",)
    assert "reached the target on any seed: lost." in across_cautions(results.across)[2]


def test_seeds_on_which_a_control_misses_as_the_winner_does_are_left_out(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    """On three seeds both get there at once, on seven neither does: that is no evidence for equal speed."""
    task = task_factory("t")
    [winner] = [candidate for candidate in task.candidates if candidate.name == "meta-policy"]

    def equal(i: int, _: RunRecord) -> RunRecord:
        run = winner.runs[i]
        curve = run.validation if i < 3 else replace(run.validation, auc=(0.6,) * len(run.validation.auc))
        return replace(run, validation=curve)

    for name in ("meta-policy", "replay", "frozen"):
        task = with_runs(task, name, equal)
    found = build_results(study_factory(task)).tasks["t"]
    assert found.verdict.feedback == "not shown"
    assert found.verdict.feedback_evidence["replay"] == Evidence(speedup=1.0, ci95=(0.0, None), p_value=1.0, pairs=3)
    assert "unbounded: too few seeds, on the 3 seeds on which at least one of the two" in feedback_sentence(found)


def test_times_that_are_coarse_are_said_to_hide_what_feedback_did(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    rises = dict.fromkeys(("meta-policy", "replay", "frozen", "adam-cosine"), 0.1)
    found = build_results(study_factory(task_factory("t", rises=rises))).tasks["t"]
    assert found.resolution_limited
    assert feedback_sentence(found).startswith(
        "Whether feedback mattered is not shown, because times are coarse on this task (against replay: 1.0"
    )


def test_coarse_times_are_not_blamed_where_nothing_is_known_anyway(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    found = build_results(study_factory(task_factory("t"))).tasks["t"]
    wide = Evidence(speedup=1.3, ci95=(0.8, 2.0), p_value=0.3, pairs=10)
    found = altered(found, "verdict.feedback", "not shown")
    found = altered(found, "verdict.feedback_evidence", {"replay": wide, "frozen": wide})
    found = altered(found, "resolution_limited", True)
    assert feedback_sentence(found).startswith("Whether feedback mattered is not shown (against replay: 1.30")


def test_equal_times_alone_are_not_one_rule(task_factory: TaskFactory, study_factory: StudyFactory) -> None:
    """Few evaluations make different rules take the same time."""
    found = build_results(study_factory(task_factory("t"))).tasks["t"]
    twin = altered(found.reference, "per_seed", found.winner.per_seed)
    twin = altered(twin, "per_seed_test", found.winner.per_seed_test)
    assert not trained_alike(found.winner, twin)


@pytest.mark.parametrize(
    ("policy_reached", "why"), [(1.0, "it reached the target more often"), (0.5, "on the test cases it is the faster")]
)
def test_slower_on_validation_alone_is_not_called_slower(
    task_factory: TaskFactory, study_factory: StudyFactory, policy_reached: float, why: str
) -> None:
    task = build_results(study_factory(task_factory("t"))).tasks["t"]
    for key, value in {"label": "tie", "speedup": 0.8, "p_holm": 0.01}.items():
        task = altered(task, f"verdict.{key}", value)
    task = altered(altered(task, "candidates.*.reached", 0.9), "candidates.meta-policy.reached", policy_reached)
    assert f"not called slower: {why}" in verdict_sentence("t", task)


def test_without_a_target_on_the_test_images_nothing_is_compared_there(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    def guess(_: int, run: RunRecord) -> RunRecord:
        assert run.test is not None
        return replace(run, test=replace(run.test, auc=(0.5,) * len(run.test.auc)))

    results = build_results(study_factory(with_runs(task_factory("t"), "adam-cosine", guess)))
    assert results.tasks["t"].best_baseline == "adam-cosine"
    assert comparison_table(results).rows[0][1] == "not comparable"


def test_who_is_best_on_the_test_images_shares_it_and_is_no_control(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    results = build_results(study_factory(task_factory("t")))
    scores = {"meta-policy": 0.91, "adam-cosine": 0.91, "replay": 0.99}
    results = altered(results, "tasks.t.candidates.*.test.auc", 0.5)
    for name, score in scores.items():
        results = altered(results, f"tasks.t.candidates.{name}.test.auc", score)
    assert markdown([comparison_table(results)]).endswith("| 0.910 (`meta-policy`, `adam-cosine`) |\n")


@pytest.mark.parametrize(
    ("policy", "baseline", "expected"),
    [
        ([1.0, None, 2.0, 4.0], [2.0, 1.0, None, 8.0], ["on 1 of 4 seeds", "adam-cosine on 1. On the 2 where", "2.00"]),
        ([1.0, 1.0, 2.0, 4.0], [3.0, None, 2.0, 12.0], ["on 0 of 4 seeds", "adam-cosine on 1. On the 3 where", "2.08"]),
        ([1.0, None, None, 4.0], [2.0, 1.0, None, None], ["adam-cosine on 2. On the only seed where", "2.00"]),
        ([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], []),
        ([None, 1.0, None, 1.0], [2.0, None, 2.0, None], ["on 2 of 4 seeds", "on 2. On no seed did both reach it"]),
        ([1.0, 1.0, 2.0, 4.0], [None] * 4, ["on 0 of 4 seeds", "adam-cosine on 4. On no seed did both reach it"]),
        ([None] * 4, [None] * 4, []),
    ],
)  # fmt: skip
def test_how_much_hangs_on_what_a_miss_counts_as_is_said(
    task_factory: TaskFactory,
    study_factory: StudyFactory,
    policy: list[float | None],
    baseline: list[float | None],
    expected: list[str],
) -> None:
    task = build_results(study_factory(task_factory("t", seeds=4))).tasks["t"]
    task = altered(task, "candidates.meta-policy.per_seed", tuple(policy))
    task = altered(task, "candidates.adam-cosine.per_seed", tuple(baseline))
    found = [note for note in cautions(task) if note.startswith("A missed target counts as twice the budget")]
    assert len(found) == bool(expected)
    assert all(part in found[0] for part in expected)


def test_an_interval_of_one_task_is_told_from_a_p_value_over_all(
    task_factory: TaskFactory, study_factory: StudyFactory
) -> None:
    tasks = [task_factory(name) for name in ("one", "two")]
    alone = build_results(study_factory(tasks[0], name="alone")).tasks["one"]
    assert "(95% interval 1." in verdict_sentence("one", alone)
    together = build_results(study_factory(*tasks)).tasks["one"]
    assert "(95% interval of this task alone 1." in verdict_sentence("one", together)
    assert verdict_sentence("one", together).endswith("after Holm's correction for all tasks).")
