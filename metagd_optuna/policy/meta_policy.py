"""A meta-policy: forms of f and g with their coefficients; a frozen value that can be saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, as_path, prefix, validate_choice
from metagd_optuna.models import Model, checked
from metagd_optuna.policy import document, evaluation, parameters
from metagd_optuna.policy.coefficients import BATCH_SIZE, Coefficients, check_coefficients, check_mapping
from metagd_optuna.policy.complexities import COMPLEXITIES, TASK, complexity_probes
from metagd_optuna.policy.controller import PolicyController
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS, DifficultyForm
from metagd_optuna.policy.document import Saved
from metagd_optuna.policy.formula import batches_text, fill, number_text
from metagd_optuna.policy.frozen_json import frozen, thawed
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.rate_form import RateForm
from metagd_optuna.policy.schema import named, within
from metagd_optuna.policy.signal import HALF_LIFE, IMPROVEMENT_SCALE, SIGNALS


class Term(Model):
    """A form of f or g, and its coefficients."""

    model_config = ConfigDict(json_schema_extra={"allowed": '{"form": NAME, "coefficients": {...}}'})

    form: str
    coefficients: dict[str, Any] = Field(default_factory=dict)


class MetaPolicyDocument(Model):
    """The JSON document of a meta-policy; the meta-policy itself checks names and ranges."""

    schema_version: Literal[2] = Field(alias="schema")
    kind: Literal["meta-policy"]
    optimizer: str = named(OPTIMIZERS)
    signal: str = named(SIGNALS, "train-loss")
    half_life: float = within(HALF_LIFE, 0.0)
    improvement_scale: float | None = within(IMPROVEMENT_SCALE)
    complexity: str = named(COMPLEXITIES, TASK)
    difficulty: Term | None = None
    rate: Term
    batch_size: int | None = within(BATCH_SIZE)
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class MetaPolicy(Saved):
    """A rule for the learning rate: d = f(c, p), lr = g(d, p, ...).

    Args:
        optimizer: a key of ``OPTIMIZERS``; its bounds hold for the rate.
        rate: form of g, a key of ``RATE_FORMS``.
        rate_coefficients: its coefficients.
        difficulty: form of f, a key of ``DIFFICULTY_FORMS``; None if the rate does not depend on d.
        difficulty_coefficients: its coefficients.
        signal: where performance comes from, a key of ``SIGNALS``.
        half_life: of the smoothing of performance, in rate updates, in [0, 8]; 0 is none.
        improvement_scale: the relative fall of the loss per rate update that counts as performance 1; only for
            ``improvement``.
        provenance: where the policy comes from; any JSON-able mapping, of which a copy is kept that cannot be changed.
        batch_size: examples per step of the optimizer that the rule was found with, where its search could choose; to
            be passed to ``fit``.
        complexity: what c is measured on, a key of ``COMPLEXITIES``; all but ``task`` on the network that trains.

    Raises:
        MetaGDError: for an unknown name, a coefficient that is missing, unknown, out of range or out of order.

    >>> MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5}).formula
    'd = 0.5 c + 0.5 (1 - p); lr = 0.001 (1 - d)^1 (p + 0.01)^0; p from train-loss; adam'
    """

    kind: ClassVar[str] = "meta-policy"
    compared_as: ClassVar[str] = ""

    optimizer: str
    rate: str
    rate_coefficients: Coefficients
    difficulty: str | None = None
    difficulty_coefficients: Coefficients = field(default_factory=dict)
    signal: str = "train-loss"
    half_life: float = 0.0
    improvement_scale: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    complexity: str = TASK

    def __post_init__(self) -> None:
        for name, value in _checked(self).items():
            object.__setattr__(self, name, value)

    @property
    def rate_form(self) -> RateForm:
        """The form of g."""
        return RATE_FORMS[self.rate]

    @property
    def difficulty_form(self) -> DifficultyForm | None:
        """The form of f; None if the rule has none."""
        return None if self.difficulty is None else DIFFICULTY_FORMS[self.difficulty]

    @property
    def formula(self) -> str:
        """The rule with its coefficients as plain text."""
        f, g = self._filled(latex=False)
        parts = [f"d = {f}" if f else "", g, self.optimizer]
        if self.depends_on_performance:
            smoothed = f" with half-life {number_text(self.half_life)} rate updates" if self.half_life > 0 else ""
            parts.insert(2, f"p from {self.signal}{smoothed}")
        if self.complexity != TASK and self.depends_on_difficulty and self.reads_complexity:
            parts.insert(2, f"c from {self.complexity}")
        return "; ".join(part for part in parts if part) + batches_text(self.batch_size)

    @property
    def latex(self) -> str:
        """The rule with its coefficients as LaTeX, without dollar signs."""
        f, g = self._filled(latex=True)
        return rf"d = {f},\quad {g}" if f else g

    def _filled(self, *, latex: bool) -> tuple[str, str]:
        f, g = self.difficulty_form, self.rate_form
        text = g.formula(self.rate_coefficients, latex=latex)
        text = text if g.remembers else f"lr = {text}"
        if f is None:
            return "", text
        return fill(f.latex if latex else f.text, self.difficulty_coefficients, latex=latex), text

    @property
    def depends_on_difficulty(self) -> bool:
        """Whether the rate moves with d at these coefficients."""
        return self.difficulty is not None and self.rate_form.trend(self.rate_coefficients)[0] != 0

    @property
    def reads_complexity(self) -> bool:
        """Whether d moves with c at these coefficients."""
        form = self.difficulty_form
        return form is not None and form.trend(self.difficulty_coefficients)[0] != 0

    @property
    def needs_complexity(self) -> bool:
        """Whether it has to be told c of the task: not where d does not move with it, nor where c is of the network."""
        return self.reads_complexity and self.complexity == TASK

    @property
    def depends_on_performance(self) -> bool:
        """Whether the rate moves with p, directly or through d; False is an open-loop rule."""
        if self.rate_form.trend(self.rate_coefficients)[1] != 0:
            return True
        f = self.difficulty_form
        if f is None or not self.depends_on_difficulty:
            return False
        return f.trend(self.difficulty_coefficients)[1] != 0

    @property
    def complexity_probes(self) -> int:
        """How many probes of the coming step measure a complexity that the rate moves with."""
        return complexity_probes(self.complexity) if self.depends_on_difficulty and self.reads_complexity else 0

    @property
    def probes(self) -> int:
        """How many probes of the coming step the rate moves with."""
        return max(self.rate_form.probes(self.rate_coefficients), self.complexity_probes)

    @property
    def steers_on_validation(self) -> bool:
        """Whether the rate moves with validation metrics."""
        return SIGNALS[self.signal].uses_validation and self.depends_on_performance

    def difficulty_at(self, complexity: float, performance: float) -> float | None:
        """Return d = f(c, p), or None if the rule has no f.

        Args:
            complexity, performance: c and p, in [0, 1].

        Raises:
            MetaGDError: if one of them is no number from 0 to 1.
        """
        return evaluation.difficulty_at(self, complexity, performance)

    def rate_at(
        self, difficulty: float, performance: float, step: int | None = None, budget: int | None = None
    ) -> float:
        """Return g(d, p) within the bounds, for drawing the rule.

        Args:
            difficulty, performance: d and p, in [0, 1].
            step, budget: where in the run, and its length, which forms with a schedule in them look at.

        Raises:
            MetaGDError: for a rule that remembers, whose rate is no function of d and p; for one that looks at the step
                and is not told it; for an argument out of its range.
        """
        return evaluation.rate_at(self, difficulty, performance, step, budget)

    def first_rate(self, complexity: float) -> float:
        """Return the rate of the first step on a task of the given complexity, whatever the form."""
        return evaluation.first_rate(self, complexity)

    @property
    def reads(self) -> str | None:
        """What the rate follows: the signal, or None for an open-loop rule."""
        return self.signal if self.depends_on_performance else None

    @property
    def timed(self) -> bool:
        """Whether the rate depends on where in the run it is."""
        return self.rate_form.is_timed(self.rate_coefficients)

    def controller(self) -> PolicyController:
        """Return what sets the rate by this policy."""
        return PolicyController(self)

    def to_params(self) -> dict[str, Any]:
        """Return flat parameters with readable names, as a search stores them."""
        return parameters.to_params(self.to_dict())

    @classmethod
    def from_params(cls, params: Mapping[str, Any], source: str = "") -> MetaPolicy:
        """Return the policy of flat parameters; coefficients that must be in order are sorted.

        Args:
            params: name to value; all that the forms need and nothing else. Without ``signal`` it is ``train-loss``,
                without ``half_life`` it is 0.
            source: what errors name first.

        >>> MetaPolicy.from_params({"optimizer": "adam", "f": "rasch", "f.rasch.k": 1.0, "g": "article"}).formula
        'd = sigmoid(1 (logit c - logit p)); lr = 0.01 (1 - d) p; p from train-loss; adam'
        """
        arguments = parameters.from_params(params, source)
        try:
            return cls(**arguments)
        except MetaGDError as error:
            raise MetaGDError(f"{prefix(source)}{error}") from None

    @classmethod
    def from_trial(cls, trial: Any, *, prefix: str = "") -> MetaPolicy:
        """Return the policy of a trial's parameters, e.g. of ``study.best_trial``.

        Parameters that are not the policy's, such as a dropout that the same study searches, are left alone.

        Args:
            trial: anything with ``params`` and ``number``, such as Optuna's trials.
            prefix: what ``suggest_meta_policy`` was given.

        Raises:
            MetaGDError: for something else, or a parameter of the policy that is missing or out of range.
        """
        params, number = getattr(trial, "params", None), getattr(trial, "number", None)
        if not isinstance(params, Mapping) or number is None:
            raise MetaGDError(
                f"the trial is {as_given(trial)}; give one of Optuna's, such as study.best_trial, or anything with "
                "params and number"
            )
        source = f"trial {number}"
        noted = parameters.noted_params(params, getattr(trial, "user_attrs", {}), prefix)
        return cls.from_params(noted or parameters.own_params(params, source, prefix), source)

    def to_dict(self) -> dict[str, Any]:
        """Return the policy's document as a JSON-able dictionary."""
        terms = {"rate": {"form": self.rate, "coefficients": dict(self.rate_coefficients)}}
        if self.difficulty is not None:
            terms["difficulty"] = {"form": self.difficulty, "coefficients": dict(self.difficulty_coefficients)}
        table = {
            "schema": document.SCHEMA,
            "kind": self.kind,
            "optimizer": self.optimizer,
            "signal": self.signal,
            "half_life": self.half_life,
            "improvement_scale": self.improvement_scale,
            "complexity": None if self.complexity == TASK else self.complexity,
            "difficulty": terms.get("difficulty"),
            "rate": terms["rate"],
            "batch_size": self.batch_size,
            "provenance": thawed(self.provenance),
        }
        return {key: value for key, value in table.items() if value is not None}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], source: str = "") -> MetaPolicy:
        """Return the policy that ``to_dict`` wrote; errors name ``source`` first."""
        kind = document.kind_of(table, source)
        if kind != cls.kind:
            raise MetaGDError(
                f"{prefix(source)}kind is {kind!r}, which is no meta-policy; load_policy reads every kind"
            )
        return cls.from_document(checked(MetaPolicyDocument, table, source or "the policy"), source)

    @classmethod
    def from_document(cls, held: MetaPolicyDocument, source: str = "") -> MetaPolicy:
        """Return the policy of a document whose parts have been checked."""
        f = held.difficulty
        try:
            return cls(
                optimizer=held.optimizer,
                rate=held.rate.form,
                rate_coefficients=held.rate.coefficients,
                difficulty=None if f is None else f.form,
                difficulty_coefficients={} if f is None else f.coefficients,
                signal=held.signal,
                half_life=held.half_life,
                improvement_scale=held.improvement_scale,
                provenance=held.provenance,
                batch_size=held.batch_size,
                complexity=held.complexity,
            )
        except MetaGDError as error:
            raise MetaGDError(f"{prefix(source)}{error}") from None

    @classmethod
    def from_json(cls, text: str, source: str = "") -> MetaPolicy:
        """Return the policy that ``to_json`` wrote; errors name ``source`` first."""
        return cls.from_dict(document.parse(text, source), source)

    @classmethod
    def load(cls, path: str | Path) -> MetaPolicy:
        """Return the meta-policy in a JSON file; ``load_policy`` reads those of other kinds as well."""
        file = as_path(path, "the policy's file")
        return cls.from_json(document.read(file), str(file))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Be a field of other documents: there it is held as its own document."""

        def held(given: Any, document_of: Callable[[Any], MetaPolicyDocument]) -> MetaPolicy:
            return given if isinstance(given, cls) else cls.from_document(document_of(given))

        return core_schema.no_info_wrap_validator_function(
            held,
            handler.generate_schema(MetaPolicyDocument),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_dict),
        )


def _checked(policy: MetaPolicy) -> dict[str, Any]:
    """Return the fields that a check normalises: numbers as floats, coefficients in a copy of their own."""
    OPTIMIZERS.validate(policy.optimizer, "optimizer")
    g = RATE_FORMS.find(policy.rate, "rate.form")
    g_values = g.checked(policy.rate_coefficients, policy.optimizer, "rate.coefficients")
    if g.arranged(g_values) != g_values:
        order = f" with direction {g_values['direction']!r}" if "direction" in g_values else ""
        given = ", ".join(f"{name} = {g_values[name]}" for name in g.ordered)
        raise MetaGDError(f"rate.coefficients: {given} are out of order{order}; sort them")
    f_values = {}
    if policy.difficulty is not None:
        f = DIFFICULTY_FORMS.find(policy.difficulty, "difficulty.form")
        f_values = check_coefficients(
            policy.difficulty_coefficients, f.coefficients, policy.optimizer, "difficulty.coefficients"
        )
    elif check_mapping(policy.difficulty_coefficients, "difficulty.coefficients", "a mapping of names to values"):
        raise MetaGDError("difficulty.coefficients are given without a difficulty.form; name the form or drop them")
    elif g.trend(g_values)[0] != 0:
        raise MetaGDError(f"rate form {policy.rate!r} needs a difficulty; choose from {', '.join(DIFFICULTY_FORMS)}")
    validate_choice(policy.signal, SIGNALS, "signal")
    validate_choice(policy.complexity, COMPLEXITIES, "complexity")
    improvement_scale = policy.improvement_scale
    if (improvement_scale is not None) != (policy.signal == "improvement"):
        raise MetaGDError(
            f"improvement_scale is {as_given(improvement_scale)} with signal {policy.signal!r}; only and always "
            "improvement takes one"
        )
    return {
        "rate_coefficients": frozen(g_values),
        "difficulty_coefficients": frozen(f_values),
        "half_life": HALF_LIFE.check("half_life", policy.half_life),
        "improvement_scale": None
        if improvement_scale is None
        else IMPROVEMENT_SCALE.check("improvement_scale", improvement_scale),
        "batch_size": None if policy.batch_size is None else BATCH_SIZE.check("batch_size", policy.batch_size),
        "provenance": document.plain(policy.provenance, "provenance"),
    }
