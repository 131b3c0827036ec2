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
from io import BytesIO
from pathlib import Path

import optuna
import optuna_dashboard
from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import FrozenTrial

from metagd_optuna.analysis.convergence import final_best
from metagd_optuna.contracts import MetaGDError, RunRecord
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
    return write_picture(store.study.artifacts, CURVES, run_picture(drawn, store.metric, steps_per_epoch))


def write_picture(folder: Path, name: str, picture: str) -> dict[str, str]:
    """Write an SVG picture into the dashboard's folder; return the attribute by which its owner is found to have it.

    Optuna's ``upload_artifact`` writes to studies and to trials that still run. A run of a grid is stored finished, in
    one transaction, so it has to bring the attribute along.

    Raises:
        MetaGDError: if the file cannot be written.
    """
    found = ArtifactMeta(str(uuid.uuid4()), name, "image/svg+xml", None)
    try:
        folder.mkdir(exist_ok=True)
        FileSystemArtifactStore(str(folder)).write(found.artifact_id, BytesIO(picture.encode()))
    except OSError as error:
        raise MetaGDError(
            f"{folder}: the pictures of the dashboard cannot be written there ({error.strerror}); make room or make it "
            "writable, then call the same command again: nothing is trained twice"
        ) from error
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


def write_note(store: TaskStore, study: optuna.Study, identifier: int, *, chosen: str = "") -> None:
    """Write the note of a trial that has all its attributes: formula, seeds, curves.

    Args:
        store: of the task.
        study: that holds the trial.
        identifier: of the trial in the storage.
        chosen: why the trial matters, in a sentence.
    """
    trial = store.study.storage.get_trial(identifier)
    [value] = study.metric_names or ["value"]
    note = trial_note(trial, study_id=study._study_id, value=value, metric=store.metric, chosen=chosen)
    optuna_dashboard.save_note(optuna.Trial(study, identifier), note)


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
        if each["mimetype"] == "image/svg+xml" and _IDENTIFIER.fullmatch(each["artifact_id"])
    )


def _best(run: RunRecord, metric: str) -> str:
    best = final_best(run.validation.metric(metric))
    return "diverged" if run.diverged else f"{best:.4f}" if math.isfinite(best) else "none yet"
