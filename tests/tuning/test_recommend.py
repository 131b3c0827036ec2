from dataclasses import replace

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.tasks import load_task, measure_complexity
from metagd_optuna.tuning.recommend import measure, measured_sentence, package_policies, recommend

POLICY = MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5})
UNIVERSAL = replace(
    POLICY,
    provenance={
        "regrets": {"cells": 1.0, "lungs": 2.0, "eyes": 4.0},
        "measure": {"complexity": "linear-probe", "max_train": 100},
    },
)
STORED = {"cells": POLICY, "universal": UNIVERSAL, "lungs": POLICY}


def test_the_universal_policy_is_recommended_with_its_regret():
    found = recommend(STORED)
    assert found.policy == "universal"
    assert found.alternatives == ("cells", "lungs")
    assert "chosen on 3 tasks together" in found.why
    assert "took 2.00 times as long" in found.why  # the cube root of 1 * 2 * 4


def test_a_policy_of_the_suite_is_recommended_with_what_was_confirmed():
    over_all = {"speedup": 1.25, "ci95": [0.9, 1.5]}
    found = {"suite": {"against": "a constant", "over_all": over_all}, "results": {key: {} for key in "abc"}}
    told = recommend({"universal": replace(POLICY, provenance=found)}).why
    assert told.startswith(
        "On 3 workloads of the suite, which no choice had seen, it is 1.25 times as fast as a constant"
    )
    assert told.endswith("95% interval 0.90 to 1.50.")


def test_the_policies_of_the_package_say_what_docs_say():
    found = recommend(package_policies())
    assert found.why == (
        "On 15 workloads of the suite, which no choice had seen, it is 1.08 times as fast as schedule-free-adamw-r1 at "
        "the constant 0.0025, 95% interval 0.98 to 1.24."
    )
    assert set(found.alternatives) == package_policies().keys() - {"universal"}


def test_without_a_universal_policy_nothing_is_recommended():
    with pytest.raises(MetaGDError, match='search one with scope = "universal"'):
        recommend({"cells": POLICY})


def test_a_task_is_measured_as_those_that_the_universal_policy_was_searched_on():
    found = measure("breast_cancer", STORED)
    task = load_task("breast_cancer", max_train=100)
    assert found["train_images"] == 100
    assert found["complexity"] == measure_complexity(task.train_images, task.train_labels, "linear-probe")
    assert "100 training images, the most that are looked at" in measured_sentence(found, STORED)
    with pytest.raises(MetaGDError, match="no universal policy is stored"):
        measure("breast_cancer", {})
