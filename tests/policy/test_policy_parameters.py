from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.baselines import baseline_from_params
from metagd_optuna.policy.coefficients import Categorical, Coefficient, Sizes, middle, range_of
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.parameters import parameter_name, possible_params
from metagd_optuna.policy.proposals import initial_meta_policies, propose_meta_policy
from metagd_optuna.policy.rate import RATE_FORMS

PARAMS = {
    "optimizer": "adam",
    "signal": "train-loss",
    "half_life": 2.0,
    "f": "mix",
    "f.mix.w": 0.25,
    "g": "power",
    "g.power.lr0.adam": 1e-3,
    "g.power.a": 1.0,
    "g.power.b": 2.0,
}


class Asker:
    """Answers with the middle of every range and remembers what it was asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = {}

    def __call__(self, name, wanted):
        assert name not in self.asked
        self.asked[name] = wanted
        return self.answers.get(name, middle(wanted))


def test_names_are_readable_and_private():
    policy = MetaPolicy.from_params(PARAMS)
    assert policy == MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1, "b": 2}, "mix", {"w": 0.25}, half_life=2)
    assert policy.to_params() == PARAMS


def test_a_batch_is_a_parameter_where_it_was_chosen():
    params = {**PARAMS, "batch_size": 8}
    policy = MetaPolicy.from_params(params)
    assert policy.batch_size == 8
    assert policy.to_params() == params
    assert MetaPolicy.from_json(policy.to_json()) == policy
    assert policy.formula == MetaPolicy.from_params(PARAMS).formula + "; batches of 8"
    assert "batch" not in MetaPolicy.from_params(PARAMS).to_json()


@pytest.mark.parametrize("wrong", [0, 4097, 8.5, "8", True])
def test_a_batch_that_no_step_can_have_is_refused(wrong):
    with pytest.raises(MetaGDError, match=r"batch_size is .*a whole number from 1 to 4096"):
        MetaPolicy.from_params({**PARAMS, "batch_size": wrong})
    with pytest.raises(MetaGDError, match=r"batch_size is .*a whole number from 1 to 4,096"):
        baseline_from_params("adam-constant", {"adam-constant.lr0": 1e-3, "adam-constant.batch_size": wrong})


def test_sizes_are_a_few_whole_numbers():
    assert Sizes((32, 16)).check("batch_size", np.int64(16)) == 16
    for wrong in (8, True, "16", 16.0, None, 10**400):
        with pytest.raises(MetaGDError, match=r"batch_size is .*; allowed: 32, 16"):
            Sizes((32, 16)).check("batch_size", wrong)


def test_a_trial_is_anything_with_params_and_a_number():
    trial = SimpleNamespace(number=7, params=PARAMS)
    assert MetaPolicy.from_trial(trial) == MetaPolicy.from_params(PARAMS)
    trial.params = {"adam-cosine.lr0": 1e-3}
    with pytest.raises(MetaGDError, match=r"^trial 7: the parameter 'optimizer' is missing"):
        MetaPolicy.from_trial(trial)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g.power.c": 1.0}, "a parameter is 'g.power.c'"),
        ({"half_lief": 1.0}, "a parameter is 'half_lief'.*Did you mean 'half_life'"),
        ({"f.rasch.k": 1.0}, "a parameter is 'f.rasch.k'"),
        ({"g.power.lr0.sgd-nesterov": 0.1}, "a parameter is 'g.power.lr0.sgd-nesterov'"),
        ({"g": "article"}, "a parameter is 'g.power.lr0.adam'"),
        ({"f": "mxi"}, "f is 'mxi'.*Did you mean 'mix'"),
        ({"g": "powr"}, "g is 'powr'"),
        ({"optimizer": 3}, "optimizer is 3"),
        ({"g.power.a": 9.0}, "g.power.a is 9.0"),
    ],
)
def test_nothing_is_ignored(changes, message):
    with pytest.raises(MetaGDError, match=f"^mine: {message}"):
        MetaPolicy.from_params(PARAMS | changes, "mine")


@pytest.mark.parametrize("name", ["optimizer", "g", "g.power.a", "f.mix.w", "f"])
def test_nothing_may_be_missing(name):
    with pytest.raises(MetaGDError):
        MetaPolicy.from_params({key: value for key, value in PARAMS.items() if key != name})


def test_rates_that_must_be_in_order_are_sorted():
    logistic = {"g.logistic.lo.adam": 1e-2, "g.logistic.hi.adam": 1e-4, "g.logistic.s": 5.0, "g.logistic.p0": 0.5}
    policy = MetaPolicy.from_params({"optimizer": "adam", "g": "logistic"} | logistic)
    assert (policy.rate_coefficients["lo"], policy.rate_coefficients["hi"]) == (1e-4, 1e-2)
    knots = dict(zip(("d0", "d25", "d50", "d75", "d100"), (1e-3, 1e-5, 1e-2, 1e-4, 2e-2), strict=True))
    flat = {f"g.monotone-spline.{name}.adam": rate for name, rate in knots.items()}
    for direction, expected in (
        ("up", (1e-5, 1e-4, 1e-3, 1e-2, 2e-2)),
        ("down", (2e-2, 1e-2, 1e-3, 1e-4, 1e-5)),
    ):
        policy = MetaPolicy.from_params(
            {"optimizer": "adam", "g": "monotone-spline", "f": "product-article"}
            | flat
            | {"g.monotone-spline.direction": direction}
        )
        assert tuple(policy.rate_coefficients[name] for name in knots) == expected


@pytest.mark.parametrize("rate", RATE_FORMS)
def test_only_what_the_form_needs_is_asked(rate):
    ask = Asker()
    policy = propose_meta_policy(ask, difficulty_forms=["mix"], rate_forms=[rate], optimizers=["sgd-nesterov"])
    assert ("f" in ask.asked) is RATE_FORMS[rate].uses_difficulty is (policy.difficulty is not None)
    assert set(ask.asked) == set(policy.to_params())
    assert ask.asked["signal"] == Categorical(("train-loss",))
    rates = [wanted for name, wanted in ask.asked.items() if name.endswith(".sgd-nesterov")]
    assert all(wanted == Coefficient(1e-4, 1.0, log=True) for wanted in rates)


def test_choices_are_those_given():
    ask = Asker(optimizer="sgd-nesterov", f="rasch", g="schedule")
    policy = propose_meta_policy(
        ask,
        difficulty_forms=["mix", "rasch"],
        rate_forms=["power", "schedule"],
        optimizers=["adam", "sgd-nesterov"],
        signal="improvement",
    )
    assert ask.asked["optimizer"] == Categorical(("adam", "sgd-nesterov"))
    assert ask.asked["f"] == Categorical(("mix", "rasch"))
    assert ask.asked["g"] == Categorical(("power", "schedule"))
    assert policy.signal == "improvement"
    assert policy.improvement_scale == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_forms": []}, "no rate form is given; choose from power"),
        ({"difficulty_forms": ["mxi"]}, "difficulty form is 'mxi'.*Did you mean 'mix'"),
        ({"optimizers": ["lion"]}, "optimizer is 'lion'"),
        ({"signal": "val-acc"}, "signal is 'val-acc'"),
    ],
)
def test_wrong_choices_are_refused(changes, message):
    given = {"difficulty_forms": ["mix"], "rate_forms": ["power"], "optimizers": ["adam"]} | changes
    with pytest.raises(MetaGDError, match=message):
        propose_meta_policy(Asker(), **given)


def test_a_suggestion_out_of_range_is_refused():
    with pytest.raises(MetaGDError, match="half_life is 99"):
        propose_meta_policy(Asker(half_life=99), difficulty_forms=["mix"], rate_forms=["power"], optimizers=["adam"])


@pytest.mark.parametrize("signal", ["train-loss", "improvement"])
@pytest.mark.parametrize("optimizers", [["adam"], ["sgd-nesterov"], ["adam", "sgd-nesterov"]])
@pytest.mark.parametrize("rates", [["power"], ["power", "logistic", "schedule"], list(RATE_FORMS)], ids=len)
def test_known_schedules_are_complete_and_open_to_the_search(rates, optimizers, signal):
    forms = list(DIFFICULTY_FORMS)
    found = initial_meta_policies(forms, rates, optimizers, signal)
    assert len(found) <= 5
    for params in found:
        ask = Asker(**params)
        policy = propose_meta_policy(
            ask, difficulty_forms=forms, rate_forms=rates, optimizers=optimizers, signal=signal
        )
        assert set(ask.asked) == set(params)
        assert policy == MetaPolicy.from_params(params)
        assert policy.rate == "multiplicative" or not policy.depends_on_performance


def test_the_default_forms_start_from_four_known_schedules():
    found = initial_meta_policies(["mix", "logistic"], ["power", "logistic", "schedule"], ["adam", "sgd-nesterov"])
    assert [MetaPolicy.from_params(params).formula.split("; lr = ")[1] for params in found] == [
        "0.001 (1 - d)^0 (p + 0.01)^0; adam",
        "one-cycle(t; peak 0.006, horizon 1 x budget, warm-up 0.5 of it) exp(0 (d - 1/2)); adam",
        "one-cycle(t; peak 0.1, horizon 1 x budget, warm-up 0.3 of it) exp(0 (d - 1/2)); sgd-nesterov",
        "cosine(t; peak 0.001, horizon 1 x budget, warm-up 0.1 of it) exp(0 (d - 1/2)); adam",
    ]
    assert initial_meta_policies(["mix"], ["logistic"], ["adam"]) == []


@pytest.mark.parametrize("optimizer", ["schedule-free-adamw", "schedule-free-adamw-r1"])
def test_schedule_free_starts_from_its_authors_values(optimizer):
    found = initial_meta_policies(["mix"], ["schedule"], [optimizer])
    values = [{name.split(".")[2]: v for name, v in params.items() if name.startswith("g.")} for params in found]
    assert values == [
        {"base": "constant", "lr0": 2.5e-3, "k": 0.0},
        {"base": "constant-with-warmup", "lr0": 2.5e-3, "warmup": 0.05, "k": 0.0},
    ]


NEEDS = {
    "constant": {"base", "lr0", "k"},
    "constant-with-warmup": {"base", "lr0", "warmup", "k"},
    "cosine": {"base", "lr0", "horizon", "warmup", "k"},
    "one-cycle": {"base", "lr0", "horizon", "warmup", "k"},
}


@pytest.mark.parametrize("base", NEEDS)
def test_a_schedule_is_asked_for_what_its_base_needs(base):
    ask = Asker(**{"g.schedule.base": base})
    policy = propose_meta_policy(ask, difficulty_forms=["gap"], rate_forms=["schedule"], optimizers=["adam"])
    assert set(policy.rate_coefficients) == NEEDS[base]
    asked = [name.split(".")[2] for name in ask.asked if name.startswith("g.")]
    assert asked[0] == "base"
    assert set(asked) == NEEDS[base]
    assert MetaPolicy.from_params(policy.to_params()) == policy
    assert MetaPolicy.from_json(policy.to_json()) == policy


def test_all_that_a_search_may_ask_for_is_known_before_it():
    possible = possible_params(["gap"], ["schedule", "power"], ["adam", "sgd"])
    names = {name for name in possible if name.startswith("g.schedule.")}
    assert names == {
        *(f"g.schedule.{name}" for name in ("base", "horizon", "warmup", "k")),
        *(f"g.schedule.lr0.{optimizer}" for optimizer in ("adam", "sgd")),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"g.schedule.horizon": 1.0}, "a parameter is 'g.schedule.horizon'; allowed: "),
        ({"g.schedule.base": "cosine"}, "g.schedule lacks horizon, warmup; it needs base, lr0, horizon, warmup, k"),
        ({"g.schedule.base": "cosin"}, "g.schedule.base is 'cosin'; .*Did you mean 'cosine'"),
    ],
)
def test_what_a_choice_does_not_need_is_refused(changes, message):
    params = {"optimizer": "adam", "g": "schedule", "g.schedule.base": "constant", "g.schedule.lr0.adam": 1e-3}
    params |= {"g.schedule.k": 0.0, "f": "gap"}
    assert MetaPolicy.from_params(params).formula == "d = 1 - p; lr = 0.001 exp(0 (d - 1/2)); adam"
    with pytest.raises(MetaGDError, match=message):
        MetaPolicy.from_params(params | changes)
    others = {"g.schedule.horizon": 1.0, "g.schedule.warmup": 0.1}  # a trial of somebody's own study
    assert MetaPolicy.from_trial(SimpleNamespace(number=1, params=params | others)) == MetaPolicy.from_params(params)


@pytest.mark.parametrize(
    "others",
    [
        {"dropout": 0.2},
        {"dropout": 0.2, "units": 64, "augment": True, "layers": None},
        {"g.logistic.k": 3.0, "f.rasch.k": 1.0, "g.power.lr0.sgd-nesterov": 0.1},
        {"improvement_scale": 0.1},
        {"G": "power", "f.mix": 3, "": 0},
    ],
)
def test_a_trials_other_parameters_are_left_alone(others):
    trial = SimpleNamespace(params={**others, **PARAMS}, number=7)
    assert MetaPolicy.from_trial(trial) == MetaPolicy.from_params(PARAMS)
    with pytest.raises(MetaGDError):
        MetaPolicy.from_params(trial.params)


def test_a_rule_without_difficulty_leaves_the_name_f_to_others():
    params = {"optimizer": "adam", "g": "multiplicative"}
    for name, kind in RATE_FORMS["multiplicative"].coefficients.items():
        params[parameter_name("g", "multiplicative", name, kind, "adam")] = middle(range_of(kind, "adam"))
    trial = SimpleNamespace(params={**params, "f": 3}, number=0)
    assert MetaPolicy.from_trial(trial) == MetaPolicy.from_params(params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g.power.lr0.adam": None}, "trial 7: g.power lacks lr0"),
        ({"optimizer": None}, "trial 7: the parameter 'optimizer' is missing"),
        ({"g": None}, "trial 7: the parameter 'g' is missing"),
        ({"f.mix.w": None}, "lacks w"),
        ({"g.power.lr0.adam": 5.0}, "lr0 is 5.0"),
        ({"f": "mxi"}, "Did you mean 'mix'"),
    ],
)
def test_a_trial_that_lacks_something_of_its_policy_is_refused(change, message):
    params = {name: value for name, value in {**PARAMS, **change, "dropout": 0.2}.items() if value is not None}
    with pytest.raises(MetaGDError, match=message):
        MetaPolicy.from_trial(SimpleNamespace(params=params, number=7))
