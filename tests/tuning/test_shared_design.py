from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.pruning import HANDICAP, handicap
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.shared_design import SharedDesign, value_at

RANGES = (
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(1e-5, 3e-2, log=True),
    IntDistribution(0, 8),
    IntDistribution(1, 100, log=True),
    CategoricalDistribution(("a", "b", "c")),
)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from(RANGES))
def test_every_value_is_allowed(place, allowed):
    assert allowed._contains(allowed.to_internal_repr(value_at(place, allowed)))


@pytest.mark.parametrize("allowed", RANGES, ids=str)
def test_both_ends_are_reached(allowed):
    first, last = value_at(0.0, allowed), value_at(math.nextafter(1.0, 0.0), allowed)
    if isinstance(allowed, CategoricalDistribution):
        assert (first, last) == ("a", "c")
    else:
        assert (first, last) == (pytest.approx(allowed.low), pytest.approx(allowed.high))


def _asked(method, trials, study_name):
    study = optuna.create_study(study_name=study_name, sampler=SharedDesign(0, method.name, trials))
    return [method.suggest(study.ask()).settings for _ in range(trials)]


def test_the_settings_are_the_same_on_every_task():
    spec = StudySpec(name="u", tasks=("breast_cancer",), trials=32)
    for method in methods_of(spec):
        here, there = _asked(method, 32, "u/here/x"), _asked(method, 32, "u/there/x")
        assert here == there
        assert len({str(settings) for settings in here}) == 32


def test_choices_are_spread_evenly():
    spec = StudySpec(name="u", tasks=("breast_cancer",), optimizers=("adam", "sgd-nesterov"), trials=64)
    [policies] = [_asked(method, 64, "u/t/x") for method in methods_of(spec) if method.name == "meta-policy"]
    found = [MetaPolicy.from_dict(settings) for settings in policies]
    assert sum(policy.optimizer == "adam" for policy in found) == 32
    assert all(15 <= sum(policy.rate == form for policy in found) <= 27 for form in spec.rate_forms)


def test_handicap():
    assert handicap([]) == math.inf
    assert handicap([3.0, 2.0, 5.0]) == HANDICAP * 2.0


@pytest.mark.parametrize("tasks", [("breast_cancer",), ("breast_cancer", "breastmnist")])
def test_a_universal_study_needs_three_tasks(tasks):
    with pytest.raises(MetaGDError, match=f"at least 3 tasks, not {len(tasks)}: name more"):
        StudySpec(name="u", tasks=tasks, scope="universal")
