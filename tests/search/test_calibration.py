"""The target of the searches, from runs that are made up."""

from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.search import trial_store
from metagd_optuna.search.phases import TaskPhases
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.study_file import StudySpec


def run(name, seed, score, diverged):
    scores = (0.6, score, score)
    return RunRecord(name, seed, 12, 12, Curve((4, 8, 12), *[scores] * 4), None, (), (), (), (), diverged)


@pytest.mark.parametrize(
    ("diverging", "t_search"),
    [
        ((), 0.92),
        (("adam-constant@0.01",), 0.85),  # the protocol: a diverged run counts as minus infinity
    ],
)
def test_a_rate_that_diverges_sets_no_target(diverging, t_search):
    scores = {"adam-constant@0.001": 0.85, "adam-constant@0.01": 0.92}

    def train(contenders, names, *, seed, test):
        return [run(name, seed, scores.get(name, 0.7), name in diverging) for name in names]

    workshop = SimpleNamespace(task=SimpleNamespace(name="breast_cancer"), chance=0.5, seconds=0.0, train=train)
    spec = StudySpec(name="s", tasks=("breast_cancer",), calibration_seeds=2)
    storage = optuna.storages.InMemoryStorage()
    identity = trial_store.Identity("s", spec.to_dict(), {}, "CPU")
    facts = {"fingerprint": "0", "network": {"text": "made up", "fingerprint": "0"}}
    phases = TaskPhases(storage, identity, spec, workshop, facts, Progress(Console(quiet=True)))
    assert phases._calibrate() == t_search
    assert phases._calibrate() == t_search  # as stored
