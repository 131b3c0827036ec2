"""A study that ends at a given place: in a child process, as if it were killed or interrupted there, or in this one.

The children are forked from one process that has loaded TensorFlow and computed nothing, so that they need not load it.
"""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from children import CHILDREN


class Ended(NamedTuple):
    """How a child ended: its exit code, negative for a signal, and what it wrote to its error stream."""

    returncode: int | None
    stderr: str


def strike(study_file, out, when, count, how):
    """Run a study that gets the signal ``how`` when it comes to the place ``when`` for the ``count``-th time."""
    with TemporaryDirectory() as folder:
        errors = Path(folder) / "stderr"
        child = CHILDREN.Process(target=_run, args=(study_file, out, when, count, how, errors))
        child.start()
        child.join(timeout=240)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"the study did not come to the place {when!r} {count} times, nor to its end")
        ended = Ended(child.exitcode, errors.read_text(encoding="utf-8"))
        child.close()
    return ended


def _run(study_file, out, when, count, how, errors):
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)
    import optuna

    from metagd_optuna.study import run_study
    from metagd_optuna.tuning import jobs, store, tuner

    seen = 0

    def strike_at(place):
        nonlocal seen
        if place == when:
            seen += 1
            if seen == count:
                # Its own process, by its id, as an out-of-memory killer would.
                os.kill(os.getpid(), getattr(signal, how))

    def wrap(owner, name, place):
        before = getattr(owner, name)

        def wrapped(*a, **k):
            strike_at(place(*a, **k))
            return before(*a, **k)

        setattr(owner, name, wrapped)

    wrap(store.TaskStore, "add_run", lambda self, study, *a, **k: "add " + study.study_name.split("/")[-1])
    wrap(tuner.Tuner, "_entry", lambda self, n, *a: "ask " + self._method.name)
    wrap(tuner.Tuner, "_tell", lambda self, c: "tell " + self._method.name)
    wrap(jobs.StoppingRule, "hopeless", lambda *a: "watch a search")
    wrap(optuna.Trial, "suggest_float", lambda self, n, *a, **k: "suggest " + n.split(".")[0])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_study(study_file, out=out)


class Killed(Exception):  # noqa: N818 - no error of the program
    """A process that ends there."""


def cut_off(study_file, out, monkeypatch, owner, name, when):
    """Run a study in this process until the method ``owner.name`` is called so that ``when`` is true of it."""
    from metagd_optuna.study import run_study
    from metagd_optuna.tuning.progress import Progress

    def watched(self, *args, **kwargs):
        if when(self, *args, **kwargs):
            raise Killed
        return kept(self, *args, **kwargs)

    kept = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, watched)
        with pytest.raises(Killed):
            run_study(study_file, out=out, progress=Progress())
