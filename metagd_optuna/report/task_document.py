"""What ``results.json`` holds of one task: frozen values, checked as they are made, of numbers or from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, NonNegativeFloat, NonNegativeInt, PositiveFloat, field_validator, model_validator

from metagd_optuna.analysis import median_time
from metagd_optuna.contracts import TARGET_SHARE, MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import Model, Pair, Row, did_you_mean
from metagd_optuna.report.json_values import SIGNIFICANT_DIGITS, json_value, times

ROUNDING = 1e-8  # results have ten digits
UNIVERSAL = "universal"

Interval = Pair[float | None]
Time = PositiveFloat | None
Score = Annotated[float, Field(ge=0.0, le=1.0 + ROUNDING)]  # a balanced accuracy may be a rounding above 1
Kind = Literal["meta-policy", "baseline", "default", "article", "control"]
Scope = Literal["per-task", "universal"]


class Result(Model):
    """A part of the results: its floats have ten significant digits, and what is not finite is None."""

    digits: ClassVar[int] = SIGNIFICANT_DIGITS

    @classmethod
    def of(cls, **fields: object) -> Self:
        """Return one of numbers as they were computed: lists, NumPy arrays and infinities are welcome."""
        return cls.model_validate(json_value(fields, cls.digits))


class Mean(Result):
    """A speed-up, or a mean of several, and its 95% interval, whose ends may be unbounded."""

    speedup: PositiveFloat
    ci95: Interval


class Speedup(Mean):
    """A speed-up over paired seeds."""

    p_value: float


class Evidence(Speedup):
    """A speed-up over a control, on the ``pairs`` of seeds on which one of the two reached the target."""

    pairs: NonNegativeInt


class Verdict(Speedup):
    """Whether the searched policy is faster than the best baseline.

    Args:
        p_holm: the p-value, corrected over all tasks of the report.
        test_speedup, test_ci95: the same comparison on the test cases.
        detectable: smallest speed-up that these seeds could have shown; None where none could.
        reasons: in words, every condition of ``faster`` that failed.
        feedback_evidence: by control.
        complexity_evidence: what knowing the task's complexity was worth; None where that was not tried.
        payback_trainings: after how many trainings the search has paid back; None for never.
    """

    p_holm: float
    test_speedup: PositiveFloat
    test_ci95: Interval
    detectable: float | None
    label: Literal["faster", "tie", "slower"]
    reasons: Row[str]
    feedback: Literal["open-loop", "feedback mattered", "feedback did not matter", "not shown"]
    feedback_evidence: Mapping[str, Evidence]
    complexity_evidence: Evidence | None
    payback_trainings: float | None


class MedianTime(Result):
    """Median epochs to the target over the seeds, None for a miss, and its 95% interval."""

    median: Time
    ci95: Interval


class TestScores(Result):
    """Medians over the seeds on the test cases, at the evaluation with the best validation score."""

    __test__ = False  # for pytest, which takes its name for that of a test

    auc: float
    accuracy: float
    balanced_accuracy: float


class Curve(Result):
    """Median and quartiles over the seeds at every evaluation; None where no run was left. It is only drawn."""

    digits = 5

    median: Row[float | None]
    low: Row[float | None]
    high: Row[float | None]
    rate: Row[float | None]
    rate_low: Row[float | None]
    rate_high: Row[float | None]


class MeasuredCandidate(Result):
    """What was measured of one candidate.

    Args:
        trials: that its tuning took; 0 for what is not tuned.
        open_loop: whether its rate used no feedback; None where that cannot be told.
        per_seed, per_seed_test: epochs to the target on validation and on the test cases, one per seed.
        reached: share of the seeds that reached the target.
        diverged: number of runs.
    """

    name: str
    kind: Kind
    optimizer: str
    formula: str
    latex: str
    settings: Mapping[str, JsonValue]
    trials: NonNegativeInt
    open_loop: bool | None
    steers_on_validation: bool
    epochs_to_target: MedianTime
    per_seed: Row[Time] = Field(min_length=1)
    per_seed_test: Row[Time] = Field(min_length=1)
    reached: NonNegativeFloat
    diverged: NonNegativeInt
    test: TestScores
    curve: Curve

    @property
    def times(self) -> list[float]:
        """Epochs to the target by seed, infinity for a miss."""
        return times(self.per_seed)

    @property
    def test_times(self) -> list[float]:
        """The same on the test cases."""
        return times(self.per_seed_test)

    @property
    def batch_size(self) -> JsonValue:
        """The batch that its method chose, or None if it had no choice."""
        return self.settings.get("batch_size")

    @model_validator(mode="after")
    def _summary_is_that_of_the_times(self) -> MeasuredCandidate:
        found = median_time(self.times)
        [median] = times([self.epochs_to_target.median])
        for key, given, own in (
            ("reached", self.reached, found.reached),
            ("epochs_to_target.median", median, found.median),
        ):
            if not math.isclose(given, own, rel_tol=ROUNDING):
                raise ValueError(f"{key} of {shortened(self.name)} is {given}, but per_seed says {own}")
        return self


class CandidateResults(MeasuredCandidate):
    """A candidate, compared with the best baseline."""

    versus_best_baseline: Speedup


class Level(Result):
    """Policy and best baseline at one height of the climb: median epochs, and the shares of runs that got there.

    The shares are None where they were not kept, as in the first results.
    """

    share: PositiveFloat
    target: float  # above 1 where no run got so far
    policy: Time
    baseline: Time
    policy_reached: NonNegativeFloat | None
    baseline_reached: NonNegativeFloat | None
    speedup: PositiveFloat
    ci95: Interval


class Optimism(Result):
    """The objective, in epochs, of a method's setting on three disjoint sets of seeds, and the best of its search."""

    method: str
    trial: NonNegativeInt
    best: NonNegativeFloat
    search: NonNegativeFloat
    shortlist: NonNegativeFloat
    confirmation: NonNegativeFloat


class RegretResults(Result):
    """What the setting that other tasks chose for a method costs on this one; objectives in epochs.

    Args:
        stopped: whether the chosen setting was stopped here, so that its objective could be higher.
    """

    method: str
    trial: NonNegativeInt
    chosen: PositiveFloat
    stopped: bool
    best_trial: NonNegativeInt
    best: PositiveFloat


class Search(Result):
    """One method's search; ``objectives`` are the best so far after each trial, None before the first that ended."""

    trials: NonNegativeInt
    completed: NonNegativeInt
    pruned: NonNegativeInt
    spent_epochs: NonNegativeFloat
    pruned_epochs: NonNegativeFloat
    best_objective: float | None
    objectives: Row[float | None]


class Surface(Result):
    """The winner's rate g(d, p) in the middle of the budget.

    Args:
        performance: shape (P,).
        difficulty: shape (D,), empty if the rule does not look at it.
        rate: shape (D, P), or (1, P).
        path: shape (P,), the difficulties f(c, p) that the task can visit; None without a difficulty.
    """

    performance: Row[float] = Field(min_length=1)
    difficulty: Row[float]
    rate: Row[Row[NonNegativeFloat]] = Field(min_length=1)
    path: Row[float] | None


class Sizes(Result):
    """Numbers of cases."""

    train: NonNegativeInt
    validation: NonNegativeInt
    test: NonNegativeInt


class Look(Result):
    """What a study said of the task before its trials were raised."""

    trials: NonNegativeInt
    label: Literal["faster", "tie", "slower"]
    speedup: PositiveFloat
    p_value: float


class MeasuredTask(Result):
    """Everything about one task but the verdict.

    Args:
        study: the run that it comes from.
        scope: whether settings were chosen on this task or on others.
        target, test_target, search_target: on validation, on the test cases (None where the best baseline does not
            beat chance level there), and of the searches.
        chance: the score of chance level.
        population: members that shared one program.
        seeds: of the confirmation, in the order of every ``per_seed``.
        policy, best_baseline: names of candidates, chosen before the confirmation.
        optimism: empty where no search chose on this task, and where it was not kept.
        regrets: empty where settings were chosen on this task, and where they were not kept.
        surface: None for a rule that remembers.
        resampled: whether every seed of the confirmation dealt the cases into parts of its own.
        earlier_looks: verdicts of the same study with fewer trials, absent if there were none.
        target_share: how far the target is of the way from chance level to where the best baseline ended.
    """

    study: str
    metric: Literal["auc", "balanced_accuracy", "accuracy"]
    target: Score
    test_target: Score | None
    search_target: Score | None
    chance: Score
    complexity: float
    complexity_measure: str
    population: NonNegativeInt
    network: str
    classes: NonNegativeInt
    sizes: Sizes
    source: Mapping[str, JsonValue]
    audit: Mapping[str, JsonValue]
    steps_per_epoch: PositiveFloat
    budget_epochs: PositiveFloat
    evaluations: NonNegativeInt
    resolution_limited: bool
    seeds: Row[int] = Field(min_length=1)
    spent_epochs: NonNegativeFloat
    spent_by_phase: Mapping[str, NonNegativeFloat]
    scope: Scope
    policy: str
    policy_in_words: str
    best_baseline: str
    baselines_left_out: Row[str]
    candidates: Row[MeasuredCandidate] = Field(min_length=1)
    levels: Row[Level] = Field(min_length=1)
    optimism: Row[Optimism]
    regrets: Row[RegretResults]
    searches: Mapping[str, Search]
    importances: Mapping[str, float]
    importance_ci95: Mapping[str, Pair[float]]
    evaluation_epochs: Row[float]
    surface: Surface | None
    resampled: bool = False
    earlier_looks: Row[Look] = Field(default=(), exclude_if=lambda looks: not looks)
    target_share: PositiveFloat = TARGET_SHARE

    @property
    def findings(self) -> Sequence[str]:
        """What the audit of the data found."""
        found = self.audit.get("findings")
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []

    @field_validator("audit")
    @classmethod
    def _findings_are_texts(cls, audit: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        found = audit.get("findings", [])
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise ValueError("findings must be a list of texts")
        return audit

    @model_validator(mode="after")
    def _candidates_are_paired(self) -> MeasuredTask:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {as_given(list(self.seeds))} are not unique, so times are not paired")
        rows = {row.name: row for row in self.candidates}
        if len(rows) < len(self.candidates):
            raise ValueError(f"candidates {as_given([row.name for row in self.candidates])} are not unique")
        for role, name in (("policy", self.policy), ("best_baseline", self.best_baseline)):
            if name not in rows:
                known = f"{as_given(list(rows))}{did_you_mean(name, rows)}"
                raise ValueError(f"{role} {as_given(name)} is not among the candidates {known}")
        if rows[self.best_baseline].kind != "baseline":
            kind = rows[self.best_baseline].kind
            raise ValueError(f"best_baseline {as_given(self.best_baseline)} is a {kind!r} and no baseline")
        for row in self.candidates:
            for key, found in (("per_seed", row.per_seed), ("per_seed_test", row.per_seed_test)):
                if len(found) != len(self.seeds):
                    raise ValueError(
                        f"{key} of {shortened(row.name)} has {len(found)} times for {len(self.seeds)} seeds"
                    )
                late = [time for time in found if time is not None and time > self.budget_epochs * (1 + ROUNDING)]
                if late:
                    raise ValueError(
                        f"{key} of {shortened(row.name)} holds {late[0]}, but a run has {self.budget_epochs} epochs"
                    )
        return self


class TaskResults(MeasuredTask):
    """Everything about one task, its verdict too."""

    candidates: Row[CandidateResults] = Field(min_length=1)
    verdict: Verdict

    def __repr__(self) -> str:
        return f"<{self.verdict.label}: {self.policy} {self.verdict.speedup:.2f} times as fast as {self.best_baseline}>"

    __str__ = __repr__

    def candidate(self, name: str) -> CandidateResults:
        """Return the row of a candidate.

        Raises:
            MetaGDError: if there is none of that name; it lists those that there are.
        """
        rows = {row.name: row for row in self.candidates}
        if name not in rows:
            known = f"only {as_given(sorted(rows))}{did_you_mean(name, rows)}"
            raise MetaGDError(f"the results hold no candidate {as_given(name)}, {known}")
        return rows[name]

    @property
    def winner(self) -> CandidateResults:
        """The row of the searched policy."""
        return self.candidate(self.policy)

    @property
    def reference(self) -> CandidateResults:
        """The row of the best baseline."""
        return self.candidate(self.best_baseline)
