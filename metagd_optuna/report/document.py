"""What ``results.json`` holds: frozen values, checked as they are made from a study's numbers or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import ConfigDict, Field, JsonValue, NonNegativeFloat, PositiveFloat, model_validator

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import Row, did_you_mean
from metagd_optuna.report.task_document import Interval, Mean, Result, TaskResults

SCHEMA: Final = 1


class Run(Result):
    """What a study ran with: its settings, defaults filled in, the versions of packages, and the device."""

    settings: Mapping[str, JsonValue]
    versions: Mapping[str, str]
    device: str


class Profile(Result):
    """For each factor, by method, the share of tasks that it solves within that factor of the fastest median."""

    factors: Row[PositiveFloat] = Field(min_length=1)
    shares: Mapping[str, Row[float]] = Field(min_length=1)

    @model_validator(mode="after")
    def _lines_are_whole(self) -> Profile:
        for method, shares in self.shares.items():
            if len(shares) != len(self.factors):
                one = f"{len(shares)} shares of {shortened(method)}"
                raise ValueError(f"{one} for {len(self.factors)} factors; there must be one for each")
        return self


class MeanRegret(Result):
    """A method's regret over all tasks; where a chosen setting was ``stopped``, the factor could be larger."""

    factor: PositiveFloat
    stopped: bool


class Across(Result):
    """All tasks of a report together.

    Args:
        settings_that_differ: keys whose values are not the same in all studies.
        not_comparable: tasks whose target neither policy nor best baseline reached on any seed.
        over_keras_adam: None unless Keras' own Adam ran on every task.
        profile_left_out: best baselines that did not run on every task.
        regrets: by method; absent where settings were chosen on each task.
    """

    tasks: Row[str] = Field(min_length=2)
    settings_that_differ: Row[str]
    not_comparable: Row[str]
    spent_epochs: NonNegativeFloat
    speedup: PositiveFloat
    ci95: Interval
    over_keras_adam: Mean | None
    probability_of_improvement: float
    profile: Profile
    profile_left_out: Row[str]
    regrets: Mapping[str, MeanRegret] = Field(default_factory=dict, exclude_if=lambda regrets: not regrets)


class Results(Result):
    """The machine-readable truth of a report; the page and the Markdown are written from it alone.

    Args:
        study, versions, device: of all runs; where they differ, their values joined.
        runs, timing: by study; all wall-clock is in ``timing``, in seconds.
        across: absent from a report on one task.
        tasks: by name.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    study: str
    versions: Mapping[str, str]
    device: str
    runs: Mapping[str, Run] = Field(min_length=1)
    timing: Mapping[str, Mapping[str, JsonValue]]
    across: Across | None = Field(default=None, exclude_if=lambda across: across is None)
    tasks: Mapping[str, TaskResults] = Field(min_length=1)

    def __repr__(self) -> str:
        labels = ", ".join(f"{name} {task.verdict.label}" for name, task in self.tasks.items())
        return f"<results of {self.study}: {labels}>"

    __str__ = __repr__

    def task(self, name: str) -> TaskResults:
        """Return the part on one task.

        Raises:
            MetaGDError: if there is none of that name; it lists those that there are.
        """
        if name not in self.tasks:
            known = f"only {as_given(sorted(self.tasks))}{did_you_mean(name, self.tasks)}"
            raise MetaGDError(f"the results hold no task {as_given(name)}, {known}")
        return self.tasks[name]

    @model_validator(mode="after")
    def _studies_are_whole(self) -> Results:
        for study in {task.study for task in self.tasks.values()} | self.runs.keys():
            for part, held in (("runs", self.runs.keys()), ("timing", self.timing.keys())):
                if study not in held:
                    raise ValueError(f"{part} holds no study {as_given(study)}, only {as_given(sorted(held))}")
        for study, run in self.runs.items():
            own = sorted(name for name, task in self.tasks.items() if task.study == study)
            wanted = run.settings.get("tasks", own)
            # Without some of its tasks, Holm's correction would be too small for the others.
            if isinstance(wanted, list) and len(own) != len(wanted):
                about = f"is about the tasks {as_given(wanted)}, but holds {as_given(own)}"
                raise ValueError(f"study {as_given(study)} {about}")
        return self
