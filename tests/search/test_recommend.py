from dataclasses import replace

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.search.recommend import measure, recommend
from metagd_optuna.tasks import load_task, measure_complexity
from metagd_optuna.tasks.properties import task_properties

POLICY = MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5})
NEW = task_properties(0.8, (0.5, 0.5), 1000)


def stored(better, tasks=("cells", "lungs")):
    regrets = {
        "nearest": {"cells": 1.0, "lungs": 4.0},
        "universal": {"cells": 2.0, "lungs": 8.0},
        "neighbours": {},
        "better": better,
    }
    single = {
        "cells": {"league": "per-task", "properties": task_properties(0.1, (0.5, 0.5), 1000)},
        "lungs": {"league": "per-task", "properties": task_properties(0.9, (0.5, 0.5), 1000)},
    }
    policies = {task: replace(POLICY, provenance=single[task]) for task in tasks}
    universal = {
        "regrets": regrets,
        "measure": {"complexity": "linear-probe", "max_train": 100},
        "properties": {task: entry["properties"] for task, entry in single.items()},
    }
    return policies | {"universal": replace(POLICY, provenance=universal)}


def test_the_rule_of_the_most_similar_task():
    found = recommend(NEW, stored("nearest"))
    assert found.policy == "lungs"
    assert found.alternatives == {"universal": None, "cells": pytest.approx(1.75)}
    assert "4.00 times as long with the universal rule" in found.why
    assert "2.00 times with the rule of the most similar task" in found.why
    assert found.why.endswith("The most similar task is lungs, at a distance of 0.25.")


def test_the_universal_rule_where_that_is_better():
    found = recommend(NEW, stored("universal"))
    assert found.policy == "universal"
    assert list(found.alternatives) == ["lungs", "cells"]


def test_the_universal_rule_where_the_most_similar_task_has_none():
    """Whatever else is stored: a rule of another task is not of the most similar one."""
    for tasks in ((), ("cells",)):
        found = recommend(NEW, stored("nearest", tasks=tasks))
        assert found.policy == "universal"
        assert tuple(found.alternatives) == tasks
        assert found.why.endswith(
            "The most similar task is lungs, at a distance of 0.25, and no rule of its own is stored."
        )


def test_the_universal_rule_where_no_task_is_similar():
    found = recommend(task_properties(0.9 + 0.84, (0.5, 0.5), 1000), stored("nearest"))
    assert found.policy == "universal"
    assert found.why.endswith(
        "at a distance of 2.10, while no known task is farther than 2.00 from the one most similar to it."
    )
    assert recommend(task_properties(0.9 + 0.79, (0.5, 0.5), 1000), stored("nearest")).policy == "lungs"


def test_a_task_of_both_is_known_as_the_new_one_is_measured():
    policies = stored("nearest")
    elsewhere = {"league": "per-task", "properties": task_properties(0.8, (0.5, 0.5), 5000)}
    policies["lungs"] = replace(POLICY, provenance=elsewhere)
    assert recommend(NEW, policies).why.endswith("The most similar task is lungs, at a distance of 0.25.")


def test_without_a_universal_rule_nothing_is_recommended():
    with pytest.raises(MetaGDError, match='search one with league = "universal"'):
        recommend(NEW, {"cells": POLICY})


def test_a_rule_that_was_chosen_without_its_task_is_no_rule_of_it():
    policies = stored("nearest")
    fold = replace(POLICY, provenance={"league": "universal", "properties": NEW})
    by_hand = replace(POLICY, provenance={"by": "me"})
    found = recommend(NEW, policies | {"fold": fold, "mine": by_hand})
    assert found.policy == "lungs"
    assert set(found.alternatives) == {"universal", "cells"}


def test_a_task_is_measured_as_those_that_are_known():
    found = measure("breast_cancer", stored("nearest"))
    task = load_task("breast_cancer", max_train=100)
    assert found["train_images"] == 100
    assert found["complexity"] == measure_complexity(task.train_images, task.train_labels, "linear-probe")
    with pytest.raises(MetaGDError, match="no universal policy is stored"):
        measure("breast_cancer", {})
