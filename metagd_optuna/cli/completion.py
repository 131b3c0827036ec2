"""What a shell completes: names of policies, tasks, studies and workloads.

Nothing is opened for it: a completion has to come while somebody types.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from metagd_optuna.cli.options import RUNS

SEARCHED = ".meta-policy"  # the searched policy beside the rule to use


def stored_runs() -> list[Path]:
    """Return the policies that studies have left under ``runs``."""
    return sorted(RUNS.glob("*/policies/*.json"))


def policy_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a stored policy, or the path of one of a run or of any file."""
    from metagd_optuna.policy.stored import stored_policies

    return _or_file([*stored_policies(), *(path.as_posix() for path in stored_runs())], incomplete)


def task_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a task of the catalogue, or the path of a file."""
    from metagd_optuna.tasks.catalogue import CATALOGUE

    return _or_file(CATALOGUE, incomplete)


def study_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a study under ``runs``."""
    return _beginning([path.parent.name for path in sorted(RUNS.glob("*/optuna.db"))], incomplete)


def study_tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a task of the study that is named, or of all under ``runs``."""
    study = context.params.get("study")
    found = [path for path in stored_runs() if study in (None, path.parts[1]) and not path.stem.endswith(SEARCHED)]
    return _beginning({path.stem: None for path in found}, incomplete)


def run_folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the folder of a study that has a report, or any other one."""
    finished = [path.parent.parent.as_posix() for path in sorted(RUNS.glob("*/report/results.json"))]
    return _or_file(finished, incomplete, kind="dir")


def workload_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a workload of the suite."""
    from metagd_optuna.suite.workloads import WORKLOADS

    return _beginning([each.name for each in WORKLOADS], incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _or_file(names: Iterable[str], incomplete: str, kind: str = "file") -> list[CompletionItem]:
    """Return names, or where none begins so, what makes the shell look for a file or a folder itself."""
    return _beginning(names, incomplete) or [CompletionItem(incomplete, type=kind)]
