"""Tasks: the catalogue, loading from files and downloads, complexity, and the data audit."""

from __future__ import annotations

from metagd_optuna.tasks.archive import save_task
from metagd_optuna.tasks.audit import Audit, audit, audit_arrays
from metagd_optuna.tasks.catalogue import CATALOGUE, DEFAULT_TASK, CatalogueEntry, find_entry, list_tasks
from metagd_optuna.tasks.complexity import COMPLEXITY_METHODS, class_frequencies, measure_complexity
from metagd_optuna.tasks.download import fetch
from metagd_optuna.tasks.finding import Finding
from metagd_optuna.tasks.loading import load_task
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.readers.registry import register_reader
from metagd_optuna.tasks.task import Sizes, Task, fingerprint

__all__ = [
    "CATALOGUE",
    "COMPLEXITY_METHODS",
    "DEFAULT_TASK",
    "Audit",
    "CatalogueEntry",
    "Finding",
    "Reader",
    "Sizes",
    "Task",
    "TaskData",
    "audit",
    "audit_arrays",
    "class_frequencies",
    "fetch",
    "find_entry",
    "fingerprint",
    "list_tasks",
    "load_task",
    "measure_complexity",
    "register_reader",
    "save_task",
]
