"""The package in an Optuna study of one's own: suggesting a policy, pruning, and the objective."""

import difflib
import re
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna import pruners, samplers
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from metagd_optuna import (
    MetaGDError,
    MetaPolicy,
    MetaPolicyCallback,
    MetaPolicyObjective,
    PruningCallback,
    ResumableTPESampler,
    class_frequencies,
    suggest_meta_policy,
)
from metagd_optuna.policy import BASELINES, DEFAULTS, OPTIMIZERS, RATE_FORMS, baseline_from_params, default_candidate
from metagd_optuna.policy.rules import policy_from_dict
from metagd_optuna.tuning.objective import KEYS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "plugin.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RNG = np.random.default_rng(0)
LABELS = (np.arange(120) % 2).astype(np.int32)
IMAGES = (RNG.normal(size=(120, 8, 8, 1)) + 0.8 * LABELS[:, None, None, None]).astype(np.float32)
SHORT = {"examples_per_run": 300, "evaluations": 12, "batch_size": 8, "calibration_seeds": 1, "seeds_per_trial": 2}


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def tiny(input_shape, classes, *, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.layers.Input(input_shape)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))


def objective_of(**options):
    given = {"build_network": tiny, "target": 0.95, **SHORT}
    return MetaPolicyObjective((IMAGES, LABELS), **(given | options))


@pytest.fixture(scope="module")
def trained():
    """Objectives that were opened once, by what their pruner is told."""
    made = {report: objective_of(report=report, prefix="rate.") for report in (None, "evaluations")}
    made["seeds"] = objective_of(report="seeds", prefix="rate.", seeds_per_trial=5)
    return made.__getitem__


# The page


def test_the_script_of_today_changes_in_at_most_four_lines_and_both_run():
    today, ours = SCRIPTS[:2]
    changes = [line for line in difflib.ndiff(today.splitlines(), ours.splitlines()) if line[0] in "+-"]
    assert len(today.splitlines()) == 33
    assert sum(line[0] == "+" for line in changes) == 4
    assert sum(line[0] == "-" for line in changes) <= 4
    for script in (today, ours):
        place = {}
        exec(compile(script.replace("n_trials=5", "n_trials=2"), "docs/plugin.md", "exec"), place)
        assert len(place["study"].trials) == 2
    best = MetaPolicy.from_trial(place["study"].best_trial, prefix="rate.")
    assert best.formula
    assert {"units", "dropout"} < place["study"].best_trial.params.keys()


# Suggesting


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from(["", "rate.", "g", "f.mix."]), st.sampled_from(list(RATE_FORMS)))
def test_a_policy_comes_back_from_its_trial_whatever_else_the_trial_holds(seed, prefix, form):
    study = optuna.create_study(sampler=samplers.RandomSampler(seed=seed))
    trial = study.ask()
    trial.suggest_float("dropout", 0, 1)
    policy = suggest_meta_policy(trial, prefix=prefix, forms=[form], optimizers=["adam", "sgd-nesterov"])
    if prefix:
        trial.suggest_categorical(prefix + "own", ["x"])
        trial.suggest_int("g.own", 0, 3)
    study.tell(trial, 1.0)
    assert MetaPolicy.from_trial(study.best_trial, prefix=prefix) == policy
    assert sum(name.startswith(prefix) for name in study.best_trial.params) >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": 3}, "prefix=3; give a text such as 'rate.'"),
        ({"forms": "power"}, "forms='power'; give a list of names"),
        ({"forms": ["powr"]}, "rate form is 'powr'; allowed: .*Did you mean 'power'"),
        ({"difficulty_forms": ["mixx"]}, "difficulty form is 'mixx'; allowed: .*Did you mean 'mix'"),
        ({"optimizers": []}, "no optimizer is given; choose from adam"),
        ({"forms": ["power", "power"]}, "forms names power more than once"),
        ({"batch_sizes": 16}, "batch_sizes=16; give a list of numbers of examples"),
        ({"signal": "val-acc"}, "signal is 'val-acc'"),
    ],
)
def test_what_cannot_be_suggested_is_refused(options, message):
    trial = optuna.create_study().ask()
    with pytest.raises(MetaGDError, match=message):
        suggest_meta_policy(trial, **options)


@pytest.mark.parametrize("prefix", ["", "rate."])
@pytest.mark.parametrize(("name", "value"), [("batch_size", 64), ("complexity", 0.5), ("improvement_scale", 0.1)])
def test_parameters_of_ones_own_are_never_taken_for_the_policys(prefix, name, value):
    study = optuna.create_study(sampler=samplers.RandomSampler(seed=0))
    trial = study.ask()
    trial.suggest_categorical(prefix + name, [value])
    policy = suggest_meta_policy(trial, prefix=prefix)
    study.tell(trial, 1.0)
    assert MetaPolicy.from_trial(study.best_trial, prefix=prefix) == policy
    assert policy.batch_size is None


def test_a_name_that_is_taken_asks_for_a_prefix():
    trial = optuna.create_study().ask()
    trial.suggest_categorical("optimizer", ["adam", "lion"])
    with pytest.raises(MetaGDError, match=r"'optimizer' cannot be suggested, .* give suggest_meta_policy a prefix"):
        suggest_meta_policy(trial)


def test_something_that_is_no_trial_is_refused():
    with pytest.raises(MetaGDError, match="the trial is 'x'; pass the one that Optuna gives"):
        suggest_meta_policy("x")
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match=r"no parameter begins with 'rate.'; there are none"):
        MetaPolicy.from_trial(study.best_trial, prefix="rate.")


# Compiling


def rules():
    yield from (default_candidate(name) for name in DEFAULTS)
    for name, row in BASELINES.items():
        yield baseline_from_params(name, row.initial_points[0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_policy_makes_the_optimizer_whose_rates_it_sets(optimizer):
    policy = MetaPolicy(optimizer, "power", {"lr0": 1e-3, "a": 0.0, "b": 0.0}, "mix", {"w": 0.5})
    model = tiny((8, 8, 1), 2, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(policy.make_optimizer(), loss)
    callback = MetaPolicyCallback(policy, complexity=0.5, class_frequencies=class_frequencies(LABELS))
    history = model.fit(IMAGES, LABELS, batch_size=24, epochs=2, verbose=0, callbacks=[callback])
    np.testing.assert_allclose(history.history["learning_rate"], 1e-3, rtol=1e-6)


@pytest.mark.parametrize("candidate", list(rules()), ids=lambda each: each.name)
def test_every_rule_makes_its_optimizer(candidate):
    rule = policy_from_dict(candidate.settings)
    made = rule.make_optimizer()
    low, high = OPTIMIZERS[rule.optimizer].bounds
    assert OPTIMIZERS[rule.optimizer].accepts(type(made))
    assert low < float(made.learning_rate) < high


# Pruning in one's own fit


def fitted(study, *, monitor="val_loss", scale=1.0):
    trial = study.ask()
    model = tiny((8, 8, 1), 2, seed=0)
    model.compile(keras.optimizers.SGD(0.01 * scale), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return trial, lambda: model.fit(
        IMAGES,
        LABELS,
        validation_split=0.5,
        epochs=4,
        batch_size=16,
        verbose=0,
        callbacks=[PruningCallback(trial, monitor)],
    )


def test_a_fit_that_the_pruner_ends_raises_and_reports_every_epoch():
    study = optuna.create_study(pruner=pruners.MedianPruner(n_startup_trials=1))
    trial, fit = fitted(study)
    history = fit()
    study.tell(trial, history.history["val_loss"][-1])
    assert list(study.trials[0].intermediate_values.values()) == pytest.approx(history.history["val_loss"])
    trial, fit = fitted(study, scale=1e-6)
    with pytest.raises(optuna.TrialPruned, match="pruned after epoch 1"):
        fit()


def test_a_metric_that_fit_does_not_log_is_named():
    _, fit = fitted(optuna.create_study(), monitor="val_auc")
    with pytest.raises(MetaGDError, match="fit logs no 'val_auc' after epoch 1; it logs loss, val_loss: monitor one"):
        fit()


def test_a_trial_of_several_objectives_is_refused():
    _, fit = fitted(optuna.create_study(directions=["minimize", "maximize"]))
    with pytest.raises(MetaGDError, match="has 2 objectives, and Optuna prunes trials of one only"):
        fit()


@pytest.mark.parametrize(
    ("trial", "monitor", "said"), [(1, "loss", "the trial is 1"), (None, None, "the trial is None")]
)
def test_a_callback_of_something_else_is_refused(trial, monitor, said):
    with pytest.raises(MetaGDError, match=said):
        PruningCallback(trial, monitor)


# The objective


def storages(name, folder):
    if name == "sqlite":
        return f"sqlite:///{folder / 'own.db'}"
    return JournalStorage(JournalFileBackend(str(folder / "own.log"))) if name == "journal" else InMemoryStorage()


def sampler_of(name):
    if name == "gp":
        pytest.importorskip("torch", reason="Optuna's GP sampler needs PyTorch, which is not installed")
        return samplers.GPSampler(seed=0, n_startup_trials=2)
    made = {
        "tpe": lambda: samplers.TPESampler(seed=0, n_startup_trials=2),
        "ours": lambda: ResumableTPESampler(seed=0, n_startup_trials=2),
        "random": lambda: samplers.RandomSampler(seed=0),
        "cma-es": lambda: samplers.CmaEsSampler(seed=0, n_startup_trials=2, warn_independent_sampling=False),
    }
    return made[name]()


@pytest.mark.parametrize("storage", ["memory", "sqlite", "journal"])
@pytest.mark.parametrize("sampler", ["tpe", "ours", "random", "cma-es", "gp"])
def test_any_sampler_and_storage_optimise_it(trained, tmp_path, sampler, storage):
    study = optuna.create_study(study_name="own", sampler=sampler_of(sampler), storage=storages(storage, tmp_path))
    study.optimize(trained(None), n_trials=4, n_jobs=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    policy = MetaPolicy.from_trial(study.best_trial, prefix="rate.")
    assert study.best_trial.user_attrs["formula"] == policy.formula
    assert 0 < study.best_value <= 8.0


def test_the_same_policy_has_the_same_value_whatever_trains_beside_it(trained):
    def values(jobs):
        study = optuna.create_study(sampler=samplers.RandomSampler(seed=1))
        for rate in (1e-4, 1e-3, 1e-2, 3e-2):
            study.enqueue_trial(
                {
                    "rate.optimizer": "adam",
                    "rate.g": "power",
                    "rate.g.power.lr0.adam": rate,
                    "rate.g.power.a": 0.0,
                    "rate.g.power.b": 0.0,
                    "rate.f": "mix",
                    "rate.f.mix.w": 0.5,
                    "rate.half_life": 0.0,
                }
            )
        study.optimize(trained(None), n_trials=4, n_jobs=jobs)
        return [trial.value for trial in study.trials]

    assert values(1) == values(3)


@pytest.mark.parametrize(
    ("report", "pruner"),
    [
        ("evaluations", lambda: pruners.MedianPruner(n_startup_trials=2)),
        ("evaluations", pruners.HyperbandPruner),
        ("seeds", lambda: pruners.WilcoxonPruner(n_startup_steps=0)),
    ],
    ids=["median", "hyperband", "wilcoxon"],
)
def test_pruners_are_told_what_they_compare(trained, report, pruner):
    objective = trained(report)
    # Hyperband deals trials to its brackets by the name of the study, which Optuna draws at random.
    study = optuna.create_study(study_name="pruned", sampler=samplers.RandomSampler(seed=0), pruner=pruner())
    study.optimize(objective, n_trials=8)
    for trial in study.trials:
        steps = list(trial.intermediate_values)
        assert steps == sorted(steps)
        if report == "seeds":
            assert trial.state == TrialState.COMPLETE
            assert len(steps) <= 5
            assert trial.value == pytest.approx(np.mean(list(trial.intermediate_values.values())))
        elif trial.state == TrialState.PRUNED:
            # What it shows is no better than what it would have come to.
            policy = MetaPolicy.from_trial(trial, prefix="rate.")
            assert trial.value >= policy_value(objective, policy) - 1e-9
        else:
            assert trial.value == pytest.approx(list(trial.intermediate_values.values())[-1])
    if report == "evaluations":
        assert TrialState.PRUNED in {trial.state for trial in study.trials}
        complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert all(list(trial.intermediate_values) == list(range(1, 25)) for trial in complete)
    else:
        assert {len(trial.intermediate_values) for trial in study.trials} > {5}  # some came to all seeds, some did not


def policy_value(objective, policy):
    study = optuna.create_study(pruner=pruners.NopPruner())
    study.enqueue_trial({f"rate.{name}": value for name, value in policy.to_params().items()})
    study.optimize(objective, n_trials=1)
    return study.best_value


@pytest.mark.parametrize(
    ("report", "pruner"),
    [
        ("seeds", pruners.MedianPruner),
        ("seeds", pruners.HyperbandPruner),
        ("seeds", lambda: pruners.PatientPruner(pruners.MedianPruner(), patience=1)),
        ("seeds", lambda: pruners.PatientPruner(pruners.HyperbandPruner(), patience=1)),
        ("evaluations", pruners.WilcoxonPruner),
        ("evaluations", lambda: pruners.PatientPruner(pruners.WilcoxonPruner(), patience=1)),
        (None, pruners.WilcoxonPruner),
        (None, pruners.HyperbandPruner),
    ],
)
def test_a_pruner_that_does_not_fit_is_refused(trained, report, pruner):
    study = optuna.create_study(pruner=pruner())
    with pytest.raises(MetaGDError, match=f"report={report!r} does not fit the study's {type(study.pruner).__name__}"):
        study.optimize(trained(report), n_trials=1)


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"]])
def test_a_study_that_does_not_minimise_one_value_is_refused(trained, directions):
    with pytest.raises(MetaGDError, match="one value to be minimised"):
        optuna.create_study(directions=directions).optimize(trained(None), n_trials=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 5}, "unknown an argument of MetaPolicyObjective 'trials'|MetaPolicyObjective.*'trials'"),
        ({"report": "epochs"}, "report"),
        ({"target": "high"}, "target='high'; give a score such as 0.9"),
        ({"target": 1.5}, "target=1.5; give a score above chance level .0.5. and at most 1"),
        ({"target": 0.3}, "target=0.3; give a score above chance level .0.5. and at most 1"),
        ({"evaluations": 1}, "evaluations"),
        ({"metric": "f1"}, "f1"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(MetaGDError, match=message):
        objective_of(**options)


def test_the_docstring_lists_every_key():
    assert [key for key in KEYS if f"``{key}``" not in MetaPolicyObjective.__doc__] == []


def test_without_a_target_the_calibration_sets_it_as_a_study_does():
    objective = objective_of(target=None, prefix="rate.")
    assert 0.5 < objective.target <= 1.0
    assert objective.target == objective_of(target=None).target
