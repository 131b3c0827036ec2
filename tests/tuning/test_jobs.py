"""Jobs: who trains together, what travels, and when a training is stopped."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from metagd_optuna.contracts import Curve
from metagd_optuna.policy import baseline_from_params, candidate_from_settings
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning.jobs import Job, StoppingRule

PLAN = plan_run(train_examples=320, epochs=10, batch_size=32, evaluations=4, rate_updates_per_evaluation=1)


def candidate(name, method="adam-constant"):
    given = {"lr0": 1e-3} | ({"warmup": 0.1} if method == "schedule-free" else {})
    return replace(baseline_from_params(method, {f"{method}.{key}": value for key, value in given.items()}), name=name)


@pytest.mark.parametrize(
    ("optimizers", "most", "expected"),
    [
        ("aaaa", 1, [[0], [1], [2], [3]]),
        ("aaaa", 3, [[0, 1, 2], [3]]),
        ("asas", 2, [[0, 2], [1, 3]]),
        ("asasa", 2, [[0, 2], [4], [1, 3]]),
        ("", 4, []),
    ],
)
def test_those_of_one_optimizer_share_a_program_up_to_a_number(optimizers, most, expected):
    methods = {"a": "adam-constant", "s": "schedule-free"}
    job = Job(tuple(candidate(f"c{i}", methods[letter]) for i, letter in enumerate(optimizers)), seed=1)
    assert job.populations(most, 32) == expected


def rule(**changed):
    given = {
        "targets": np.array([0.6, 0.8]),
        "through": ((1.0,), (2.0,), ()),
        "seeds": 3,
        "limit": 4.0,
        "best_run": 0.5,
        "pruning": True,
        "earlier": np.empty((0, 4)),
        "least": 4,
    }
    return StoppingRule(**(given | changed))


def test_a_part_of_a_job_keeps_the_thresholds_of_its_candidates():
    job = Job(tuple(candidate(f"c{i}") for i in range(3)), seed=1, stop=rule())
    part = job.of([1, 2])
    assert [each.name for each in part.candidates] == ["c1", "c2"]
    assert part.stop.through == ((2.0,), ())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"test": True},
        {"resample": True},
        {"candidates": (candidate("other"),)},
        {"stop": None},
        {"stop": rule(limit=3.0)},
        {"stop": rule(earlier=np.zeros((1, 4)))},
        {"stop": rule(through=((1.5,),))},
    ],
)
def test_two_jobs_have_one_key_only_if_they_are_the_same(change):
    job = Job((candidate("c0"),), seed=1, stop=rule())
    assert job.key("t") == replace(job).key("t") == pickle.loads(pickle.dumps(job)).key("t")
    assert replace(job, **change).key("t") != job.key("t") != job.key("u")


class Measures:
    """Scores that say themselves how many epochs are bound."""

    plan = PLAN

    def bound(self, curve, targets):
        return curve.auc[-1]

    def reached(self, curve, target):
        return curve.auc[-1] == 0


def curve(bound, evaluations=1):
    shown = (bound,) * evaluations
    return Curve(PLAN.evaluation_steps[:evaluations], shown, shown, shown, shown)


@pytest.mark.parametrize(
    ("changed", "shown", "least"),
    [
        ({}, curve(11.0), 12.5 / 3),  # (1 + 11 + 0.5) / 3 is beyond 4
        ({}, curve(10.0), None),
        ({"pruning": False}, curve(11.0), None),
        ({"limit": np.inf}, curve(11.0), None),
        # From half of a run on, behind the median of enough earlier ones.
        ({"earlier": np.ones((4, 4))}, curve(9.0, 2), 10.5 / 3),
        ({"earlier": np.ones((4, 4))}, curve(9.0, 1), None),
        ({"earlier": np.ones((3, 4))}, curve(9.0, 2), None),
        ({"earlier": np.full((4, 4), np.nan)}, curve(9.0, 2), None),
        ({}, Curve((), (), (), (), ()), None),
    ],
)
def test_a_training_is_hopeless_by_what_was_known_before_it_began(changed, shown, least):
    found = rule(**changed).hopeless(0, shown, Measures())
    assert found == (None if least is None else pytest.approx(least))


def test_what_is_watched_is_stopped_if_it_is_hopeless_or_through():
    watch = rule().watch(Measures())
    assert list(watch({0: curve(11.0), 1: curve(1.0), 2: curve(0.0)})) == [0, 2]


def test_a_rule_of_any_kind_travels():
    from metagd_optuna.policy import ARTICLES, DEFAULTS, article_candidate, default_candidate

    for one in [*map(default_candidate, DEFAULTS), *map(article_candidate, ARTICLES)]:
        again = pickle.loads(pickle.dumps(one))
        assert again.settings == one.settings == candidate_from_settings(one.name, one.settings).settings
