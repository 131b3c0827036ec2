"""What a trial's page in optuna-dashboard shows: what sets the rate, how each seed went, and the curves of both.

Notes and files are for people; nothing here is read again.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
import optuna_dashboard
from optuna.artifacts import ArtifactMeta, get_all_artifact_meta
from optuna.trial import FrozenTrial
from optuna_dashboard._note import note_ver_key, split_body

from metagd_optuna.analysis.convergence import final_best
from metagd_optuna.contracts import RunRecord
from metagd_optuna.files import make_folder, write_bytes
from metagd_optuna.given import in_markdown
from metagd_optuna.policy.formula import formula_lines
from metagd_optuna.tuning.run_pictures import run_picture
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.stored_trials import (
    LEAST_OBJECTIVE,
    candidate_of_trial,
    records_of,
    run_objectives,
)

CURVES = "curves.svg"
SVG = "image/svg+xml"
_IDENTIFIER = re.compile(r"[\w-]+")  # of a file, which anybody may have stored


def picture_attributes(store: TaskStore, runs: Sequence[RunRecord], steps_per_epoch: float) -> dict[str, str]:
    """Write the curves of a trial's runs as a file of the dashboard; return what the trial has to hold for it.

    Args:
        store: of the task.
        runs: one per seed.
        steps_per_epoch: of the task.

    Returns:
        system attributes of the trial; none if the storage is a server, which has no folder for files.

    Raises:
        MetaGDError: if the file cannot be written.
    """
    if store.study.artifacts is None:
        return {}
    drawn = {f"seed {run.seed}": [run] for run in runs}
    picture = run_picture(drawn, store.metric, steps_per_epoch)
    return write_artifact(store.study.artifacts, CURVES, picture.encode(), SVG)


def write_artifact(folder: Path, name: str, content: bytes, mimetype: str) -> dict[str, str]:
    """Write a file into the dashboard's folder; return the attribute by which its owner is found to have it.

    Optuna's ``upload_artifact`` sets the attribute before it writes, so a disk that runs full leaves one without its
    file. It takes studies and trials that still run, and a run of a grid is stored finished, in one transaction, so it
    has to bring the attribute along.

    Args:
        folder: of the dashboard, made if it does not exist.
        name: that the dashboard shows.
        content: of the file.
        mimetype: such as ``image/svg+xml``.

    Raises:
        MetaGDError: if the file cannot be written.
    """
    found = ArtifactMeta(str(uuid.uuid4()), name, mimetype, None)
    make_folder(folder)
    write_bytes(content, folder / found.artifact_id)
    return {f"artifacts:{found.artifact_id}": json.dumps(asdict(found))}


def add_picture(store: TaskStore, trial: optuna.Trial, runs: Sequence[RunRecord], steps_per_epoch: float) -> None:
    """Give a trial that still runs the picture of its runs, unless an earlier process did.

    Args:
        store: of the task.
        trial: as Optuna handed it out.
        runs: one per seed.
        steps_per_epoch: of the task.
    """
    if not get_all_artifact_meta(trial):
        for key, value in picture_attributes(store, runs, steps_per_epoch).items():
            trial.storage.set_trial_system_attr(trial._trial_id, key, value)


def write_note(store: TaskStore, study: optuna.Study, identifier: int) -> None:
    """Write the first note of a trial that has all its attributes: formula, seeds, curves.

    Args:
        store: of the task.
        study: that holds the trial.
        identifier: of the trial in the storage.
    """
    # The dashboard keeps the notes of all trials with their study, and its ``save_note`` reads all of them.
    body, storage = _note(store, study, identifier), store.study.storage
    for key, held in {note_ver_key(identifier): 1, **split_body(body, identifier)}.items():
        storage.set_study_system_attr(study._study_id, key, held)


def rewrite_note(store: TaskStore, study: optuna.Study, identifier: int, *, chosen: str = "") -> None:
    """Write the note of a trial again.

    Args:
        store: of the task.
        study: that holds the trial.
        identifier: of the trial in the storage.
        chosen: why the trial matters now, in a sentence; "" if it no longer does.
    """
    optuna_dashboard.save_note(optuna.Trial(study, identifier), _note(store, study, identifier, chosen))


def _note(store: TaskStore, study: optuna.Study, identifier: int, chosen: str = "") -> str:
    trial = store.study.storage.get_trial(identifier)
    value = store.value_name(study)
    return trial_note(trial, study_id=study._study_id, value=value, metric=store.metric, chosen=chosen)


def trial_note(trial: FrozenTrial, *, study_id: int, value: str, metric: str, chosen: str = "") -> str:
    """Return the note of a trial as Markdown, in short lines: the page is as wide as its longest attribute.

    Args:
        trial: with all its attributes.
        study_id: of its study in the storage.
        value: what the dashboard calls the trial's value.
        metric: name of the validation score.
        chosen: why the trial matters, in a sentence.
    """
    candidate, runs = candidate_of_trial(trial), records_of(trial)
    values = run_objectives(trial) or ([] if trial.value is None else [trial.value])
    named = f"**{in_markdown(candidate.name)}**"
    parts = [f"{named}{chosen and f': {chosen}'}", formula_block(candidate.formula)]
    if runs:
        rows = [f"| seed | {in_markdown(value)} | confirmed best {metric} | steps of the budget |", "|---|---|---|---|"]
        for place, run in enumerate(runs):
            result = f"{values[place]:.4g}" if place < len(values) else "stopped"
            rows.append(f"| {run.seed} | {result} | {_best(run, metric)} | {run.steps} of {run.budget} |")
        parts.append("\n".join(rows))
    if LEAST_OBJECTIVE in trial.user_attrs:
        least = trial.user_attrs[LEAST_OBJECTIVE]
        parts.append(f"Stopped, so it has no value; at best it would have had {least:.4g}.")
    parts.append(pictures(trial, f"/artifacts/{study_id}/{trial._trial_id}"))
    return "\n\n".join(filter(None, parts)) + "\n"


def formula_block(formula: str) -> str:
    """Return a rule as a listing: optuna-dashboard sets no mathematics, and its Markdown takes backslashes away."""
    return f"```text\n{formula_lines(formula).replace('`', '')}\n```"


def pictures(trial: FrozenTrial, address: str) -> str:
    """Return a trial's pictures as Markdown, none if it has none.

    Args:
        trial: with its system attributes.
        address: where the dashboard serves its files.
    """
    found = (json.loads(held) for key, held in trial.system_attrs.items() if key.startswith("artifacts:"))
    return "\n".join(
        f"![learning rate and validation score]({address}/{each['artifact_id']})"
        for each in found
        if each["mimetype"] == SVG and _IDENTIFIER.fullmatch(each["artifact_id"])
    )


def _best(run: RunRecord, metric: str) -> str:
    best = final_best(run.validation.metric(metric))
    return "diverged" if run.diverged else f"{best:.4f}" if math.isfinite(best) else "none yet"
