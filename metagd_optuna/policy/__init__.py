"""Rules for the learning rate: forms of f and g, meta-policies, baselines and controls."""

from __future__ import annotations

from metagd_optuna.policy.article import ARTICLES, ArticleController, ArticleRule, article_contender
from metagd_optuna.policy.baselines import (
    BASELINES,
    Baseline,
    TunedBaseline,
    baseline_from_params,
    register_baseline,
    suggest_baseline,
)
from metagd_optuna.policy.coefficients import Categorical, Coefficient, RateCoefficient, Sizes
from metagd_optuna.policy.contender import Contender, contender_of
from metagd_optuna.policy.controller import PolicyController, PolicyState
from metagd_optuna.policy.controls import (
    ConstantComplexity,
    FixedComplexity,
    Frozen,
    FrozenPolicy,
    RecordedRates,
    constant_complexity,
    frozen_contender,
    mean_state,
    observations_of,
    replay_of,
)
from metagd_optuna.policy.defaults import DEFAULTS, KerasDefault, default_contender
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS, DifficultyForm, register_difficulty_form
from metagd_optuna.policy.greedy import GreedyController
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.open_loop import Replay, ScheduleController
from metagd_optuna.policy.optimizers import OPTIMIZERS, Optimizer, register_optimizer
from metagd_optuna.policy.plateau import PlateauController
from metagd_optuna.policy.proposals import known_meta_policies, suggest_meta_policy
from metagd_optuna.policy.rate import RATE_FORMS, register_rate_form
from metagd_optuna.policy.rate_form import InitialPoint, Moment, RateForm, without_memory
from metagd_optuna.policy.rules import (
    Policy,
    contender_from_settings,
    policy_from_dict,
    policy_from_json,
    policy_schema,
)
from metagd_optuna.policy.schedules import SCHEDULES
from metagd_optuna.policy.signal import SIGNALS
from metagd_optuna.policy.stored import load_policy, stored_policies

__all__ = [
    "ARTICLES",
    "BASELINES",
    "DEFAULTS",
    "DIFFICULTY_FORMS",
    "OPTIMIZERS",
    "RATE_FORMS",
    "SCHEDULES",
    "SIGNALS",
    "ArticleController",
    "ArticleRule",
    "Baseline",
    "Categorical",
    "Coefficient",
    "ConstantComplexity",
    "Contender",
    "DifficultyForm",
    "FixedComplexity",
    "Frozen",
    "FrozenPolicy",
    "GreedyController",
    "InitialPoint",
    "KerasDefault",
    "MetaPolicy",
    "Moment",
    "Optimizer",
    "PlateauController",
    "Policy",
    "PolicyController",
    "PolicyState",
    "RateCoefficient",
    "RateForm",
    "RecordedRates",
    "Replay",
    "ScheduleController",
    "Sizes",
    "TunedBaseline",
    "article_contender",
    "baseline_from_params",
    "constant_complexity",
    "contender_from_settings",
    "contender_of",
    "default_contender",
    "frozen_contender",
    "known_meta_policies",
    "load_policy",
    "mean_state",
    "observations_of",
    "policy_from_dict",
    "policy_from_json",
    "policy_schema",
    "register_baseline",
    "register_difficulty_form",
    "register_optimizer",
    "register_rate_form",
    "replay_of",
    "stored_policies",
    "suggest_baseline",
    "suggest_meta_policy",
    "without_memory",
]
