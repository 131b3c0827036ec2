"""The article's example: once as its formulas say, once as its code behaves.

Both take complexity 0.5 and the raw validation accuracy once per epoch, without chance level, smoothing,
bounds or a limit from one rate update to the next: with those, the printed rates of 0.2 to 0.4 would not be the
    article's.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from metagd_optuna.contracts import Context, FloatArray, Observation
from metagd_optuna.given import validate_choice
from metagd_optuna.models import checked
from metagd_optuna.policy import rate
from metagd_optuna.policy.candidate import Candidate
from metagd_optuna.policy.difficulty import product_article
from metagd_optuna.policy.document import Rule

COMPLEXITY = 0.5
FIRST_PERFORMANCE = rate.RATE_FORMS["article"].first_performance
KERAS_ADAM_RATE = 1e-3

FORMULAS = {
    "article": ("d = 0.5 A; lr = 0.01 (1 - d) A", "d = 0.5\\,A,\\quad lr = 0.01\\,(1 - d)\\,A"),
    "article-as-printed": (
        "lr = 0.001 in the first epoch, then 0.5 A",
        "lr = 0.001 \\text{ in the first epoch, then } 0.5\\,A",
    ),
}
ARTICLES = tuple(FORMULAS)


class ArticleState(NamedTuple):
    """The epoch (from 0) whose rate is set, the performance in it, and its steps."""

    epoch: int
    performance: float
    steps_per_epoch: float


class ArticleController:
    """Sets the rate at the start of each epoch from the latest validation accuracy; 0.8 before there is one.

    Args:
        as_printed: whether to behave as the printed code does under Keras 2: the first epoch at Adam's
            default, and then f in the place of g.
    """

    def __init__(self, *, as_printed: bool) -> None:
        self.as_printed = as_printed

    def start(self, context: Context) -> ArticleState:
        """Return the first epoch's state."""
        return ArticleState(0, FIRST_PERFORMANCE, context.steps_per_epoch)

    def rates(self, state: ArticleState, observation: Observation, steps: int) -> tuple[FloatArray, ArticleState]:
        """Return one rate per step, shape (steps,), that changes where an epoch begins, and the new state."""
        first, last = (_epoch(step, state.steps_per_epoch) for step in (observation.step, observation.step + steps - 1))
        validation = observation.validation
        newest = state.performance if validation is None else validation.accuracy
        now = newest if first > state.epoch else state.performance
        rates = np.full(steps, self._rate(first, now))
        if last == first:
            return rates, state._replace(epoch=first, performance=now)
        epochs = np.array([_epoch(observation.step + i, state.steps_per_epoch) for i in range(steps)])
        rates[epochs > first] = self._rate(last, newest)
        return rates, state._replace(epoch=last, performance=newest)

    def _rate(self, epoch: int, performance: float) -> float:
        difficulty = product_article(COMPLEXITY, performance)
        if not self.as_printed:
            return rate.article(difficulty, performance)
        return difficulty if epoch > 0 else KERAS_ADAM_RATE


def _epoch(step: int, steps_per_epoch: float) -> int:
    # A hair's breadth of slack, so that 3 * (10 / 3) steps are three whole epochs.
    return math.floor(step / steps_per_epoch + 1e-9)


class ArticleRule(Rule):
    """The article's example, as its formulas say or as its code behaves."""

    kind: Literal["article"] = "article"
    name: Literal["article", "article-as-printed"]

    optimizer: ClassVar[str] = "adam"
    batch_size: ClassVar[int | None] = None

    @property
    def reads(self) -> str:
        """The raw validation accuracy."""
        return "val-accuracy"

    @property
    def formula(self) -> str:
        """The rule as plain text."""
        return f"{FORMULAS[self.name][0]}, A the validation accuracy of the last epoch (0.8 at first); adam"

    @property
    def latex(self) -> str:
        """The rule as LaTeX."""
        return FORMULAS[self.name][1]

    def controller(self) -> ArticleController:
        """Return what sets the rate by this rule."""
        return ArticleController(as_printed=self.name == "article-as-printed")


def article_candidate(name: str) -> Candidate:
    r"""Return the candidate ``article`` or ``article-as-printed``.

    >>> article_candidate("article").latex
    'd = 0.5\\,A,\\quad lr = 0.01\\,(1 - d)\\,A'
    """
    return Candidate(name, checked(ArticleRule, {"name": validate_choice(name, ARTICLES, "article candidate")}, name))
