"""Policies as documents: what all kinds of rules share, and how they are read and written."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field, field_validator

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import read_text, write_text
from metagd_optuna.given import as_given, as_path, prefix, shortened, validate_choice
from metagd_optuna.models import Model
from metagd_optuna.policy.coefficients import check_mapping
from metagd_optuna.policy.frozen_json import frozen, thawed
from metagd_optuna.policy.optimizers import OPTIMIZERS, imported

SCHEMA = 2
KINDS = ("meta-policy", "baseline", "default", "article", "replay", "frozen", "constant-complexity")


class SetsRates(Protocol):
    """A rule that sets the learning rates of one optimizer, a key of ``OPTIMIZERS``."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name."""
        ...


class Saved(ABC):
    """What can be written as a JSON document."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the document as a JSON-able dictionary."""

    def make_optimizer(self: SetsRates) -> Any:
        """Return a Keras optimizer whose rates the policy sets, to compile a model with.

        Its own rate is the middle of the allowed ones; ``MetaPolicyCallback`` sets another before the first step.
        """
        row = OPTIMIZERS.find(self.optimizer, "optimizer")
        low, high = row.bounds
        return row.build((low * high) ** 0.5)

    def plot(self, complexity: float = 0.5) -> Any:
        """Return a Plotly figure of the rate over a training that is made up, and over d and p; see ``policy_figure``.

        Args:
            complexity: c of the task, in [0, 1].
        """
        return imported("metagd_optuna.report.policy_figure:policy_figure")(self, complexity)

    def __repr__(self: Any) -> str:
        name = getattr(self, "name", self.kind)
        return f"<{name}: {self.formula}>"

    __str__ = __repr__

    def to_json(self) -> str:
        """Return the policy as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the policy as JSON, in one piece: a reader sees the old file or the whole new one."""
        write_text(self.to_json(), as_path(path, "the policy's file"))


class Rule(Saved, Model):
    """A rule for the learning rate that is its own document; subclasses say what it is and make its controller.

    Args:
        provenance: where the policy comes from; any JSON-able mapping, of which a copy is kept that cannot be changed.
    """

    # How a comparison groups it, where that is not its kind.
    compared_as: ClassVar[str] = ""

    schema_version: Literal[2] = Field(default=2, alias="schema")
    kind: str
    provenance: dict[str, Any] = Field(default_factory=dict)

    @field_validator("provenance")
    @classmethod
    def _plain(cls, given: dict[str, Any]) -> dict[str, Any]:
        return plain(given, "provenance")

    @property
    def reads(self) -> str | None:
        """What the rate follows: a signal, or ``val-loss``; None for an open-loop rule."""
        return None

    @property
    def timed(self) -> bool:
        """Whether the rate depends on where in the run it is."""
        return True

    @property
    def depends_on_performance(self) -> bool:
        """Whether the rate depends on how training goes; False is an open-loop rule."""
        return self.reads is not None

    @property
    def needs_complexity(self) -> bool:
        """Whether it has to be told the complexity of the task."""
        return False

    @property
    def steers_on_validation(self) -> bool:
        """Whether the rate moves with validation metrics."""
        return self.reads is not None and self.reads.startswith("val-")

    def to_dict(self) -> dict[str, Any]:
        """Return the document as a JSON-able dictionary."""
        table = thawed(self.model_dump(by_alias=True, exclude_none=True))
        first, last = {key: table.pop(key) for key in ("schema", "kind")}, table.pop("provenance")
        return {**first, **table, "provenance": last}


def kind_of(table: Any, source: str = "") -> str:
    """Return which kind of rule a document holds, after checking that it is of this version.

    Raises:
        MetaGDError: for another schema or an unknown kind.
    """
    schema = check_mapping(table, "the policy", "a JSON object", source).get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema != SCHEMA:
        raise MetaGDError(
            f"{prefix(source)}schema is {as_given(schema)}; this version reads schema {SCHEMA}: export the policy "
            "again, or use the version of metagd_optuna that wrote it"
        )
    return validate_choice(table.get("kind"), KINDS, "kind", source)


def parse(text: str, source: str = "") -> Any:
    """Return the value of a JSON text; NaN, infinity and a repeated key raise ``MetaGDError``."""

    if not isinstance(text, str | bytes | bytearray):
        raise MetaGDError(f"{prefix(source)}the document is {as_given(text)}; give its JSON as text")

    def refuse_constant(name: str) -> Any:
        raise MetaGDError(f"{prefix(source)}{name} is no number that a policy may hold; give a finite one")

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise MetaGDError(
                f"{prefix(source)}the key {shortened(', '.join(repeated))} is given more than once; keep one"
            )
        return table

    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_repeats)
    except (json.JSONDecodeError, RecursionError) as error:
        raise MetaGDError(f"{prefix(source)}this is not JSON ({error}); a policy file is written by save()") from None
    except ValueError as error:  # Python reads whole numbers of up to 4,300 digits
        raise MetaGDError(f"{prefix(source)}a number cannot be read ({error}); give one of fewer digits") from None


def plain(table: Any, name: str) -> dict[str, Any]:
    """Return a copy of a JSON-able mapping that cannot be changed; anything else, NaN too, raises ``MetaGDError``."""
    if not isinstance(table, Mapping):
        raise MetaGDError(f"{name} is {as_given(table)}; it must be a mapping of JSON values")
    try:
        copy: dict[str, Any] = frozen(json.loads(json.dumps(dict(table), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise MetaGDError(
            f"{name} cannot be written as JSON ({shortened(str(error))}); use finite numbers, text, lists"
        ) from None
    return copy


def read(path: Path) -> str:
    """Return the text of a file, or raise ``MetaGDError`` saying why it cannot be read."""
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MetaGDError(f"{path}: cannot be read as a policy file ({reason})") from None
