"""Forms and a baseline that are registered from outside the package, from the constructor to the report."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

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
from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.policy import BASELINES, DIFFICULTY_FORMS, RATE_FORMS, Coefficient, InitialPoint, registry
from metagd_optuna.policy.controller_state import state_from_json, state_to_json
from metagd_optuna.policy.words import in_words
from metagd_optuna.search.methods import methods_of
from metagd_optuna.search.study_file import StudySpec, load_study

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
    """What a test registers is gone after it, and no plugin was loaded before."""
    for table in (DIFFICULTY_FORMS, RATE_FORMS, BASELINES):
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    monkeypatch.setattr(registry, "PLUGINS", registry.Plugins())


@pytest.fixture
def _registered(_tables):
    own_forms.register()


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
        (lambda: register_rate_form("power", ROOT), "the name 'power' of a rate form is taken; give yours another"),
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
        (lambda: register_rate_form("mine", replace(ROOT, coefficients={"s": (0, 1)})), "the coefficient 's' is"),
        (lambda: register_rate_form("mine", replace(ROOT, ordered=("lo",))), "ordered is 'lo'"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: 1)), "trend gives 1; it must be two"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: k["x"])), "trend: it raised KeyError"),
        (lambda: register_rate_form("mine", replace(ROOT, trend=lambda k: (1, 0))), "uses_difficulty is false"),
        (
            lambda: register_rate_form("mine", replace(ROOT, advance=lambda now, k, memory: (np.ones(3), None))),
            r"rates of the shape \(3,\) for 4 steps",
        ),
        (lambda: register_rate_form("mine", replace(CUTS, memory=None)), "advance remembers Progress.*memory is None"),
        (
            lambda: register_rate_form("mine", replace(CUTS, advance=lambda now, k, memory: (0.1, [1]), memory=list)),
            r"remembers \[1\].*let it hold numbers",
        ),
        (lambda: register_difficulty_form("mix", WEAKEST), "the name 'mix' of a difficulty form is taken"),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p: c)),
            "function: it raised TypeError",
        ),
        (
            lambda: register_difficulty_form("mine", replace(WEAKEST, function=lambda c, p, *, w: 1j)),
            "function: it raised TypeError",
        ),
        (lambda: register_baseline(replace(BASELINE, name="keras-adam")), "the name 'keras-adam' of a base"),
        (lambda: register_baseline(replace(BASELINE, name="confirm")), "the name 'confirm' of a baseline is taken"),
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
def test_a_form_that_is_not_here_is_refused_with_what_to_do(tmp_path):
    document = MetaPolicy("adam", "power", {"lr0": 0.01, "a": 0, "b": 0}).to_json().replace('"power"', '"rooot"')
    (tmp_path / "policy.json").write_text(document, encoding="utf-8")
    (tmp_path / "study.toml").write_text('tasks = ["breast_cancer"]\nrate_forms = ["rooot"]\n', encoding="utf-8")
    remedy = r"If a package brings the rate form, install it; if it is your own, call register_rate_form\(\) first"
    with pytest.raises(MetaGDError, match=rf"policy\.json: rate\.form is 'rooot'; allowed: power, .*{remedy}"):
        MetaPolicy.load(tmp_path / "policy.json")
    with pytest.raises(MetaGDError, match=rf"no rate form 'rooot'.*allowed: power, .*{remedy}"):
        load_study(tmp_path / "study.toml")


def plugin(folder, code):
    """Install a package with one module and the entry point that names its function."""
    (folder / "brought.py").write_text(code, encoding="utf-8")
    info = folder / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[metagd_optuna.forms]\nmine = brought:register\n", encoding="utf-8")


def test_a_package_brings_forms_when_they_are_asked_for(tmp_path):
    plugin(tmp_path, "from own_forms import register\n")
    program = """if True:
        import sys
        from metagd_optuna.policy import RATE_FORMS, MetaPolicy
        MetaPolicy("adam", "article", {}, "gap")
        assert "brought" not in sys.modules
        assert MetaPolicy("adam", "cuts", {"lr0": 0.01, "cut": 0.5}).formula
        assert "brought" in sys.modules
        assert "root" in list(RATE_FORMS)
    """
    paths = [str(tmp_path), *sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{program}"], check=True)


@pytest.mark.usefixtures("_tables")
def test_a_package_that_cannot_be_loaded_is_named_and_stops_nobody_else(tmp_path, monkeypatch):
    plugin(tmp_path, "import a_package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert MetaPolicy("adam", "article", {}, "gap").formula
    problem = (
        r"the plugin 'mine' \(brought:register, .*could not be loaded: ModuleNotFoundError: .*; update or uninstall"
    )
    with pytest.warns(MetaGDWarning, match=problem):
        spec = StudySpec(name="x", tasks=("breast_cancer",), rate_forms=("power",))
    assert methods_of(spec)
    with pytest.raises(MetaGDError, match=f"rate.form is 'cuts'.*{problem}"):
        MetaPolicy("adam", "cuts", {"lr0": 0.01, "cut": 0.5})
