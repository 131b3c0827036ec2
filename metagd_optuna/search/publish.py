"""Put a finished task's verdict where people look: the policy file, and optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.search.methods import META_POLICY
from metagd_optuna.search.record import winning_policy
from metagd_optuna.search.store import TaskStore
from metagd_optuna.search.study_pages import show_task


def publish(
    store: TaskStore,
    *,
    out: Path,
    artifacts: Path | None,
    verdict: Mapping[str, Any],
    note: str,
    figures: Mapping[str, Any],
) -> Path:
    """Write ``policies/<task>.json``, and the verdict, its note and figures into the storage.

    Args:
        store: of the finished task.
        out: the study's own folder.
        artifacts: where the dashboard of the storage looks for files; None if it has no such folder.
        verdict: of the report, JSON-able; it travels with the policy.
        note: Markdown for the dashboard.
        figures: name to plotly figure, for the dashboard.

    Returns:
        the path of the policy.

    Raises:
        MetaGDError: if the files cannot be written.
    """
    store.note_verdict(verdict)
    try:
        path = save_policy(store, out)
        if not store.is_published:
            show_task(store, artifacts=artifacts, note=note, figures=figures)
            if artifacts is not None:
                artifacts.mkdir(exist_ok=True)
                upload_artifact(
                    artifact_store=FileSystemArtifactStore(str(artifacts)),
                    file_path=str(path),
                    study_or_trial=store.load(META_POLICY),
                )
            # Last, so that whatever fails on the way is done again by the next run.
            store.note_published()
    except OSError as error:
        raise MetaGDError(
            f"{error.filename or out}: cannot write there ({error.strerror}); make room or make it writable, then "
            "call the same command again: nothing is trained twice"
        ) from error
    return path


def save_policy(store: TaskStore, out: Path) -> Path:
    """Write ``policies/<task>.json`` and return its path; for ``universal`` it is the rule chosen on all tasks.

    That one is to be written once every task is published, because their verdicts travel along.
    """
    path = out / "policies" / f"{store.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    winning_policy(store.study, store.name).save(path)
    return path
