from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import write_text
from metagd_optuna.policy.meta_policy import MetaPolicy

POWER = {"lr0": 1e-3, "a": 1.0, "b": 2.0}


def nested(thousands):
    """Lists in lists: deeper than Python's JSON follows."""
    inner = []
    for _ in range(1000 * thousands):
        inner = [inner]
    return inner


POLICY = MetaPolicy("adam", "power", POWER, "mix", {"w": 0.25}, half_life=2, provenance={"task": "breast_cancer"})


def document(**changes):
    return POLICY.to_dict() | changes


def test_the_document():
    assert json.loads(POLICY.to_json()) == {
        "schema": 2,
        "kind": "meta-policy",
        "optimizer": "adam",
        "signal": "train-loss",
        "half_life": 2.0,
        "difficulty": {"form": "mix", "coefficients": {"w": 0.25}},
        "rate": {"form": "power", "coefficients": POWER},
        "provenance": {"task": "breast_cancer"},
    }


def test_the_formula_and_its_latex():
    assert POLICY.formula == (
        "d = 0.25 c + 0.75 (1 - p); lr = 0.001 (1 - d)^1 (p + 0.01)^2; p from train-loss with half-life 2 rate "
        "updates; adam"
    )
    assert POLICY.latex == r"d = 0.25\,c + 0.75\,(1 - p),\quad lr = 0.001\,(1 - d)^{1}\,(p + 0.01)^{2}"


def test_numbers_in_latex_have_no_e():
    policy = MetaPolicy("adam", "logistic", {"lo": 1e-5, "hi": 1e-2, "s": -5, "p0": 0.5})
    assert r"1 \cdot 10^{-5}" in policy.latex
    assert policy.formula == "lr = 1e-05 (0.01 / 1e-05)^sigmoid(-5 (0.5 - p)); p from train-loss; adam"


def test_it_is_frozen_and_keeps_its_own_copy():
    mine = dict(POWER)
    policy = MetaPolicy("adam", "power", mine, "mix", {"w": 0.25})
    mine["lr0"] = 99.0
    assert policy.rate_coefficients["lr0"] == 1e-3
    with pytest.raises(FrozenInstanceError):
        policy.rate = "article"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adamw", "power", POWER, "mix", {"w": 0.5}), "optimizer is 'adamw'.*Did you mean 'adam'"),
        (("adam", "powr", POWER, "mix", {"w": 0.5}), "rate.form is 'powr'.*Did you mean 'power'"),
        (("adam", "power", POWER, "mxi", {"w": 0.5}), "difficulty.form is 'mxi'.*Did you mean 'mix'"),
        (("adam", "power", POWER, "mix", {"w": 1.5}), "difficulty.coefficients.w is 1.5; .* 0 to 1"),
        (("adam", "power", POWER, "mix", {}), "difficulty.coefficients lacks w"),
        (("adam", "power", POWER | {"b": math.nan}, "mix", {"w": 0.5}), "rate.coefficients.b is nan"),
        (("adam", "power", POWER | {"b": True}, "mix", {"w": 0.5}), "rate.coefficients.b is True, which is no number"),
        (("adam", "power", POWER | {"c": 1.0}, "mix", {"w": 0.5}), "a key of rate.coefficients is 'c'"),
        (("sgd-nesterov", "power", POWER | {"lr0": 5e-5}, "mix", {"w": 0.5}), "lr0 is 5e-05; .* 0.0001 to 1"),
        (("adam", "power", POWER), "'power' needs a difficulty"),
        (("adam", "power", POWER, None, {"w": 0.5}), "without a difficulty.form"),
        (("adam", "logistic", {"lo": 1e-2, "hi": 1e-3, "s": 1, "p0": 0.5}), "out of order; sort them"),
        (
            ("adam", "monotone-spline", dict.fromkeys(("d0", "d25", "d50", "d75"), 1e-4)
             | {"d100": 1e-3, "direction": "down"}, "mix", {"w": 0.5}),
            "out of order with direction 'down'",
        ),
        (("adam", "power", POWER, "mix", {"w": 0.5}, "val-acc"), "signal is 'val-acc'.*Did you mean 'val-auc'"),
        (("adam", "power", POWER, "mix", {"w": 0.5}, "train-loss", 9), "half_life is 9; .* 0 to 8"),
        (("adam", "power", POWER, "mix", {"w": 0.5}, "improvement"), "improvement_scale is None"),
        (("adam", "power", POWER, "mix", {"w": 0.5}, "train-loss", 0, 0.01), "improvement_scale is 0.01"),
        (("adam", "power", POWER, "mix", {"w": 0.5}, "improvement", 0, 0.5), "improvement_scale is 0.5; .* to 0.1"),
        (("adam", "article", {}, "mix", {"w": 0.5}, "train-loss", 0, None, {"x": math.inf}), "provenance cannot be"),
        (("adam", "article", {}, "mix", {"w": 0.5}, "train-loss", 0, None, {"x": {1}}), "provenance cannot be"),
        (("adam", "article", {}, "mix", {"w": 0.5}, "train-loss", 0, None, {"x": nested(200)}), "provenance cannot be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(arguments, message):
    with pytest.raises(MetaGDError, match=message):
        MetaPolicy(*arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (document(schema=1), "schema is 1; this version reads schema 2"),
        (document(schema=True), "schema is True"),
        (
            document(optimiser="adam"),
            r"there is no key 'optimiser' \(did you mean 'optimizer'\?\); allowed keys: schema, kind",
        ),
        ({"schema": 2, "kind": "meta-policy", "optimizer": "adam"}, "the key 'rate' is missing"),
        (document(kind="baseline"), "kind is 'baseline', which is no meta-policy; load_policy reads every kind"),
        (document(rate="power"), 'rate is "power"; allowed is {"form": NAME'),
        (
            document(rate={"form": "power", "coefs": {}}),
            "there is no key 'coefs' in rate; allowed keys: form, coefficients",
        ),
        (document(rate={"form": "power", "coefficients": []}), r"rate.coefficients is \[\]"),
        (document(rate={"form": ["power"]}), r'rate.form is \["power"\]; allowed is text'),
        (document(difficulty={"coefficients": {}}), "the key 'difficulty.form' is missing"),
        (document(provenance=[1]), r"provenance is \[1\]"),
        (document(half_life="2"), 'half_life is "2"; allowed is a number from 0 to 8'),
        (
            document(half_life=10**400),
            "half_life is a whole number of about 400 digits; allowed is",
        ),
        (document(improvement_scale=0.01), "improvement_scale is 0.01 with signal"),
        (
            document(signal="improvement", improvement_scale=10**400),
            "improvement_scale is a whole number of about 400 digits; allowed is .* 0.001 to 0.1",
        ),
        (document(schema=10**400), "schema is a whole number of about 400 digits; this version reads"),
        (
            document(rate={"form": "power", "coefficients": POWER | {"lr0": 10**400}}),
            "rate.coefficients.lr0 is a whole number of about 400 digits; .* 1e-05 to 0.03",
        ),
        ([1, 2], r"the policy is \[1, 2\]; it must be a JSON object"),
        (None, "the policy is None; it must be a JSON object"),
    ],
)
def test_a_file_with_a_fault_is_refused_by_its_name(tmp_path, table, message):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message) as caught:
        MetaPolicy.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this is not JSON"),
        (POLICY.to_json()[:-20], "this is not JSON"),
        (POLICY.to_json().replace("0.25", "NaN"), "NaN is no number"),
        (POLICY.to_json().replace("0.25", "-Infinity"), "-Infinity is no number"),
        (POLICY.to_json().replace("0.25", "1e999"), "difficulty.coefficients.w is inf"),
        ('{"schema": 1, "schema": 1}', "the key schema is given more than once"),
        ("[" * 100_000, "this is not JSON"),
        (POLICY.to_json().replace("0.001", "1" * 5000), "a number cannot be read .*5000 digits.*; give one of fewer"),
    ],
)
def test_a_text_that_is_no_policy_is_refused(text, message):
    with pytest.raises(MetaGDError, match=f"^mine: {message}"):
        MetaPolicy.from_json(text, "mine")


def test_save_and_load(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text("old", encoding="utf-8")
    POLICY.save(path)
    assert MetaPolicy.load(path) == POLICY
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.json"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "policy.json"
    path.write_text("old", encoding="utf-8")

    def no_space(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(
        MetaGDError, match=r"policy.json: cannot be written \(No space left on device: the disk is full\)"
    ):
        write_text("new", path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.json"]


def test_a_folder_or_nothing_cannot_be_read_or_written(tmp_path):
    with pytest.raises(MetaGDError, match="cannot be read as a policy file"):
        MetaPolicy.load(tmp_path)
    with pytest.raises(MetaGDError, match="cannot be read as a policy file"):
        MetaPolicy.load(tmp_path / "absent.json")
    with pytest.raises(MetaGDError, match="cannot be written"):
        POLICY.save(tmp_path / "absent" / "policy.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MetaGDError, match="cannot be read as a policy file"):
        MetaPolicy.load(tmp_path / "binary.json")


COSINE = {"base": "cosine", "lr0": 1e-3, "horizon": 1.0, "warmup": 0.0, "k": 0.0}


@pytest.mark.parametrize(
    ("policy", "depends"),
    [
        (POLICY, True),
        (MetaPolicy("adam", "power", POWER | {"a": 0.0, "b": 0.0}), False),
        (MetaPolicy("adam", "power", POWER | {"b": 0.0}, "mix", {"w": 1.0}), False),
        (MetaPolicy("adam", "power", POWER | {"b": 0.0}, "mix", {"w": 0.9}), True),
        (MetaPolicy("adam", "schedule", COSINE), False),
        (MetaPolicy("adam", "schedule", COSINE | {"k": 0.1}, "rasch", {"k": 1.0}), True),
        (MetaPolicy("adam", "schedule", COSINE | {"k": 0.1}, "exponential", {"k": 0.0}), False),
        (MetaPolicy("adam", "logistic", {"lo": 1e-4, "hi": 1e-3, "s": 0, "p0": 0.5}), False),
        (MetaPolicy("adam", "article", {}, "product-article"), True),
    ],
)
def test_open_loop_rules_are_known(policy, depends):
    assert policy.depends_on_performance is depends
    assert ("p from" in policy.formula) is depends


def test_steering_on_validation_is_known():
    def steers(signal, b):
        policy = MetaPolicy("adam", "power", POWER | {"a": 0.0, "b": b}, signal=signal)
        return policy.steers_on_validation

    assert steers("val-auc", 1.0)
    assert not steers("val-auc", 0.0)
    assert not steers("train-accuracy", 1.0)


def test_the_rule_at_a_point():
    assert POLICY.difficulty_at(0.5, 0.5) == pytest.approx(0.5)
    assert POLICY.rate_at(0.5, 0.49) == pytest.approx(1e-3 * 0.5 * 0.25)
    assert POLICY.rate_at(0.5, 0.0) == 1e-5
    multiplicative = MetaPolicy.from_params(
        {"optimizer": "adam", "g": "multiplicative", "g.multiplicative.lr0.adam": 1e-3, "g.multiplicative.up": 0.1}
        | {"g.multiplicative.down": 0.5, "g.multiplicative.theta": 0.01}
        | {"g.multiplicative.patience": 0, "g.multiplicative.cooldown": 0}
    )
    assert multiplicative.difficulty_at(0.5, 0.5) is None
    with pytest.raises(MetaGDError, match="depends on the past"):
        multiplicative.rate_at(0.5, 0.5)
    timed = MetaPolicy.from_params(
        {
            "optimizer": "adam",
            "g": "schedule",
            "g.schedule.base": "one-cycle",
            "g.schedule.lr0.adam": 6e-3,
            "g.schedule.k": 0.0,
        }
        | {"g.schedule.horizon": 1.0, "g.schedule.warmup": 0.5, "f": "mix", "f.mix.w": 0.5}
    )
    assert timed.rate_at(0.5, 0.8, step=49, budget=100) == pytest.approx(6e-3, rel=0.01)
    with pytest.raises(MetaGDError, match=r"depends on where in the run it is; pass step and budget"):
        timed.rate_at(0.5, 0.8)
