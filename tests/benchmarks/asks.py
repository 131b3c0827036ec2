"""What a trial costs beside its training, with 10 to 10,000 trials before it: proposal, attributes, note, picture.

A study's own search, on a real database, with trainings that are made up but leave records of real size. The trials
before are added in bulk, as a search leaves them. Nothing is stopped early, so that every trial stores all of its runs.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import Side, summary

BEFORE = (10, 100, 1_000, 10_000)
ASKS = 32
AT_ONCE = (4, 64)
MOST = 10_000  # that a study file may ask for
STOPPED = 3  # every third of the trials before was stopped early

# What a trial's seconds go to: function and the end of its file's path. Some lie within others.
PROFILED = {
    "reading trials from the database": ("_get_trials", "_rdb/storage.py"),
    "which trials are its own": ("_get_trials", "own_trials.py"),
    "TPE, without reading": ("_sample", "_tpe/sampler.py"),
    "parameters that all trials have": ("calculate", "intersection.py"),
    "places of all trials": ("places", "own_trials.py"),
    "runs": ("note_runs", "stored_trials.py"),
    "picture": ("add_picture", "trial_page.py"),
    "note": ("write_note", "trial_page.py"),
}


class Clock:
    """Notes when every ask, training and tell began or ended, in wall-clock and in CPU time of the process."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float, float]] = []

    def mark(self, what: str) -> None:
        """Note that something began or ended now."""
        self.marks.append((what, time.perf_counter(), time.process_time()))

    def before(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that marks before each call."""

        def marked(*arguments: Any, **options: Any) -> Any:
            self.mark(what)
            return call(*arguments, **options)

        return marked

    def after(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that marks after each call."""

        def marked(*arguments: Any, **options: Any) -> Any:
            found = call(*arguments, **options)
            self.mark(what)
            return found

        return marked

    def costs(self, clock: int) -> dict[str, list[float]]:
        """Return the seconds of every ask and every tell, and what is left over per trial.

        Args:
            clock: 1 for wall-clock, 2 for CPU time.
        """
        found: dict[str, list[float]] = {"ask": [], "tell": [], "rest": []}
        for earlier, later in zip(self.marks, self.marks[1:], strict=False):
            seconds = later[clock] - earlier[clock]
            if earlier[0] == "ask":
                found["ask"].append(seconds)
            elif later[0] == "told":
                found["tell"].append(seconds)
            elif earlier[0] != "begins":  # between two seeds, or between two batches
                found["rest"].append(seconds)
        trials = len(found["ask"])
        share = sum(found["rest"]) / trials
        return {
            "ask": found["ask"],
            "tell": found["tell"],
            "trial": [sum(pair) + share for pair in zip(found["ask"], found["tell"], strict=True)],
        }


def asks_side() -> Callable[..., dict[str, Any]]:
    """One sample: some trials of a search that has so many before."""
    import optuna
    from made_up_search import MadeUpTrainer, method_of, open_store, search

    from metagd_optuna.tuning.progress import Progress
    from metagd_optuna.tuning.settings import StudySpec

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def spec(before: int, at_once: int, asks: int) -> StudySpec:
        return StudySpec(
            name="asks", tasks=("breast_cancer",), trials=before + asks, trials_at_once=at_once, pruning=False
        )

    def timed(store: Any, settings: StudySpec) -> dict[str, Any]:
        study, clock = store.open("meta-policy"), Clock()
        began = time.perf_counter()
        study.get_trials(deepcopy=False)
        opening = time.perf_counter() - began
        study.ask, study.tell = clock.before("ask", study.ask), clock.after("told", study.tell)
        search(store, study, method_of(settings), settings, MadeUpTrainer(clock.mark), Progress())
        return {"opening": opening, "wall": clock.costs(1), "cpu": clock.costs(2)}

    def profiled(store: Any, settings: StudySpec) -> dict[str, float]:
        study = store.open("meta-policy")
        study.get_trials(deepcopy=False)
        profile = cProfile.Profile()
        profile.runcall(search, store, study, method_of(settings), settings, MadeUpTrainer(), Progress())
        found = {}
        for (path, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
            for text, (function, end) in PROFILED.items():
                if name == function and path.endswith(end):
                    found[text] = cumulative / settings.trials_at_once
        return found

    def sample(before: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            # One batch of 64 and one of 4 more to be profiled come after the 32.
            first = min(before, MOST - ASKS - sum(AT_ONCE))
            settings = spec(first, AT_ONCE[0], ASKS)
            store = open_store(Path(folder), settings)
            fill(store, settings, first)
            found["4 at once"] = timed(store, settings)
            found["profile"] = profiled(store, spec(first + ASKS, AT_ONCE[0], AT_ONCE[0]))
            # Places of a batch begin at a multiple of its size, so the last batch of 64 is as long as it has to be.
            found["64 at once"] = timed(store, spec(first + ASKS + AT_ONCE[0], AT_ONCE[1], AT_ONCE[1]))
        return found

    return sample


def fill(store: Any, settings: Any, count: int) -> None:
    """Add trials in bulk as a search leaves them: parameters, attributes, runs, notes."""
    import optuna
    import sqlalchemy
    from made_up_search import PLAN, beginning, cut, made_up_run, method_of
    from optuna.storages._rdb.models import StudySystemAttributeModel
    from optuna.trial import TrialState
    from optuna_dashboard._note import note_ver_key, split_body

    from metagd_optuna.tuning import stored_trials
    from metagd_optuna.tuning.trial_page import trial_note

    study, method = store.open("meta-policy"), method_of(settings)
    proposals = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in method.initial_points:
        proposals.enqueue_trial(dict(point))
    notes = []
    for number in range(count):
        asked = proposals.ask()
        candidate = method.suggest(asked)
        stopped = number % STOPPED == 1
        runs = [made_up_run(f"{method.name}#{number}", seed) for seed in (1, 2)]
        if stopped:
            runs = [cut(runs[0], beginning(runs[0].validation, len(PLAN.evaluation_steps) // 2))]
        objectives = [float(1 + seed + number / count) for seed in range(2 - stopped)]
        attributes = {
            stored_trials.SUBJECT: stored_trials.described(candidate),
            stored_trials.NUMBER: number,
            stored_trials.PLACE: number,
            stored_trials.OBJECTIVES: objectives[: 0 if stopped else 2],
            stored_trials.SECONDS: 5.0,
            **store.evidence,
        }
        if stopped:
            attributes[stored_trials.LEAST_OBJECTIVE] = objectives[0]
        held = proposals.get_trials(deepcopy=False)[number]
        trial = optuna.create_trial(
            state=TrialState.PRUNED if stopped else TrialState.COMPLETE,
            value=None if stopped else sum(objectives) / 2,
            params=held.params,
            distributions=held.distributions,
            user_attrs=attributes,
            system_attrs={
                **{key: value for key, value in held.system_attrs.items() if key == "fixed_params"},
                stored_trials.RUNS: [run.to_dict() for run in runs],
                f"artifacts:{number}": '{"artifact_id": "0", "filename": "curves.svg", "mimetype": "image/svg+xml"}',
            },
        )
        identifier = store.add_run(study, trial)
        trial.number, trial._trial_id = number, identifier
        note = trial_note(trial, study_id=study._study_id, value="objective", metric="auc")
        notes += [(note_ver_key(identifier), 1), *split_body(note, identifier).items()]
    import json

    rows = [{"study_id": study._study_id, "key": key, "value_json": json.dumps(value)} for key, value in notes]
    with store.study.storage.engine.begin() as connection:
        connection.execute(sqlalchemy.insert(StudySystemAttributeModel), rows)


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Measure at every number of trials, each in a process of its own."""
    found: dict[str, Any] = {"unit": "seconds per trial"}
    for before in BEFORE:
        with Side(asks_side, ours=False) as side:
            sampled = side.sample(before=before)
        for at_once in ("4 at once", "64 at once"):
            for clock in ("wall", "cpu"):
                sampled[at_once][clock] = {what: summary(each) for what, each in sampled[at_once][clock].items()}
        found[str(before)] = sampled
        shown = {
            at_once: round(sampled[at_once]["cpu"]["trial"]["median"], 3) for at_once in ("4 at once", "64 at once")
        }
        print(f"  {before} trials before: CPU seconds per trial {shown}", flush=True)
    return found
