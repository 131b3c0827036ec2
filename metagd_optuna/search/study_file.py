"""The study file: one flat, typed TOML table that says what a study compares and what it may cost."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import COMPUTE_TYPES, MetaGDError
from metagd_optuna.given import as_given, as_path, shortened
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.signal import SIGNALS
from metagd_optuna.search.setting import (
    Setting,
    did_you_mean,
    name_of,
    name_or_file,
    names_of,
    required_names,
    switch,
    whole,
)
from metagd_optuna.tasks.catalogue import find_entry
from metagd_optuna.tasks.complexity import COMPLEXITY_METHODS

METRICS = ("auc", "balanced_accuracy")
SEARCHED_OPTIMIZERS = ("adam", "sgd-nesterov", "schedule-free-adamw", "schedule-free-adamw-r1")
EPOCHS_LOW, EPOCHS_HIGH = 4, 40
# What a method may choose of the batch: all of it, or one part in so many.
BATCH_SHARES = (1, 2, 4, 8)
LEAST_UNIVERSAL = 3  # with two, a rule would be chosen on a single task
ARTICLE_CNN = "article-cnn"
PER_TASK, UNIVERSAL = "per-task", "universal"

# A name becomes a folder, a file and a part of an Optuna study's name, where "/" separates.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """The settings of one study; every value is checked when the object is made.

    Args:
        name: the study's name, the stem of its file; usable as a folder's name.
        file: the file that it was read from, in front of every error; None for one made in Python.
        tasks: names of the catalogue, or paths to ``.npz`` files, relative to the study file's folder.

    The other arguments are the keys of docs/study-files.md.

    Raises:
        MetaGDError: a value of the wrong type, out of range, unknown or repeated.

    >>> spec = StudySpec(name="demo", tasks=("breast_cancer",))
    >>> spec.trials, spec.epochs_for(546), spec.epochs_for(15000)
    (24, 27, 4)
    """

    name: str
    file: Path | None = field(default=None, compare=False)
    tasks: tuple[str, ...] = required_names(
        "task", "The tasks, each with its own search and verdict: catalogue names, or paths to `.npz` files."
    )
    league: str = name_of(
        PER_TASK, "league", lambda: (PER_TASK, UNIVERSAL), "What is searched: a rule for each task, or one for all."
    )
    seed: int = whole(0, 0, 2**31 - 1, "Every random choice of the study derives from it.")
    trials: int = whole(24, 4, 10_000, "Settings that are tried per method: each baseline, and the meta-policy.")
    seeds_per_trial: int = whole(2, 1, 100, "Trainings per trial, on seeds that all trials share.")
    trials_at_once: int = whole(
        4,
        1,
        256,
        "Trials proposed together; it changes what the sampler proposes, so it is part of the study.",
    )
    examples_per_run: int = whole(
        15_000, 1, 10**9, "Training examples per run; turned into epochs, from 4 to 40, by the size of the task."
    )
    batch_size: int = whole(32, 1, 4096, "Examples per optimizer step.")
    tune_batch_size: bool = switch(
        False, "Every method also chooses its batch: `batch_size`, or a half, a quarter or an eighth of it."
    )
    evaluations: int = whole(40, 4, 1000, "Evaluations per run, evenly spaced: the resolution of every time.")
    ticks_per_evaluation: int = whole(3, 1, 100, "Times that a controller looks and sets the rate, per evaluation.")
    metric: str = name_of("auc", "metric", lambda: METRICS, "The validation score that has to converge.")
    baselines: tuple[str, ...] = names_of(
        ("adam-constant", "adam-cosine", "sgd-one-cycle"),
        "baseline",
        BASELINES,
        "Tuned rivals; each is given as many trials as the meta-policy.",
    )
    difficulty_forms: tuple[str, ...] = names_of(
        ("mix", "logistic"), "difficulty form", DIFFICULTY_FORMS, "Forms of f that are searched."
    )
    rate_forms: tuple[str, ...] = names_of(
        ("power", "logistic", "schedule"), "rate form", RATE_FORMS, "Forms of g that are searched."
    )
    optimizers: tuple[str, ...] = names_of(
        ("adam", "sgd-nesterov"),
        "optimizer",
        lambda: SEARCHED_OPTIMIZERS,
        "Optimizers that the meta-policy may choose; name baselines that use them.",
    )
    signal: str = name_of("train-loss", "signal", lambda: tuple(SIGNALS), "What the performance p is computed from.")
    calibration_seeds: int = whole(4, 1, 100, "Trainings at each of four rates, to fix the target of the searches.")
    shortlist_trials: int = whole(
        4,
        1,
        100,
        "Best trials of every method that are run again, on new seeds; the better half goes on, to twice as many.",
    )
    shortlist_seeds: int = whole(
        3, 1, 50, "New seeds of the first round of that second look, which fixes each method's setting."
    )
    confirmation_seeds: int = whole(
        10, 2, 1000, "Fresh paired seeds that the verdict is made from; with fewer than 6 it can only be a tie."
    )
    max_train: int = whole(
        0, 2, 10**9, "Largest stratified part of the training set that is used; 0 is all of it.", or_zero=True
    )
    max_eval: int = whole(
        0,
        2,
        10**9,
        "Largest stratified part of the validation set, and of the test set, that is used; 0 is all of it.",
        or_zero=True,
    )
    complexity: str = name_of(
        "knn", "complexity measure", lambda: COMPLEXITY_METHODS, "How the complexity c of a task is measured."
    )
    drop_duplicates: bool = switch(False, "Drop training images that repeat another one, of any part.")
    drop_contradictions: bool = switch(False, "Drop training images whose copy carries another label.")
    pruning: bool = switch(True, "Stop trials that can no longer be good.")
    median_pruning: bool = switch(
        False, "Also stop trials that are behind the median of the earlier ones, from half of a run on; not universal."
    )
    network: str = name_or_file(
        ARTICLE_CNN, "network", lambda: (ARTICLE_CNN,), ".keras", "What is trained; see below for networks of your own."
    )
    compute: str = name_of(
        "float32", "compute type", lambda: COMPUTE_TYPES, "What convolutions and matrix products multiply."
    )
    population: int = whole(0, 0, 1024, "Trainings that share one compiled program; 0 measures what is fastest.")

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or _SAFE_NAME.fullmatch(self.name) is None:
            raise MetaGDError(
                f"{self.source}: the study's name {as_given(self.name)} has to serve as a folder's name; use up to 100 "
                "letters (a to z), digits, '.', '_' and '-', and begin with a letter or digit: rename the file"
            )
        for key, setting in study_settings().items():
            value = getattr(self, key)
            if isinstance(value, list):  # a study does not change, so neither do its lists
                object.__setattr__(self, key, tuple(value))
            try:
                setting.check(getattr(self, key))
            except MetaGDError as error:
                raise MetaGDError(f"{self.source}: key '{key}': {error}") from None
        for key in ("trials_at_once", "shortlist_trials"):
            if getattr(self, key) > self.trials:
                raise MetaGDError(
                    f"{self.source}: key '{key}': {getattr(self, key)} is more than trials = {self.trials}; "
                    f"allowed is up to {self.trials}: lower it, or raise trials"
                )
        if self.tune_batch_size and self.batch_size % BATCH_SHARES[-1]:
            raise MetaGDError(
                f"{self.source}: key 'batch_size': with tune_batch_size a half, a quarter and an eighth of it are "
                f"tried, and {self.batch_size} is no multiple of {BATCH_SHARES[-1]}; use 8, 16, 32 ..., or leave "
                "tune_batch_size out"
            )
        self._check_tasks()
        self._check_network()
        if self.league == UNIVERSAL and len(self.tasks) < LEAST_UNIVERSAL:
            raise MetaGDError(
                f"{self.source}: key 'league': a universal rule is judged on tasks that its choice never saw, which "
                f"needs at least {LEAST_UNIVERSAL} tasks, not {len(self.tasks)}: name more tasks, or leave the key out"
            )
        if self.league == UNIVERSAL and self.median_pruning:
            raise MetaGDError(
                f"{self.source}: key 'median_pruning': a setting that is behind on one task may be the best over all, "
                "so the universal league does not stop it for that: leave the key out"
            )

    @property
    def source(self) -> str:
        """Where the settings come from, for messages."""
        return shortened(str(self.file)) if self.file else f"study {as_given(self.name)}"

    @property
    def task_locations(self) -> dict[str, str]:
        """Task name to what loads it: a name of the catalogue, or a path that works from any folder."""
        return {task_name(entry): self._location(entry) for entry in self.tasks}

    @property
    def network_file(self) -> Path | None:
        """The file of a network of the user's own; None for a network that the package knows."""
        return None if self.network == ARTICLE_CNN else self._beside(self.network)

    def epochs_for(self, n_train: int) -> int:
        """Return the budget of a run in epochs: clip(round(examples_per_run / n_train), 4, 40)."""
        if n_train < 1:
            raise MetaGDError(f"{self.source}: a training part of {n_train} examples cannot be trained on; at least 1")
        return min(max(round(self.examples_per_run / n_train), EPOCHS_LOW), EPOCHS_HIGH)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Examples per optimizer step that every method chooses from; empty if there is no choice."""
        return tuple(self.batch_size // share for share in BATCH_SHARES) if self.tune_batch_size else ()

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of the study file with the defaults filled in, JSON-able; no name, no folder."""
        return {key: _plain(getattr(self, key)) for key in study_settings()}

    def changes_from(self, stored: Mapping[str, Any]) -> list[str]:
        """Return what differs from the settings ``stored`` by an earlier run, one sentence each.

        >>> stored = StudySpec(name="demo", tasks=("breast_cancer",), trials=12).to_dict()
        >>> StudySpec(name="demo", tasks=("breast_cancer",)).changes_from(stored)
        ['trials: was 12, now 24']
        """
        now = self.to_dict()
        stored = with_defaults(stored)
        return [
            f"{key}: was {stored.get(key, 'not set')}, now {now.get(key, 'not set')}"
            for key in dict.fromkeys([*now, *stored])
            if key not in now or key not in stored or now[key] != stored[key]
        ]

    def _location(self, entry: str) -> str:
        return str(self._beside(entry)) if _is_path(entry) else entry

    def _beside(self, path: str) -> Path:
        """Return a path that the study file gives relative to its own folder."""
        try:
            return (self.file.parent if self.file else Path()) / as_path(path, "a path", home=True)
        except MetaGDError as error:
            raise MetaGDError(f"{self.source}: {error}") from None

    def _check_network(self) -> None:
        path = self.network_file
        if path is not None and not path.is_file():
            beside = sorted(found.name for found in path.parent.glob("*.keras"))
            raise MetaGDError(
                f"{self.source}: key 'network': there is no file {path}{did_you_mean(path.name, beside)}; "
                f"{_listed('files', beside, path.parent)}; paths are relative to the study file's folder"
            )

    def _check_tasks(self) -> None:
        # The rule for all tasks is stored beside those of single tasks, under this name.
        owners = {UNIVERSAL: "the rule for all tasks"} if self.league == UNIVERSAL else {}
        for entry in self.tasks:
            if _is_path(entry):
                self._check_task_file(entry)
            else:
                self._check_task_name(entry)
            # Results are stored in files named after the task, and some file systems ignore case.
            name = task_name(entry)
            if name.casefold() in owners:
                raise MetaGDError(
                    f"{self.source}: key 'tasks': {as_given(owners[name.casefold()])} and {as_given(entry)} are both "
                    f"called {as_given(name)}, and a task's name must be its own; rename one of the files"
                )
            owners[name.casefold()] = entry

    def _check_task_name(self, name: str) -> None:
        try:
            refusal = find_entry(name).refusal
        except MetaGDError as error:
            raise MetaGDError(f"{self.source}: key 'tasks': {error}") from None
        if refusal:
            raise MetaGDError(f"{self.source}: key 'tasks': task {as_given(name)} cannot be used: {refusal}")

    def _check_task_file(self, entry: str) -> None:
        name = task_name(entry)
        if _SAFE_NAME.fullmatch(name) is None:
            raise MetaGDError(
                f"{self.source}: key 'tasks': {as_given(entry)} would make a task called {as_given(name)}, which "
                "cannot serve as a file's name; use letters (a to z), digits, '.', '_' and '-', a letter or digit first"
            )
        path = Path(self._location(entry))
        if path.suffix != ".npz":
            raise MetaGDError(
                f"{self.source}: key 'tasks': {as_given(entry)} is a path, and only files that end in .npz can be "
                "read; convert the images to an .npz file in MedMNIST's layout"
            )
        if not path.is_file():
            beside = sorted(found.name for found in path.parent.glob("*.npz"))
            raise MetaGDError(
                f"{self.source}: key 'tasks': there is no file {path}{did_you_mean(path.name, beside)}; "
                f"{_listed('files', beside, path.parent)}; paths are relative to the study file's folder"
            )


def study_settings() -> dict[str, Setting]:
    """Return every key of a study file with what it accepts, in the order of the documentation."""
    return {entry.name: entry.metadata["setting"] for entry in _setting_fields()}


def load_study(path: str | Path) -> StudySpec:
    """Read and check a study file; its stem is the study's name.

    Args:
        path: a TOML file with the keys of docs/study-files.md; only ``tasks`` is required.

    Raises:
        MetaGDError: the file cannot be read, is not TOML, or holds a key or a value that is not allowed.
    """
    path = as_path(path, "the study file")
    table = _read(path)
    known = study_settings()
    for key, value in table.items():
        if isinstance(value, dict):
            raise MetaGDError(
                f"{path}: [{shortened(key)}] begins a table, but a study file is one flat list of keys; remove it"
            )
        if key not in known:
            raise MetaGDError(
                f"{path}: there is no key '{shortened(key)}'{did_you_mean(key, known)}; "
                f"allowed keys: {', '.join(known)}"
            )
    if "tasks" not in table:
        raise MetaGDError(f"{path}: the key 'tasks' is missing; add for example tasks = [\"breast_cancer\"]")
    return StudySpec(name=path.stem, file=path, **table)


def with_defaults(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with the keys that the package did not know then: they stand for their defaults."""
    defaults = {e.name: _plain(e.default) for e in _setting_fields() if e.default is not MISSING}
    filled = defaults | dict(stored)
    return {key: filled[key] for key in dict.fromkeys([*study_settings(), *filled]) if key in filled}


def settings_table() -> str:
    """Return the Markdown table of all keys that docs/study-files.md shows."""
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for entry in _setting_fields():
        setting: Setting = entry.metadata["setting"]
        default = "required" if entry.default is MISSING else f"`{_toml(entry.default)}`"
        lines.append(f"| `{entry.name}` | {default} | {setting.allowed} | {setting.meaning} |")
    return "\n".join(lines)


def _setting_fields() -> list[Field[Any]]:
    return [entry for entry in fields(StudySpec) if "setting" in entry.metadata]


def _plain(value: Any) -> Any:
    """Return a setting's value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _is_path(entry: str) -> bool:
    """Return whether an entry of ``tasks`` is a path: it names a folder, or ends in ``.npz``."""
    return entry.endswith(".npz") or "/" in entry or "\\" in entry


def task_name(entry: str) -> str:
    """Return what a task is called that an entry of ``tasks`` names."""
    return Path(entry).stem if _is_path(entry) else entry


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml" or not path.is_file():
        folder = path.parent
        beside = sorted(found.name for found in folder.glob("*.toml")) if folder.is_dir() else []
        problem = "is a folder" if path.is_dir() else "does not end in .toml" if path.is_file() else "does not exist"
        raise MetaGDError(
            f"{path}: the study file {problem}{did_you_mean(path.name, beside)}; "
            f"{_listed('study files', beside, folder)}"
        )
    try:
        # utf-8-sig also reads files that a Windows editor began with a byte-order mark.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
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


def _listed(what: str, found: Sequence[str], folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    return f"{what} there: {', '.join(found)}" if found else f"the folder {folder} holds no such {what}"
