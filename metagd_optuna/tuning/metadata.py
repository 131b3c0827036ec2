"""What a study keeps of a task beside its trials: what was known before training, and what the phases decided."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from metagd_optuna.models import Model, Pair, Row


class NetworkMetadata(Model):
    """The network that is trained.

    Args:
        text: in words, with the number of its weights.
        fingerprint: of its architecture.
        md5: of the file that it was read from; None if it was built in Python.
    """

    text: str
    fingerprint: str
    md5: str | None = None


class TaskMetadata(Model):
    """What is known about a task before it trains.

    Args:
        fingerprint: of the data.
        audit: findings of the data audit.
        source: where the data came from: licence, citation, checksum.
        complexity: c, in [0, 1].
        class_names, class_frequencies: by class; shares among the training labels.
        chance: the metric's chance level.
        train_examples, val_examples, test_examples: sizes of the parts as used.
        steps, steps_per_epoch, budget_epochs: of every run.
        evaluations, rate_updates: per run.
        population: members that share one program.
        network: what is trained.
    """

    fingerprint: str
    audit: Mapping[str, JsonValue]
    source: Mapping[str, JsonValue]
    complexity: float
    classes: int
    class_names: Row[str]
    class_frequencies: Row[float]
    chance: float
    train_examples: int
    val_examples: int
    test_examples: int
    steps: int
    steps_per_epoch: float
    budget_epochs: float
    evaluations: int
    rate_updates: int
    population: int
    network: NetworkMetadata


class Outcome(Model):
    """What was fixed before the confirmation, and what the search says of its parameters.

    Args:
        search_target: the target of the searches.
        target: the target of the verdict.
        best_baseline: name of the best tuned baseline.
        chosen_trials: method to number of the trial that its setting is from.
        importances: share of importance per parameter of the meta-policy's search; importance_ci95: 95% intervals.
    """

    search_target: float
    target: float
    best_baseline: str
    chosen_trials: Mapping[str, int]
    importances: Mapping[str, float]
    importance_ci95: Mapping[str, Pair[float]]
