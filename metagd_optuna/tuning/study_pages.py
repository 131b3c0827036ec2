"""What the pages of a finished study show in optuna-dashboard: verdicts, chosen trials, and where to begin.

Notes, marks and files are for people; nothing here is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import in_markdown
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.own_trials import finished_runs, finished_settings
from metagd_optuna.tuning.parts import CALIBRATE, CONFIRM, SHORTLIST
from metagd_optuna.tuning.run_pictures import run_picture
from metagd_optuna.tuning.store import CHOSEN, StudyStore, TaskStore
from metagd_optuna.tuning.stored_trials import candidate_of_trial, records_of
from metagd_optuna.tuning.trial_page import SVG, formula_block, pictures, rewrite_note, write_artifact

BEGIN = "begin here"
READ = "where to read on"


def show_task(store: TaskStore, *, artifacts: Path | None, note: str, figures: Mapping[str, Any]) -> None:
    """Put verdict, figures and chosen trials of a finished task on the pages of its Optuna studies.

    Args:
        store: of the task.
        artifacts: where the dashboard of the storage looks for files; None if it has no such folder.
        note: the verdict as Markdown.
        figures: name to plotly figure.

    Raises:
        MetaGDError: if a picture cannot be written.
    """
    confirm, outcome = store.load(CONFIRM), store.outcome
    for identifier, figure in figures.items():
        optuna_dashboard.save_plotly_graph_object(confirm, figure, graph_object_id=identifier)
    searches = {method: store.load(method) for method in (META_POLICY, *_others(outcome.chosen_trials))}
    chosen = {method: _chosen(store, method, place) for method, place in outcome.chosen_trials.items()}
    links = "\n".join(
        f"- {in_markdown(method)}: {_link(f'trial {chosen[method].number}', study, chosen[method].number)} was chosen"
        for method, study in searches.items()
    )
    compared = _comparison(store, confirm, artifacts, (META_POLICY, outcome.best_baseline))
    optuna_dashboard.save_note(confirm, "\n\n".join(filter(None, (note.rstrip(), compared, links))) + "\n")
    how = "on the other tasks" if store.study.settings.universal else "by the shortlist"
    for method, study in searches.items():
        trial, before = chosen[method], study.user_attrs.get(CHOSEN)
        for other in store.trials(method) if before not in (None, trial.number) else ():
            if other.number == before:  # chosen at an earlier look
                rewrite_note(store, study, other._trial_id)
        study.set_user_attr(CHOSEN, trial.number)
        body = [
            f"**{_link(f'Trial {trial.number}', study, trial.number)} was chosen {how}** for "
            f"{_link('the confirmation', confirm)}, which compares all methods.",
            note.rstrip() if method == META_POLICY else formula_block(candidate_of_trial(trial).formula),
            pictures(trial, f"/artifacts/{study._study_id}/{trial._trial_id}"),
        ]
        optuna_dashboard.save_note(study, "\n\n".join(filter(None, body)) + "\n")
        # Optuna lets nobody change the attributes of a finished trial; its note can be changed.
        rewrite_note(store, study, trial._trial_id, chosen=f"chosen {how} for the confirmation")


def show_summary(store: StudyStore, verdicts: Mapping[str, str], figures: Mapping[str, Any]) -> None:
    """Put a study without trials on top of the dashboard's list: the verdicts, and links to all parts.

    The newest study is the first on the list, so the summary is made anew whenever a verdict changes.

    Args:
        store: of a study all of whose tasks are finished.
        verdicts: task to its verdict in a sentence.
        figures: task to the plotly figure of its verdict.

    Raises:
        MetaGDError: if somebody made a study of that name.
    """
    name, storage = f"{store.name}: {BEGIN}", store.storage
    attributes = {READ: "the note, the last symbol on the left, links to every part of the study", **verdicts}
    found = {held.study_name: held for held in storage.get_all_studies()}
    if name in found:
        if found[name].user_attrs == attributes:
            return
        # One that is empty was cut off while it was made.
        empty = not found[name].user_attrs and not storage.get_all_trials(found[name]._study_id)
        if READ not in found[name].user_attrs and not empty:
            raise MetaGDError(
                f"the storage already holds an Optuna study {name!r} that is not metagd's; rename or delete it, in the "
                "dashboard or with optuna delete-study, then call the same command again: nothing is trained twice"
            )
        optuna.delete_study(study_name=name, storage=storage)
    summary = optuna.create_study(study_name=name, storage=storage)
    summary.set_user_attr(READ, attributes[READ])  # first, so that a summary that was cut off is known again
    for task, figure in figures.items():
        optuna_dashboard.save_plotly_graph_object(summary, figure, graph_object_id=task)
    parts = [f"# Study {store.name}"]
    for task, verdict in verdicts.items():
        parts += [f"## {in_markdown(task)}", in_markdown(verdict), _parts(store.task(task))]
    optuna_dashboard.save_note(summary, "\n\n".join(parts) + "\n")
    for key, value in attributes.items():
        summary.set_user_attr(key, value)


def _parts(store: TaskStore) -> str:
    chosen = store.outcome.chosen_trials
    rows = [
        (CONFIRM, "the verdict: all candidates on held-out seeds"),
        (META_POLICY, "the search of the meta-policy"),
        *((method, "the search of a baseline") for method in _others(chosen)),
        (SHORTLIST, "the best trials of every search on new seeds"),
        (CALIBRATE, "Adam at constant rates, which fixes the target of the searches"),
    ]
    lines = []
    for part, text in rows:
        number = f", chose trial {_chosen(store, part, chosen[part]).number}" if part in chosen else ""
        lines.append(f"- {_link(part, store.load(part))}: {text}{number}")
    return "\n".join(lines)


def _others(methods: Mapping[str, int]) -> Sequence[str]:
    return [method for method in methods if method != META_POLICY]


def _chosen(store: TaskStore, method: str, number: int) -> FrozenTrial:
    """Return the trial that was chosen of a method; in a universal study it goes by its place in the design."""
    own = finished_settings(store.trials(method), store.study.settings.trials)
    return own[number] if store.study.settings.universal else next(trial for trial in own if trial.number == number)


def _link(text: str, study: optuna.Study, trial: int | None = None) -> str:
    page = "" if trial is None else f"/trials?numbers={trial}"
    return f"[{in_markdown(text)}](/dashboard/studies/{study._study_id}{page})"


def _comparison(store: TaskStore, confirm: optuna.Study, artifacts: Path | None, names: Sequence[str]) -> str:
    """Return the picture of some candidates' confirmation runs as Markdown; none without a folder for it."""
    if artifacts is None:
        return ""
    runs = [run for trial in finished_runs(store.trials(CONFIRM)) for run in records_of(trial)]
    compared = {name: [run for run in runs if run.candidate == name] for name in names}
    picture = run_picture(compared, store.metric, store.known_metadata.steps_per_epoch)
    [(key, held)] = write_artifact(artifacts, "confirmation.svg", picture.encode(), SVG).items()
    store.study.storage.set_study_system_attr(confirm._study_id, key, held)
    return f"![learning rate and validation score](/artifacts/{confirm._study_id}/{key.partition(':')[2]})"
