"""A device whose memory runs out: populations are halved down to one member, and then there is a clear error."""

import numpy as np
import pytest
import tensorflow as tf

from metagd_optuna.contracts import MetaGDError, MetaGDWarning, TrainingJob
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.population import Population


@pytest.fixture(scope="module")
def opened(images, plan):
    """Open engines that share their compiled programs, each with a population, lanes and a memory of its own."""

    def open_(population, lanes=1, log=None):
        return Engine(
            images,
            classes=3,
            class_frequencies=(0.5, 0.3, 0.2),
            complexity=0.4,
            plan=plan,
            population=population,
            lanes=lanes,
            log=log,
        )

    return open_


@pytest.fixture
def memory(monkeypatch):
    """Let a program train only so many members, from so many evaluation periods on; returns the sizes that failed."""
    failed = []
    kept = Population.advance

    def limit(members, begin=0):
        def advance(self, start, *given):
            if len(self._aboard) > members and start >= begin:
                kept(self, start, *given)  # its rates and curves are there by then
                failed.append(len(self._aboard))
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating {{node x}} tensor\nmore")
            kept(self, start, *given)

        monkeypatch.setattr(Population, "advance", advance)
        return failed

    return limit


@pytest.fixture
def field(loss_driven):
    """Eleven jobs of one optimizer, one of which diverges, and one of another."""
    rates = (1e-4, 3e-4, 1e-3, 3e-3, 1e30, 1e-2, 2e-4, 5e-4, 2e-3, 4e-3, 6e-4)
    jobs = [TrainingJob(f"m{i}", loss_driven(rate), "sgd") for i, rate in enumerate(rates)]
    return [*jobs, TrainingJob("other", loss_driven(1e-3), "adam")]


def halved(*sizes):
    return [
        f"  memory ran out with {before} members in a program; they begin anew with {after}, as later trainings do"
        for before, after in sizes
    ]


@pytest.mark.parametrize(
    ("fit", "begin", "lanes", "said"),  # how many fit, and from which step on memory is short
    [
        (4, 0, 1, halved((8, 4))),
        (2, 0, 1, halved((8, 4), (4, 2))),
        (1, 0, 1, halved((8, 4), (4, 2), (2, 1))),
        (4, 7, 1, halved((8, 4))),
        (4, 0, 2, halved((8, 4))),
    ],
)
def test_same_records_as_with_the_smaller_population_from_the_start(opened, memory, field, fit, begin, lanes, said):
    expected = opened(fit, lanes).train(field, seed=3, test=True)
    lines = []
    engine = opened(8, lanes, lines.append)
    failed = memory(fit, begin)
    found = engine.train(field, seed=3, test=True)
    assert found == expected
    assert (lines, engine.population) == (said, fit)
    times = len(failed)
    assert times >= len(said)
    assert engine.train(field, seed=4) == opened(fit).train(field, seed=4)  # begins with the smaller size
    assert (len(failed), lines) == (times, said)


def test_engine_for_other_data_knows_what_fits(opened, memory, field, images):
    lines = []
    engine = opened(8, log=lines.append)
    failed = memory(2)
    engine.train(field, seed=3)
    other = engine.on(Images(*(tuple(part) for part in (images.train, images.test, images.validation))), (1.0,) * 3)
    times = len(failed)
    other.train(field, seed=3)
    assert (other.population, len(failed), len(lines)) == (2, times, 2)
    engine.population = 16
    assert engine.population == 2
    engine.population = 1
    assert (engine.population, other.population) == (1, 2)


def test_stopped_jobs_stay_stopped_and_the_others_begin_anew(opened, memory, field, plan):
    """Memory runs out after the second evaluation, where six of eight are left."""
    seen = {}

    def watch(curves):
        for index, curve in curves.items():
            seen.setdefault(index, []).append(len(curve.steps))
        return curves.keys() & {1, 2}

    jobs = field[:4] + field[5:9]
    memory(4, plan.evaluation_steps[1])
    lines = []
    records = opened(8, log=lines.append).train(jobs, seed=3, watch=watch)
    assert lines == halved((8, 4))
    assert seen == {index: [1] if index in (1, 2) else [1, 2, 1, 2, 3, 4, 5, 6] for index in range(8)}
    alone = opened(1).train(jobs, seed=3, watch=lambda curves: curves.keys() & {1, 2})
    for record, one in zip(records, alone, strict=True):
        assert (record.candidate, record.update_steps) == (one.candidate, one.update_steps)
        assert (len(record.rates), record.validation.steps) == (record.steps, one.validation.steps)
        np.testing.assert_allclose(record.train_loss, one.train_loss, atol=1e-4)


def test_default_is_a_warning(opened, memory, field):
    memory(4)
    with pytest.warns(MetaGDWarning, match=r"^memory ran out with 8 members"):
        records = opened(8).train(field, seed=3)
    assert len(records) == len(field)


def test_one_member_that_does_not_fit_is_a_clear_error(opened, memory, field, plan):
    lines = []
    engine = opened(2, log=lines.append)
    memory(0)
    with pytest.raises(MetaGDError, match=r"^memory ran out with one member") as error:
        engine.train(field, seed=3)
    text = str(error.value)
    weights = f"{engine.model.count_params():,} weights"
    for said in (
        weights,
        "batches of 16",
        "18 x 19 x 1, 90 of them",
        "smaller batch_size",
        "smaller network",
        "nvidia",
    ):
        assert said in text
    assert "(OOM when allocating tensor)" in text
    assert len(text) < 700
    assert lines == halved((2, 1))


def test_another_error_is_not_taken_for_it(opened, field, monkeypatch):
    def broken(self, *_):
        raise tf.errors.InternalError(None, None, "broken")

    monkeypatch.setattr(Population, "advance", broken)
    engine = opened(8)
    with pytest.raises(tf.errors.InternalError, match="broken"):
        engine.train(field, seed=3)
    assert engine.population == 8
    assert np.isfinite(engine.weights)
