"""Tables that a user's own package may add to: forms of f and g, and baselines."""

from __future__ import annotations

import re
import warnings
from collections.abc import Container, Iterator, Mapping
from importlib.metadata import entry_points
from string import Formatter
from typing import Any, Protocol, TypeVar

from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.given import as_given, shortened
from metagd_optuna.policy.coefficients import Categorical, Kind, check_mapping, prefix, range_of, validate_choice

# A package names here a function that registers what it brings; it is called without arguments.
GROUP = "metagd_optuna.forms"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Checked(Protocol):
    """A row that knows how its parts have to fit."""

    def check(self, what: str) -> None:
        """Raise ``MetaGDError``, beginning with ``what``, if they do not."""


Row = TypeVar("Row", bound=Checked)


class Plugins:
    """The installed packages that bring forms, each loaded once: when a name is missing, or names are listed."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._loaded = False

    def load(self) -> None:
        """Call what every installed package names in the entry-point group; warn of one that fails."""
        if self._loaded:
            return
        self._loaded = True  # first, because a plugin may look up forms as well
        for entry in entry_points(group=GROUP):
            try:
                entry.load()()
            except Exception as error:  # of whatever kind: it is somebody else's code
                problem = (
                    f"the plugin {entry.name!r} ({entry.value}, in the entry points {GROUP}) could not be loaded: "
                    f"{type(error).__name__}: {shortened(str(error))}; update or uninstall the package that brings it"
                )
                self.problems.append(problem)
                warnings.warn(problem, MetaGDWarning, stacklevel=2)


PLUGINS = Plugins()


class Registry(Mapping[str, Row]):
    """Rows by name: those of the package, and those that users and plugins register.

    Args:
        kind: class of the rows.
        what: what a row is, for errors.
        register: the name of the function that adds one, for errors.
        rows: the package's own.
        reserved: other names that no row may have.
    """

    def __init__(
        self, kind: type[Row], what: str, register: str, rows: Mapping[str, Row], reserved: Container[str] = ()
    ) -> None:
        self._kind = kind
        self._what = what
        self._register = register
        self._rows = dict(rows)
        self._reserved = reserved

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows:
            PLUGINS.load()
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._rows:
            PLUGINS.load()
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        PLUGINS.load()
        return iter(tuple(self._rows))

    def __len__(self) -> int:
        PLUGINS.load()
        return len(self._rows)

    def __call__(self) -> tuple[str, ...]:
        """Return the names."""
        return tuple(self)

    @property
    def remedy(self) -> str:
        """What to do about a name that is not here: the sentences that end an error."""
        here = (
            f"If a package brings the {self._what}, install it; if it is your own, call {self._register}() first",
            *PLUGINS.problems,
        )
        return ". ".join(here)

    def find(self, name: Any, place: str, source: str = "") -> Row:
        """Return the row of that name, or raise ``MetaGDError``.

        Args:
            name: what was given.
            place: where it was given, for the error.
            source: the file or trial that the error names first.
        """
        try:
            return self._rows[validate_choice(name, self, place, source)]
        except MetaGDError as error:
            said = str(error) if str(error).endswith("?") else f"{error}."
            raise MetaGDError(f"{said} {self.remedy}") from None

    def add(self, name: Any, row: Row) -> None:
        """Add a row.

        Raises:
            MetaGDError: if the name is taken, or none that files and parameters can hold; if the row is none, or its
                parts do not fit one another.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise MetaGDError(
                f"the name of the {self._what} is {as_given(name)}; give small letters and digits, words joined by "
                "hyphens, such as 'my-form'"
            )
        if name in self._rows or name in self._reserved:
            raise MetaGDError(f"the name {as_given(name)} of a {self._what} is taken; give yours another")
        what = f"{self._what} {name!r}"
        if not isinstance(row, self._kind):
            raise MetaGDError(f"{what} is {as_given(row)}; give a {self._kind.__name__}")
        row.check(what)
        self._rows[name] = row


def check_row(coefficients: Any, what: str, allowed: tuple[type[Any], ...]) -> None:
    """Check that a row's coefficients are ranges, each with a name that a template and a function can hold."""
    holds = f"Python names, each with a {' or '.join(one.__name__ for one in allowed)}"
    for name, kind in check_mapping(coefficients, f"{what}, coefficients", holds).items():
        if not name.isidentifier() or not isinstance(kind, allowed):
            raise MetaGDError(f"{what}: the coefficient {as_given(name)} is {as_given(kind)}; coefficients are {holds}")


def check_trend(trend: Any, what: str) -> None:
    """Check that a trend is two directions."""
    if not (isinstance(trend, tuple) and len(trend) == 2 and all(one in (-1, 0, 1) for one in trend)):
        raise MetaGDError(f"{what}: trend gives {as_given(trend)}; it must be two directions, each -1, 0 or 1")


def check_template(template: str, kinds: Mapping[str, Kind], what: str) -> None:
    """Check that a formula's fields are coefficients: ``{a}``, and for a number ``{a_signed}`` and ``{a_rest}``."""
    fields = set(kinds)
    for name, kind in kinds.items():
        fields |= set() if isinstance(kind, Categorical) else {f"{name}_signed", f"{name}_rest"}
    try:
        found = [(name, form, how) for _, name, form, how in Formatter().parse(template) if name is not None]
    except (TypeError, ValueError) as error:
        raise MetaGDError(
            f"{what} is {as_given(template)}, which is no template ({error}); write {{a}} for a coefficient a, and "
            "{{ and }} for braces"
        ) from None
    for name, form, how in found:
        validate_choice(name, fields, f"a field of {what}")
        if form or how:
            raise MetaGDError(f"{what} has the field {as_given(name)} with a format of its own; write {{{name}}}")


def check_values(values: Any, kinds: Mapping[str, Kind], what: str, optimizer: str = "adam") -> None:
    """Check values of some coefficients, such as those at which a form has no feedback."""
    for name, value in check_mapping(values, what, "a mapping of names to values").items():
        range_of(kinds[validate_choice(name, kinds, f"a key of {what}")], optimizer).check(f"{what}.{name}", value)


def tried(what: str, call: Any, *arguments: Any) -> Any:
    """Return what a row's function answers in the middle of its ranges, or say that it cannot be called so."""
    try:
        return call(*arguments)
    except Exception as error:  # of whatever kind: it is somebody else's code
        raise MetaGDError(
            f"{prefix(what)}it raised {type(error).__name__}: {shortened(str(error))}, with every coefficient in the "
            "middle of its range; mend its function or its ranges"
        ) from error
