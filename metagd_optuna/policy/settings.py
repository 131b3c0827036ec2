"""Contenders from the settings that they were stored with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.policy.article import article_contender
from metagd_optuna.policy.baselines import BASELINES, default_contender
from metagd_optuna.policy.contender import Contender, contender_of
from metagd_optuna.policy.controls import constant_complexity, frozen_contender, replay_contender
from metagd_optuna.policy.meta_policy import MetaPolicy


def contender_from_settings(name: str, settings: Mapping[str, Any]) -> Contender:
    """Return the contender whose ``settings`` these are, under the name ``name``.

    Raises:
        MetaGDError: if they are no contender's settings.

    >>> contender_from_settings("keras-adam", {"default": "keras-adam"}).kind
    'default'
    """
    for key, revive in _REVIVE.items():
        if key in settings:
            try:
                return revive(name, settings)
            except (KeyError, TypeError) as error:
                raise MetaGDError(
                    f"the settings of {name} are damaged ({as_given(error)}); run its study again"
                ) from error
    raise MetaGDError(f"the settings of {name} are of no kind that is known; one of {', '.join(_REVIVE)} must be there")


def _baseline(name: str, settings: Mapping[str, Any]) -> Contender:
    baseline = BASELINES.find(settings["baseline"], "baseline", name)
    return baseline.contender(settings["coefficients"], name, source=name, batch_size=settings.get("batch_size"))


def _frozen(name: str, settings: Mapping[str, Any]) -> Contender:
    held = settings["frozen"]
    return frozen_contender(MetaPolicy.from_dict(held["policy"], name), held["performance"], held["difficulty"], name)


def _constant_complexity(name: str, settings: Mapping[str, Any]) -> Contender:
    held = settings["constant-complexity"]
    return constant_complexity(MetaPolicy.from_dict(held["policy"], name), held["complexity"], name)


_REVIVE: Mapping[str, Callable[[str, Mapping[str, Any]], Contender]] = {
    "schema": lambda name, settings: contender_of(MetaPolicy.from_dict(settings, name), name),
    "baseline": _baseline,
    "default": lambda name, settings: default_contender(settings["default"]),
    "article": lambda name, settings: article_contender(settings["article"]),
    "replay": lambda name, settings: replay_contender(
        settings["replay"]["rates"], settings["replay"]["optimizer"], name, settings["replay"].get("batch_size")
    ),
    "frozen": _frozen,
    "constant-complexity": _constant_complexity,
}
