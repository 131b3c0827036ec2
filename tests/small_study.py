"""One small study on real data, and its results, for whoever needs a finished one."""

import json
from pathlib import Path
from typing import NamedTuple

TASK = "breast_cancer"
PARTS = ("calibrate", "adam-constant", "meta-policy", "shortlist", "confirm")
SMALL_STUDY = """
tasks = ["breast_cancer"]
baselines = ["adam-constant"]
trials = 5
trials_at_once = 2
seeds_per_trial = 2
max_train = 120
max_eval = 40
examples_per_run = 480
evaluations = 12
ticks_per_evaluation = 2
calibration_seeds = 2
shortlist_trials = 3
shortlist_seeds = 1
confirmation_seeds = 2
"""


class FinishedStudy(NamedTuple):
    """A study that ran without interruption: its file, its folder, and its results but for the times."""

    file: Path
    out: Path
    results: str


def results_but_times(record):
    """Return a study's results as JSON text, without its wall-clock."""
    from metagd_optuna.report.results import build_results

    results = build_results(record)
    del results["timing"]
    return json.dumps(results, sort_keys=True)


def stored_trials(out, part, states=None):
    """Return the trials of one part of a small study in the folder ``out``, of all states by default."""
    from metagd_optuna.search import trial_store
    from metagd_optuna.search.storage import open_storage

    storage = open_storage(out / "optuna.db", must_exist=True)
    return trial_store.load_part(storage, "small", TASK, part).get_trials(deepcopy=False, states=states)
