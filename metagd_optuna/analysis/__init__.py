"""Curves to numbers, numbers to intervals and verdicts: pure functions, no randomness of their own."""

from metagd_optuna.analysis.across import (
    GeometricMean,
    geometric_mean_speedup,
    payback,
    performance_profile,
    probability_of_improvement,
)
from metagd_optuna.analysis.convergence import (
    confirmation_target,
    confirmed_best,
    final_best,
    hit_times,
    mean_time_bound,
    mean_time_bounds,
    mean_time_to_targets,
    resolution_limited,
    search_target,
    targets_up_to,
    time_to_target,
)
from metagd_optuna.analysis.curves import Band, band
from metagd_optuna.analysis.design import sobol_points
from metagd_optuna.analysis.halving import Round, best_first, halving_rounds
from metagd_optuna.analysis.leave_one_out import HeldOutChoice, best_elsewhere, geometric_means, regrets
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
    "GeometricMean",
    "HeldOutChoice",
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
    "confirmation_target",
    "confirmed_best",
    "cross_entropy",
    "detectable_speedup",
    "final_best",
    "geometric_mean_speedup",
    "geometric_means",
    "halving_rounds",
    "hit_times",
    "holm",
    "known_log_ratios",
    "log_ratios",
    "macro_auc",
    "mean_time_bound",
    "mean_time_bounds",
    "mean_time_to_targets",
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
    "targets_up_to",
    "time_to_target",
    "verdicts",
]
