"""The sampler's package holds the one that studies use, and a study takes it."""

from __future__ import annotations

import optuna
import pytest

from metagd_optuna import ResumableTPESampler


def objective(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", -1, 1) ** 2 + trial.suggest_int("n", 0, 3)


@pytest.mark.parametrize("sittings", [2, 24])
def test_a_study_that_was_cut_off_goes_on_as_if_it_was_not(sittings: int, load) -> None:
    sampler = load("samplers/resumable_tpe").ResumableTPESampler
    assert sampler is ResumableTPESampler

    def found(sittings: int) -> list[dict[str, object]]:
        storage = optuna.storages.InMemoryStorage()
        for _ in range(sittings):
            study = optuna.create_study(study_name="s", storage=storage, sampler=sampler(seed=3), load_if_exists=True)
            study.optimize(objective, n_trials=24 // sittings)
        return [trial.params for trial in study.trials]

    whole = found(1)
    assert found(sittings) == whole
    assert len({trial["x"] for trial in whole}) == 24
