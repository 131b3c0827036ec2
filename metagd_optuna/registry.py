"""Tables that users and their packages may add to: forms, baselines, optimizers and readers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.given import as_given, shortened, validate_choice

# A package names here a function that registers what it brings; it is called without arguments.
GROUP = "metagd_optuna.forms"
# A name becomes a part of parameters, files and columns.
_NAME = re.compile(r"(?=.{1,100}\Z)[a-z][a-z0-9]*(-[a-z0-9]+)*")

Row = TypeVar("Row")


def check_name(given: Any, what: str) -> str:
    """Return a row's name if files and parameters can hold it, or raise ``MetaGDError``.

    >>> check_name("my-form", "rate form")
    'my-form'
    """
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise MetaGDError(
            f"the name of the {what} is {as_given(given)}; give small letters and digits, words joined by hyphens, up "
            f"to 100 characters in all, such as 'my-{what.replace(' ', '-')}'"
        )
    return given


class Plugins:
    """The installed packages that bring rows, each loaded once: when a name is missing, or names are listed."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._loaded = False

    def load(self) -> None:
        """Call what every installed package names in the entry-point group; warn of one that fails."""
        if self._loaded:
            return
        self._loaded = True  # first, because a plugin may look up rows as well
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
        check: (row, what it is) -> None; raises ``MetaGDError`` if the parts of the row do not fit one another.
        reserved: other names that no row may have.
    """

    def __init__(
        self,
        kind: type[Row],
        what: str,
        register: str,
        rows: Mapping[str, Row],
        check: Callable[[Row, str], None] | None = None,
        reserved: Container[str] = (),
    ) -> None:
        self.check = check
        self._kind = kind
        self._what = what
        self._register = register
        self._rows = dict(rows)
        self._own = frozenset(rows)
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

    def validate(self, name: Any, place: str, source: str = "") -> str:
        """Return a name that is here, or raise ``MetaGDError``.

        Args:
            name: what was given.
            place: where it was given, for the error.
            source: the file or trial that the error names first.
        """
        try:
            return validate_choice(name, self, place, source)
        except MetaGDError as error:
            said = str(error) if str(error).endswith("?") else f"{error}."
            raise MetaGDError(f"{said} {self.remedy}") from None

    def find(self, name: Any, place: str, source: str = "") -> Row:
        """Return the row of that name, or raise ``MetaGDError``; the arguments are those of ``validate``."""
        return self._rows[self.validate(name, place, source)]

    def add(self, name: Any, row: Row) -> None:
        """Add a row; the same object again under the same name changes nothing, as when a cell is run twice.

        Raises:
            MetaGDError: if the name is another row's, or none that files and parameters can hold; if the row is none,
                or its parts do not fit one another.
        """
        if self._rows.get(check_name(name, self._what)) is row:
            return
        if name in self._rows or name in self._reserved:
            theirs = name in self._reserved or name in self._own
            replaced = "" if theirs else "; to replace the one that is registered, start Python anew"
            raise MetaGDError(f"the name {as_given(name)} of the {self._what} is taken; give yours another{replaced}")
        what = f"{self._what} {name!r}"
        if not isinstance(row, self._kind):
            raise MetaGDError(f"{what} is {as_given(row)}; give a {self._kind.__name__}")
        if self.check is not None:
            self.check(row, what)
        self._rows[name] = row
