"""One policy on a page."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from metagd_optuna.policy import BASELINES, DEFAULTS, baseline_from_params
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.rules import Policy, policy_from_dict
from metagd_optuna.policy.stored import load_policy, stored_policies
from metagd_optuna.report import blocks
from metagd_optuna.report.policy_page import example, policy_page

PLAIN = MetaPolicy("adam", "power", {"lr0": 0.003, "a": 0.5, "b": 1.5}, "mix", {"w": 0.25})
PROBED = MetaPolicy(
    "schedule-free-adamw-r1",
    "probed",
    {"lr0": 0.0025, "probed": "critical", "b": 1.0, "probes": 3, "least": 1.0, "most": 10.0},
)
RESULT = {"speedup": 1.5, "ci95": [1.2, None], "test_speedup": 0.9, "test_ci95": [0.8, 1.1], "label": "faster"}


def rules() -> dict[str, Policy]:
    """Return a rule of every kind that people store."""
    found: dict[str, Policy] = {name: load_policy(name) for name in stored_policies()}
    found |= {name: policy_from_dict({"schema": 2, "kind": "default", "name": name}) for name in DEFAULTS}
    points = {name: baseline.initial_points[0] for name, baseline in BASELINES.items()}
    return found | {name: cast(Policy, baseline_from_params(name, point).rule) for name, point in points.items()}


def table_of(policy: Policy) -> list[tuple[Any, ...]]:
    tables = [part for part in policy_page(policy, "mine.json") if isinstance(part, blocks.Table)]
    return [tuple(row) for table in tables for row in table.rows]


@pytest.mark.parametrize(("name", "policy"), rules().items(), ids=str)
def test_every_rule_has_a_page_with_python_that_parses(name: str, policy: Policy) -> None:
    parts = policy_page(policy, name)
    assert parts[0] == blocks.Heading(2, name)
    assert blocks.Formula(policy.formula) in parts
    [code] = [part.text for part in parts if isinstance(part, blocks.Listing)]
    ast.parse(code)
    assert max(map(len, code.splitlines())) <= 76
    assert f'load_policy("{name}")' in code


@pytest.mark.parametrize(
    ("policy", "has", "lacks"),
    [
        (PLAIN, ["import keras", "keras.optimizers.Adam(0.0005)", "epochs=10"], ["validation", "batch", "Schedule"]),
        (replace(PLAIN, signal="val-auc"), ["validation_data=(x_val, y_val)"], []),
        (replace(PLAIN, batch_size=8), ["batch_size=policy.batch_size"], []),
        (replace(PLAIN, provenance={"budget_epochs": 22.6}), ["epochs=23"], []),
        (replace(PLAIN, provenance={"budget_epochs": "many"}), ["epochs=10"], []),
        (PROBED, ["    probe=(x, y),", "ScheduleFreeAdamW"], ["complexity"]),
        (load_policy("universal"), ["    ScheduleFreeAdamW,", "ScheduleFreeAdamW(0.0005, r=1)"], ["import keras"]),
    ],
)
def test_the_example_fits_the_policy(policy: Policy, has: list[str], lacks: list[str]) -> None:
    code = example(policy, "mine.json")
    assert [part for part in has if part not in code] == []
    assert [part for part in lacks if part in code] == []


@pytest.mark.parametrize(
    ("provenance", "rows"),
    [
        ({}, []),
        ({"result": None}, []),
        ({"result": "fast", "task": "a"}, []),
        ({"result": RESULT | {"speedup": "1.5"}, "task": "a"}, []),
        ({"result": RESULT | {"label": "first"}, "task": "a"}, []),
        ({"result": RESULT | {"ci95": [1.0]}, "task": "a"}, []),
        ({"result": RESULT, "task": "a"}, [("a", "1.50 (1.20 or more)", "0.90 (0.80 to 1.10)", "faster")]),
        ({"result": RESULT | {"test_ci95": None}, "task": "a"}, [("a", "1.50 (1.20 or more)", "not known", "faster")]),
        (
            {"results": {"a": RESULT, "b": {"label": "tie"}}},
            [("a", "1.50 (1.20 or more)", "0.90 (0.80 to 1.10)", "faster")],
        ),
    ],
)
def test_results_that_travel_along_are_shown_and_no_others(provenance: dict[str, Any], rows: list[Any]) -> None:
    policy = replace(PLAIN, provenance=provenance)
    assert table_of(policy) == rows
    told = " ".join(part.text for part in policy_page(policy, "p") if isinstance(part, blocks.Prose) and part.text)
    assert ("nothing is known of how fast it is" in told) is (not rows)


@pytest.mark.parametrize(
    ("complexity", "c", "told"),
    [
        ("task", "At complexity c = 0.9: ", "c: complexity of the task, "),
        ("batch-norm", "At complexity c = 0.5: ", "c: share of the hidden channels "),
        (
            "disagreement",
            "At complexity c = 0.5, which it is until probes after 2, 4 and 8 steps measure it: ",
            "c: how far",
        ),
        (
            "ngn-rate",
            "At complexity c = 0.5, which it is until probes after 2, 4 and 8 steps measure it: ",
            "c: how small",
        ),
    ],
)
def test_the_complexity_is_the_one_that_the_policy_measures(complexity: str, c: str, told: str) -> None:
    """What the provenance says is of the task."""
    policy = replace(PLAIN, complexity=complexity, provenance={"complexity": 0.9})
    texts = [part.text for part in policy_page(policy, "p") if isinstance(part, blocks.Prose) and part.text]
    assert [text for text in texts if text.startswith(c)]
    assert [text for text in texts if text.startswith(told)]


@pytest.mark.parametrize(
    "policy",
    [
        load_policy("universal"),
        replace(PLAIN, difficulty="gap", difficulty_coefficients={}, provenance={"complexity": 0.9}),
        BASELINES["adam-constant"].candidate({"lr0": 0.01}).rule,
    ],
)
def test_of_a_rule_that_reads_no_complexity_none_is_told(policy: Policy) -> None:
    texts = [part.text for part in policy_page(policy, "p") if isinstance(part, blocks.Prose) and part.text]
    assert not [text for text in texts if "complexity" in text]


@pytest.mark.slow
def test_the_example_trains() -> None:
    import keras

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 6)).astype("float32"), np.arange(48) % 2
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, "softmax")])
    code = example(load_policy("universal"), "universal")
    exec(code, {"x": x, "y": y, "model": model})
    assert model.optimizer.iterations > 0
