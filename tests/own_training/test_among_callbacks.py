"""The callback beside others: logs, warnings, budgets over several fits, and a state that goes on."""

import copy
import csv
import json
import math
import pickle
import warnings
from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from small_training import BATCH, REMEMBERS, X, Y, callback_of, compiled, distance, fit, one_backend, policy_of

from metagd_optuna import MetaGDError, MetaGDWarning, MetaPolicy, MetaPolicyCallback, ScheduleFreeAdamW
from metagd_optuna.policy import policy_from_dict

FOLLOWS = policy_of(b=0.5, a=-0.5)
COSINE = MetaPolicy(
    "adam", "schedule", {"base": "cosine", "lr0": 1e-2, "horizon": 1.0, "warmup": 0.0, "k": 0.5}, "mix", {"w": 0.5}
)
OF_GAP = replace(FOLLOWS, difficulty="gap", difficulty_coefficients={})
CALLBACKS = keras.callbacks


def test_rate_performance_and_difficulty_are_in_the_history():
    callback = callback_of(FOLLOWS, rate_updates=8)
    history = fit(compiled(), callback, epochs=3).history
    assert history["learning_rate"] == callback.rates[3::4]
    for rate, p, d in zip(*(history[name] for name in ("learning_rate", "performance", "difficulty")), strict=True):
        assert d == pytest.approx(FOLLOWS.difficulty_at(0.5, p))
        # The rate may change by at most a factor of 4 at once; after the first updates it does not.
        assert rate == pytest.approx(FOLLOWS.rate_at(d, p), rel=1e-5) or rate == history["learning_rate"][0]
    assert history["learning_rate"][2] == pytest.approx(
        FOLLOWS.rate_at(history["difficulty"][2], history["performance"][2])
    )


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (FOLLOWS, {"learning_rate", "performance", "difficulty"}),
        (policy_of(), {"learning_rate", "performance", "difficulty"}),
        (REMEMBERS, {"learning_rate", "performance"}),
    ],
)
def test_what_is_logged_is_what_the_rule_has(policy, names):
    assert set(fit(compiled(), callback_of(policy)).history) - {"loss", "accuracy"} == names


def test_performance_is_not_logged_where_the_loss_says_nothing_of_it():
    history = fit(compiled(loss="mse", metrics=()), callback_of(policy_of()), y=np.eye(2)[Y]).history
    assert set(history) == {"loss", "learning_rate"}


def test_loggers_of_keras_see_the_rate(tmp_path):
    callback = callback_of(FOLLOWS)
    log = tmp_path / "log.csv"
    fit(compiled(), callback, CALLBACKS.CSVLogger(log), epochs=2)
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(callback.rates[3::4])
    assert all(math.isfinite(float(rows[1][name])) for name in ("performance", "difficulty"))


WITHOUT_F = MetaPolicy("adam", "schedule", {"base": "constant", "lr0": 1e-2, "k": 0.0})


def test_a_rule_that_looks_at_nothing_has_nothing_measured():
    callback = callback_of(WITHOUT_F, rate_updates=4)
    history = fit(compiled(loss="mse", metrics=()), callback, y=np.eye(2)[Y], epochs=2).history
    assert set(history) == {"loss", "learning_rate"}
    assert callback.rates == pytest.approx([1e-2] * 8)
    assert [(seen.step, seen.train_loss) for seen in callback.observations] == [
        (2, None),
        (4, None),
        (6, None),
        (8, None),
    ]


@pytest.mark.parametrize("policy", [policy_of(), WITHOUT_F], ids=["measured", "not measured"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_rate_that_is_set_at_a_step_is_noticed(policy, ours_first):
    class Sets(CALLBACKS.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.5

    callback = callback_of(policy, rate_updates=4)
    with pytest.warns(MetaGDWarning, match=r"something else has set the learning rate .* no effect") as told:
        fit(compiled(), *([callback, Sets()] if ours_first else [Sets(), callback]), epochs=4)
    assert len([one for one in told if one.category is MetaGDWarning]) == 1


@pytest.mark.parametrize("policy", [policy_of(), WITHOUT_F], ids=["measured", "not measured"])
def test_a_rate_that_is_set_once_lasts_for_one_step(policy):
    """Nothing here looks at the model between two steps, nor is there an update of the rate."""

    class SetsOnce(CALLBACKS.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                self.model.optimizer.learning_rate = 0.5

        def on_epoch_end(self, epoch, logs=None):
            left.append(float(self.model.optimizer.learning_rate))

    left = []
    with pytest.warns(MetaGDWarning, match="something else has set the learning rate"):
        fit(compiled(), callback_of(policy, rate_updates=1), SetsOnce())
    assert left == pytest.approx([1e-2])


@pytest.mark.parametrize("policy", [policy_of(), WITHOUT_F], ids=["measured", "not measured"])
@pytest.mark.parametrize(
    ("other", "ours_first"),
    [
        (lambda: CALLBACKS.LearningRateScheduler(lambda epoch, rate: 0.5), True),
        (lambda: CALLBACKS.LearningRateScheduler(lambda epoch, rate: 0.5), False),
        (lambda: CALLBACKS.ReduceLROnPlateau(monitor="loss", mode="max", patience=0, min_delta=10.0), True),
    ],
    ids=["scheduler-after", "scheduler-before", "plateau-after"],
)
def test_another_callback_that_sets_the_rate_is_told_once(policy, other, ours_first):
    callback = callback_of(policy)
    with pytest.warns(MetaGDWarning, match=r"something else has set the learning rate .* no effect") as told:
        fit(compiled(), *([callback, other()] if ours_first else [other(), callback]), epochs=4)
    assert len([one for one in told if one.category is MetaGDWarning]) == 1
    assert callback.rates == pytest.approx([1e-2] * 16)


def test_callbacks_that_leave_the_rate_alone_are_no_reason_to_warn():
    quiet = [CALLBACKS.ReduceLROnPlateau(monitor="loss", patience=9), CALLBACKS.EarlyStopping(monitor="loss")]
    fit(compiled(), callback_of(policy_of()), *quiet, epochs=4)


def test_fit_of_no_epochs_trains_nothing():
    callback = callback_of()
    model = compiled(ScheduleFreeAdamW(1e-3))
    before = model.get_weights()
    assert fit(model, callback, epochs=0).history == {}
    assert callback.rates == []
    assert distance(before, model.get_weights()) == 0
    fit(compiled(), callback)
    assert len(callback.rates) == 4


def test_a_callback_that_stands_there_twice_is_an_error_in_words():
    callback = callback_of()
    with pytest.raises(MetaGDError, match=r"stands in callbacks=\[\.\.\.\] twice; name it once"):
        fit(compiled(), callback, callback)
    fit(compiled(), callback)
    assert len(callback.rates) == 4


@pytest.mark.parametrize(
    ("copied", "trained"),
    [
        (lambda one: pickle.loads(pickle.dumps(one)), True),
        pytest.param(copy.deepcopy, True, marks=one_backend),
        pytest.param(copy.copy, False, marks=one_backend),
    ],
)
def test_a_copy_does_what_the_original_would(copied, trained):
    original = callback_of(REMEMBERS, rate_updates=8)
    if trained:
        fit(compiled(), original)
    twin = copied(original)
    rates = []
    for callback in (original, twin):
        fit(compiled(), callback, epochs=4)
        rates.append(callback.rates)
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 2


class StopsAfter(CALLBACKS.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 == self.epochs


WHOLE = 6  # epochs; with 14 updates in 24 steps, most of which do not end with an epoch
TICKS = 14


@cache
def whole_training(rule):
    """Rates and weights of a training without a break, to be compared with."""
    policy, optimizer = OPTIMIZERS[rule]
    callback = callback_of(policy, rate_updates=TICKS)
    model = compiled(optimizer())
    fit(model, callback, epochs=WHOLE)
    assert len(set(callback.rates)) > 4
    return callback.rates, model.get_weights()


OPTIMIZERS = {
    "adam": (REMEMBERS, lambda: keras.optimizers.Adam(1e-3)),
    "schedule-free": (replace(REMEMBERS, optimizer="schedule-free-adamw"), lambda: ScheduleFreeAdamW(1e-3)),
    "cosine": (COSINE, lambda: keras.optimizers.Adam(1e-3)),
}


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ("adam", "same-callback"),
        ("adam", "state-as-json"),
        ("schedule-free", "new-callback"),
        ("cosine", "new-callback"),
    ],
)
def test_a_training_in_two_parts_goes_on_as_if_nothing_had_happened(rule, how):
    policy, optimizer = OPTIMIZERS[rule]
    want, weights = whole_training(rule)
    first = callback_of(policy, rate_updates=TICKS)
    model = compiled(optimizer())
    fit(model, first, StopsAfter(2), epochs=WHOLE)
    rates, second = list(first.rates), first if how == "same-callback" else callback_of(policy, rate_updates=TICKS)
    if how == "state-as-json":
        second.set_state(json.loads(json.dumps(first.get_state())))
    fit(model, second, epochs=WHOLE, initial_epoch=2)
    assert rates + second.rates == pytest.approx(want, rel=1e-5)
    assert distance(weights, model.get_weights()) < 1e-4


class Cut(Exception):  # noqa: N818 - no error of the program
    """A training that ends there."""


class CutsOff(CALLBACKS.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise Cut


@pytest.mark.parametrize(
    ("rule", "ours_first"),
    [("adam", False), ("schedule-free", True), pytest.param("schedule-free", False, marks=one_backend)],
)
def test_a_training_that_backup_and_restore_restores_goes_on(rule, ours_first, tmp_path):
    """As after a restart: another model and another callback; all that is left is what Keras wrote."""
    policy, optimizer = OPTIMIZERS[rule]
    want, weights = whole_training(rule)
    rates = []
    for others in ([CutsOff()], []):
        model, ours = compiled(optimizer()), callback_of(policy, rate_updates=TICKS)
        backup = CALLBACKS.BackupAndRestore(tmp_path)
        try:
            fit(model, *([ours, backup] if ours_first else [backup, ours]), *others, epochs=WHOLE)
        except Cut:
            assert others
        rates += ours.rates
    assert rates == pytest.approx(want, rel=1e-4)
    assert distance(weights, model.get_weights()) < 1e-4


def test_weights_that_are_saved_carry_the_state(tmp_path):
    policy, optimizer = OPTIMIZERS["adam"]
    want, _ = whole_training("adam")
    model = compiled(optimizer())
    fit(model, callback_of(policy, rate_updates=TICKS), StopsAfter(2), epochs=WHOLE)
    model.save(tmp_path / "model.keras")
    again, callback = keras.models.load_model(tmp_path / "model.keras"), callback_of(policy, rate_updates=TICKS)
    callback.set_model(again)
    again.load_weights(tmp_path / "model.keras")
    fit(again, callback, epochs=WHOLE, initial_epoch=2)
    assert callback.rates == pytest.approx(want[8:], rel=1e-5)


def test_what_is_not_known_of_the_past_is_told():
    for policy, tells in ((REMEMBERS, True), (policy_of(), False)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fit(compiled(), callback_of(policy), epochs=3, initial_epoch=2)
        mine = [str(one.message) for one in told if one.category is MetaGDWarning]
        assert len(mine) == tells
        assert all("goes on at step 8 of its budget, and what the policy had seen" in text for text in mine)


def test_the_same_model_compiled_anew_is_a_new_training():
    model, callback = compiled(), callback_of(REMEMBERS, budget=4, rate_updates=8)
    rates = []
    for _ in range(2):
        model.set_weights(compiled().get_weights())
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        fit(model, callback, epochs=4)
        rates.append(callback.rates)
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("policy", "budget", "one_callback", "says_epochs"),
    [
        pytest.param(COSINE, {"budget": 4}, True, False, marks=one_backend),
        pytest.param(COSINE, {"budget_steps": 16}, False, True, marks=one_backend),
        (REMEMBERS, {"budget": 4}, False, False),
        (REMEMBERS, {"budget": 4}, True, True),
    ],
)
def test_several_fits_are_one_training_with_a_budget(budget, one_callback, says_epochs, policy):
    whole = callback_of(policy, rate_updates=6)
    fit(compiled(), whole, epochs=4)
    model, rates = compiled(), []
    callback = callback_of(policy, rate_updates=6, **budget)
    for epoch in range(4):
        callback = callback if one_callback else callback_of(policy, rate_updates=6, **budget)
        fit(model, callback, **({"initial_epoch": epoch, "epochs": epoch + 1} if says_epochs else {"epochs": 1}))
        rates += callback.rates
    assert rates == pytest.approx(whole.rates, rel=1e-5)
    with pytest.raises(MetaGDError, match=r"budget is 16 steps, and 16 are behind; .* larger budget"):
        fit(model, callback, epochs=1)


def test_a_state_of_another_training_is_refused():
    first = callback_of(REMEMBERS)
    with pytest.raises(MetaGDError, match="no state before the first training; call fit"):
        first.get_state()
    fit(compiled(), first)
    other = callback_of(policy_of(b=1.0))
    other.set_state(first.get_state())
    with pytest.raises(MetaGDError, match="is that of another policy, complexity or class_frequencies"):
        fit(compiled(), other)


def test_a_state_and_a_fit_from_its_beginning_are_more_than_the_budget():
    first, second = callback_of(REMEMBERS), callback_of(REMEMBERS)
    fit(compiled(), first, epochs=2)
    second.set_state(first.get_state())
    with pytest.raises(MetaGDError, match=r"budget is 8 steps, and 8 are behind; .* say initial_epoch= to fit"):
        fit(compiled(), second, epochs=2)


@pytest.mark.parametrize("state", [{}, {"schema": 2}, {"schema": 1, "step": 3}, {"schema": 1, "controller": []}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(MetaGDError, match=r"is no state of a callback; pass what get_state\(\) returned"):
        callback_of().set_state(state)


@one_backend
@pytest.mark.parametrize(
    ("provenance", "epochs", "updates", "message"),
    [
        (
            {"budget_epochs": 40.0, "rate_updates": 8},
            4,
            None,
            "has 4 epochs, and the policy was found in trainings of 40",
        ),
        (
            {"budget_epochs": 1.0, "rate_updates": 8},
            6,
            None,
            "has 6 epochs, and the policy was found in trainings of 1",
        ),
        ({"budget_epochs": 4.0, "rate_updates": 120}, 4, None, "has 16 updates of the rate, .* trainings of 120"),
        ({"budget_epochs": 4.0, "rate_updates": 8}, 4, 2, "has 2 updates of the rate, .* trainings of 8"),
        ({"budget_epochs": 4.0, "rate_updates": 8}, 3, None, ""),
        ({}, 4, None, ""),
    ],
)
def test_a_training_far_from_those_of_the_search_is_told(provenance, epochs, updates, message):
    callback = callback_of(replace(FOLLOWS, provenance=provenance), rate_updates=updates)
    if message:
        with pytest.warns(MetaGDWarning, match=message):
            fit(compiled(), callback, epochs=epochs)
    else:
        fit(compiled(), callback, epochs=epochs)


def test_a_constant_rate_suits_any_budget():
    fit(compiled(), callback_of(replace(policy_of(), provenance={"budget_epochs": 400.0, "rate_updates": 120})))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"policy": "universal"},
            "policy='universal' is a str, and has to be a MetaPolicy or another policy: .*load_policy",
        ),
        ({"complexity": "0.5"}, "complexity='0.5' must be a number"),
        ({"complexity": 1.5}, "complexity=1.5"),
        ({"complexity": math.nan}, "complexity=nan"),
        ({"complexity": None}, "complexity=None"),
        ({"class_frequencies": (0.5, 0.6)}, "class_frequencies="),
        ({"class_frequencies": (1.0,)}, "class_frequencies="),
        ({"class_frequencies": (1.5, -0.5)}, "class_frequencies="),
        ({"rate_updates": 0}, "rate_updates=0"),
        ({"rate_updates": 2.5}, r"rate_updates=2\.5 must be a whole number"),
        ({"validation_freq": 0}, "validation_freq=0"),
        ({"validation_freq": [1, 2]}, r"validation_freq=\[1, 2\] must be a whole number"),
        ({"class_frequencies": {0: 0.5, 1: 0.5}}, "class_frequencies=.* must be the share of each .* computes them"),
        ({"class_frequencies": None}, "class_frequencies=None"),
        ({"class_frequencies": [[0.5, 0.5]]}, "class_frequencies="),
        ({"class_frequencies": ["a", "b"]}, "class_frequencies="),
        ({"class_frequencies": (1.0, 0.0)}, "class_frequencies="),
        ({"budget": 0}, "budget=0 must be a whole number of at least 1"),
        ({"budget": 2.5}, "budget=2.5"),
        ({"budget_steps": True}, "budget_steps=True"),
        ({"budget": 4, "budget_steps": 16}, "both say how long the training is; pass one"),
        ({"class_weight": [1, 2]}, "class_weight=.* must be what fit"),
        ({"class_weight": {2: 1.0}}, "class_weight has the class 2; the classes of class_frequencies are 0 to 1"),
        ({"class_weight": {0: -1.0}}, r"class_weight\[0\]=-1.0 must be a number of at least 0"),
        ({"complexity": 10**400}, "complexity=a whole number of about 400 digits must be"),
        ({"class_frequencies": (10**400, 0.5)}, "class_frequencies="),
        ({"class_weight": {0: 10**400}}, "class_weight"),
        ({"chance_loss": 10**400}, "chance_loss="),
        ({"chance_loss": 0}, "chance_loss=0 must be a number above 0"),
        ({"chance_loss": math.nan}, "chance_loss=nan"),
    ],
)
def test_wrong_arguments_are_named_with_the_remedy(options, message):
    with pytest.raises(MetaGDError, match=message):
        callback_of(**options)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "default", "name": "keras-adam"},
        {"kind": "baseline", "name": "adam-constant", "coefficients": {"lr0": 0.01}},
        {"kind": "article", "name": "article"},
        {"kind": "constant-complexity", "policy": FOLLOWS.to_dict(), "complexity": 0.3},
        {"kind": "meta-policy", **OF_GAP.to_dict()},
    ],
)
def test_what_reads_no_complexity_is_told_none(document):
    policy = policy_from_dict({"schema": 2, **document})
    with_c, without, third = (
        MetaPolicyCallback(policy, class_frequencies=(0.5, 0.5), rate_updates=4, **given)
        for given in ({"complexity": 0.9}, {}, {})
    )
    model = compiled()
    fit(model, with_c, validation_data=(X, Y), epochs=2)
    fit(compiled(), without, validation_data=(X, Y), epochs=2)
    assert with_c.rates == without.rates
    third.set_state(with_c.get_state())  # it is the same training, whatever was said of c
    fit(model, third, validation_data=(X, Y), epochs=3, initial_epoch=2)
    assert len(third.rates) == len(with_c.rates) / 2


@one_backend
def test_a_probe_that_moves_no_rate_is_not_made():
    policy = replace(OF_GAP, complexity="critical-rate")
    assert policy.probes == 0
    assert "c from" not in policy.formula
    fit(compiled(), callback_of(policy), epochs=1)


def test_steps_outside_of_a_training_are_an_error_in_words():
    with pytest.raises(MetaGDError, match=r"has not begun; call on_train_begin"):
        callback_of().observe_validation(None)


@one_backend
@pytest.mark.parametrize("epochs", [1, 2])
def test_batches_of_any_number_and_size_are_steps(epochs):
    callback = callback_of(rate_updates=3)
    fit(compiled(), callback, epochs=epochs, batch_size=BATCH + 8, x=X, y=Y)
    assert len(callback.rates) == 3 * epochs


@pytest.mark.parametrize("make", [callback_of, ScheduleFreeAdamW])
def test_another_backend_is_refused_in_one_sentence(make, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(MetaGDError, match=r"Keras runs on torch here, .* work on tensorflow and jax: set"):
        make()


class CutsOffWithin(CALLBACKS.Callback):
    """Ends the process, so to say, before a step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Cut


@pytest.mark.parametrize(("step", "budget"), [(3, {}), (11, {"budget": WHOLE})])
@one_backend
def test_an_epoch_that_keras_trains_again_keeps_what_was_seen(step, budget, tmp_path):
    backup = {"backup_dir": tmp_path, "save_freq": 2}
    first, second = (callback_of(REMEMBERS, rate_updates=24, **budget) for _ in "ab")
    with pytest.raises(Cut):
        fit(compiled(), first, CALLBACKS.BackupAndRestore(**backup), CutsOffWithin(step), epochs=WHOLE)
    model = compiled()
    fit(model, second, CALLBACKS.BackupAndRestore(**backup), epochs=WHOLE)
    assert len(second.rates) == 24 - step // 4 * 4  # the epoch again, to the end of the budget
    assert second.rates[0] in first.rates[1:] or second.rates[0] < first.rates[0]


@pytest.mark.parametrize("anew", ["model", "compiled"])
def test_a_training_that_was_cut_off_is_not_that_of_another_model(anew):
    callback, model = callback_of(REMEMBERS, budget=2, rate_updates=8), compiled()
    with pytest.raises(Cut):
        fit(model, callback, CutsOffWithin(3), epochs=2)
    if anew == "compiled":
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    fit(compiled() if anew == "model" else model, callback)
    assert callback.rates[0] == pytest.approx(1e-2)
    assert callback.get_state()["step"] == 4


def test_data_that_run_out_are_no_second_callback():
    def batches():
        for begin in range(0, 36, BATCH):
            yield X[begin : begin + BATCH], Y[begin : begin + BATCH]

    callback = callback_of()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that the data ran out
        compiled().fit(batches(), steps_per_epoch=5, epochs=1, verbose=0, callbacks=[callback])
        fit(compiled(), callback, epochs=2)
    assert len(callback.rates) == 8


def test_a_state_is_json_in_the_strict_sense():
    callback = callback_of(policy_of(signal="val-accuracy", b=0.5))
    fit(compiled(), callback, validation_data=(X, Y))
    assert callback.get_state()["validation"]["auc"] == {"number": "nan"}
    text = json.dumps(callback.get_state(), allow_nan=False)
    callback.set_state(json.loads(text))
