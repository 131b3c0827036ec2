"""Search, confirm and import learning-rate rules for medical image classifiers."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metagd_optuna.contracts import MetaGDError, MetaGDWarning
    from metagd_optuna.policy.baselines import register_baseline
    from metagd_optuna.policy.difficulty import register_difficulty_form
    from metagd_optuna.policy.meta_policy import MetaPolicy
    from metagd_optuna.policy.optimizers import Optimizer, register_optimizer
    from metagd_optuna.policy.rate import register_rate_form
    from metagd_optuna.policy.stored import load_policy
    from metagd_optuna.study import StudyResults, run_study, search
    from metagd_optuna.tasks.complexity import class_frequencies, measure_complexity
    from metagd_optuna.tasks.loading import load_task
    from metagd_optuna.tasks.readers.registry import register_reader
    from metagd_optuna.training.batch_norm import recalibrate_batch_norm
    from metagd_optuna.training.callback import MetaPolicyCallback
    from metagd_optuna.training.optimizers import UpdateRule
    from metagd_optuna.training.schedule_free import ScheduleFreeAdamW, save_average
    from metagd_optuna.tuning.objective import MetaPolicyObjective
    from metagd_optuna.tuning.pruning_callback import PruningCallback
    from metagd_optuna.tuning.resumable_sampler import ResumableTPESampler
    from metagd_optuna.tuning.study_file import load_study
    from metagd_optuna.tuning.suggest import suggest_meta_policy

    __version__: str

__all__ = [
    "MetaGDError",
    "MetaGDWarning",
    "MetaPolicy",
    "MetaPolicyCallback",
    "MetaPolicyObjective",
    "Optimizer",
    "PruningCallback",
    "ResumableTPESampler",
    "ScheduleFreeAdamW",
    "StudyResults",
    "UpdateRule",
    "__version__",
    "class_frequencies",
    "load_policy",
    "load_study",
    "load_task",
    "measure_complexity",
    "recalibrate_batch_norm",
    "register_baseline",
    "register_difficulty_form",
    "register_optimizer",
    "register_rate_form",
    "register_reader",
    "run_study",
    "save_average",
    "search",
    "suggest_meta_policy",
]

# Some of these modules load TensorFlow or Optuna, so each is imported when its name is first used.
_HOMES = {
    "MetaGDError": "metagd_optuna.contracts",
    "MetaGDWarning": "metagd_optuna.contracts",
    "MetaPolicy": "metagd_optuna.policy.meta_policy",
    "MetaPolicyCallback": "metagd_optuna.training.callback",
    "Optimizer": "metagd_optuna.policy.optimizers",
    "ScheduleFreeAdamW": "metagd_optuna.training.schedule_free",
    "MetaPolicyObjective": "metagd_optuna.tuning.objective",
    "PruningCallback": "metagd_optuna.tuning.pruning_callback",
    "ResumableTPESampler": "metagd_optuna.tuning.resumable_sampler",
    "search": "metagd_optuna.study",
    "suggest_meta_policy": "metagd_optuna.tuning.suggest",
    "StudyResults": "metagd_optuna.study",
    "UpdateRule": "metagd_optuna.training.optimizers",
    "class_frequencies": "metagd_optuna.tasks.complexity",
    "load_policy": "metagd_optuna.policy.stored",
    "load_study": "metagd_optuna.tuning.study_file",
    "load_task": "metagd_optuna.tasks.loading",
    "measure_complexity": "metagd_optuna.tasks.complexity",
    "recalibrate_batch_norm": "metagd_optuna.training.batch_norm",
    "register_baseline": "metagd_optuna.policy.baselines",
    "register_difficulty_form": "metagd_optuna.policy.difficulty",
    "register_optimizer": "metagd_optuna.policy.optimizers",
    "register_rate_form": "metagd_optuna.policy.rate",
    "register_reader": "metagd_optuna.tasks.readers.registry",
    "run_study": "metagd_optuna.study",
    "save_average": "metagd_optuna.training.schedule_free",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("metagd-optuna")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'metagd_optuna' has no attribute {name!r}; its names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
