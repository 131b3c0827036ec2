"""Every kind of rule as a document: written, read, and told when it is wrong."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from metagd_optuna import load_policy
from metagd_optuna.contracts import Context, MetaGDError, Observation
from metagd_optuna.policy import (
    ARTICLES,
    BASELINES,
    DEFAULTS,
    DIFFICULTY_FORMS,
    RATE_FORMS,
    MetaPolicy,
    article_candidate,
    baseline_from_params,
    constant_complexity,
    default_candidate,
    frozen_candidate,
    policy_from_dict,
    policy_from_json,
    policy_schema,
)
from metagd_optuna.policy.controls import replay_candidate
from metagd_optuna.policy.document import KINDS
from metagd_optuna.policy.words import in_words

POLICY = MetaPolicy(
    "adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5}, signal="val-auc", batch_size=8
)
RULES = {
    "meta-policy": POLICY,
    **{f"baseline-{name}": baseline_from_params(name, row.initial_points[0]).rule for name, row in BASELINES.items()},
    **{name: default_candidate(name).rule for name in DEFAULTS},
    **{name: article_candidate(name).rule for name in ARTICLES},
    "replay": replay_candidate([1e-3, 2e-3, 0.0], "sgd", batch_size=16).rule,
    "frozen": frozen_candidate(POLICY, 0.25, 0.75).rule,
    "constant-complexity": constant_complexity(POLICY, 0.2).rule,
}
# What each looks at, and the batch it wants.
READS = {
    "meta-policy": ("val-auc", 8),
    "baseline-adam-plateau": ("val-loss", None),
    "baseline-greedy-lr": ("val-loss", None),
    **dict.fromkeys(ARTICLES, ("val-accuracy", None)),
    "replay": (None, 16),
    "frozen": (None, 8),
    "constant-complexity": ("val-auc", 8),
}


@pytest.mark.parametrize("name", RULES)
def test_any_rule_is_stored_and_loaded(tmp_path, name):
    rule = RULES[name]
    rule.save(tmp_path / "winner.json")
    again = load_policy(tmp_path / "winner.json")
    assert type(again) is type(rule)
    assert again == rule
    assert policy_from_json(rule.to_json()) == rule
    assert list(rule.to_dict())[:2] == ["schema", "kind"]


@pytest.mark.parametrize("name", RULES)
def test_any_rule_says_and_does_the_same(name):
    rule = RULES[name]
    reads, batch = READS.get(name, (None, None))
    assert (rule.reads, rule.batch_size) == (reads, batch)
    assert rule.depends_on_performance is (reads is not None)
    assert rule.steers_on_validation is (reads is not None and reads.startswith("val-"))
    assert rule.optimizer in rule.formula
    assert rule.latex
    assert in_words(rule, 0.5).startswith("The r")
    controller = rule.controller()
    rates, _ = controller.rates(controller.start(Context(0.5, (0.5, 0.5), rule.optimizer, 20, 5.0)), Observation(0), 3)
    assert rates.shape == (3,)


@pytest.mark.parametrize("name", RULES)
def test_where_it_comes_from_travels_along(name):
    table = RULES[name].to_dict() | {"provenance": {"task": "breast_cancer", "seeds": [1, 2]}}
    assert policy_from_dict(table).provenance == {"task": "breast_cancer", "seeds": [1, 2]}


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_holds_cannot_be_changed(name):
    came = {"task": "a", "seeds": [1, {"x": [2]}]}
    rule = policy_from_dict(RULES[name].to_dict() | {"provenance": came})
    before = rule.to_json()
    parts = [rule.provenance, getattr(rule, "coefficients", rule.provenance)]
    if name == "meta-policy":
        parts += [rule.rate_coefficients, rule.difficulty_coefficients]
    for part in parts:
        for change in (
            lambda p: p.update(task="b"),
            lambda p: p.clear(),
            lambda p: p.pop("task"),
            lambda p: p.popitem(),
            lambda p: p.setdefault("y", 1),
            lambda p: p.__setitem__("task", 1),
            lambda p: p.__delitem__("task"),
            lambda p: p.__ior__({"task": 1}),
        ):
            with pytest.raises(TypeError, match=r"cannot be changed; make another rule, with dataclasses.replace"):
                change(part)
    for change in ("append", "extend", "remove", "__iadd__", "__delitem__", "__imul__"):
        with pytest.raises(TypeError, match="cannot be changed"):
            getattr(rule.provenance["seeds"][1]["x"], change)([2])
    for copied in (copy.copy(rule), copy.deepcopy(rule), policy_from_json(before), pickle.loads(pickle.dumps(rule))):
        assert copied == rule
        assert copied.to_json() == before
        with pytest.raises(TypeError, match="cannot be changed"):
            copied.provenance["seeds"].sort()
    came["seeds"][1]["x"].append(3)
    told = rule.to_dict()
    told["provenance"]["seeds"][1]["x"].append(3)
    assert rule.to_json() == before
    assert type(told["provenance"]["seeds"][1]) is dict


def test_the_schema_names_what_there_is():
    schema = policy_schema()
    text = json.dumps(schema)
    assert all(f'"{name}"' in text for name in [*DIFFICULTY_FORMS, *RATE_FORMS, *BASELINES, *DEFAULTS, *ARTICLES])
    kinds = {RULES[name].kind for name in RULES}
    assert kinds == set(KINDS)
    assert set(schema["discriminator"]["mapping"]) == kinds
    parts = [schema["$defs"][reference.rpartition("/")[2]] for reference in schema["discriminator"]["mapping"].values()]
    for part in parts:
        assert {"schema", "kind"} <= set(part["required"])
        assert part["additionalProperties"] is False
    rates = schema["$defs"]["MetaPolicyDocument"]["properties"]["rate"]["oneOf"]
    [power] = [one["properties"] for one in rates if one["properties"]["form"] == {"const": "power"}]
    assert power["coefficients"]["properties"]["a"] == {"type": "number", "minimum": -1, "maximum": 3}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "the key 'name' is missing; it holds one of adam-constant, "),
        ({"name": 3}, "name is 3; allowed is one of adam-constant, "),
        ({"name": "adam-cosin"}, r"name is 'adam-cosin'; allowed: adam-constant, .* Did you mean 'adam-cosine'\?"),
    ],
)
def test_a_baseline_without_a_name_that_is_here_is_refused_for_that(named, message):
    table = {"schema": 2, "kind": "baseline", "coefficients": {"lr0": 1e-3}, **named}
    with pytest.raises(MetaGDError, match=f"^winner.json: {message}"):
        policy_from_dict(table, "winner.json")
