"""What a study compares and what it may cost: the keys of a study file, each with its range, default and meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from metagd_optuna.contracts import COMPUTE_TYPES, TARGET_SHARE, MetaGDError
from metagd_optuna.given import as_given, as_path, shortened
from metagd_optuna.models import Model, Row, did_you_mean, schema_document, what_is_wrong
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.optimizers import SEARCHED_OPTIMIZERS
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.signal import SIGNALS
from metagd_optuna.tasks.catalogue import find_entry
from metagd_optuna.tasks.complexity import COMPLEXITY_METHODS
from metagd_optuna.tasks.entry import TaskEntry, as_entry, check_options, location_of, name_of, options_of
from metagd_optuna.tasks.readers.registry import is_path, reader_of

METRICS = ("auc", "balanced_accuracy")
EPOCHS_LOW, EPOCHS_HIGH = 4, 40
# What a method may choose of the batch: all of it, or one part in so many.
BATCH_SHARES = (1, 2, 4, 8)
LEAST_UNIVERSAL = 3  # with two, a rule would be chosen on a single task
ARTICLE_CNN = "article-cnn"
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
OWN_NETWORK = re.compile(rf".+\.keras|{FUNCTION.pattern}")
ALL, HEAD = "all", "head"
LATER = ("resample_splits", "target_share", "trainable")  # keys that earlier studies were stored without
TABLE_MLP = "mlp"  # what trains in its place on the rows of a table
PER_TASK, UNIVERSAL = "per-task", "universal"

# A name becomes a folder, a file and a part of an Optuna study's name, where "/" separates.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class _Names:
    """The names that a key may hold, looked up when it is checked, because forms can be registered.

    Args:
        what: what a name stands for, in error messages.
        names: returns those that there are; None where any text is a candidate.
        others: what else may be given instead, in words and as it is written; None if nothing may.
    """

    what: str
    names: Callable[[], Iterable[str]] | None
    others: tuple[str, re.Pattern[str]] | None = None

    def __call__(self, schema: dict[str, Any]) -> None:
        """Write what is allowed into the key's JSON Schema, from which editors complete it."""
        known = list(self.names()) if self.names else []
        if self.others:
            schema["allowed"] = f"{', '.join(known)}, {self.others[0]}"
        elif "items" in schema:
            out_of = f" out of {', '.join(known)}" if known else ""
            schema["allowed"] = f"a list of one or more {self.what} names{out_of}"
            schema["uniqueItems"] = True
        if known and not self.others:
            schema.get("items", schema)["enum"] = known

    def check(self, name: str) -> None:
        known = list(self.names()) if self.names else [name]
        if name in known or (self.others and self.others[1].fullmatch(name)):
            return
        others = f", {self.others[0]}" if self.others else ""
        remedy = getattr(self.names, "remedy", "")
        raise ValueError(
            f"there is no {self.what} {as_given(name)}{did_you_mean(name, known)}; allowed: "
            f"{', '.join(known)}{others}{remedy and f'. {remedy}'}"
        )


def _whole(default: int, low: int, high: int, meaning: str) -> Any:
    return Field(default, ge=low, le=high, description=meaning)


def _zero_or(low: int, high: int, meaning: str) -> Any:
    allowed = f"0, or a whole number from {low:,} to {high:,}"
    return Field(0, ge=0, le=high, description=meaning, json_schema_extra={"allowed": allowed, "least": low})


def _switch(default: bool, meaning: str) -> Any:
    return Field(default, description=meaning)


def _one(
    default: str,
    what: str,
    names: Callable[[], Iterable[str]],
    meaning: str,
    others: tuple[str, re.Pattern[str]] | None = None,
) -> Any:
    return Field(default, description=meaning, json_schema_extra=_Names(what, names, others))


def _some(default: tuple[str, ...], what: str, names: Callable[[], Iterable[str]], meaning: str) -> Any:
    return Field(default, min_length=1, description=meaning, json_schema_extra=_Names(what, names))


class StudySettings(Model):
    """The keys of a study file."""

    tasks: Row[Annotated[str | TaskEntry, BeforeValidator(as_entry)]] = Field(
        min_length=1,
        description="The tasks, each with its own search and verdict: catalogue names, paths, or tables of a path and "
        "of how it is read.",
        json_schema_extra=_Names("task", None),
    )
    scope: str = _one(
        PER_TASK,
        "scope",
        lambda: (PER_TASK, UNIVERSAL),
        "What is searched: a rule for each task, or one for all, evaluated by leave-one-task-out.",
    )
    seed: int = _whole(0, 0, 2**31 - 1, "Every random choice of the study derives from it.")
    trials: int = _whole(24, 4, 10_000, "Settings that are tried per method: each baseline, and the meta-policy.")
    seeds_per_trial: int = _whole(2, 1, 100, "Trainings per trial, on seeds that all trials share.")
    trials_at_once: int = _whole(
        4, 1, 256, "Trials proposed together; it changes what the sampler proposes, so it is part of the study."
    )
    examples_per_run: int = _whole(
        15_000, 1, 10**9, "Training examples per run; turned into epochs, from 4 to 40, by the size of the task."
    )
    batch_size: int = _whole(32, 1, 4096, "Examples per optimizer step.")
    tune_batch_size: bool = _switch(
        False, "Every method also chooses its batch: `batch_size`, or a half, a quarter or an eighth of it."
    )
    evaluations: int = _whole(40, 4, 1000, "Evaluations per run, evenly spaced: the resolution of every time.")
    rate_updates_per_evaluation: int = _whole(3, 1, 100, "Rate updates per evaluation.")
    metric: str = _one("auc", "metric", lambda: METRICS, "The validation score that has to converge.")
    target_share: float = Field(
        TARGET_SHARE,
        ge=0.5,
        le=1,
        description="Where the target is: this share of the way from chance level to where the best baseline ends.",
    )
    baselines: Row[str] = _some(
        ("adam-constant", "adam-cosine", "sgd-one-cycle"),
        "baseline",
        BASELINES,
        "Tuned baselines; each is given as many trials as the meta-policy.",
    )
    difficulty_forms: Row[str] = _some(
        ("mix", "logistic"), "difficulty form", DIFFICULTY_FORMS, "Forms of f that are searched."
    )
    rate_forms: Row[str] = _some(
        ("power", "logistic", "schedule"), "rate form", RATE_FORMS, "Forms of g that are searched."
    )
    optimizers: Row[str] = _some(
        ("adam", "sgd-nesterov"),
        "optimizer",
        SEARCHED_OPTIMIZERS,
        "Optimizers that the meta-policy may choose; name baselines that use them.",
    )
    signal: str = _one("train-loss", "signal", lambda: SIGNALS, "What the performance p is computed from.")
    calibration_seeds: int = _whole(4, 1, 100, "Trainings at each of four rates, to fix the target of the searches.")
    shortlist_trials: int = _whole(
        4,
        1,
        100,
        "Best trials of every method that are run again on new seeds; the better half goes on, to twice as many.",
    )
    shortlist_seeds: int = _whole(
        3, 1, 50, "New seeds of the first round of the shortlist, which fixes each method's setting."
    )
    confirmation_seeds: int = _whole(
        10, 2, 1000, "Fresh paired seeds that the verdict is made from; with fewer than 6 it can only be a tie."
    )
    max_train: int = _zero_or(2, 10**9, "Largest stratified part of the training set that is used; 0 is all of it.")
    max_eval: int = _zero_or(
        2, 10**9, "Largest stratified part of the validation set, and of the test set, that is used; 0 is all of it."
    )
    complexity: str = _one(
        "knn", "complexity measure", lambda: COMPLEXITY_METHODS, "How the complexity c of a task is measured."
    )
    drop_duplicates: bool = _switch(False, "Drop training images that repeat another one, of any part.")
    drop_contradictions: bool = _switch(False, "Drop training images whose copy carries another label.")
    resample_splits: bool = _switch(
        False,
        "Deal the cases into other parts for every seed of the confirmation, by patient where that is known, so that "
        "its intervals cover which cases are in which part.",
    )
    pruning: bool = _switch(True, "Stop trials that can no longer be good.")
    median_pruning: bool = _switch(
        False, "Also stop trials that are behind the median of the earlier ones, from half of a run on; not universal."
    )
    network: str = _one(
        ARTICLE_CNN,
        "network",
        lambda: (ARTICLE_CNN,),
        "What is trained, on tables an MLP in its place; see below for networks of your own.",
        others=("a path to a .keras file, or a function as package.module:function", OWN_NETWORK),
    )
    trainable: str = _one(
        ALL,
        "choice",
        lambda: (ALL, HEAD),
        "Of a network in a .keras file: all layers, from fresh weights; or only a new last layer, on its own weights.",
    )
    compute: str = _one(
        "float32", "compute type", lambda: COMPUTE_TYPES, "What convolutions and matrix products multiply."
    )
    population: int = _whole(
        0,
        0,
        1024,
        "Trainings that share one compiled program; 0 is one on a CPU, and measures what is fastest on a GPU.",
    )

    @field_validator("*")
    @classmethod
    def _check_names(cls, value: Any, info: ValidationInfo) -> Any:
        names = cls.model_fields[str(info.field_name)].json_schema_extra
        if isinstance(names, _Names):
            given = value if isinstance(value, tuple) else (value,)
            for name in given:
                names.check(name)
            repeated = sorted({name for name in given if given.count(name) > 1}, key=str)
            if repeated:
                said = shortened(", ".join(map(as_given, repeated)))
                raise ValueError(f"{said} is listed more than once; name it once")
        elif isinstance(names, Mapping) and 0 < value < names["least"]:
            raise ValueError(f"{value} is out of range; allowed is {names['allowed']}")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> StudySettings:
        for key in ("trials_at_once", "shortlist_trials"):
            if getattr(self, key) > self.trials:
                raise ValueError(
                    f"{key}: {getattr(self, key)} is more than trials = {self.trials}; allowed is up to {self.trials}: "
                    "lower it, or raise trials"
                )
        if self.tune_batch_size and self.batch_size % BATCH_SHARES[-1]:
            raise ValueError(
                f"batch_size: with tune_batch_size a half, a quarter and an eighth of it are tried, and "
                f"{self.batch_size} is no multiple of {BATCH_SHARES[-1]}; use 8, 16, 32 ..., or leave tune_batch_size "
                "out"
            )
        if self.scope == UNIVERSAL and len(self.tasks) < LEAST_UNIVERSAL:
            raise ValueError(
                "scope: a universal rule is evaluated on tasks that its choice never saw, which needs at least "
                f"{LEAST_UNIVERSAL} tasks, not {len(self.tasks)}: name more tasks, or leave the key out"
            )
        if self.scope == UNIVERSAL and self.median_pruning:
            raise ValueError(
                "median_pruning: a setting that is behind on one task may be the best over all, so the universal "
                "scope does not stop it for that: leave the key out"
            )
        return self

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Examples per optimizer step that every method chooses from; empty if there is no choice."""
        return tuple(self.batch_size // share for share in BATCH_SHARES) if self.tune_batch_size else ()

    @property
    def universal(self) -> bool:
        """Whether one rule is searched for all tasks."""
        return self.scope == UNIVERSAL

    def epochs_for(self, n_train: int) -> int:
        """Return the budget of a run in epochs: clip(round(examples_per_run / n_train), 4, 40)."""
        if n_train < 1:
            raise MetaGDError(f"a training part of {n_train} examples cannot be trained on; at least 1 is needed")
        return min(max(round(self.examples_per_run / n_train), EPOCHS_LOW), EPOCHS_HIGH)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the keys of the study file with the defaults filled in, JSON-able."""
        return self.model_dump(mode="json", include=set(StudySettings.model_fields))

    def changes_from(self, stored: Mapping[str, object]) -> list[str]:
        """Return what differs from the settings ``stored`` by an earlier run, one sentence each.

        >>> stored = StudySettings(tasks=("breast_cancer",), trials=12).to_dict()
        >>> StudySettings(tasks=("breast_cancer",)).changes_from(stored)
        ['trials: was 12, now 24']
        """
        now, stored = self.to_dict(), as_it_was(stored)
        return [
            f"{key}: was {stored.get(key, 'not set')}, now {now.get(key, 'not set')}"
            for key in dict.fromkeys([*now, *stored])
            if key not in now or key not in stored or now[key] != stored[key]
        ]


def as_it_was(stored: Mapping[str, object]) -> dict[str, object]:
    """Return stored settings with those that there were none of yet: what they are by default is what was done then.

    >>> as_it_was({"trials": 12})["resample_splits"]
    False
    """
    by_default = {name: field.default for name, field in StudySettings.model_fields.items() if name in LATER}
    return {**by_default, **stored}


class StudySpec(StudySettings):
    """The settings of one study with its name; every value is checked when the object is made.

    Args:
        name: the study's name, the stem of its file; usable as a folder's name.
        file: the file that it was read from, in front of every error; None for one made in Python.
        tasks: names of the catalogue, or paths relative to the study file's folder, or ``TaskEntry`` for a path with
            how it is read.

    The other arguments are the keys of docs/study-files.md.

    Raises:
        MetaGDError: a value of the wrong type, out of range, unknown or repeated; a file that is not there.

    >>> spec = StudySpec(name="demo", tasks=("breast_cancer",))
    >>> spec.trials, spec.epochs_for(546), spec.epochs_for(15000)
    (24, 27, 4)
    """

    name: str
    file: Annotated[Path | None, BeforeValidator(lambda given: given and as_path(given, "file"))] = None

    if not TYPE_CHECKING:  # so that type checkers see the keys as arguments

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                source = _source(values.get("file"), values.get("name"))
                raise MetaGDError(f"{source}: {what_is_wrong(error, StudySpec)}") from None

    @model_validator(mode="after")
    def _check_places(self) -> StudySpec:
        if _SAFE_NAME.fullmatch(self.name) is None:
            raise ValueError(
                f"the study's name {as_given(self.name)} has to serve as a folder's name; use up to 100 letters (a to "
                "z), digits, '.', '_' and '-', and begin with a letter or digit: rename the file"
            )
        for key, check in (("tasks", self._check_tasks), ("network", self._check_network)):
            try:
                check()
            except MetaGDError as error:
                raise ValueError(f"{key}: {error}") from None
        return self

    @property
    def source(self) -> str:
        """Where the settings come from, for messages."""
        return _source(self.file, self.name)

    @property
    def task_locations(self) -> dict[str, str]:
        """Task name to what loads it: a name of the catalogue, or a path that works from any folder."""
        found = {name_of(entry): location_of(entry) for entry in self.tasks}
        return {name: str(self._beside(place)) if is_path(place) else place for name, place in found.items()}

    @property
    def task_options(self) -> dict[str, dict[str, Any]]:
        """Task name to how it is read, by option of ``load_task``."""
        return {name_of(entry): options_of(entry) for entry in self.tasks}

    @property
    def network_file(self) -> Path | None:
        """The file of a network of the user's own; None for one that the package knows, or that a function makes."""
        return None if self.network == ARTICLE_CNN or self.network_is_code else self._beside(self.network)

    @property
    def network_is_code(self) -> bool:
        """Whether ``network`` names a function, as ``package.module:function``."""
        return FUNCTION.fullmatch(self.network) is not None

    @property
    def folder(self) -> Path:
        """That of the study file, or the current one."""
        return self.file.parent if self.file else Path()

    def _beside(self, path: str) -> Path:
        """Return a path that the study file gives relative to its own folder."""
        return self.folder / as_path(path, "a path", home=True)

    def _check_tasks(self) -> None:
        # The rule for all tasks is stored beside those of single tasks, under this name.
        owners = {UNIVERSAL: "the rule for all tasks"} if self.universal else {}
        for entry in self.tasks:
            name, location = name_of(entry), location_of(entry)
            if is_path(location):
                self._check_task_file(location, name, options_of(entry))
            elif refusal := find_entry(name).refusal:
                raise MetaGDError(f"task {as_given(name)} cannot be used: {refusal}")
            # Results are stored in files named after the task, and some file systems ignore case.
            if name.casefold() in owners:
                raise MetaGDError(
                    f"{as_given(owners[name.casefold()])} and {as_given(location)} are both called "
                    f"{as_given(name)}, and a task's name must be its own; rename one of the files"
                )
            owners[name.casefold()] = location

    def _check_task_file(self, location: str, name: str, options: Iterable[str]) -> None:
        check_task_name(name, f"{as_given(location)} would make a task")
        try:
            check_options(options, reader_of(self._beside(location)), location)
        except MetaGDError as error:
            raise MetaGDError(f"{error}; paths are relative to the study file's folder") from None

    def _check_network(self) -> None:
        path = self.network_file
        if self.trainable == HEAD and path is None:
            raise MetaGDError(
                f"trainable is {as_given(HEAD)}, which needs the weights of a .keras file, and the network is "
                f"{as_given(self.network)}; name a file, or freeze layers in the function that builds the network"
            )
        if path is not None and not path.is_file():
            beside = sorted(found.name for found in path.parent.glob("*.keras"))
            raise MetaGDError(
                f"there is no file {path}{did_you_mean(path.name, beside)}; {listed('files', beside, path.parent)}; "
                "paths are relative to the study file's folder"
            )


def check_task_name(name: str, what: str) -> None:
    """Refuse a name of a task that cannot serve as a file's.

    Args:
        name: of the task.
        what: would be called so, for the error.

    Raises:
        MetaGDError: with what a name may hold.
    """
    if _SAFE_NAME.fullmatch(name) is None:
        raise MetaGDError(
            f"{what} called {as_given(name)}, which cannot serve as a file's name; use letters (a to z), digits, '.', "
            "'_' and '-', a letter or digit first"
        )


def settings_schema() -> dict[str, object]:
    """Return the JSON Schema of a study file, with the names that are registered now."""
    schema = StudySettings.model_json_schema()
    for entry in schema["properties"].values():
        if least := entry.pop("least", None):
            whole = {key: entry.pop(key) for key in ("type", "minimum", "maximum")}
            entry["anyOf"] = [{"const": 0}, whole | {"minimum": least}]
    return schema_document("A study file of metagd_optuna", schema)


def listed(what: str, found: Iterable[str], folder: Path) -> str:
    """Return what there is in a folder, for the error about a file that is not there."""
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    names = ", ".join(found)
    return f"{what} there: {names}" if names else f"the folder {folder} holds no such {what}"


def _source(file: object, name: object) -> str:
    return shortened(str(file)) if file else f"study {as_given(name)}"
