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
    measure = {"complexity": "linear-probe", "max_train": 100}
    return policies | {"universal": replace(POLICY, provenance={"regrets": regrets, "measure": measure})}


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


def test_the_universal_rule_where_no_other_is_stored():
    found = recommend(NEW, stored("nearest", tasks=()))
    assert (found.policy, dict(found.alternatives)) == ("universal", {})
    assert found.why.endswith("but no rule of a single task is stored.")


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
