"""Rules for the learning rate: forms of f and g, meta-policies, baselines and controls."""

from __future__ import annotations

from metagd_optuna.policy.article import ARTICLES, ArticleController, ArticleRule, article_candidate
from metagd_optuna.policy.baselines import (
    BASELINES,
    Baseline,
    TunedBaseline,
    baseline_from_params,
    register_baseline,
    suggest_baseline,
)
from metagd_optuna.policy.candidate import Candidate, candidate_of
from metagd_optuna.policy.coefficients import Categorical, Coefficient, RateCoefficient, Sizes
from metagd_optuna.policy.controller import PolicyController, PolicyState
from metagd_optuna.policy.controls import (
    ConstantComplexity,
    FixedComplexity,
    Frozen,
    FrozenPolicy,
    RecordedRates,
    constant_complexity,
    frozen_candidate,
    mean_state,
    observations_of,
    replay_of,
)
from metagd_optuna.policy.defaults import DEFAULTS, KerasDefault, default_candidate
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS, DifficultyForm, register_difficulty_form
from metagd_optuna.policy.greedy import GreedyController
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.open_loop import Replay, ScheduleController
from metagd_optuna.policy.optimizers import OPTIMIZERS, Optimizer, register_optimizer
from metagd_optuna.policy.plateau import PlateauController
from metagd_optuna.policy.proposals import initial_meta_policies, propose_meta_policy
from metagd_optuna.policy.rate import RATE_FORMS, register_rate_form
from metagd_optuna.policy.rate_form import InitialPoint, RateForm, RateInputs, without_memory
from metagd_optuna.policy.rules import (
    Policy,
    candidate_from_settings,
    policy_from_dict,
    policy_from_json,
    policy_schema,
    with_provenance,
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
    "Candidate",
    "Categorical",
    "Coefficient",
    "ConstantComplexity",
    "DifficultyForm",
    "FixedComplexity",
    "Frozen",
    "FrozenPolicy",
    "GreedyController",
    "InitialPoint",
    "KerasDefault",
    "MetaPolicy",
    "Optimizer",
    "PlateauController",
    "Policy",
    "PolicyController",
    "PolicyState",
    "RateCoefficient",
    "RateForm",
    "RateInputs",
    "RecordedRates",
    "Replay",
    "ScheduleController",
    "Sizes",
    "TunedBaseline",
    "article_candidate",
    "baseline_from_params",
    "candidate_from_settings",
    "candidate_of",
    "constant_complexity",
    "default_candidate",
    "frozen_candidate",
    "initial_meta_policies",
    "load_policy",
    "mean_state",
    "observations_of",
    "policy_from_dict",
    "policy_from_json",
    "policy_schema",
    "propose_meta_policy",
    "register_baseline",
    "register_difficulty_form",
    "register_optimizer",
    "register_rate_form",
    "replay_of",
    "stored_policies",
    "suggest_baseline",
    "with_provenance",
    "without_memory",
]
