"""Reading a study file, one flat TOML table whose keys and ranges are those of ``settings.py``, and a table of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import read_text
from metagd_optuna.given import as_path, shortened
from metagd_optuna.models import allowed_by, did_you_mean
from metagd_optuna.tuning.settings import StudySettings, StudySpec, listed

_MOST_DOTS = 10_000  # Python takes minutes for a key of some more parts


def load_study(path: str | Path) -> StudySpec:
    """Read and check a study file; its stem is the study's name.

    Args:
        path: a TOML file with the keys of docs/study-files.md; only ``tasks`` is required.

    Raises:
        MetaGDError: the file cannot be read, is not TOML, or holds a key or a value that is not allowed.
    """
    path = as_path(path, "the study file")
    table = _read(path)
    known = StudySettings.model_fields
    for key, value in table.items():
        if isinstance(value, dict):
            raise MetaGDError(
                f"{path}: [{shortened(key)}] begins a table, but a study file is one flat list of keys; remove it"
            )
        if key not in known:
            raise MetaGDError(
                f"{path}: there is no key '{shortened(key)}'{did_you_mean(key, known)}; allowed keys: "
                f"{', '.join(known)}"
            )
    if "tasks" not in table:
        raise MetaGDError(f"{path}: the key 'tasks' is missing; add for example tasks = [\"breast_cancer\"]")
    return StudySpec(name=path.stem, file=path, **table)


def settings_table() -> str:
    """Return the Markdown table of all keys that docs/study-files.md shows."""
    whole = StudySettings.model_json_schema()
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, entry in StudySettings.model_fields.items():
        default = "required" if entry.is_required() else f"`{_toml(entry.default)}`"
        lines.append(f"| `{key}` | {default} | {allowed_by(whole['properties'][key], whole)} | {entry.description} |")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml" or not path.is_file():
        folder = path.parent
        beside = sorted(found.name for found in folder.glob("*.toml")) if folder.is_dir() else []
        problem = "is a folder" if path.is_dir() else "does not end in .toml" if path.is_file() else "does not exist"
        raise MetaGDError(
            f"{path}: the study file {problem}{did_you_mean(path.name, beside)}; "
            f"{listed('study files', beside, folder)}"
        )
    try:
        # utf-8-sig also reads files that a Windows editor began with a byte-order mark.
        text = read_text(path, "utf-8-sig")
        if text.count(".") > _MOST_DOTS:
            raise MetaGDError(f"{path}: more than {_MOST_DOTS:,} dots, as no study file has; is it one?")
        return tomllib.loads(text)
    except OSError as error:
        raise MetaGDError(f"{path}: the study file cannot be read: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise MetaGDError(f"{path}: not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MetaGDError(
            f"{path}: not valid TOML: {shortened(str(error))}; "
            'write one "key = value" per line, text in "quotes", lists in [brackets]'
        ) from error
    except ValueError as error:  # Python reads whole numbers of up to 4,300 digits
        raise MetaGDError(f"{path}: a number cannot be read ({error}); give one of fewer digits") from error


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
