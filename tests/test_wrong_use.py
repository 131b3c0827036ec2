"""Whatever is passed by mistake, the answer is an error of the package's own that quotes little of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.contracts import MOST_QUOTED, MetaGDError
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.stored import load_policy

POWER = {"lr0": 1e-3, "a": 1.0, "b": 0.0}
POLICY = MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5})
PARAMS = POLICY.to_params()


class Frame:
    """What looks like a table of pandas, but is none."""

    columns = ("a", "b")
    shape = (2, 2)

    def __getitem__(self, key):
        raise KeyError(key)

    def __len__(self):
        return 2


JUNK = {
    "none": None,
    "text": "nonsense",
    "long text": "x" * 1_000_000,
    "half of a pair": "\ud800",
    "zero byte": "a\0b",
    "bytes": b"adam",
    "flag": True,
    "number": 17,
    "long number": 10**5000,
    "not a number": float("nan"),
    "complex": 1 + 2j,
    "list": [0.1, 0.2],
    "empty list": [],
    "ragged": [[1, 2], [3]],
    "nested numbers": [[10**5000]],
    "table": {"a": 1},
    "table without names": {1: 2, (3, 4): 5},
    "set": {"adam"},
    "array": np.arange(6.0).reshape(2, 3),
    "array of objects": np.array([None, "a"], dtype=object),
    "objects": [object(), object()],
    "generator": (number for number in range(3)),
    "function": len,
    "class": dict,
    "frame": Frame(),
}

POLICY_DOORS = {
    "optimizer": lambda junk: MetaPolicy(junk, "power", POWER, "mix", {"w": 0.5}),
    "rate": lambda junk: MetaPolicy("adam", junk, POWER, "mix", {"w": 0.5}),
    "rate coefficients": lambda junk: MetaPolicy("adam", "power", junk, "mix", {"w": 0.5}),
    "a rate coefficient": lambda junk: MetaPolicy("adam", "power", {**POWER, "lr0": junk}, "mix", {"w": 0.5}),
    "difficulty": lambda junk: MetaPolicy("adam", "power", POWER, junk, {"w": 0.5}),
    "difficulty coefficients": lambda junk: MetaPolicy("adam", "power", POWER, "mix", junk),
    "coefficients of no difficulty": lambda junk: MetaPolicy("adam", "constant", POWER, None, junk),
    "signal": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, signal=junk),
    "half-life": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, half_life=junk),
    "s_ref": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, "improvement", s_ref=junk),
    "batch": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, batch_size=["no", junk]),
    "provenance": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, provenance=["no", junk]),
    "provenance in depth": lambda junk: MetaPolicy(
        "adam", "power", POWER, "mix", {"w": 0.5}, provenance={"x": {1, 2}, "y": junk}
    ),
    "params": lambda junk: MetaPolicy.from_params(junk),
    "a parameter": lambda junk: MetaPolicy.from_params({**PARAMS, "g.power.lr0.adam": junk}),
    "a form": lambda junk: MetaPolicy.from_params({**PARAMS, "g": junk}),
    "difficulty's form": lambda junk: MetaPolicy.from_params({**PARAMS, "f": junk}),
    "trial": lambda junk: MetaPolicy.from_trial(junk),
    "a trial's params": lambda junk: MetaPolicy.from_trial(SimpleNamespace(params=junk, number=0)),
    "a trial's optimizer": lambda junk: MetaPolicy.from_trial(
        SimpleNamespace(params={**PARAMS, "optimizer": junk}, number=0)
    ),
    "document": lambda junk: MetaPolicy.from_dict(junk),
    "schema": lambda junk: MetaPolicy.from_dict({**POLICY.to_dict(), "schema": junk}),
    "a part of the document": lambda junk: MetaPolicy.from_dict({**POLICY.to_dict(), "rate": junk}),
    "text of the document": lambda junk: MetaPolicy.from_json(junk),
    "difficulty at": lambda junk: POLICY.difficulty_at(junk, 0.5),
    "difficulty at that performance": lambda junk: POLICY.difficulty_at(0.5, junk),
    "rate at": lambda junk: POLICY.rate_at(junk, 0.5),
    "rate at that performance": lambda junk: POLICY.rate_at(0.5, junk),
    "rate at that step": lambda junk: POLICY.rate_at(0.5, 0.5, step=[junk]),
    "stored policy": lambda junk: load_policy(junk),
    "file": lambda junk: MetaPolicy.load(junk),
}


def refused(door, junk):
    """Return what an entry point says about junk; any other exception fails the test by itself."""
    with pytest.raises(MetaGDError) as caught:
        door(junk)
    return str(caught.value)


def said(work):
    """Return what the package says against some work, nothing if it has no objection."""
    try:
        work()
    except MetaGDError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("door", POLICY_DOORS)
def test_junk_for_a_policy_is_refused_in_words(door, junk):
    # None is what several arguments hold if they are left out.
    if junk == "none" and door in ("difficulty", "s_ref"):
        return
    message = refused(POLICY_DOORS[door], JUNK[junk])
    assert message.strip()
    assert "x" * (MOST_QUOTED + 1) not in message


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
JSON_LIKE = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner))


@given(table=st.dictionaries(st.sampled_from([*POLICY.to_dict()]) | st.text(), JSON_LIKE))
def test_no_document_raises_anything_else(table):
    assert len(said(lambda: MetaPolicy.from_dict({**POLICY.to_dict(), **table}))) < 1500


@given(params=st.dictionaries(st.sampled_from([*PARAMS]) | st.text(), JSON_LIKE))
def test_no_parameters_raise_anything_else(params):
    changed = {**PARAMS, **params}
    assert len(said(lambda: MetaPolicy.from_params(changed))) < 1500
    assert len(said(lambda: MetaPolicy.from_trial(SimpleNamespace(params=changed, number=3)))) < 1500


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": LONG},
        {"signal": LONG},
        {LONG: 1},
        {"schema": LONG},
        {"provenance": LONG},
        {"rate": LONG},
        {"rate": {"form": LONG}},
        {"rate": {"form": "power", LONG: 1}},
        {"rate": {"form": "power", "coefficients": {LONG: 1}}},
        {"rate": {"form": "power", "coefficients": {**POWER, "lr0": LONG}}},
        {"rate": {"form": "power", "coefficients": [LONG]}},
        {"difficulty": {"form": LONG}},
        {"half_life": [LONG] * 100},
    ],
    ids=lambda change: next(iter(change))[:20],
)
def test_an_error_about_a_document_quotes_little(tmp_path, change):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**POLICY.to_dict(), **change}), encoding="utf-8")
    message = refused(load_policy, file)
    assert message.startswith(str(file))
    assert "x" * (MOST_QUOTED + 1) not in message
    assert len(message) < len(str(file)) + 1000
