"""Probes of the coming step: of the engine, of ``fit``, and computed by hand."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import reference

from metagd_optuna.contracts import Observation, TrainingJob
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.controller import PolicyController
from metagd_optuna.policy.probes import with_probes
from metagd_optuna.training.batch_norm import mixed_rows
from metagd_optuna.training.engine import Engine
from metagd_optuna.training.keras_probe import KerasProbe
from metagd_optuna.training.plan import plan_run
from metagd_optuna.training.probing import probe_rows
from metagd_optuna.training.programs import scale

SHARES = (0.5, 0.3, 0.2)
OPTIMIZER_NAMES = ("adam", "sgd-nesterov", "schedule-free-adamw-r1")
FIELDS = ("loss", "losses", "gradient", "direction", "slope", "agreement", "distance")


def policy_of(optimizer="adam", b=0.7, lr0=0.004):
    given = {"lr0": lr0, "probed": "critical", "b": b, "probes": 3, "least": 0.01, "most": 100.0}
    return MetaPolicy(optimizer=optimizer, rate="probed", rate_coefficients=given)


class Recording(PolicyController):
    """Keeps what it saw."""

    def __init__(self, policy):
        super().__init__(policy)
        self.seen = []

    def rates(self, state, observation, steps):
        if observation.probe is not None:
            self.seen.append((observation.step, observation.probe))
        return super().rates(state, observation, steps)


def network(shape, classes, *, seed):
    """Convolution, batch normalisation, dropout, and a penalty: all that training mode is about.

    No bias before batch normalisation: its gradient is rounding alone, of which Adam makes a step of full length.
    """
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(4, 3, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.25),
            keras.layers.Dense(classes),
        ]
    )


@pytest.fixture(scope="module")
def engine_of_own(images, plan):
    return Engine(
        images, classes=3, class_frequencies=SHARES, complexity=0.4, plan=plan, population=3, build_network=network
    )


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_engine_and_fit_see_the_same(engine_of_own, images, plan, optimizer):
    """The engine's last probe against one of a model that is given the engine's training up to there."""
    ours = Recording(policy_of(optimizer))
    [record] = engine_of_own.train([TrainingJob("a", ours, optimizer)], seed=4)
    theirs = ProbedFit(policy_of(optimizer), images)
    expected = reference.train(
        images,
        TrainingJob("a", theirs, optimizer),
        plan=replace(plan, update_steps=with_probes(plan.update_steps, 3)),
        seed=4,
        classes=3,
        class_frequencies=SHARES,
        complexity=0.4,
        build_network=theirs.building(network),
    )
    assert [step for step, _ in ours.seen] == [2, 4, 8]
    assert {2, 4, 8} <= set(record.update_steps)
    assert [step for step, _ in ours.seen] == [step for step, _ in theirs.seen]
    for (_, mine), (_, other) in zip(ours.seen, theirs.seen, strict=True):
        assert mine.rates == pytest.approx(other.rates, rel=1e-2)
        for name in FIELDS:
            assert getattr(mine, name) == pytest.approx(getattr(other, name), rel=2e-2, abs=2e-4), name
    assert record.rates == pytest.approx(expected.rates, rel=2e-2)
    assert len(set(record.rates)) >= 3


class ProbedFit(Recording):
    """A controller for the plain loop, which probes the model by itself: the loop knows nothing of probes."""

    def __init__(self, policy, images):
        super().__init__(policy)
        self.images = images

    def building(self, build):
        def built(*args, **options):
            self.model = build(*args, **options)
            self.measure = None
            return self.model

        return built

    def rates(self, state, observation, steps):
        if self.measure is None:
            pixels, labels = self.images.train
            self.measure = KerasProbe(self.model, reference.scaled(pixels), labels)
        tried = self.trial_rates(state, observation.step)
        if tried:
            observation = Observation(observation.step, observation.train_loss, probe=self.measure(tried))
        return super().rates(state, observation, steps)


def test_a_probe_changes_nothing(engine_of_own):
    """A rule whose rate does not depend on probes trains as the constant does."""
    constant = MetaPolicy(
        optimizer="adam",
        rate="schedule",
        rate_coefficients={"base": "constant", "lr0": 0.004, "k": 0.0},
        difficulty="gap",
    )
    jobs = [
        TrainingJob("probed", policy_of(b=0.0).controller(), "adam"),
        TrainingJob("constant", constant.controller(), "adam"),
    ]
    probed, plain = engine_of_own.train(jobs, seed=3)
    assert probed.validation == plain.validation
    assert probed.rates == pytest.approx(plain.rates)


def test_who_probes_changes_nothing_for_others(engine_of_own):
    """Rate updates behind probes are those of whoever probes."""
    plain = MetaPolicy("adam", "exponential", {"lr0": 0.004, "kd": 0.0, "kp": 3.0})
    jobs = [TrainingJob("probed", policy_of().controller(), "adam"), TrainingJob("plain", plain.controller(), "adam")]
    probed, beside = engine_of_own.train(jobs, seed=3)
    [alone] = engine_of_own.train(jobs[1:], seed=3)
    assert beside == alone
    assert beside.update_steps == engine_of_own.plan.update_steps
    assert probed.update_steps == with_probes(engine_of_own.plan.update_steps, 3)


def test_a_longer_training_has_the_same_rates_at_first(images, plan):
    """The rule needs no horizon; what a longer training looks at otherwise changes no rate."""
    of = {"classes": 3, "class_frequencies": SHARES, "complexity": 0.4, "build_network": network}
    job = TrainingJob("a", policy_of("schedule-free-adamw-r1").controller(), "schedule-free-adamw-r1")
    [short] = Engine(images, plan=plan, **of).train([job], seed=4)
    longer = plan_run(
        train_examples=len(images.train[1]),
        epochs=1.5 * plan.budget_epochs,
        batch_size=plan.batch_size,
        evaluations=7,
        rate_updates_per_evaluation=3,
    )
    [long] = Engine(images, plan=longer, **of).train([job], seed=4)
    assert len(set(short.rates)) >= 3
    assert longer.update_steps[: len(plan.update_steps)] != plan.update_steps
    assert long.rates[: len(short.rates)] == pytest.approx(short.rates, rel=1e-6)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_trains_together_decides_nothing(engine_of_own, place):
    jobs = [TrainingJob(f"{lr0}", policy_of(lr0=lr0).controller(), "adam") for lr0 in (0.001, 0.004, 0.016)]
    together = engine_of_own.train(jobs, seed=5)[place]
    [alone] = engine_of_own.train([jobs[place]], seed=5)
    assert alone.rates == pytest.approx(together.rates, rel=1e-2)


def test_the_images_are_the_same_every_time():
    assert list(probe_rows(100)) == list(mixed_rows(100)[:32])
    assert [len(probe_rows(count)) for count in (2, 3, 31, 32, 33)] == [2, 2, 30, 32, 32]
    assert float(scale(np.uint8([255]))[0]) == 1.0
