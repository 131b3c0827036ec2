"""Forms and a baseline that are registered from outside the package, from the constructor to the report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import optuna
import own_forms
import pytest
from own_forms import BASELINE, CUTS, DECAY, ROOT, WEAKEST, Progress
from small_study import SMALL_STUDY, UNMEASURED
from small_training import SHARES, compiled, fit

from metagd_optuna import (
    MetaPolicy,
    MetaPolicyCallback,
    register_baseline,
    register_difficulty_form,
    register_rate_form,
)
from metagd_optuna.contracts import Context, MetaGDError, MetaGDWarning, Observation
from metagd_optuna.policy import (
    BASELINES,
    DIFFICULTY_FORMS,
    RATE_FORMS,
    Coefficient,
    InitialPoint,
)
from metagd_optuna.policy.controller_state import state_from_json, state_to_json
from metagd_optuna.policy.controls import Frozen
from metagd_optuna.policy.rate_form import RateInputs
from metagd_optuna.policy.words import in_words
from metagd_optuna.report.surface import rate_surface
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.study_file import StudySpec, load_study

# Constructor's arguments, the formula, and the words.
RULES = {
    "root": (
        ("adam", "root", {"lr0": 0.01, "s": 3.0}),
        "lr = 0.01 / sqrt(1 + 3 p); p from train-loss; adam",
        "The rate is 0.01 at chance level and 0.005 when it is perfect; half of the way, on a log scale, "
        "lies at performance 0.33.",
    ),
    "decay": (
        ("adam", "decay", {"lr0": 0.01, "shape": "linear"}, "weakest", {"w": 0.5}),
        "d = max(0.5 c, 1 - p); lr = linear decay from 0.01, times 1 + d; p from train-loss; adam",
        "The rate is 0.0199 at the start, 0.00995 halfway, 1.99e-05 at the end at chance level, and 0.0125 "
        "at the start, 0.00625 halfway, 1.25e-05 at the end when it is perfect.",
    ),
    "cuts": (
        ("adam", "cuts", {"lr0": 0.01, "cut": 0.5}),
        "lr exp(-0.5) whenever p is not above its best; from 0.01; p from train-loss; adam",
        "The rate begins at 0.01. Where it goes from there depends on how well the network does at every update.",
    ),
}


@pytest.fixture
def _tables(monkeypatch):
    own_forms.forget_afterwards(monkeypatch)


@pytest.fixture
def _registered(_tables):
    own_forms.register()


def failing(when):
    """Return what ``CUTS`` does, but not ``when`` (inputs, memory)."""

    def advance(now, k, memory):
        assert not when(now, memory)
        return CUTS.advance(now, k, memory)

    return advance


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("rate", RULES)
def test_a_policy_of_it_is_one_like_any_other(rate):
    arguments, formula, words = RULES[rate]
    policy = MetaPolicy(*arguments)
    assert policy.formula == formula
    assert policy.latex.count("{") == policy.latex.count("}") > 0
    assert in_words(policy, 0.5) == words
    assert MetaPolicy.from_json(policy.to_json()) == policy
    assert MetaPolicy.from_params(policy.to_params()) == policy


@pytest.mark.usefixtures("_registered")
def test_a_search_proposes_them_and_begins_with_their_initial_points():
    spec = StudySpec(
        name="x",
        tasks=("breast_cancer",),
        rate_forms=tuple(RULES),
        difficulty_forms=("weakest",),
        baselines=("linear-warmup",),
    )
    for method, forms in zip(methods_of(spec), ({None}, set(RULES)), strict=True):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for point in method.initial_points:
            study.enqueue_trial(dict(point))
        trials = [study.ask() for _ in range(12)]
        made = [method.suggest(trial) for trial in trials]
        assert trials[0].params == dict(method.initial_points[0])
        assert {trial.params.get("g") for trial in trials} == forms
        assert all(trial.params.keys() <= method.ranges.keys() for trial in trials)
        assert all(candidate.formula for candidate in made)


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("rate", RULES)
def test_it_steers_a_training_that_goes_on_elsewhere(rate):
    policy = MetaPolicy(*RULES[rate][0])
    given = {"complexity": 0.5, "class_frequencies": SHARES, "rate_updates": 4, "budget": 2}
    whole, first, second = (MetaPolicyCallback(policy, **given) for _ in range(3))
    fit(compiled(), whole, epochs=2)
    model = compiled()
    fit(model, first, epochs=1)
    second.set_state(first.get_state())
    fit(model, second, epochs=2, initial_epoch=1)
    np.testing.assert_allclose([*first.rates, *second.rates], whole.rates, rtol=1e-6)
    assert len(set(whole.rates)) > 1


@pytest.mark.usefixtures("_tables")
def test_a_state_of_a_baseline_of_ones_own_can_be_kept():
    with pytest.raises(MetaGDError, match="a state of the kind Progress cannot be kept"):
        state_to_json(Progress(0.5))
    register_baseline(replace(BASELINE, state=Progress))
    assert state_from_json(json.loads(json.dumps(state_to_json(Progress(0.5))))) == Progress(0.5)


@pytest.mark.usefixtures("_tables")
def test_a_baseline_of_ones_own_that_reads_complexity_has_to_say_so():
    class Times(NamedTuple):
        """A controller whose rate goes with c."""

        lr0: float

        def start(self, context):
            return context.complexity

        def rates(self, state, observation, steps):
            return np.full(steps, self.lr0 * (1 + state)), state

    row = replace(BASELINE, make=lambda k: Times(k["lr0"]))
    with pytest.raises(MetaGDError, match="needs_complexity: it is False, but the rates of an easier task are others"):
        register_baseline(row)
    register_baseline(replace(row, needs_complexity=True))


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("first", [iter(range(100)).__next__, lambda: math.nan])
def test_a_baseline_that_draws_its_rates_is_not_said_to_read_complexity(first):
    class Draws:
        def start(self, context):
            return None

        def rates(self, state, observation, steps):
            return np.full(steps, first()), state

    register_baseline(replace(BASELINE, make=lambda k: Draws()))


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1e-3] * 4, None),
        (np.full(4, 1e-3, object), None),
        ([Decimal("1e-3")] * 4, None),
        (["fast"] * 4, "raised Value"),
    ],
)
def test_rates_of_a_baseline_are_numbers_of_any_kind(held, message):
    class Holds:
        def start(self, context):
            return None

        def rates(self, state, observation, steps):
            return held, state

    row = replace(BASELINE, make=lambda k: Holds())
    if message is None:
        register_baseline(row)
    else:
        with pytest.raises(MetaGDError, match=message):
            register_baseline(row)


@pytest.mark.usefixtures("_tables")
def test_a_rounding_is_no_dependence_on_complexity():
    form = replace(WEAKEST, function=lambda c, p, *, w: (1 - p) * c / c, trend=lambda k: (0, -1))
    register_difficulty_form("rounds", form)


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("needed", [False, True])
def test_a_baseline_of_ones_own_says_whether_it_reads_complexity(needed):
    register_baseline(replace(BASELINE, needs_complexity=needed))
    rule = BASELINES[BASELINE.name].candidate({"lr0": 1e-3, "share": 0.1}).rule
    assert rule.needs_complexity == needed
    if needed:
        with pytest.raises(MetaGDError, match="complexity=None must be a number"):
            MetaPolicyCallback(rule, class_frequencies=SHARES)
    else:
        assert MetaPolicyCallback(rule, class_frequencies=SHARES).policy == rule


@pytest.mark.slow
@pytest.mark.usefixtures("_registered")
def test_a_study_takes_them_to_its_report(tmp_path):
    def studied(file):
        from metagd_optuna import run_study

        return run_study(file, out=tmp_path / "out").report

    file = tmp_path / "own.toml"
    forms = f'rate_forms = {list(RULES)}\ndifficulty_forms = ["weakest"]\n'
    file.write_text(
        SMALL_STUDY.replace('["adam-constant"]', '["linear-warmup"]') + UNMEASURED + forms, encoding="utf-8"
    )
    page = studied(file)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    assert "linear-warmup" in text
    assert any(f"`g.{rate}." in text for rate in RULES)


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: register_rate_form("power", ROOT), "the name 'power' of the rate form is taken; give yours another"),
        (lambda: register_rate_form("My form", ROOT), "the name of the rate form is 'My form'; give small letters"),
        (lambda: register_rate_form("a.b", ROOT), "the name of the rate form is 'a.b'"),
        (lambda: register_rate_form(3, ROOT), "the name of the rate form is 3"),
        (lambda: register_rate_form("mine", WEAKEST), "rate form 'mine' is DifficultyForm.*; give a RateForm"),
        (lambda: register_rate_form("mine", replace(ROOT, text="{lr1}")), "a field of rate form 'mine', text is 'lr1'"),
        (lambda: register_rate_form("mine", replace(ROOT, latex="{lr0")), "latex is .* no template"),
        (lambda: register_rate_form("mine", replace(ROOT, text="{lr0:.2f}")), "with a format of its own; write {lr0}"),
        (lambda: register_rate_form("mine", replace(DECAY, text="{shape_rest}")), "a field of .*'shape_rest'"),
        (lambda: register_rate_form("mine", replace(ROOT, neutral={"k": 0.0})), "a key of .*, neutral is 'k'"),
        (lambda: register_rate_form("mine", replace(ROOT, neutral={"s": -1.0})), "neutral.s is -1.0; .* 0 to 100"),
        (lambda: register_rate_form("mine", replace(ROOT, initial=(InitialPoint("lion", {}),))), "is 'lion'; allowed"),
        (
            lambda: register_rate_form("mine", replace(ROOT, initial=(InitialPoint("adam", {"lr0": 1.0}),))),
            "initial.lr0 is 1.0; .* 1e-05 to 0.03",
        ),
        (lambda: register_rate_form("mine", replace(DECAY, needed_if={"lr0": ("shape", ("linear",))})), "needed_if"),
        (lambda: register_rate_form("mine", replace(ROOT, needed_if={"k": ("lr0", ("a",))})), "needed_if is 'k'"),
        *(
            (lambda part=part, given=given: register_rate_form("mine", replace(DECAY, **{part: given})), message)
            for part, given, message in (
                ("needed_if", 3, "needed_if is 3; it must be a mapping"),
                ("needed_if", {"lr0": 3}, "needed_if.lr0 is 3; give the name of"),
                ("needed_if", {"lr0": ("shape",)}, "needed_if.lr0 is .*; give the name of"),
                ("needed_if", {"lr0": ("shape", "linear")}, "needed_if.lr0 is .*; give the name of"),
                ("needed_if", {"lr0": ("shape", ())}, "needed_if.lr0 is .*; give the name of"),
                ("needed_if", {"lr0": ("shape", ("linear",))}, "needed_if.lr0 is 'shape'; allowed: nothing"),
                ("needed_if", {"k": ("shape", ("linear",))}, "a key of rate form 'mine', needed_if is 'k'"),
                ("initial", 3, "initial is 3; give a tuple"),
                ("initial", (3,), "initial holds 3; give InitialPoint"),
                ("initial", ("adam", {"lr0": 1e-3}), "initial holds 'adam'; give InitialPoint"),
                ("initial", (InitialPoint("adam", 3),), "initial is 3; it must be a mapping"),
                ("initial", (InitialPoint(3, {}),), "initial, optimizer is 3; allowed"),
                ("neutral", 3, "neutral is 3; it must be a mapping"),
                ("ordered", "lr0", r"ordered is 'lr0'; give a tuple, such as \('lo', 'hi',\)"),
                ("ordered", ("shape",), "ordered is 'shape'; allowed: lr0"),
                ("memory", 3, "memory is 3; give the class"),
            )
        ),
        (
            lambda: register_rate_form(
                "mine",
                replace(
                    DECAY,
                    coefficients={"shape": DECAY.coefficients["shape"], "lr0": DECAY.coefficients["lr0"]},
                    needed_if={"lr0": ("shape", ("linaer",))},
                ),
            ),
            "needed_if.lr0, a choice of shape is 'linaer'; allowed: linear, quadratic. Did you mean",
        ),
        (lambda: register_baseline(replace(BASELINE, initial_points={"a": 3})), "initial_points is .*; give a tuple"),
        (lambda: register_baseline(replace(BASELINE, initial_points=(3,))), "a point of initial_points is 3; it must"),
        (lambda: register_rate_form("mine", replace(ROOT, coefficients={"s": (0, 1)})), "the coefficient 's' is"),
        (lambda: register_rate_form("mine", replace(ROOT, ordered=("lo",))), "ordered is 'lo'"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: 1)), "trend gives 1; it must be two"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: k["x"])), "trend: it raised KeyError"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: (1, 0))), "uses_difficulty is false"),
        (
            lambda: register_rate_form("mine", replace(ROOT, advance=lambda now, k, memory: (np.ones(3), None))),
            r"advance at d = 0, p = 0, step 0: it gives array\(\[.*\) for 4 steps",
        ),
        (lambda: register_rate_form("mine", replace(CUTS, memory=None)), "it remembers Progress.*memory is None"),
        (
            lambda: register_rate_form("mine", replace(CUTS, advance=lambda now, k, memory: (0.1, [1]), memory=list)),
            r"remembers \[1\].*let it hold numbers",
        ),
        *(
            (lambda fails=fails: register_rate_form("mine", replace(CUTS, advance=failing(fails))), f"{where}: it rai")
            for fails, where in (
                (lambda now, memory: now.difficulty == 0, "advance at d = 0, p = 0, step 0"),
                (lambda now, memory: now.performance == 1, "advance at d = 0, p = 1, step 0"),
                (lambda now, memory: now.step == 99, "advance at d = 0, p = 0, step 99"),
                (lambda now, memory: not now.fresh, "advance at d = 0, p = 0, step 0"),
                (lambda now, memory: now.last is not None, "advance at d = 0, p = 0, step 99"),
                (lambda now, memory: memory is not None, "advance at d = 0, p = 0, step 0"),
            )
        ),
        (lambda: register_rate_form("mine", replace(ROOT, advance=lambda now, k, m: (np.ones(4), m))), "for 1 steps"),
        (lambda: register_rate_form("mine", replace(ROOT, words="it falls")), "words is 'it falls'; give a function"),
        (lambda: register_rate_form("mine", replace(ROOT, words=lambda policy: "x")), "words: it raised TypeError"),
        (lambda: register_rate_form("mine", replace(ROOT, words=lambda policy, c: policy.x)), "it raised AttributeErr"),
        (lambda: register_rate_form("mine", replace(ROOT, words=lambda policy, c: None)), "words gives None; it must"),
        (lambda: register_rate_form("mine", replace(ROOT, words=lambda policy, c: " ")), "words gives ' '; it must"),
        (lambda: register_difficulty_form("mix", WEAKEST), "the name 'mix' of the difficulty form is taken"),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p: c)),
            "function at c = 0, p = 0: it raised TypeError",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p, *, w: 1j)),
            "function at c = 0, p = 0: it raised TypeError",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p, *, w: 1 / (0.99 - p))),
            "function at c = 0, p = 1: it raised ZeroDivisionError",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p, *, w: math.nan)),
            "function at c = 0, p = 0: it gives nan; it must be a finite",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, trend=lambda k: (0, -1))),
            "trend: it says 0 for c, but difficulty moves with c",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, trend=lambda k: (1, 0))),
            "trend: it says 0 for p, but difficulty moves with p; say 1 or -1, either",
        ),
        (lambda: register_baseline(replace(BASELINE, name="keras-adam")), "the name 'keras-adam' of the base"),
        (lambda: register_baseline(replace(BASELINE, name="confirm")), "the name 'confirm' of the baseline is taken"),
        (lambda: register_baseline(ROOT), "the name of the baseline is RateForm"),
        (lambda: register_baseline(replace(BASELINE, optimizer="lion")), "optimizer is 'lion'"),
        (lambda: register_baseline(replace(BASELINE, coefficients={"lr0": Coefficient(0, 1)})), "'share'"),
        (lambda: register_baseline(replace(BASELINE, make=lambda k: None)), "make: it raised AttributeError"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    before = [len(table) for table in (DIFFICULTY_FORMS, RATE_FORMS, BASELINES)]
    with pytest.raises(MetaGDError, match=message):
        call()
    assert [len(table) for table in (DIFFICULTY_FORMS, RATE_FORMS, BASELINES)] == before


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("form", [ROOT, DECAY, CUTS], ids=["no memory", "timed", "memory"])
def test_words_may_use_all_that_they_are_promised(form):
    def words(policy, complexity):
        assert {getattr(policy, name) for name in ("optimizer", "signal", "half_life", "improvement_scale", "rate")}
        assert (policy.difficulty is None) == (policy.difficulty_form is None)
        assert dict(policy.difficulty_coefficients) == {}
        d = policy.difficulty_at(complexity, 0.5) or 0.0
        assert policy.depends_on_performance == any(policy.rate_form.trend(policy.rate_coefficients))
        at = [] if policy.rate_form.remembers else [policy.rate_at(d, 0.5, 3, 10)]
        return f"The rate is one of {[policy.first_rate(complexity), *at]}, of {policy.rate_coefficients['lr0']}."

    form = replace(form, words=words)
    register_rate_form("mine", form)
    values = {"lr0": 0.01, "s": 0.5, "shape": "linear", "cut": 0.5}
    values = {key: value for key, value in values.items() if key in form.coefficients}
    policy = MetaPolicy("adam", "mine", values, "gap" if form.uses_difficulty else None)
    assert in_words(policy, 0.5).endswith("of 0.01.")


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("kind", [int, float, np.float32, np.int64, np.array], ids=lambda kind: kind.__name__)
def test_a_rate_may_be_any_number(kind):
    form = replace(ROOT, advance=lambda now, k, memory: (kind(1), memory), bounded=False)
    register_rate_form("mine", form)
    now = RateInputs(0.5, 0.5, True, 0, 3, 100, None, 1e-5, 1.0)
    rates, _ = form(now, {"lr0": 0.01, "s": 0.0}, None)
    assert rates.dtype == np.float64
    assert rates.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda now: 1 / (now.performance - 0.25), "it raised ZeroDivisionError: .*"),
        (lambda now: np.ones(now.steps + 1), r"it gave rates of the shape \(\d,\) for \d steps"),
    ],
)
def test_a_form_that_fails_in_a_training_is_named(answer, problem):
    def advance(now, k, memory):
        return (answer(now) if now.performance == 0.25 else k["lr0"]), memory

    register_rate_form("mine", replace(ROOT, advance=advance))
    policy = MetaPolicy("adam", "mine", {"lr0": 0.01, "s": 0.5}, signal="train-accuracy")
    message = f"rate form 'mine', advance: {problem}, at d = 0, p = 0.25, step .*'s': 0.5}}; mend that function"
    with pytest.raises(MetaGDError, match=message):
        policy.rate_at(0.0, 0.25)
    context = Context(0.5, (0.5, 0.5), "adam", 100, 10.0)
    for controller in (policy.controller(), Frozen(policy, 0.25, 0.0)):
        state = controller.start(context)
        with pytest.raises(MetaGDError, match=message):
            controller.rates(state, Observation(1, train_accuracy=0.625, train_loss=0.5), 2)


@pytest.mark.usefixtures("_tables")
def test_a_difficulty_that_fails_in_a_training_is_named():
    register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p, *, w: 1 / (p - 0.25)))
    policy = MetaPolicy("adam", "article", {}, "mine", {"w": 0.5}, signal="train-accuracy")
    message = "difficulty form 'mine', function: it raised ZeroDivisionError: .* at c = 0.5, p = 0.25, with {'w': 0.5}"
    with pytest.raises(MetaGDError, match=message):
        policy.difficulty_at(0.5, 0.25)
    controller = policy.controller()
    state = controller.start(Context(0.5, (0.5, 0.5), "adam", 100, 10.0))
    with pytest.raises(MetaGDError, match=message):
        controller.rates(state, Observation(1, train_accuracy=0.625, train_loss=0.5), 2)


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize(
    ("otherwise", "problem"),
    [(lambda k: 1 / k["s"], "it raised ZeroDivisionError"), (lambda k: None, "it gives None")],
)
def test_words_that_fail_later_are_a_warning_and_no_lost_report(otherwise, problem):
    form = replace(ROOT, words=lambda policy, c: otherwise(policy.rate_coefficients) if policy.rate == "mine" else "x")
    register_rate_form("mine", form)
    with pytest.warns(MetaGDWarning, match=f"rate form 'mine', words: {problem}.*; its rates are described instead"):
        assert in_words(MetaPolicy("adam", "mine", {"lr0": 0.01, "s": 0.0}), 0.5).startswith("The rate stays at 0.01")


@pytest.mark.usefixtures("_tables")
def test_a_form_that_fails_where_no_training_was_loses_no_report():
    register_rate_form("mine", replace(ROOT, advance=lambda now, k, m: (k["lr0"] / (now.performance - 0.25), m)))
    policy = MetaPolicy("adam", "mine", {"lr0": 0.01, "s": 0.5}, batch_size=8)
    with pytest.warns(MetaGDWarning, match="rate form 'mine', advance: .*the formula is given instead of words"):
        assert in_words(policy, 0.5).startswith(f"The rule is {policy.formula}. Every step")
    held = SimpleNamespace(settings=policy.to_dict(), name="meta-policy")
    with pytest.warns(MetaGDWarning, match="rate form 'mine', advance: .*the figure of the rate is left out"):
        assert rate_surface(held, SimpleNamespace(name="cells", complexity=0.5)) is None


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in (DIFFICULTY_FORMS, RATE_FORMS, BASELINES) for n in t])
def test_the_packages_own_rows_would_be_registered(table, name):
    table.check(table[name], name)


@pytest.mark.usefixtures("_tables")
def test_a_form_that_is_not_here_is_refused_with_what_to_do(tmp_path):
    document = MetaPolicy("adam", "power", {"lr0": 0.01, "a": 0, "b": 0}).to_json().replace('"power"', '"rooot"')
    (tmp_path / "policy.json").write_text(document, encoding="utf-8")
    (tmp_path / "study.toml").write_text('tasks = ["breast_cancer"]\nrate_forms = ["rooot"]\n', encoding="utf-8")
    remedy = r"If a package brings the rate form, install it; if it is your own, call register_rate_form\(\) first"
    with pytest.raises(MetaGDError, match=rf"policy\.json: rate\.form is 'rooot'; allowed: power, .*{remedy}"):
        MetaPolicy.load(tmp_path / "policy.json")
    with pytest.raises(MetaGDError, match=rf"no rate form 'rooot'.*allowed: power, .*{remedy}"):
        load_study(tmp_path / "study.toml")
