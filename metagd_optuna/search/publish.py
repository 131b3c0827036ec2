"""Put a finished task's verdict where people look: the policy file, and optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.storages import BaseStorage

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import META_POLICY
from metagd_optuna.search.record import universal_policy, winning_policy
from metagd_optuna.search.study_file import UNIVERSAL


def publish(
    storage: BaseStorage,
    name: str,
    task: str,
    *,
    out: Path,
    artifacts: Path | None,
    verdict: Mapping[str, Any],
    note: str,
    figures: Mapping[str, Any],
) -> MetaPolicy:
    """Write ``policies/<task>.json``, and the verdict, its note and figures into the storage.

    Args:
        storage: of the study.
        name, task: what is finished.
        out: the study's own folder.
        artifacts: where the dashboard of the storage looks for files; None if it has no such folder.
        verdict: of the report, JSON-able; it travels with the policy.
        note: Markdown for the dashboard.
        figures: name to plotly figure, for the dashboard.

    Returns:
        the searched policy, as written.

    Raises:
        MetaGDError: if the files cannot be written.
    """
    confirm = trial_store.load_part(storage, name, task, "confirm")
    trial_store.note_verdict(confirm, verdict)
    policy = winning_policy(storage, name, task)
    path = out / "policies" / f"{task}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        policy.save(path)
        if not trial_store.is_published(confirm, verdict):
            searched = trial_store.load_part(storage, name, task, META_POLICY)
            for study in (confirm, searched):
                optuna_dashboard.save_note(study, note)
            for identifier, figure in figures.items():
                optuna_dashboard.save_plotly_graph_object(confirm, figure, graph_object_id=identifier)
            if artifacts is not None:
                artifacts.mkdir(exist_ok=True)
                upload_artifact(
                    artifact_store=FileSystemArtifactStore(str(artifacts)), file_path=str(path), study_or_trial=searched
                )
            # Last, so that whatever fails on the way is done again by the next run.
            trial_store.note_published(confirm, verdict)
    except OSError as error:
        raise MetaGDError(
            f"{error.filename or out}: cannot write there ({error.strerror}); make room or make it writable, then "
            "call the same command again: nothing is trained twice"
        ) from error
    return policy


def publish_universal(storage: BaseStorage, name: str, *, out: Path) -> Path:
    """Write ``policies/universal.json``, the rule chosen on all tasks, and return its path.

    To be called once every task is published, because their verdicts travel along.
    """
    path = out / "policies" / f"{UNIVERSAL}.json"
    universal_policy(storage, name).save(path)
    return path
