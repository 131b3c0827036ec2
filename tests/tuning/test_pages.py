"""Notes, pictures and the summary that optuna-dashboard shows: what they say, and what they may not touch."""

import json
from datetime import datetime

import optuna
import optuna_dashboard
import pytest
from made_up import TASK, task_store

from metagd_optuna.contracts import Curve, MetaGDError, RunRecord
from metagd_optuna.given import in_markdown
from metagd_optuna.policy import baseline_from_params
from metagd_optuna.tuning.metadata import Outcome
from metagd_optuna.tuning.record import method_to_use
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.stored_trials import (
    LEAST_OBJECTIVE,
    OBJECTIVES,
    RUNS,
    STEPS,
    SUBJECT,
    described,
    is_own_run,
    run_trial,
    seed_of,
)
from metagd_optuna.tuning.study_pages import READ, show_summary
from metagd_optuna.tuning.trial_page import SVG, picture_attributes, trial_note, write_artifact, write_note

CANDIDATE = baseline_from_params("adam-constant", {"adam-constant.lr0": 1e-3})
RUN = RunRecord(
    "adam-constant#0",
    7,
    100,
    50,
    Curve((25, 50), *((0.6, 0.8),) * 4),
    None,
    (25, 50),
    (0.5, 0.4),
    (0.7, 0.8),
    (1e-3,) * 50,
)
DIVERGED = RunRecord("adam-constant#0", 8, 100, 0, Curve((), (), (), (), ()), None, (), (), (), (), True)
SPEC = StudySpec(name="s", tasks=("breast_cancer",), baselines=("adam-constant",))


def trial(state="COMPLETE", value=None, **attributes):
    attributes = {SUBJECT: described(CANDIDATE), **attributes}
    return optuna.create_trial(state=optuna.trial.TrialState[state], value=value, user_attrs=attributes)


def note_of(found, **options):
    return trial_note(found, study_id=1, value="epochs", metric="auc", **options)


FORMULA = "```text\nlr = 0.001\nadam\n```"
HEAD = "| seed | epochs | confirmed best auc | steps of the budget |\n|---|---|---|---|\n"


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (
            trial(value=1.25, **{RUNS: [RUN.to_dict(), DIVERGED.to_dict()], OBJECTIVES: [0.5, 2.0]}),
            f"{FORMULA}\n\n{HEAD}| 7 | 0.5 | 0.6000 | 50 of 100 |\n| 8 | 2 | diverged | 0 of 100 |\n",
        ),
        (
            trial("PRUNED", **{RUNS: [RUN.to_dict()], OBJECTIVES: [], LEAST_OBJECTIVE: 1.5}),
            f"{FORMULA}\n\n{HEAD}| 7 | stopped | 0.6000 | 50 of 100 |\n\n"
            "Stopped, so it has no value; at best it would have had 1.5.\n",
        ),
        # From a snapshot, which has no curves.
        (trial(value=1.25, **{STEPS: 100}), f"{FORMULA}\n"),
    ],
    ids=["complete", "pruned", "from a snapshot"],
)
def test_a_note_says_what_the_trial_did(found, note):
    assert note_of(found) == f"**adam-constant**\n\n{note}"
    assert note_of(found, chosen="chosen") == f"**adam-constant**: chosen\n\n{note}"


@pytest.mark.parametrize("name", ["<script>x</script>", "a|b", "[a](javascript:x)", "a\n# b", "````a````", "*a* `b`"])
def test_names_that_anybody_may_have_stored_are_shown_literally(name):
    subject = {**described(CANDIDATE), "name": name}
    picture = {"artifact_id": name, "filename": name, "mimetype": "image/svg+xml", "encoding": None}
    found = trial(value=1.25, **{SUBJECT: subject, RUNS: [RUN.to_dict()], OBJECTIVES: [0.5]})
    found.system_attrs["artifacts:a"] = json.dumps(picture)
    note = trial_note(found, study_id=1, value=name, metric="auc")
    assert note.startswith(
        f"**{in_markdown(name)}**\n\n{FORMULA}\n\n| seed | {in_markdown(name)} | confirmed best auc |"
    )
    assert name not in note
    assert "![" not in note


def test_a_run_is_stored_with_its_times_its_note_and_no_parameter_but_the_candidate():
    store = task_store(SPEC)
    study = store.open("confirm", value="epochs to auc 0.9")
    began, ended = datetime(2026, 1, 1, 12, 0, 0), datetime(2026, 1, 1, 12, 0, 5)
    run = run_trial(CANDIDATE, RUN, candidates=["adam-constant", "b"], value=2.0, seconds=1.0, trained=(began, ended))
    write_note(store, study, store.add_run(study, run))
    [found] = study.trials
    assert (found.datetime_start, found.datetime_complete) == (began, ended)
    assert found.params == {"candidate": "adam-constant"}
    assert seed_of(found) == 7
    assert is_own_run(found)
    note = optuna_dashboard.get_note(optuna.Trial(study, found._trial_id))
    assert "| 7 | 2 | 0.6000 | 50 of 100 |" in note
    assert "epochs to auc 0.9" in note


@pytest.mark.parametrize(
    ("params", "attributes", "seed"),
    [
        ({"candidate": "a", "seed": 3}, {STEPS: 1}, 3),  # as the first versions stored it
        ({"candidate": "a"}, {STEPS: 1, "seed": 3}, 3),
        ({"candidate": "a"}, {STEPS: 1}, None),
        ({"candidate": "a"}, {STEPS: 1, "seed": "3"}, None),
    ],
)
def test_a_run_is_known_by_its_seed(params, attributes, seed):
    ranges = {
        "candidate": optuna.distributions.CategoricalDistribution(("a", "b")),
        "seed": optuna.distributions.IntDistribution(0, 9),
    }
    distributions = {name: ranges[name] for name in params}
    found = optuna.create_trial(value=1.0, params=params, distributions=distributions, user_attrs=attributes)
    assert seed_of(found) == seed
    assert is_own_run(found) == (seed is not None)


def test_a_storage_without_a_folder_has_no_pictures():
    assert picture_attributes(task_store(SPEC), [RUN], steps_per_epoch=10.0) == {}


def test_a_picture_that_cannot_be_written_is_an_error_that_says_where(tmp_path):
    (tmp_path / "artifacts").touch()  # a file in the folder's place
    with pytest.raises(MetaGDError, match=r"artifacts: cannot be made \(File exists\)"):
        write_artifact(tmp_path / "artifacts", "curves.svg", b"<svg/>", SVG)


def test_the_summary_is_made_anew_where_a_verdict_changed_and_is_the_newest_study():
    store = task_store(SPEC).study
    show_summary(store, {}, {})
    [first] = store.storage.get_all_studies()
    optuna.create_study(study_name="later", storage=store.storage)
    show_summary(store, {}, {})
    assert [held.study_name for held in store.storage.get_all_studies()] == ["s: begin here", "later"]
    assert first.user_attrs.keys() == {READ}
    store.storage.set_study_user_attr(first._study_id, TASK, "an earlier verdict")
    show_summary(store, {}, {})
    last = max(store.storage.get_all_studies(), key=lambda held: held._study_id)
    assert (last.study_name, last.user_attrs) == ("s: begin here", first.user_attrs)


def test_a_study_of_somebody_elses_is_not_taken_for_the_summary():
    store = task_store(SPEC).study
    study = optuna.create_study(study_name="s: begin here", storage=store.storage)
    show_summary(store, {}, {})  # empty: one of metagd's that was cut off while it was made
    optuna.delete_study(study_name="s: begin here", storage=store.storage)
    study = optuna.create_study(study_name="s: begin here", storage=store.storage)
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match=r"'s: begin here' that is not metagd's; rename or delete it"):
        show_summary(store, {}, {})


@pytest.mark.parametrize("verdict", ["a", 3, [], {"label": "faster", "x": 1}, {}])
def test_a_verdict_that_anybody_may_have_stored_is_used_or_refused(verdict):
    store = task_store(SPEC)
    outcome = Outcome(
        search_target=0.8,
        target=0.8,
        best_baseline="adam-constant",
        chosen_trials={"meta-policy": 0},
        importances={},
        importance_ci95={},
    )
    store.open("confirm").set_user_attr("outcome", outcome.model_dump(mode="json"))
    store.load("confirm").set_user_attr("verdict", verdict)
    if isinstance(verdict, dict) and verdict:
        assert method_to_use(store) == "meta-policy"
    else:
        with pytest.raises(MetaGDError, match="the storage holds values that this version did not write there"):
            method_to_use(store)
