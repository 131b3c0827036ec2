"""The data audit: what is wrong with the cases of a task, in which of them, and what to do about it."""

from __future__ import annotations

from metagd_optuna.tasks.audit.audit import audit, audit_arrays
from metagd_optuna.tasks.audit.result import Audit, cases_by_class
from metagd_optuna.tasks.finding import Finding

__all__ = ["Audit", "Finding", "audit", "audit_arrays", "cases_by_class"]
