"""Put a finished task's verdict where people look: the policy file, and optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metagd_optuna.files import make_folder
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.record import (
    confirmed_policy,
    method_to_use,
    universal_policy,
    universal_rule,
    winning_policy,
)
from metagd_optuna.tuning.settings import UNIVERSAL
from metagd_optuna.tuning.store import StudyStore, TaskStore
from metagd_optuna.tuning.study_pages import show_task
from metagd_optuna.tuning.trial_page import write_artifact


class SavedPolicies(NamedTuple):
    """Paths of the policies of a task.

    Args:
        use: the rule to use: the searched policy if it is faster, else the best baseline.
        searched: the searched policy.
    """

    use: Path
    searched: Path


def note_verdicts(store: StudyStore, verdicts: Mapping[str, Mapping[str, Any]]) -> None:
    """Store the verdicts of all tasks, JSON-able, by task."""
    for name, verdict in verdicts.items():
        store.task(name).note_verdict(verdict)


def publish(
    store: TaskStore,
    *,
    out: Path,
    artifacts: Path | None,
    verdict: Mapping[str, Any],
    note: str,
    figures: Mapping[str, Any],
) -> SavedPolicies:
    """Write the policies, and the verdict, its note and figures into the storage.

    Args:
        store: of the finished task.
        out: the study's own folder.
        artifacts: where the dashboard of the storage looks for files; None if it has no such folder.
        verdict: of the report, JSON-able; it travels with the policy.
        note: Markdown for the dashboard.
        figures: name to plotly figure, for the dashboard.

    Returns:
        the paths of the policies.

    Raises:
        MetaGDError: if the files cannot be written.
    """
    store.note_verdict(verdict)
    paths = save_policies(store, out)
    if not store.is_published:
        show_task(store, artifacts=artifacts, note=note, figures=figures)
        if artifacts is not None:
            search, policy = store.load(META_POLICY), paths.searched
            for key, held in write_artifact(artifacts, policy.name, policy.read_bytes(), "application/json").items():
                store.study.storage.set_study_system_attr(search._study_id, key, held)
        # Last, so that whatever fails on the way is done again by the next run.
        store.note_published()
    return paths


def save_policies(store: TaskStore, out: Path) -> SavedPolicies:
    """Write the rule to use as ``policies/<task>.json``, and the searched one as ``policies/<task>.meta-policy.json``.

    Args:
        store: of a finished task with a verdict.
        out: the study's own folder.
    """
    use, searched = _places(out, store.name)
    confirmed_policy(store.study, store.name, method_to_use(store)).save(use)
    winning_policy(store.study, store.name).save(searched)
    return SavedPolicies(use, searched)


def save_universal_policies(study: StudyStore, out: Path, *, searched_is_faster: bool) -> SavedPolicies:
    """Write the rules that are chosen on all tasks, as above; all have to be published, as verdicts travel along.

    Args:
        study: of the universal scope, through.
        out: its own folder.
        searched_is_faster: whether the searched rule is the one to use, and not the best baseline over all tasks.
    """
    use, searched = _places(out, UNIVERSAL)
    universal_rule(study, META_POLICY if searched_is_faster else None).save(use)
    universal_policy(study).save(searched)
    return SavedPolicies(use, searched)


def _places(out: Path, name: str) -> tuple[Path, Path]:
    folder = out / "policies"
    make_folder(folder)
    return folder / f"{name}.json", folder / f"{name}.{META_POLICY}.json"
