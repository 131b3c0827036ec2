"""Curves to numbers, numbers to intervals and verdicts: pure functions, no randomness of their own."""

from metagd_optuna.analysis.across import (
    GeometricMean,
    geometric_mean_speedup,
    payback,
    performance_profile,
    probability_of_improvement,
)
from metagd_optuna.analysis.convergence import (
    confirmed_best,
    final_best,
    headline_target,
    hit_times,
    ladder_bound,
    ladder_bounds,
    ladder_objective,
    ladder_targets,
    resolution_limited,
    search_target,
    time_to_target,
)
from metagd_optuna.analysis.curves import Band, band
from metagd_optuna.analysis.design import sobol_points
from metagd_optuna.analysis.folds import FoldChoice, best_elsewhere, geometric_means, regrets
from metagd_optuna.analysis.halving import Round, best_first, halving_rounds
from metagd_optuna.analysis.paired import (
    PairedSpeedup,
    detectable_speedup,
    holm,
    known_log_ratios,
    log_ratios,
    paired_speedup,
    same_on_all_pairs,
    sign_flip_test,
)
from metagd_optuna.analysis.scores import accuracy, balanced_accuracy, chance_level, cross_entropy, macro_auc
from metagd_optuna.analysis.verdict import Comparison, MedianTime, Verdict, median_time, verdicts

__all__ = [
    "Band",
    "Comparison",
    "FoldChoice",
    "GeometricMean",
    "MedianTime",
    "PairedSpeedup",
    "Round",
    "Verdict",
    "accuracy",
    "balanced_accuracy",
    "band",
    "best_elsewhere",
    "best_first",
    "chance_level",
    "confirmed_best",
    "cross_entropy",
    "detectable_speedup",
    "final_best",
    "geometric_mean_speedup",
    "geometric_means",
    "halving_rounds",
    "headline_target",
    "hit_times",
    "holm",
    "known_log_ratios",
    "ladder_bound",
    "ladder_bounds",
    "ladder_objective",
    "ladder_targets",
    "log_ratios",
    "macro_auc",
    "median_time",
    "paired_speedup",
    "payback",
    "performance_profile",
    "probability_of_improvement",
    "regrets",
    "resolution_limited",
    "same_on_all_pairs",
    "search_target",
    "sign_flip_test",
    "sobol_points",
    "time_to_target",
    "verdicts",
]
