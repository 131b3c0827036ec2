"""The policy space of metagd_optuna as a benchmark problem that takes milliseconds per evaluation."""

from ._problem import Problem
from ._surrogate import held_out_predictions

__all__ = ["Problem", "held_out_predictions"]
