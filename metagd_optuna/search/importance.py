"""Which parameters of a search mattered."""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import TrialState


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of importance per parameter, largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter 2023): how differently good trials choose a parameter from all
    trials that have it. Empty if fewer than four trials finished or all have the same objective.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < 4 or len({trial.value for trial in finished}) < 2:
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
