"""What a misspelt name is taken for, wherever a user gives one."""

from __future__ import annotations

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import MOST_QUOTED, nearest, validate_choice
from metagd_optuna.models import did_you_mean
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.tasks.catalogue import CATALOGUE, find_entry
from metagd_optuna.tuning.settings import METRICS, StudySettings

TASKS = [
    ("pnuemoniamnist", "pneumoniamnist"),
    ("pneumonaimnits", "pneumoniamnist"),
    ("pneumoniamnst", "pneumoniamnist"),
    ("pneunomiaminst", "pneumoniamnist"),
    ("pneumonia-mnist", "pneumoniamnist"),
    ("PneumoniaMNIST", "pneumoniamnist"),
    ("pneumonia", "pneumoniamnist"),
    ("bresatminst", "breastmnist"),
    ("brestmnist", "breastmnist"),
    ("chsetmnist", "chestmnist"),
    ("retinmanist", "retinamnist"),
    ("orgaanmnist", "organamnist"),
    ("Breast Cancer", "breast_cancer"),
    ("brest_cancer", "breast_cancer"),
    ("gbsg", "gbsg2"),
    ("cifar100", "cifar10"),
    ("cifar", "cifar10"),
    ("skin", None),
    ("imagenet", None),
    ("x", None),
    ("", None),
    ("pneumoniamnist" * MOST_QUOTED, None),
]
NAMES = [
    ("adam-cosntent", BASELINES, "adam-constant"),
    ("adam_cosine", BASELINES, "adam-cosine"),
    ("sgd-onecycle", BASELINES, "sgd-one-cycle"),
    ("lion", BASELINES, None),
    ("trails", StudySettings.model_fields, "trials"),
    ("trass", StudySettings.model_fields, None),
    ("cmopute", StudySettings.model_fields, "compute"),
    ("batchsize", StudySettings.model_fields, "batch_size"),
    ("acu", METRICS, "auc"),
    ("accuracy", METRICS, None),
    ("abc", (), None),
]


@pytest.mark.parametrize(("given", "known", "meant"), [(given, CATALOGUE, meant) for given, meant in TASKS] + NAMES)
def test_the_name_that_was_meant_is_the_nearest_in_spelling(given: str, known: list[str], meant: str | None) -> None:
    assert nearest(given, known) == meant
    assert did_you_mean(given, known) == (f" (did you mean {meant!r}?)" if meant else "")
    with pytest.raises(MetaGDError) as refused:
        validate_choice(given, known, "it")
    assert (f"Did you mean {meant!r}?" in str(refused.value)) is (meant is not None)


@pytest.mark.parametrize(("given", "meant"), [*TASKS, ("pneumoniamnist_46", "pneumoniamnist_64")])
def test_a_task_that_there_is_not_is_answered_with_the_nearest(given: str, meant: str | None) -> None:
    with pytest.raises(MetaGDError) as refused:
        find_entry(given)
    assert (f"did you mean {meant!r}?" in str(refused.value)) is (meant is not None)
    assert meant or "did you mean" not in str(refused.value)
