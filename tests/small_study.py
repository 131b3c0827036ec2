"""One small study on real data, and its results, for whoever needs a finished one."""

import json
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

TASK = "breast_cancer"
PARTS = ("calibrate", "adam-constant", "meta-policy", "shortlist", "confirm")
SMALL_STUDY = """
tasks = ["breast_cancer"]
baselines = ["adam-constant"]
trials = 5
trials_at_once = 2
seeds_per_trial = 2
batch_size = 16
max_train = 48
max_eval = 40
examples_per_run = 192
evaluations = 8
rate_updates_per_evaluation = 1
calibration_seeds = 2
shortlist_trials = 3
shortlist_seeds = 1
confirmation_seeds = 2
"""


# A GPU measures how many members train fastest together, for every network and shape; this leaves that out.
UNMEASURED = "population = 2\n"


class FinishedStudy(NamedTuple):
    """A study that ran without interruption: its file, its folder, and its results but for the times."""

    file: Path
    out: Path
    results: str


def results_of(found):
    """Return the results document of a study, as ``results.json`` holds it.

    Args:
        found: what ``run_study`` returned, or the study's store, whose record is evaluated then.
    """
    from metagd_optuna.report.results import build_results
    from metagd_optuna.tuning.record import load_record
    from metagd_optuna.tuning.store import StudyStore

    return build_results(load_record(found)) if isinstance(found, StudyStore) else found.results


def results_but_times(found):
    """Return a study's results as JSON text, without its wall-clock."""
    return json.dumps(results_of(found).model_dump(mode="json", exclude={"timing"}), sort_keys=True)


def store_of(out, study="small"):
    """Return what the storage in the folder ``out`` keeps of a study."""
    from metagd_optuna.tuning.storage import open_storage
    from metagd_optuna.tuning.store import StudyStore

    return StudyStore.load(open_storage(out / "optuna.db", must_exist=True), study)


def made_once(folder, make):
    """Return ``folder``, which ``make(path)`` fills, for whichever process asks first."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}-unfinished")
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def stored_trials(out, part, states=None):
    """Return the trials of one part of a small study in the folder ``out``, of all states by default."""
    return store_of(out).task(TASK).load(part).get_trials(deepcopy=False, states=states)


def searched(out, parts=PARTS[:3]):
    """Return what the searches of a small study tried and found, in order, calibration included."""
    # A trial that was stopped early has no value of its own where it was taken from another machine's file.
    return {
        part: [(t.params, t.state.name, t.state.name == "COMPLETE" and t.value) for t in stored_trials(out, part)]
        for part in parts
    }
