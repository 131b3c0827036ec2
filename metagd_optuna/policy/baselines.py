"""What a user would have used: baselines to be tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from metagd_optuna.contracts import Context, Controller, FloatArray, MetaGDError, Observation
from metagd_optuna.given import validate_choice
from metagd_optuna.models import checked
from metagd_optuna.policy.article import ARTICLES
from metagd_optuna.policy.candidate import Candidate
from metagd_optuna.policy.coefficients import (
    BATCH_SIZE,
    Categorical,
    Coefficient,
    Coefficients,
    Kind,
    RateCoefficient,
    Sizes,
    check_coefficients,
    check_mapping,
    middle,
    range_of,
)
from metagd_optuna.policy.defaults import DEFAULTS
from metagd_optuna.policy.document import Rule
from metagd_optuna.policy.formula import batches_text, fill
from metagd_optuna.policy.frozen_json import FrozenDict
from metagd_optuna.policy.greedy import GreedyController
from metagd_optuna.policy.open_loop import ScheduleController
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.parameters import Suggest
from metagd_optuna.policy.plateau import PlateauController
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.row_checks import check_row, check_template, check_tuple, tried
from metagd_optuna.policy.schedules import SCHEDULE_LATEX, SCHEDULE_TEXT
from metagd_optuna.policy.schema import names_in
from metagd_optuna.registry import Registry


@dataclass(frozen=True, slots=True)
class Baseline:
    """A family of rules that is tuned by a study of its own.

    Args:
        name: its name as a method and as a candidate.
        optimizer: what it sets the rate of.
        coefficients: name to range; learning rates take the optimizer's bounds.
        make: checked coefficients -> controller.
        initial_points: flat parameters at its authors' recommended values, or that won our own runs, at most three.
        formula, latex: templates with a field for each coefficient.
        source: where the rule and the recommended values were published.
        feedback: whether the rate depends on how training goes (then on the validation loss).
        state: class of the controller's state, if it is a NamedTuple that is not the package's.
        needs_complexity: whether the controller reads the complexity of the task, so that it has to be told.
    """

    name: str
    optimizer: str
    coefficients: Mapping[str, Kind]
    make: Callable[[Coefficients], Controller]
    initial_points: tuple[Mapping[str, float | int | str], ...]
    formula: str
    latex: str
    source: str
    feedback: bool = False
    state: type[Any] | None = None
    needs_complexity: bool = False

    def check(self, what: str) -> None:
        """Check that the parts of the row fit one another, and that it makes a controller.

        Raises:
            MetaGDError: naming the part that does not fit.
        """
        OPTIMIZERS.validate(self.optimizer, f"{what}, optimizer")
        check_row(self.coefficients, what, (Coefficient, RateCoefficient, Categorical))
        for part, template in (("formula", self.formula), ("latex", self.latex)):
            check_template(template, self.coefficients, f"{what}, {part}")
        example = f"{{'{self.name}.lr0': 1e-3}}"
        for point in check_tuple(self.initial_points, f"{what}, initial_points", example):
            check_mapping(point, f"{what}, a point of initial_points", f"parameters by name, such as {example}")
            values = {name.removeprefix(f"{self.name}."): value for name, value in point.items()}
            check_coefficients(values, self.coefficients, self.optimizer, f"{what}, initial_points")
        middles = {name: middle(range_of(kind, self.optimizer)) for name, kind in self.coefficients.items()}
        rates = tried(f"{what}, make", self._first_rates, middles)
        if np.shape(rates) != (4,):
            raise MetaGDError(f"{what}: rates gives the shape {np.shape(rates)} for 4 steps; it must be (4,)")
        again, others = (tried(f"{what}, make", self._first_rates, middles, c) for c in (0.5, 0.25))
        repeats = np.array_equal(rates, again, equal_nan=True)  # one that draws at random may read c or not
        if repeats and not self.needs_complexity and not np.array_equal(rates, others, equal_nan=True):
            raise MetaGDError(
                f"{what}, needs_complexity: it is False, but the rates of an easier task are others; make it True, so "
                "that the complexity of the task has to be told"
            )

    def _first_rates(self, coefficients: Coefficients, complexity: float = 0.5) -> FloatArray:
        controller = self.make(coefficients)
        state = controller.start(Context(complexity, (0.5, 0.5), self.optimizer, 100, 10.0))
        return np.asarray(controller.rates(state, Observation(0), 4)[0], np.float64)

    def candidate(
        self, coefficients: Mapping[str, Any], name: str = "", source: str = "", batch_size: int | None = None
    ) -> Candidate:
        """Return the baseline with these coefficients, named after itself unless told otherwise.

        Raises:
            MetaGDError: for a coefficient that is missing, unknown or out of range; ``source`` is named first.
        """
        check_coefficients(coefficients, self.coefficients, self.optimizer, self.name, source)
        table = {"name": self.name, "coefficients": dict(coefficients), "batch_size": batch_size}
        return Candidate(name or self.name, checked(TunedBaseline, table, source or self.name))


_RATE = RateCoefficient()
_ONE_RATE: Mapping[str, Kind] = {"lr0": _RATE}
# The very ranges that the form ``schedule`` of g is searched over, so that no method has a lever that another lacks.
_SCHEDULE: Mapping[str, Kind] = {
    name: RATE_FORMS["schedule"].coefficients[name] for name in ("lr0", "horizon", "warmup")
}


def _schedule_baseline(
    name: str, optimizer: str, base: str, points: tuple[tuple[float, float, float], ...], source: str
) -> Baseline:
    """Return a tuned schedule; ``points`` gives lr0, horizon and warm-up."""

    def make(k: Coefficients) -> Controller:
        return ScheduleController(base, float(k["lr0"]), float(k["horizon"]), float(k["warmup"]))

    initial = tuple({f"{name}.{key}": value for key, value in zip(_SCHEDULE, point, strict=True)} for point in points)
    return Baseline(
        name,
        optimizer,
        _SCHEDULE,
        make,
        initial,
        SCHEDULE_TEXT.replace("{base}", base),
        SCHEDULE_LATEX.replace("{base}", base),
        source,
    )


def _greedy(k: Coefficients) -> Controller:
    low, high = OPTIMIZERS["adam"].bounds
    return GreedyController(
        float(k["lr0"]), low, high, factor=float(k["factor"]), patience=int(k["patience"]), window=int(k["window"])
    )


def _plateau(k: Coefficients) -> Controller:
    return PlateauController(
        float(k["lr0"]), factor=float(k["factor"]), patience=int(k["patience"]), cooldown=int(k["cooldown"])
    )


def _schedule_free_baseline(name: str, optimizer: str, source: str) -> Baseline:
    return Baseline(
        name,
        optimizer,
        {"lr0": _RATE, "warmup": _SCHEDULE["warmup"]},
        lambda k: ScheduleController("constant", float(k["lr0"]), 1.0, float(k["warmup"])),
        tuple({f"{name}.lr0": 2.5e-3, f"{name}.warmup": warmup} for warmup in (0.0, 0.05)),
        "{lr0} after a warm-up over {warmup} of the budget",
        "{lr0} \\text{{ after a warm-up over }} {warmup}\\,B",
        source,
    )


_ALL = (
    Baseline(
        "adam-constant",
        "adam",
        _ONE_RATE,
        lambda k: ScheduleController("constant", float(k["lr0"])),
        ({"adam-constant.lr0": 1e-3},),
        "{lr0}",
        "{lr0}",
        "Kingma and Ba 2015, arXiv 1412.6980",
    ),
    _schedule_baseline(
        "adam-cosine",
        "adam",
        "cosine",
        ((1e-3, 1.0, 0.0), (1e-3, 1.0, 0.1)),
        "Loshchilov and Hutter 2017, arXiv 1608.03983; rate of Adam's authors; keras.optimizers.schedules.CosineDecay",
    ),
    _schedule_baseline(
        "adam-one-cycle",
        "adam",
        "one-cycle",
        ((1e-3, 1.0, 0.25), (6e-3, 1.0, 0.5)),
        "Smith and Topin 2018, arXiv 1708.07120; fastai's fit_one_cycle; a long warm-up that won our own runs",
    ),
    _schedule_baseline(
        "sgd-one-cycle",
        "sgd-nesterov",
        "one-cycle",
        ((0.1, 1.0, 0.3), (1.0, 1.0, 0.45)),
        "Smith and Topin 2018, arXiv 1708.07120; torch.optim.lr_scheduler.OneCycleLR",
    ),
    Baseline(
        "adam-plateau",
        "adam",
        {
            "lr0": _RATE,
            "factor": Coefficient(0.1, 0.9),
            "patience": Coefficient(1, 10, integer=True),
            "cooldown": Coefficient(0, 8, integer=True),
        },
        _plateau,
        tuple(
            {
                "adam-plateau.lr0": 1e-3,
                "adam-plateau.factor": factor,
                "adam-plateau.patience": patience,
                "adam-plateau.cooldown": 0,
            }
            for factor, patience in ((0.1, 10), (0.2, 5))
        ),
        "{lr0}, times {factor} after {patience} evaluations without a lower validation loss, then {cooldown} of rest",
        "{lr0} \\cdot {factor}^{{n}},\\; n \\text{{ plateaus of {patience} evaluations, {cooldown} of rest after}}",
        "keras.callbacks.ReduceLROnPlateau: its defaults, and its documentation's example",
        feedback=True,
    ),
    Baseline(
        "greedy-lr",
        "adam",
        {
            "lr0": _RATE,
            "factor": Coefficient(0.5, 0.99),
            "patience": Coefficient(0, 10, integer=True),
            "window": Coefficient(1, 10, integer=True),
        },
        _greedy,
        tuple(
            {
                "greedy-lr.lr0": 1e-3,
                "greedy-lr.factor": 0.95,
                "greedy-lr.patience": patience,
                "greedy-lr.window": 1,
            }
            for patience in (10, 1)
        ),
        "{lr0}, over {factor} while the validation loss falls and times {factor} while it does not, after more than"
        " {patience} evaluations in a row, averaged over {window}",
        "{lr0} \\cdot {factor}^{{n}},\\; n \\text{{ greedy by validation loss, patience {patience}, window {window}}}",
        "Subramanian and Ganapathiraman 2025, arXiv 2512.14527; transformers.optimization.GreedyLR",
        feedback=True,
    ),
    _schedule_free_baseline(
        "schedule-free",
        "schedule-free-adamw",
        "Defazio et al. 2024, arXiv 2405.15682; keras.optimizers.ScheduleFreeAdamW",
    ),
    _schedule_free_baseline(
        "schedule-free-r1",
        "schedule-free-adamw-r1",
        "Defazio et al. 2024, arXiv 2405.15682, averaged as in Shamir and Zhang 2013, arXiv 1212.1824, with eta = 1",
    ),
)

# What else is compared, or a part of a study, goes by these names.
_RESERVED = ("meta-policy", "replay", "frozen", "constant-complexity", "calibrate", "shortlist", "confirm")
BASELINES = Registry(
    Baseline,
    "baseline",
    "register_baseline",
    {row.name: row for row in _ALL},
    check=Baseline.check,
    reserved={*_RESERVED, *DEFAULTS, *ARTICLES},
)


def register_baseline(baseline: Baseline) -> None:
    """Add a baseline of your own, so that studies can tune it and compare with it.

    Args:
        baseline: all there is to say of it; its name has small letters and digits, words joined by hyphens.

    Raises:
        MetaGDError: if the name is taken or malformed, or the parts of the baseline do not fit one another.
    """
    BASELINES.add(getattr(baseline, "name", baseline), baseline)


class TunedBaseline(Rule):
    """A baseline with its coefficients."""

    kind: Literal["baseline"] = "baseline"
    name: str = Field(json_schema_extra=names_in(BASELINES))
    coefficients: dict[str, Any]
    batch_size: int | None = Field(None, ge=int(BATCH_SIZE.low), le=int(BATCH_SIZE.high))

    @field_validator("name")
    @classmethod
    def _registered(cls, given: str) -> str:
        BASELINES.find(given, "name")
        return given

    @field_validator("coefficients")
    @classmethod
    def _in_range(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:  # it was refused, which is the error that is told
            return given
        row = BASELINES[info.data["name"]]
        return FrozenDict(check_coefficients(given, row.coefficients, row.optimizer, "coefficients"))

    @property
    def baseline(self) -> Baseline:
        """The family that it is of."""
        return BASELINES[self.name]

    @property
    def optimizer(self) -> str:
        """What it sets the rate of."""
        return self.baseline.optimizer

    @property
    def reads(self) -> str | None:
        """The validation loss, if it has feedback at all."""
        return "val-loss" if self.baseline.feedback else None

    @property
    def needs_complexity(self) -> bool:
        """Whether it has to be told the complexity of the task: only a baseline of your own may."""
        return self.baseline.needs_complexity

    @property
    def formula(self) -> str:
        """The rule with its coefficients as plain text."""
        filled = fill(self.baseline.formula, self.coefficients)
        return f"lr = {filled}; {self.optimizer}{batches_text(self.batch_size)}"

    @property
    def latex(self) -> str:
        """The rule with its coefficients as LaTeX."""
        return f"lr = {fill(self.baseline.latex, self.coefficients, latex=True)}"

    def controller(self) -> Controller:
        """Return what sets the rate by this rule."""
        return self.baseline.make(self.coefficients)


def suggest_baseline(name: str, suggest: Suggest, batch_sizes: Sequence[int] = ()) -> Candidate:
    """Return a baseline whose coefficients are asked of ``suggest`` under names like ``adam-cosine.lr0``.

    Args:
        name: a key of ``BASELINES``.
        suggest: (flat name, range) -> value.
        batch_sizes: examples per step of the optimizer to choose from; empty to leave them to the study.
    """
    baseline = BASELINES.find(name, "baseline")
    coefficients = {
        key: suggest(f"{name}.{key}", range_of(kind, baseline.optimizer)) for key, kind in baseline.coefficients.items()
    }
    size = suggest(f"{name}.batch_size", Sizes(tuple(batch_sizes))) if batch_sizes else None
    return baseline.candidate(coefficients, batch_size=size)


def baseline_from_params(name: str, params: Mapping[str, Any], source: str = "") -> Candidate:
    """Return a baseline with coefficients from flat parameters such as ``initial_points`` holds or a trial stored.

    >>> baseline_from_params("adam-constant", {"adam-constant.lr0": 1e-3}).formula
    'lr = 0.001; adam'
    """
    baseline = BASELINES.find(name, "baseline", source)
    flat = {f"{name}.{key}": key for key in (*baseline.coefficients, "batch_size")}
    values = {flat[validate_choice(key, flat, "a parameter", source)]: value for key, value in params.items()}
    size = values.pop("batch_size", None)
    return baseline.candidate(values, source=source, batch_size=size)
