"""A study in a child process that ends at a given place, as if it were killed or interrupted there."""

import subprocess
import sys

# The child stops its own process, by its id, as an out-of-memory killer would.
CHILD = """
import os, signal, sys
import optuna
from metagd_optuna.search import grid, tuning
from metagd_optuna.search.runner import run_study
from metagd_optuna.search.study_file import load_study
file, out, when, count, how = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
seen = 0
def strike(place):
    global seen
    if place == when:
        seen += 1
        if seen == count:
            os.kill(os.getpid(), getattr(signal, how))
def wrap(owner, name, place):
    before = getattr(owner, name)
    def wrapped(*a, **k):
        strike(place(*a, **k))
        return before(*a, **k)
    setattr(owner, name, wrapped)
wrap(grid.trial_store, "add_run", lambda study, *a, **k: "add " + study.study_name.split("/")[-1])
wrap(tuning.Tuner, "_candidate", lambda self, n, *a: "ask " + self._method.name)
wrap(tuning.Tuner, "_tell", lambda self, c: "tell " + self._method.name)
wrap(tuning.Tuner, "_report", lambda self, *a: "report " + self._method.name)
wrap(optuna.Trial, "suggest_float", lambda self, n, *a, **k: "suggest " + n.split(".")[0])
optuna.logging.set_verbosity(optuna.logging.WARNING)
run_study(load_study(file), out=out)
"""


def strike(study_file, out, when, count, how):
    """Run a study that gets the signal ``how`` when it comes to the place ``when`` for the ``count``-th time."""
    command = [sys.executable, "-c", CHILD, str(study_file), str(out), when, str(count), how]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
