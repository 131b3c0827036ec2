"""An optimizer that is registered from outside the package works everywhere, from one row."""

import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import optuna
import pytest
import reference
from small_training import X, callback_of, compiled, fit

from metagd_optuna import MetaGDError, MetaPolicy, register_optimizer, run_study
from metagd_optuna.contracts import TrainingJob
from metagd_optuna.policy import OPTIMIZERS

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def row():
    """The optimizer that docs/policies.md registers: Keras' RMSprop (Tieleman and Hinton 2012, lecture 6.5)."""
    [block] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "register_optimizer" in block]
    exec(compile(block, "docs/policies.md", "exec"), {})
    yield OPTIMIZERS["rmsprop"]
    del OPTIMIZERS._rows["rmsprop"]


@pytest.fixture
def policy():
    return MetaPolicy("rmsprop", "power", {"lr0": 1e-3, "a": 0.5, "b": 0.5}, "mix", {"w": 0.5})


@pytest.mark.parametrize("batch_size", [None, 8])
def test_the_engine_equals_plain_keras(engine, images, plan, loss_driven, batch_size):
    field = [TrainingJob(f"m{i}", loss_driven(1e-3 * (i + 1)), "rmsprop", batch_size) for i in range(2)]
    task = {"classes": 3, "class_frequencies": (0.5, 0.3, 0.2), "complexity": 0.4}
    for job, found in zip(field, engine.train(field, seed=7), strict=True):
        expected = reference.train(images, job, plan=plan, seed=7, **task)
        np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=2e-3)
        np.testing.assert_allclose(found.validation.loss, expected.validation.loss, atol=2e-3)
        np.testing.assert_allclose(found.rates, expected.rates, rtol=5e-3)
        assert found.train_loss[-1] < 0.95 * found.train_loss[0]


def test_the_callback_sets_its_rate_and_refuses_others(row, policy):
    callback = callback_of(policy)
    model = compiled(keras.optimizers.RMSprop(1.0))
    fit(model, callback)
    low, high = row.bounds
    assert len(callback.rates) == len(X) // 12
    assert all(low <= rate <= high for rate in callback.rates)
    assert float(model.optimizer.learning_rate) == np.float32(callback.rates[-1])
    with pytest.raises(MetaGDError, match=r"rates of rmsprop, but .* compiled with Adam; compile it with RMSprop\("):
        fit(compiled(keras.optimizers.Adam(1.0)), callback_of(policy))
    with pytest.raises(MetaGDError, match=r"rmsprop, which has .*momentum=0.0.*compiled with .*momentum=0.5"):
        fit(compiled(keras.optimizers.RMSprop(1.0, momentum=0.5)), callback_of(policy))


def test_a_policy_of_it_is_saved_and_loaded(policy, tmp_path):
    policy.save(tmp_path / "policy.json")
    assert MetaPolicy.load(tmp_path / "policy.json") == policy
    assert MetaPolicy.from_params(policy.to_params()) == policy
    for lr0 in (1e-6, 2e-2):
        with pytest.raises(MetaGDError, match=r"it must be a number from 1e-05 to 0\.01"):
            replace(policy, rate_coefficients=dict(policy.rate_coefficients) | {"lr0": lr0})


TINY_STUDY = """
tasks = ["breast_cancer"]
baselines = ["adam-constant"]
optimizers = ["rmsprop"]
trials = 4
seeds_per_trial = 1
max_train = 60
max_eval = 40
examples_per_run = 240
evaluations = 4
rate_updates_per_evaluation = 1
calibration_seeds = 1
shortlist_trials = 2
shortlist_seeds = 1
confirmation_seeds = 2
population = 2
"""


def test_a_study_finds_and_reports_it(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = tmp_path / "own.toml"
    file.write_text(TINY_STUDY, encoding="utf-8")
    run_study(file, out=tmp_path)
    assert '"optimizer": "rmsprop"' in (tmp_path / "report/results.json").read_text(encoding="utf-8")
    for page in ("index.html", "report.md"):
        assert "Optimizer: rmsprop." in (tmp_path / "report" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"name": "RMS prop"}, "the name of the optimizer is 'RMS prop'; give small letters"),
        ({"name": "g.adam"}, "the name of the optimizer is 'g.adam'"),
        ({"name": 3}, "the name of the optimizer is 3"),
        ({"name": ""}, "the name of the optimizer is ''"),
        ({"bounds": (1e-2, 1e-5)}, "bounds is .*smallest < largest"),
        ({"bounds": (0, 1)}, "bounds is "),
        ({"bounds": (1e-5, float("inf"))}, "bounds is "),
        ({"bounds": [1e-5, 1e-2]}, "bounds is "),
        ({"keras": "keras.optimizers:RMSprop"}, r"keras is .*a function; .*imported\('module:function'\)"),
        ({"rule": None}, "rule is .*a function"),
        ({"accepted": ()}, r"accepted is \(\); it must be a tuple of names"),
        ({"accepted": "RMSprop"}, "accepted is 'RMSprop'"),
        ({"settings": ["rho"]}, r"settings is \['rho'\]; it must be a mapping"),
    ],
)
def test_a_badly_formed_row_is_refused(row, changed, text):
    with pytest.raises(MetaGDError, match=text):
        replace(row, **changed)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_name_that_is_taken_is_refused(row, name):
    with pytest.raises(MetaGDError, match=f"the name '{name}' of the optimizer is taken; give yours another"):
        register_optimizer(replace(row, name=name))
    assert OPTIMIZERS["rmsprop"] is row


def test_only_an_optimizer_can_be_registered():
    with pytest.raises(MetaGDError, match="pass an Optimizer"):
        register_optimizer("rmsprop")
