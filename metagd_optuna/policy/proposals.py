"""What a search over meta-policies proposes, and the well-known schedules that it should start from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metagd_optuna.policy.coefficients import Range
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.parameters import Suggest, middle, suggest_params

_NO_FEEDBACK = {
    "g.power.a": 0.0,
    "g.power.b": 0.0,
    "g.exponential.kd": 0.0,
    "g.exponential.kp": 0.0,
    "g.hybrid.k": 0.0,
    "g.modulated.k": 0.0,
    "g.scaled.k": 0.0,
}

# Each entry gives what it is about; everything else is in the middle of its range. In order of preference.
_KNOWN: tuple[Mapping[str, Any], ...] = (
    # Adam at its authors' rate (Kingma and Ba 2015, section 2), as a rule without feedback.
    {"optimizer": "adam", "g": "power", "g.power.lr0.adam": 1e-3},
    {"optimizer": "adam", "g": "exponential", "g.exponential.lr0.adam": 1e-3},
    # One-cycle with a long warm-up: the strongest open-loop rule in our own runs on small medical images.
    {
        "optimizer": "adam",
        "g": "hybrid",
        "g.hybrid.base": "one-cycle",
        "g.hybrid.lr0.adam": 6e-3,
        "g.hybrid.horizon": 1.0,
        "g.hybrid.warmup": 0.5,
    },
    # ScheduleFreeAdamW at its authors' rate, at once, as its baselines begin as well.
    {"optimizer": "schedule-free-adamw", "g": "scaled", "g.scaled.lr0.schedule-free-adamw": 2.5e-3},
    {"optimizer": "schedule-free-adamw-r1", "g": "scaled", "g.scaled.lr0.schedule-free-adamw-r1": 2.5e-3},
    # ScheduleFreeAdamW at its authors' rate and warm-up (Defazio et al. 2024), as a rule without feedback.
    {
        "optimizer": "schedule-free-adamw",
        "g": "modulated",
        "g.modulated.lr0.schedule-free-adamw": 2.5e-3,
        "g.modulated.warmup": 0.05,
    },
    {
        "optimizer": "schedule-free-adamw-r1",
        "g": "modulated",
        "g.modulated.lr0.schedule-free-adamw-r1": 2.5e-3,
        "g.modulated.warmup": 0.05,
    },
    {
        "optimizer": "schedule-free-adamw",
        "g": "hybrid",
        "g.hybrid.base": "constant",
        "g.hybrid.lr0.schedule-free-adamw": 2.5e-3,
        "g.hybrid.horizon": 1.0,
        "g.hybrid.warmup": 0.05,
    },
    # One-cycle for SGD with the share of warm-up that torch.optim.lr_scheduler.OneCycleLR defaults to.
    {
        "optimizer": "sgd-nesterov",
        "g": "hybrid",
        "g.hybrid.base": "one-cycle",
        "g.hybrid.lr0.sgd-nesterov": 0.1,
        "g.hybrid.horizon": 1.0,
        "g.hybrid.warmup": 0.3,
    },
    # Cosine over the whole run (Loshchilov and Hutter 2017), after a short warm-up (Goyal et al. 2017).
    {
        "optimizer": "adam",
        "g": "hybrid",
        "g.hybrid.base": "cosine",
        "g.hybrid.lr0.adam": 1e-3,
        "g.hybrid.horizon": 1.0,
        "g.hybrid.warmup": 0.1,
    },
    # Bold driver: 5% up, half down (Battiti 1989 gives 1.1 and 0.5, Vogl et al. 1988 1.05 and 0.7).
    {
        "optimizer": "adam",
        "g": "multiplicative",
        "g.multiplicative.lr0.adam": 1e-3,
        "g.multiplicative.up": math.log(1.05),
        "g.multiplicative.down": math.log(2),
        "g.multiplicative.theta": 1e-4,
        "g.multiplicative.patience": 0,
        "g.multiplicative.cooldown": 0,
    },
)
MOST_KNOWN = 5


def suggest_meta_policy(
    suggest: Suggest,
    *,
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> MetaPolicy:
    """Return a meta-policy whose choices and coefficients are asked of ``suggest``, one after another.

    Args:
        suggest: (flat name, ``Coefficient``, ``Categorical`` or ``Sizes``) -> value, e.g. an adapter of an Optuna
            trial.
        difficulty_forms, rate_forms, optimizers: what to choose from; none of them empty.
        signal: where performance comes from, a key of ``SIGNALS``.
        batch_sizes: examples per step of the optimizer to choose from; empty to leave them to the study.

    Raises:
        MetaGDError: for an unknown name, nothing to choose from, or a suggested value out of range.
    """
    params = suggest_params(
        suggest,
        difficulty_forms=difficulty_forms,
        rate_forms=rate_forms,
        optimizers=optimizers,
        signal=signal,
        batch_sizes=batch_sizes,
    )
    return MetaPolicy.from_params(params)


def known_meta_policies(
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Return flat parameters of at most five well-known schedules that the given forms can express.

    The names are those that ``suggest_meta_policy`` asks for, all of them and no others; the batch is the first that
    may be chosen.

    >>> [params["g.power.lr0.adam"] for params in known_meta_policies(["mix"], ["power"], ["adam"])]
    [0.001]
    """
    found = []
    for entry in _KNOWN:
        if entry["g"] not in rate_forms or entry["optimizer"] not in optimizers:
            continue
        values: dict[str, Any] = {"half_life": 0.0, **_NO_FEEDBACK, **entry}

        def answer(name: str, wanted: Range, values: Mapping[str, Any] = values) -> Any:
            return values[name] if name in values else middle(wanted)

        found.append(
            suggest_params(
                answer,
                difficulty_forms=difficulty_forms,
                rate_forms=rate_forms,
                optimizers=optimizers,
                signal=signal,
                batch_sizes=batch_sizes,
            )
        )
    return found[:MOST_KNOWN]
