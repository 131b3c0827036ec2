"""TPE whose proposals do not depend on where a study was cut off."""

from metagd_optuna import ResumableTPESampler

__all__ = ["ResumableTPESampler"]
