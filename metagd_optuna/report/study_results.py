"""What a finished study found, for Python and for a notebook: verdicts, the rules to use, figures, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import write_texts
from metagd_optuna.given import as_given, as_path, in_python
from metagd_optuna.policy import Policy, load_policy
from metagd_optuna.report.document import Results
from metagd_optuna.report.figures import task_drawings
from metagd_optuna.report.sentences import across_sentence, interval, ratio, use_sentence, verdict_sentence
from metagd_optuna.report.styles import candidate_styles
from metagd_optuna.report.task_document import UNIVERSAL, TaskResults, Verdict
from metagd_optuna.report.writing import write_report

if TYPE_CHECKING:
    import plotly.graph_objects as go


def sentences_of(results: Results) -> list[str]:
    """Return the verdicts in plain sentences, one per task, and one over all tasks where there are several."""
    found = [verdict_sentence(name, task) for name, task in results.tasks.items()]
    return [*found, across_sentence(results.across)] if results.across else found


@dataclass(frozen=True, slots=True, repr=False)
class OnTask:
    """What a finished study found on one task.

    Args:
        name: of the task.
        study: everything that was found.
    """

    name: str
    study: StudyResults

    @property
    def results(self) -> TaskResults:
        """All numbers of the report's part on the task."""
        return self.study.results.task(self.name)

    @property
    def verdict(self) -> Verdict:
        """Whether the searched policy is faster than the best tuned baseline: label, speed-up, interval, p-values."""
        return self.results.verdict

    @property
    def best(self) -> Policy:
        """The rule to use: the searched policy if its verdict is ``faster``, else the best tuned baseline."""
        return load_policy(self.study.policies[self.name])

    @property
    def searched(self) -> Policy:
        """The searched policy, whatever its verdict."""
        return load_policy(self.study.searched[self.name])

    def plot_learning_curves(self) -> go.Figure:
        """Return learning curves and learning rates of all candidates: medians over the seeds, with quartiles."""
        return self._drawn("learning-curves")

    def plot_speed_ups(self) -> go.Figure:
        """Return the speed-ups of all candidates over the best tuned baseline, with intervals."""
        return self._drawn("speed-ups")

    def plot_surface(self) -> go.Figure:
        """Return the learning rate of the searched policy over performance and difficulty."""
        return self._drawn("surface")

    def plot_search_history(self) -> go.Figure:
        """Return the best objective of every search so far, trial by trial."""
        return self._drawn("search-history")

    def plot_importances(self) -> go.Figure:
        """Return how much each parameter of the search mattered, with intervals."""
        return self._drawn("importances")

    def _drawn(self, name: str) -> go.Figure:
        drawings = task_drawings(self.results, candidate_styles(self.study.results))
        if name not in drawings:
            raise MetaGDError(f"task {self.name!r} has no figure {name!r}; it has {', '.join(drawings)}")
        return drawings[name]()

    def __repr__(self) -> str:
        found = self.verdict
        numbers = f"{ratio(found.speedup)} times as fast as the best baseline ({interval(found.ci95)})"
        return f"<{self.name}: {found.label}, {numbers}; use {self.study.used(self.name)}>"


@dataclass(frozen=True, slots=True, repr=False)
class StudyResults:
    """What a finished study found, and where it is written.

    A study of one task has what ``OnTask`` has: ``best``, ``verdict``, ``plot_learning_curves()`` and so on. One of
    several is asked by task: ``results["retinamnist"].best``.

    Args:
        name: the study's name.
        results: everything that the report says, as ``results.json`` holds it.
        report: path of the page.
        policies: task to the path of the rule to use; ``universal`` is the rule chosen on all tasks.
        searched: task to the path of the searched policy.
        log: what was said while it ran and is in no report; empty if it was printed.
    """

    name: str
    results: Results
    report: Path
    policies: Mapping[str, Path]
    searched: Mapping[str, Path]
    log: tuple[str, ...] = ()

    def __getitem__(self, task: str) -> OnTask:
        """Return what was found on one task.

        Raises:
            MetaGDError: if there is none of that name.
        """
        self.results.task(task)
        return OnTask(task, self)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.results.tasks)

    @property
    def sentences(self) -> list[str]:
        """The verdicts in plain sentences, one per task, and one over all tasks where there are several."""
        return sentences_of(self.results)

    @property
    def best(self) -> Policy:
        """The rule to use, of the one task; see ``OnTask``."""
        return self._only("best").best

    @property
    def verdict(self) -> Verdict:
        """The verdict, of the one task; see ``OnTask``."""
        return self._only("verdict").verdict

    def plot_learning_curves(self) -> go.Figure:
        """Return learning curves and learning rates, of the one task; see ``OnTask``."""
        return self._only("plot_learning_curves()").plot_learning_curves()

    def plot_speed_ups(self) -> go.Figure:
        """Return the speed-ups of all candidates, of the one task; see ``OnTask``."""
        return self._only("plot_speed_ups()").plot_speed_ups()

    def plot_surface(self) -> go.Figure:
        """Return the learning rate of the searched policy, of the one task; see ``OnTask``."""
        return self._only("plot_surface()").plot_surface()

    def plot_search_history(self) -> go.Figure:
        """Return the searches trial by trial, of the one task; see ``OnTask``."""
        return self._only("plot_search_history()").plot_search_history()

    def plot_importances(self) -> go.Figure:
        """Return which parameters mattered, of the one task; see ``OnTask``."""
        return self._only("plot_importances()").plot_importances()

    def used(self, task: str) -> str:
        """Return the name of the method whose rule is the one to use on a task."""
        found = self.results.task(task)
        return found.policy if found.verdict.label == "faster" else found.best_baseline

    def save(self, folder: str | Path) -> Path:
        """Write report and policies into a folder as well, and return the path of the page.

        Args:
            folder: made if it does not exist; files of the same names are written over.

        Raises:
            MetaGDError: if they cannot be written.
        """
        place = as_path(folder, "the folder")
        try:
            kept = {
                path.name: path.read_text(encoding="utf-8")
                for path in (*self.policies.values(), *self.searched.values())
            }
            (place / "policies").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetaGDError(
                f"{error.filename}: {error.strerror}; save writes a folder and reads the policies of "
                f"{self.report.parent}"
            ) from error
        write_texts({place / "policies" / name: text for name, text in kept.items()})
        return write_report(self.results, place)

    def _only(self, what: str) -> OnTask:
        if len(self.tasks) > 1:
            raise MetaGDError(
                f"study {self.name!r} has {len(self.tasks)} tasks; name one: results[{as_given(self.tasks[0])}].{what}"
            )
        return self[self.tasks[0]]

    def advice(self) -> list[str]:
        """Return what to use, in a sentence for every task; in the universal scope in one for all tasks."""
        if UNIVERSAL in self.policies:
            rule = load_policy(self.policies[UNIVERSAL])
            searched = rule == load_policy(self.searched[UNIVERSAL])
            named, shown = ("the searched rule", "is") if searched else (str(rule), "is not shown to be")
            over_all = f"over all of them the searched rule {shown} faster than the best baselines"
            return [f"Use {named} on tasks like these: {over_all}."]
        return [use_sentence(name, task) for name, task in self.results.tasks.items()]

    def __repr__(self) -> str:
        return "\n".join(
            [f"study {self.name}", *(f"  {self[task]!r}" for task in self.tasks), f"  report: {self.report}"]
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: verdicts, what to use, and how to load it."""
        parts = [f"<p><strong>study {escape(self.name)}</strong></p>"]
        parts += [f"<p>{escape(sentence)}</p>" for sentence in self.sentences]
        named = (UNIVERSAL,) if UNIVERSAL in self.policies else self.tasks
        for task, advice in zip(named, self.advice(), strict=True):
            load = f"load_policy({in_python(self.policies[task])})"
            parts.append(f"<p>{escape(advice)} <code>{escape(load)}</code></p>")
        parts.append(f"<p>report: <code>{escape(str(self.report))}</code></p>")
        return "\n".join(parts)
