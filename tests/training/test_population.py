import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
import reference

from metagd_optuna.contracts import MetaGDError, TrainingJob
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.population import survivors

RATES = {"adam": 1e-3, "sgd-nesterov": 0.02, "sgd": 0.05, "schedule-free-adamw": 2e-3, "schedule-free-adamw-r1": 2e-3}


def jobs(loss_driven, optimizer, count):
    return [TrainingJob(f"m{i}", loss_driven(RATES[optimizer] * (1 + 0.4 * i)), optimizer) for i in range(count)]


def normalised(input_shape, classes, *, seed):
    """A network with batch normalisation, whose statistics belong to the data."""
    keras.utils.set_random_seed(seed)
    inputs = keras.layers.Input(input_shape)
    features = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(features)))


@pytest.fixture(scope="module")
def slow(images, plan, loss_driven):
    """One plain-Keras fit per optimizer and member, made when first asked for."""
    made = {}

    def train(optimizer, index):
        if (optimizer, index) not in made:
            job = jobs(loss_driven, optimizer, 5)[index]
            made[optimizer, index] = reference.train(
                images,
                job,
                plan=plan,
                seed=7,
                classes=3,
                class_frequencies=(0.5, 0.3, 0.2),
                complexity=0.4,
            )
        return made[optimizer, index]

    return train


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 5])
def test_population_matches_plain_keras(engine, slow, loss_driven, optimizer, size):
    fast = engine.train(jobs(loss_driven, optimizer, size), seed=7)
    for index in {0, size - 1}:
        expected, found = slow(optimizer, index), fast[index]
        assert found.update_steps == expected.update_steps
        assert found.validation.steps == expected.validation.steps
        np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=1e-3)
        np.testing.assert_allclose(found.validation.loss, expected.validation.loss, atol=1e-3)
        np.testing.assert_allclose(found.rates, expected.rates, rtol=2e-3)
        np.testing.assert_allclose(found.train_accuracy, expected.train_accuracy, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "batch_size"), [("adam", 8), ("schedule-free-adamw-r1", 4), ("sgd", 1)])
def test_smaller_batches_match_plain_keras(engine, images, plan, loss_driven, optimizer, batch_size):
    job = TrainingJob("small", loss_driven(RATES[optimizer]), optimizer, batch_size)
    [found] = engine.train([job], seed=7)
    task = {"classes": 3, "class_frequencies": (0.5, 0.3, 0.2), "complexity": 0.4}
    expected = reference.train(images, job, plan=plan, seed=7, **task)
    assert found.update_steps == expected.update_steps == plan.update_steps
    assert found.validation.steps == expected.validation.steps == plan.evaluation_steps
    np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=2e-3)
    np.testing.assert_allclose(found.validation.loss, expected.validation.loss, atol=2e-3)
    np.testing.assert_allclose(found.rates, expected.rates, rtol=5e-3)
    assert found.train_loss != engine.train([replace(job, batch_size=None)], seed=7)[0].train_loss


def test_members_of_all_batch_sizes_train_together(engine, loss_driven):
    sizes = [None, 8, 16, 4, 8]
    mixed = [TrainingJob(f"m{i}", loss_driven(1e-3), "adam", size) for i, size in enumerate(sizes)]
    together = engine.train(mixed, seed=1)
    for job, found in zip(mixed, together, strict=True):
        np.testing.assert_allclose(found.train_loss, engine.train([job], seed=1)[0].train_loss, atol=1e-4)
    assert together[0].train_loss == together[2].train_loss  # the plan's batch, said or unsaid, is one program
    np.testing.assert_allclose(together[1].train_loss, together[4].train_loss, atol=1e-4)
    assert together[1].train_loss != together[3].train_loss != together[0].train_loss


@pytest.mark.parametrize("batch_size", [3, 32])
def test_a_batch_that_does_not_divide_a_step_is_refused(engine, loss_driven, batch_size):
    with pytest.raises(MetaGDError, match=f"small trains with batches of {batch_size}, but a step .* has 16 examples"):
        engine.train([TrainingJob("small", loss_driven(1e-3), "adam", batch_size)], seed=1)


def test_training_moved_the_loss(slow):
    # Otherwise parity would hold for an engine that never trains.
    losses = slow("adam", 0).train_loss
    assert losses[-1] < 0.9 * losses[0]


def test_result_does_not_depend_on_population_size(engine, loss_driven):
    alone = engine.train(jobs(loss_driven, "adam", 1), seed=1)[0]
    together = engine.train(jobs(loss_driven, "adam", 5), seed=1)[0]
    np.testing.assert_allclose(together.train_loss, alone.train_loss, atol=1e-4)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(engine, loss_driven):
    first, again, other = (engine.train(jobs(loss_driven, "adam", 3), seed=s) for s in (5, 5, 6))
    assert first == again
    assert first != other


def test_diverged_member_leaves_the_others_as_they_were(engine, loss_driven):
    calm = jobs(loss_driven, "sgd-nesterov", 2)
    wild = TrainingJob("wild", loss_driven(1e30), "sgd-nesterov")
    with_wild = engine.train([calm[0], wild, calm[1]], seed=2)
    without = engine.train(calm, seed=2)
    assert with_wild[1].diverged
    assert with_wild[1].steps < with_wild[1].budget
    assert len(with_wild[1].rates) == with_wild[1].steps
    assert not with_wild[0].diverged
    for found, expected in zip((with_wild[0], with_wild[2]), without, strict=True):
        np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=1e-4)


def test_all_diverged_ends_early(engine, loss_driven):
    records = engine.train([TrainingJob("wild", loss_driven(1e30), "sgd")] * 2, seed=2, test=True)
    assert [record.diverged for record in records] == [True, True]
    assert records[0].test.steps == records[0].validation.steps


def test_watch_stops_members_and_sees_only_the_living(engine, loss_driven, plan):
    seen = []

    def watch(curves):
        seen.append(sorted(curves))
        return [1] if len(seen) == 2 else []

    records = engine.train(jobs(loss_driven, "adam", 3), seed=3, watch=watch)
    assert seen[:3] == [[0, 1, 2], [0, 1, 2], [0, 2]]
    assert [record.steps for record in records] == [plan.steps, plan.evaluation_steps[1], plan.steps]
    assert len(records[1].validation.steps) == 2
    assert len(records[1].rates) == plan.evaluation_steps[1]


def test_test_curve_only_on_request_and_nothing_steers_on_it(engine, images, plan, loss_driven):
    with_test = engine.train(jobs(loss_driven, "adam", 1), seed=4, test=True)[0]
    without = engine.train(jobs(loss_driven, "adam", 1), seed=4)[0]
    assert without.test is None
    assert len(with_test.test.auc) == len(plan.evaluation_steps)
    assert replace(with_test, test=None) == without


def test_one_program_serves_all_populations(engine, loss_driven):
    engine.train(jobs(loss_driven, "sgd", 2), seed=1)
    program = engine.programs.train_steps("sgd", engine.plan.batch_size).func
    traces = program.experimental_get_tracing_count()
    engine.train(jobs(loss_driven, "sgd", 5), seed=2)
    assert program.experimental_get_tracing_count() == traces == 1


@pytest.mark.parametrize("optimizer", ["adam", "schedule-free-adamw"])
def test_other_data_of_the_same_shape_need_no_other_programs(images, plan, loss_driven, optimizer):
    def opened(data):
        task = {"classes": 3, "class_frequencies": (0.5, 0.3, 0.2), "complexity": 0.4}
        return Engine(data, plan=plan, build_network=normalised, **task)

    others = Images(*((part[0][::-1], part[1][::-1]) for part in (images.train, images.validation, images.test)))
    first = opened(images)
    before = first.train(jobs(loss_driven, optimizer, 2), seed=1, test=True)
    second = first.on(others, (0.5, 0.3, 0.2))
    assert second.train(jobs(loss_driven, optimizer, 2), seed=1, test=True) == opened(others).train(
        jobs(loss_driven, optimizer, 2), seed=1, test=True
    )
    assert first.train(jobs(loss_driven, optimizer, 2), seed=1, test=True) == before
    program = first.programs.train_steps(optimizer, plan.batch_size).func
    assert program.experimental_get_tracing_count() == 1


def test_data_of_another_shape_are_refused(engine, images):
    fewer = replace(images, train=(images.train[0][1:], images.train[1][1:]))
    with pytest.raises(MetaGDError, match=r"compiled for train images of shape .* open an engine for them"):
        engine.on(fewer, (0.5, 0.3, 0.2))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 64])
def test_survivors_are_kept_and_sizes_only_halve(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        training = list(rng.random(size) < 0.4)
        training[rng.integers(size)] = True
        kept = survivors(training, halving=True)
        assert set(survivors(training, halving=False)) <= set(kept)
        assert len(kept) in {size >> k for k in range(8)}
        assert len(kept) == size or len(kept) // 2 < sum(training)


def test_compiled_by_xla_it_is_the_same(loss_driven):
    """What a GPU runs, on the CPU: leavers ride along until half can go."""
    from metagd_optuna.training.plan import plan_run

    rng = np.random.default_rng(0)

    def part(count):
        labels = np.arange(count, dtype=np.int32) % 2
        return rng.normal(size=(count, 8, 8, 1)).astype(np.float32) + labels[:, None, None, None], labels

    plan = plan_run(train_examples=24, epochs=2, batch_size=8, evaluations=3, rate_updates_per_evaluation=1)
    images = Images(part(24), part(8), part(8))
    options = {"classes": 2, "class_frequencies": (0.5, 0.5), "complexity": 0.5, "plan": plan}
    records = [
        Engine(images, compiled=compiled, population=2, **options).train(
            jobs(loss_driven, "adam", 2), seed=0, watch=lambda curves: curves.keys() & {0}
        )
        for compiled in (False, True)
    ]
    for plain, compiled in zip(*records, strict=True):
        np.testing.assert_allclose(compiled.train_loss, plain.train_loss, atol=1e-4)
        np.testing.assert_allclose(compiled.validation.loss, plain.validation.loss, atol=1e-4)
    assert [record.steps for record in records[1]] == [2, 6]


def test_determinism_ends_with_the_study():
    """It forbids unseeded random operations, so a user's next fit would fail."""
    from tensorflow.python.framework import config

    from metagd_optuna.training.device import prepare_device, repeatable

    device = prepare_device()
    assert not config.is_op_determinism_enabled()
    with repeatable(device):
        assert config.is_op_determinism_enabled() != device.compiled
    assert not config.is_op_determinism_enabled()
    with repeatable(replace(device, compiled=True)):
        assert not config.is_op_determinism_enabled()


def test_bad_rate_is_an_error_that_names_the_candidate(engine):
    class Broken:
        def start(self, context):
            return ()

        def rates(self, state, observation, steps):
            return np.full(steps, np.nan), state

    with pytest.raises(ValueError, match="'broken'"):
        engine.train([TrainingJob("broken", Broken(), "adam")], seed=0)


@pytest.mark.parametrize(("shape", "dtype"), [((8, 8, 1), np.float32), ((9, 30, 3), np.uint8)])
def test_any_input_of_at_least_8_by_8(images, loss_driven, shape, dtype):
    from metagd_optuna.training.plan import plan_run

    rng = np.random.default_rng(0)

    def part(count):
        return rng.integers(0, 2, size=(count, *shape)).astype(dtype), np.arange(count, dtype=np.int32) % 2

    plan = plan_run(train_examples=12, epochs=2, batch_size=32, evaluations=40, rate_updates_per_evaluation=3)
    small = Engine(
        Images(part(12), part(6), part(6)), classes=2, class_frequencies=(0.5, 0.5), complexity=0.5, plan=plan
    )
    [record] = small.train([TrainingJob("m", loss_driven(1e-3), "adam")], seed=0, test=True)
    assert record.steps == 2
    assert np.all(np.isfinite(record.test.loss))


def test_lanes_change_nothing_and_populations_only_rounding(engine, images, plan, loss_driven):
    """Mixed optimizers, one member that diverges, one that is stopped."""
    field = [
        *jobs(loss_driven, "adam", 3),
        TrainingJob("wild", loss_driven(1e30), "sgd"),
        *jobs(loss_driven, "sgd-nesterov", 2),
    ]

    def train(population, lanes):
        engine.population, engine.lanes = population, lanes
        return engine.train(field, seed=3, test=True, watch=lambda curves: curves.keys() & {1})

    before = engine.population, engine.lanes
    try:
        alone = train(1, 1)
        assert train(1, 2) == alone
        for records in (train(2, 3), train(5, 1)):
            for found, expected in zip(records, alone, strict=True):
                assert (found.candidate, found.steps, found.diverged) == (
                    expected.candidate,
                    expected.steps,
                    expected.diverged,
                )
                np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=1e-4)
                np.testing.assert_allclose(found.test.auc, expected.test.auc, atol=1e-3)
    finally:
        engine.population, engine.lanes = before


def test_watch_may_stop_only_whom_it_was_shown(engine, loss_driven):
    with pytest.raises(ValueError, match=r"watch stops 7; it may stop \[0, 1\]"):
        engine.train(jobs(loss_driven, "adam", 2), seed=3, watch=lambda curves: [7])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_goes_wrong_in_one_lane_ends_the_others_at_their_next_evaluation(images, plan, loss_driven, error):
    engine = Engine(images, lanes=2, classes=3, class_frequencies=(0.5, 0.3, 0.2), complexity=0.4, plan=plan)
    seen = []

    def watch(curves):
        seen.extend(curves)
        raise error

    with pytest.raises(error):
        engine.train(jobs(loss_driven, "adam", 6), seed=0, watch=watch)
    assert len(seen) == 1  # nobody is shown to a watch that has failed, however late the other lane hears of it


def test_no_lane_waits_for_another(images, plan, loss_driven):
    """While one member is held up at its first evaluation, the other lane trains all others to their end."""
    engine = Engine(images, lanes=2, classes=3, class_frequencies=(0.5, 0.3, 0.2), complexity=0.4, plan=plan)
    ended, waited = threading.Event(), []

    class Slow:
        """Holds its lane up at its second rate update until everybody else has ended."""

        def start(self, context):
            return 0

        def rates(self, state, observation, steps):
            if state == 1:
                waited.append(ended.wait(timeout=60))
            return np.full(steps, 1e-3), state + 1

    def watch(curves):
        if 3 in curves and curves[3].steps[-1] == plan.steps:
            ended.set()
        return ()

    field = [TrainingJob("slow", Slow(), "adam"), *jobs(loss_driven, "adam", 3)]
    records = engine.train(field, seed=0, watch=watch)
    assert waited == [True]
    assert [record.steps for record in records] == [plan.steps] * 4


def test_error_in_a_lane_reaches_the_caller(images, plan, loss_driven):
    class Broken:
        def start(self, context):
            return ()

        def rates(self, state, observation, steps):
            raise RuntimeError("no rate today")

    engine = Engine(images, lanes=2, classes=3, class_frequencies=(0.5, 0.3, 0.2), complexity=0.4, plan=plan)
    with pytest.raises(RuntimeError, match="no rate today"):
        engine.train([*jobs(loss_driven, "adam", 2), TrainingJob("broken", Broken(), "adam")], seed=0)
