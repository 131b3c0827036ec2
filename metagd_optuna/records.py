"""What a study found, as a report is written from it: plain values, from the storage to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metagd_optuna.contracts import TARGET_SHARE, RunRecord


@dataclass(frozen=True, slots=True, repr=False)
class CandidateRecord:
    """One row of a comparison.

    Args:
        name: unique within a task, e.g. ``meta-policy``, ``adam-cosine``, ``keras-adam``, ``replay``.
        kind: ``meta-policy``, ``baseline``, ``default``, ``article`` or ``control``.
        optimizer: a key of ``policy.optimizers.OPTIMIZERS``.
        formula: the rule with its coefficients, as plain text.
        latex: the same as LaTeX, or an empty string.
        trials: trials that its tuning took; 0 for what is not tuned.
        settings: JSON-able coefficients (for a meta-policy: its whole JSON document).
        runs: confirmation runs, one per paired seed, in the order of the seeds.
    """

    name: str
    kind: str
    optimizer: str
    formula: str
    latex: str
    trials: int
    settings: Mapping[str, object]
    runs: tuple[RunRecord, ...]

    def __repr__(self) -> str:
        return f"<{self.name}, {self.kind}: {len(self.runs)} runs>"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial of a search, for the report.

    Args:
        number: position in its study.
        state: ``complete`` or ``pruned``.
        objective: the mean time to the targets in epochs; None for a pruned trial, whose value is another unit.
        parameters: as Optuna stored them.
        spent_epochs: passes over the training set that it cost, over all its seeds.
    """

    number: int
    state: str
    objective: float | None
    parameters: Mapping[str, object]
    spent_epochs: float


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of one method before the confirmation.

    Args:
        trial: number of the chosen trial.
        best: the lowest objective of all trials of the search, in epochs.
        search: the chosen trial's objective on the seeds of the search, in epochs.
        shortlist: its mean objective on the seeds of the shortlist, in epochs.
    """

    trial: int
    best: float
    search: float
    shortlist: float


@dataclass(frozen=True, slots=True)
class Regret:
    """What the setting that other tasks chose for a method costs on this task, on the seeds of the design.

    Args:
        trial: number of the chosen setting.
        chosen: its objective on this task, in epochs; the best that it could still have had where it was stopped.
        stopped: whether it was stopped on this task.
        best_trial: number of the setting that is best on this task.
        best: the objective of that one, in epochs.
    """

    trial: int
    chosen: float
    stopped: bool
    best_trial: int
    best: float


@dataclass(frozen=True, slots=True)
class EarlierLook:
    """What a study of fewer trials said of a task, before its trials were raised.

    Args:
        trials: that each method had.
        label, speedup, p_value: of the verdict.
    """

    trials: int
    label: str
    speedup: float
    p_value: float


@dataclass(frozen=True, slots=True, repr=False)
class TaskRecord:
    """Everything that a study found out about one task.

    Args:
        name: the task's name.
        metric: ``auc`` or ``balanced_accuracy``.
        chance: the metric's value at chance level.
        classes: number of classes.
        train_examples, val_examples, test_examples: sizes of the three parts as used.
        steps_per_epoch: optimizer steps per pass over the training part.
        budget_epochs: passes over the training part that every run was given.
        evaluations: evaluations per run.
        complexity: value in [0, 1]; ``complexity_measure`` names how it was measured.
        population: members that shared one program.
        network: what was trained, in words.
        audit: findings of the data audit, JSON-able.
        source: where the data came from (licence, citation, checksum), JSON-able.
        search_target: the target of the searches.
        target: the target.
        policy: name of the searched candidate; best_baseline: name of the best tuned baseline.
        candidates: all confirmed candidates.
        trials: trials of every method.
        spent_epochs: passes over the training set by phase (``calibrate``, a method's name,
            ``shortlist``, ``confirm``).
        importances: share of importance per parameter of the meta-policy's search.
        importance_ci95: 95% interval of each share, where it was computed.
        baselines_left_out: tuned baselines that the package knows and this study did not run.
        scope: ``per-task`` if the settings were searched on this task, ``universal`` if they were chosen on others.
        selections: what was chosen of every method, by its name; empty in the universal scope.
        regrets: what that choice costs on this task, by method, where it was made on others: in the universal scope.
        resampled: whether every seed of the confirmation dealt the cases into parts of its own.
        earlier_looks: verdicts of the same study with fewer trials.
        target_share: how far the target is of the way from chance level to where the best baseline ended.
    """

    name: str
    metric: str
    chance: float
    classes: int
    train_examples: int
    val_examples: int
    test_examples: int
    steps_per_epoch: float
    budget_epochs: float
    evaluations: int
    complexity: float
    complexity_measure: str
    population: int
    network: str
    audit: Mapping[str, object]
    source: Mapping[str, object]
    search_target: float
    target: float
    policy: str
    best_baseline: str
    candidates: tuple[CandidateRecord, ...]
    trials: Mapping[str, tuple[TrialRecord, ...]]
    spent_epochs: Mapping[str, float]
    importances: Mapping[str, float]
    importance_ci95: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baselines_left_out: tuple[str, ...] = ()
    scope: str = "per-task"
    selections: Mapping[str, Selection] = field(default_factory=dict)
    regrets: Mapping[str, Regret] = field(default_factory=dict)
    resampled: bool = False
    earlier_looks: tuple[EarlierLook, ...] = ()
    target_share: float = TARGET_SHARE

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.candidates)} candidates>"


@dataclass(frozen=True, slots=True, repr=False)
class StudyRecord:
    """Everything that a report is written from.

    Args:
        name: the study's name.
        settings: the study file's content, defaults filled in.
        versions: package name to version.
        device: what trained, in words.
        timing: seconds by phase and task; all wall-clock lives here.
        tasks: in the order of the study file.
    """

    name: str
    settings: Mapping[str, object]
    versions: Mapping[str, str]
    device: str
    timing: Mapping[str, object]
    tasks: tuple[TaskRecord, ...] = field(default=())

    def __repr__(self) -> str:
        return f"<study {self.name}: {', '.join(task.name for task in self.tasks)}>"
