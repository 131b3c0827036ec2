"""What a user gave, as errors quote it and as a path."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError

# A name or a value may be of any length; of one that is longer, an error shows how it begins and ends.
MOST_QUOTED = 200
LONGEST_SHOWN_BITS = 100  # about 30 digits
# As a path, an address has lost a slash. The bounds keep odd texts from taking minutes.
_SECRETS = re.compile(r"""\b([A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,2})[^\s'"]{0,1000}@""")
_OPTIONS = re.compile(
    r"""\b(?!https?:)([A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,2}[^\s'"?]{0,1000})\?[^\s'",;)]{1,1000}(?!\S{0,1000}@)"""
)
# What Linux and macOS allow, in bytes.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def shortened(text: str) -> str:
    """Return a text that a user gave as an error shows it: at most 200 characters, without the middle if it is longer.

    >>> shortened("optuna.db"), len(shortened("x" * 1_000_000))
    ('optuna.db', 200)
    """
    if len(text) <= MOST_QUOTED:
        return text
    gap = f" ... ({len(text):,} characters) ... "
    kept = MOST_QUOTED - len(gap)
    return text[: kept - kept // 2] + gap + text[len(text) - kept // 2 :]


def without_secrets(text: str) -> str:
    """Return a text with user, password and options of every address in it left out, as of a storage.

    Passwords may hold any character but spaces and quotation marks, so that more than the password may be left out.

    Options of a web page stay, as of one that data are downloaded from.

    >>> without_secrets("no file postgresql://ann:s3cret@db/x?password=y; allowed is")
    'no file postgresql://***@db/x?***; allowed is'
    """
    return _SECRETS.sub(r"\1***@", _OPTIONS.sub(r"\1?***", text))


def as_given(value: object) -> str:
    """Return a value that a user gave as an error quotes it, in at most 200 characters.

    A long whole number is told by its length, because Python may refuse to write it out.

    >>> as_given(0.5), as_given("mxi"), as_given(10**400)
    ('0.5', "'mxi'", 'a whole number of about 400 digits')
    """
    if isinstance(value, int) and value.bit_length() > LONGEST_SHOWN_BITS:
        return f"a whole number of about {round(value.bit_length() * math.log10(2))} digits"
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits inside, or lists a thousand deep
        return f"a {type(value).__name__}"


def in_markdown(text: str) -> str:
    r"""Return a text as Markdown shows it literally, on one line.

    >>> in_markdown("a_b <i> _c_"), in_markdown("- 1. a"), in_markdown("1. a")
    ('a_b \\<i\\> \\_c\\_', '\\- 1. a', '1\\. a')
    """
    # An underscore within a word means nothing to Markdown and is left alone, as names are full of them; so is "<"
    # before a space, as in p < 0.001.
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])|<(?!\s)|[\\`*\[\]>|#$&~]", r"\\\g<0>", text)
    return re.sub(r"\s+", " ", re.sub(r"^\s*(\d*)([-+.)])(?=\s)", r"\1\\\2", escaped))


def counted(count: int, thing: str) -> str:
    """Return how many there are of something.

    >>> counted(1, "trial"), counted(1200, "trial")
    ('1 trial', '1,200 trials')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def in_python(path: object) -> str:
    """Return a path as a user would write it in Python.

    >>> print(in_python("runs/a.json"), in_python('runs/"a".json'))
    "runs/a.json" 'runs/"a".json'
    """
    text = str(path)
    return f'"{text}"' if text.isprintable() and not {'"', "\\"} & set(text) else repr(text)


def as_path(given: object, what: str, *, home: bool = False) -> Path:
    """Return a path that a user gave, as text or as a path object.

    Args:
        given: what was passed.
        what: what it names, for the error.
        home: whether a leading ~ stands for a user's own folder.

    Raises:
        MetaGDError: if it is neither, or no file system can hold a file of that name.
    """
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
        raise MetaGDError(f"{what} is {as_given(given)}; give a path as text, or a pathlib.Path")
    path = Path(given)
    try:
        path = path.expanduser() if home else path
    except RuntimeError as error:
        raise MetaGDError(f"{what} is {as_given(given)}, and there is no such user; write the whole path") from error
    try:
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError as error:
        raise MetaGDError(f"{what} is {as_given(given)}, which no file can be called; give another path") from error
    if "\0" in str(path) or max(sizes, default=0) > LONGEST_NAME or sum(sizes) > LONGEST_PATH:
        raise MetaGDError(
            f"{what} is {as_given(given)}, which no file can be called: names have up to {LONGEST_NAME} bytes, paths "
            f"up to {LONGEST_PATH:,}, and none has a zero byte; give another path"
        )
    return path


def prefix(source: str) -> str:
    """Return how an error begins that is about the file or trial ``source``."""
    return f"{shortened(source)}: " if source else ""


def finite_number(text: str) -> float:
    """Return a number of a JSON document, for ``json.loads(..., parse_float=finite_number)``.

    Raises:
        ValueError: for one that is beyond any float, such as 1e999.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{shortened(text)} is too large for a number")
    return value


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one was meant to be, or None if nothing is near.

    It is the one of the fewest edits, at most one for three letters: a letter too many, too few or wrong, or two
    neighbours swapped. Case and the kind of hyphen do not count. Where there is none, a beginning of a name stands for
    it.

    >>> names = ("breastmnist", "chestmnist", "retinamnist", "breast_cancer")
    >>> nearest("bresatminst", names), nearest("Breast-Cancer", names), nearest("retina", names), nearest("skin", names)
    ('breastmnist', 'breast_cancer', 'retinamnist', None)
    """
    if not 0 < len(name) <= MOST_QUOTED:
        return None
    given, plain = _plain(name), {candidate: _plain(candidate) for candidate in known}
    most = max(1, len(given) // 3)
    # What differs by more letters than that cannot be meant, and counting edits takes as long as both are long.
    edits = {each: _edits(given, text) for each, text in plain.items() if abs(len(text) - len(given)) <= most}
    best = min(edits, key=lambda candidate: edits[candidate], default=None)
    if best is not None and edits[best] <= most:
        return best
    return next((candidate for candidate, text in plain.items() if len(given) > 2 and text.startswith(given)), None)


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]+", "-", name.casefold())


def _edits(one: str, two: str) -> int:
    """Return how many edits lead from one text to the other, none of a letter twice (optimal string alignment)."""
    before, row = [0] * (len(two) + 1), list(range(len(two) + 1))
    for i, letter in enumerate(one, 1):
        twice_before, before, row = before, row, [i]
        for j, other in enumerate(two, 1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            swapped = i > 1 and j > 1 and letter == two[j - 2] and other == one[i - 2]
            row.append(min(edits, twice_before[j - 2] + 1) if swapped else edits)
    return row[-1]


def validate_choice(value: Any, allowed: Collection[str], what: str, source: str = "") -> str:
    """Return ``value`` if it is among ``allowed``, or raise ``MetaGDError`` with the nearest of them.

    >>> validate_choice("mxi", ("mix", "logistic"), "f")
    Traceback (most recent call last):
    ...
    metagd_optuna.contracts.MetaGDError: f is 'mxi'; allowed: mix, logistic. Did you mean 'mix'?
    """
    if isinstance(value, str) and value in allowed:
        return value
    names = tuple(allowed)
    near = nearest(value, names) if isinstance(value, str) else None
    hint = f". Did you mean {near!r}?" if near else ""
    raise MetaGDError(f"{prefix(source)}{what} is {as_given(value)}; allowed: {', '.join(names) or 'nothing'}{hint}")
