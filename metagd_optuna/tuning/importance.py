"""Which parameters of a search mattered, and how sure one may be of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

LEAST_TRIALS = 4
RESAMPLES = 100


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of importance per parameter, largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter 2023): how differently good trials choose a parameter from all
    trials that have it. Empty if fewer than four trials finished or all have the same objective.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < LEAST_TRIALS or len({trial.value for trial in finished}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Parameters of a form that few trials chose: the report says that importances of few trials are rough.
        warnings.filterwarnings("ignore", message="Some regimes for parameter", category=UserWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return {
            name: float(share)
            for name, share in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
        }


def importance_intervals(study: optuna.Study, *, resamples: int = RESAMPLES) -> dict[str, tuple[float, float]]:
    """Return the 95% interval of every parameter's share, by a bootstrap over the finished trials.

    Any one trial is missing from a third of the resamples, so a share that hangs on few trials has a wide interval.
    The resamples are the same whenever the trials are.
    """
    shares = importances(study)
    if not shares:
        return {}
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    drawn = np.random.default_rng(0).integers(len(finished), size=(resamples, len(finished)))
    with _quiet():
        found = [importances(_study_of([finished[place] for place in places])) for places in drawn]
    intervals = {}
    for name in shares:
        low, high = np.quantile([resampled.get(name, 0.0) for resampled in found if resampled], [0.025, 0.975])
        intervals[name] = (float(low), float(high))
    return intervals


def _study_of(trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Return a study in memory that holds the parameters and values of some trials."""
    study = optuna.create_study()
    for trial in trials:
        study.add_trial(optuna.create_trial(params=trial.params, distributions=trial.distributions, value=trial.value))
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from announcing studies that nobody is meant to see."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
