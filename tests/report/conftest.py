"""A synthetic study with the shape of a real one: two tasks, ten candidates, misses and a diverged run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.records import CandidateRecord, Selection, StudyRecord, TaskRecord, TrialRecord

STEPS_PER_EPOCH = 10.6875  # 342 examples in batches of 32
EVALUATIONS = 40
STEPS = 160
META_POLICY: Mapping[str, Any] = {
    "schema": 2,
    "kind": "meta-policy",
    "optimizer": "adam",
    "difficulty": {"form": "mix", "coefficients": {"w": 0.4}},
    "rate": {"form": "power", "coefficients": {"lr0": 0.004, "a": 0.5, "b": -0.3}},
    "signal": "train-loss",
    "half_life": 1.5,
}

# name: (kind, optimizer, epochs over which the curve rises by 63%, its final score, whether the rate has feedback)
CANDIDATES: Mapping[str, tuple[str, str, float, float, bool]] = {
    "meta-policy": ("meta-policy", "adam", 1.0, 0.95, True),
    "adam-constant": ("baseline", "adam", 2.0, 0.94, False),
    "adam-cosine": ("baseline", "adam", 1.6, 0.95, False),
    "sgd-one-cycle": ("baseline", "sgd-nesterov", 1.8, 0.95, False),
    "keras-adam": ("default", "adam", 2.6, 0.94, False),
    "keras-sgd": ("default", "sgd", 9.0, 0.86, False),
    "article": ("article", "adam", 3.0, 0.93, True),
    "article-as-printed": ("article", "adam", 60.0, 0.60, True),
    "replay": ("control", "adam", 1.35, 0.95, False),
    "frozen": ("control", "adam", 1.6, 0.95, False),
}


def _curve(rng: np.random.Generator, rise: float, top: float, noise: float, evaluations: int) -> Curve:
    steps = tuple((k + 1) * STEPS // EVALUATIONS for k in range(evaluations))
    epochs = np.array(steps) / STEPS_PER_EPOCH
    auc = 0.5 + (top - 0.5) * (1 - np.exp(-epochs / rise)) + noise * rng.standard_normal(evaluations)
    auc = np.clip(auc, 0.0, 1.0)
    return Curve(
        steps=steps,
        loss=tuple(np.maximum(1.4 * (1 - auc), 0.01).tolist()),
        accuracy=tuple(np.clip(auc - 0.05, 0, 1).tolist()),
        balanced_accuracy=tuple(np.clip(auc - 0.08, 0, 1).tolist()),
        auc=tuple(auc.tolist()),
    )


def _run(name: str, seed: int, rise: float, top: float, feedback: bool, noise: float) -> RunRecord:
    luck = np.random.default_rng([seed, 1]).normal(0, 0.12)
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    diverged = name == "article-as-printed" and seed % 3 == 0
    evaluations = 7 if diverged else EVALUATIONS
    steps = evaluations * STEPS // EVALUATIONS
    progress = np.arange(steps) / STEPS
    rates = 0.003 * (0.05 + np.cos(np.pi * progress / 2) ** 2)
    if feedback:
        rates = rates * np.exp(0.1 * rng.standard_normal())
    own = float(np.exp(luck + 0.06 * rng.standard_normal()))
    ticks = tuple(range(2, steps + 1, 2))
    return RunRecord(
        candidate=name,
        seed=seed,
        budget=STEPS,
        steps=steps,
        validation=_curve(rng, rise * own, top, noise, evaluations),
        test=_curve(rng, rise * own * 1.05, top - 0.01, noise, evaluations),
        update_steps=ticks,
        train_loss=tuple(np.linspace(0.69, 0.2, len(ticks)).tolist()),
        train_accuracy=tuple(np.linspace(0.5, 0.9, len(ticks)).tolist()),
        rates=tuple(rates.tolist()),
        diverged=diverged,
    )


def _trials(name: str, count: int) -> tuple[TrialRecord, ...]:
    rng = np.random.default_rng(sum(map(ord, name)))
    trials = []
    for number in range(count):
        pruned = number > 3 and rng.random() < 0.3
        trials.append(
            TrialRecord(
                number=number,
                state="pruned" if pruned else "complete",
                objective=None if pruned else float(rng.uniform(1.0, 4.0)),
                parameters={f"{name}.lr0": float(10 ** rng.uniform(-4, -2))},
                spent_epochs=12.0 if pruned else 30.0,
            )
        )
    return tuple(trials)


def make_task(
    name: str = "breast_cancer",
    *,
    seeds: int = 10,
    noise: float = 0.004,
    target: float = 0.92,
    search_target: float | None = 0.94,
    rises: Mapping[str, float] | None = None,
    tops: Mapping[str, float] | None = None,
    candidates: tuple[str, ...] = tuple(CANDIDATES),
    **fields: Any,
) -> TaskRecord:
    """Return a task whose candidates rise as ``CANDIDATES`` says, unless ``rises`` or ``tops`` say otherwise."""
    records = []
    for candidate in candidates:
        kind, optimizer, rise, top, feedback = CANDIDATES[candidate]
        rise, top = (rises or {}).get(candidate, rise), (tops or {}).get(candidate, top)
        records.append(
            CandidateRecord(
                name=candidate,
                kind=kind,
                optimizer=optimizer,
                formula=f"lr = {candidate}(0.003)" if kind != "meta-policy" else "d = 0.4 c + 0.6 (1 - p); lr = 0.004",
                latex=r"\eta = 0.004\,(1-d)^{0.5}(p+0.01)^{-0.3}" if kind == "meta-policy" else "",
                trials=24 if kind in ("baseline", "meta-policy") else 0,
                settings=META_POLICY if kind == "meta-policy" else {"lr0": 0.003},
                runs=tuple(_run(candidate, seed, rise, top, feedback, noise) for seed in range(100, 100 + seeds)),
            )
        )
    methods = [c for c in candidates if CANDIDATES[c][0] in ("baseline", "meta-policy")]
    values: dict[str, Any] = {
        "name": name,
        "metric": "auc",
        "chance": 0.5,
        "classes": 2,
        "train_examples": 342,
        "val_examples": 113,
        "test_examples": 114,
        "steps_per_epoch": STEPS_PER_EPOCH,
        "budget_epochs": STEPS / STEPS_PER_EPOCH,
        "evaluations": EVALUATIONS,
        "complexity": 0.11,
        "complexity_measure": "knn",
        "population": 4,
        "network": "article-cnn, 93,322 weights",
        "audit": {"findings": ["2 images are exact copies within train", "largest class is 1.7 times the smallest"]},
        "source": {"licence": "CC BY 4.0", "citation": "Wolberg et al., 1995"},
        "search_target": search_target,
        "target": target,
        "policy": "meta-policy",
        "best_baseline": "adam-cosine",
        "candidates": tuple(records),
        "trials": {method: _trials(method, 24) for method in methods},
        "spent_epochs": {"calibrate": 240.0, **dict.fromkeys(methods, 900.0), "shortlist": 900.0, "confirm": 1500.0},
        "importances": {"g.power.lr0.adam": 0.61, "g.power.a": 0.22, "f.mix.w": 0.12, "half_life": 0.05},
        "importance_ci95": {"g.power.lr0.adam": (0.4, 0.78), "g.power.a": (0.05, 0.41)},
        "baselines_left_out": ("adam-plateau", "greedy-lr"),
        # The best trial said 1.2 epochs, the chosen one 1.3, and on fresh seeds it took 1.7.
        "selections": dict.fromkeys(
            methods if search_target and search_target > 0.5 else (), Selection(3, 1.2, 1.3, 1.7)
        ),
    }
    return TaskRecord(**(values | fields))


def make_study(*tasks: TaskRecord, name: str = "synthetic") -> StudyRecord:
    """Return a study of the given tasks."""
    return StudyRecord(
        name=name,
        settings={"tasks": [task.name for task in tasks], "trials": 24, "metric": "auc", "pruning": True},
        versions={"metagd_optuna": "0.1.0", "optuna": "5.0.0", "tensorflow": "2.21.0"},
        device="CPU, 2 cores",
        timing={"total_seconds": 312.5, "tasks": {task.name: {"search": 200.1} for task in tasks}},
        tasks=tasks,
    )


@pytest.fixture(scope="session")
def faster_task() -> TaskRecord:
    return make_task("breast_cancer")


@pytest.fixture(scope="session")
def tied_task() -> TaskRecord:
    return make_task("retinamnist", noise=0.01, rises={"meta-policy": 1.6, "replay": 1.6}, complexity=0.83, classes=5)


@pytest.fixture(scope="session")
def study(faster_task: TaskRecord, tied_task: TaskRecord) -> StudyRecord:
    return make_study(faster_task, tied_task)


@pytest.fixture(scope="session")
def task_factory() -> Callable[..., TaskRecord]:
    return make_task


@pytest.fixture(scope="session")
def study_factory() -> Callable[..., StudyRecord]:
    return make_study
