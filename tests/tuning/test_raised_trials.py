"""Trials that are raised on resume: the search goes on, and the verdict is another look."""

import json
import shutil

import optuna
import pytest
from killed_study import cut_off
from small_study import PARTS, TASK, results_but_times, store_of

from metagd_optuna.analysis import holm
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning.progress import QuietProgress
from metagd_optuna.tuning.store import StudyStore
from metagd_optuna.tuning.stored_trials import runs_of

pytestmark = pytest.mark.slow


def more(file, trials=8, **changes):
    """Return the study file beside the small study's, with more trials and other changes."""
    text = file.read_text(encoding="utf-8").replace("trials = 5\n", f"trials = {trials}\n")
    for key, value in changes.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(before, f"{key} = {value}")
    other = file.parent / f"more{trials}-{len(changes)}" / file.name
    other.parent.mkdir(exist_ok=True)
    other.write_text(text, encoding="utf-8")
    return other


def raise_again(out, *trials):
    """Note looks, as if their studies had run."""
    for count in trials:
        store = store_of(out)
        StudyStore(store.storage, store.identity, (*store.looks, count)).note_looks()


def trials_of(out, part):
    return store_of(out).task(TASK).trials_at(part)


@pytest.fixture(scope="module")
def raised(finished_study, tmp_path_factory):
    """The folder of the small study after its trials were raised from 5 to 8, what was said, and the results."""
    out = shutil.copytree(finished_study.out, tmp_path_factory.mktemp("raised") / "out")
    progress = QuietProgress()
    found = run_study(more(finished_study.file), out=out, progress=progress)
    return out, progress.unprinted, found


def test_the_search_goes_on_and_the_rest_is_done_anew(finished_study, raised):
    out, said, _ = raised
    [notice] = [line for line in said if "trials: was 5, now 8" in line]
    assert "look 2 at a confirmation" in notice
    for method in ("adam-constant", "meta-policy"):
        before, after = trials_of(finished_study.out, method), trials_of(out, method)
        assert (len(before), len(after)) == (5, 8)
        assert [(trial.params, trial.value) for trial in after[:5]] == [(t.params, t.value) for t in before]
    for part in ("shortlist", "confirm"):
        old, new = trials_of(out, part), trials_of(out, f"{part}-2")
        assert len(old) == len(trials_of(finished_study.out, part)) > 0
        seeds, fresh = ({run["seed"] for t in each for run in runs_of(t)} for each in (old, new))
        assert fresh
        assert not seeds & fresh


def test_the_report_counts_the_looks_and_holm_covers_them(finished_study, raised):
    found = raised[2]
    task = found.results.tasks[TASK]
    [look] = task.earlier_looks
    before = json.loads(finished_study.results)["tasks"][TASK]
    assert (look.trials, look.label) == (5, before["verdict"]["label"])
    assert look.p_value == before["verdict"]["p_value"]
    assert task.verdict.p_holm == pytest.approx(holm([task.verdict.p_value, look.p_value])[0])
    assert "earlier_looks" not in before
    text = (raised[0] / "report" / "report.md").read_text(encoding="utf-8")
    assert "This is look 2 at a confirmation" in text
    assert task.spent_epochs > before["spent_epochs"]
    seconds = found.results.timing["small"]["seconds"][TASK]["confirm"]
    runs = [trial for part in ("confirm", "confirm-2") for trial in trials_of(raised[0], part)]
    assert seconds == pytest.approx(sum(trial.user_attrs["seconds"] for trial in runs))


def test_a_complete_study_trains_nothing_and_says_the_same(finished_study, raised):
    out, _, found = raised
    progress = QuietProgress()
    again = run_study(more(finished_study.file), out=out, progress=progress)
    assert progress.unprinted == ["study 'small' is complete: nothing to train"]
    assert results_but_times(again) == results_but_times(found)


@pytest.mark.parametrize("place", ["raised", "confirm"])
def test_a_study_that_was_killed_while_it_was_raised_ends_the_same(finished_study, raised, tmp_path, place):
    from metagd_optuna.tuning import runner
    from metagd_optuna.tuning.phases.confirm import Confirm

    out = shutil.copytree(finished_study.out, tmp_path / "out")
    file = more(finished_study.file)
    with pytest.MonkeyPatch.context() as patch:
        if place == "raised":
            cut_off(file, out, patch, runner._Study, "train", lambda *_: True)
        else:
            cut_off(file, out, patch, Confirm, "run", lambda *_: True)
    assert results_but_times(run_study(file, out=out)) == results_but_times(raised[2])


@pytest.mark.parametrize(
    ("trials", "changes", "message"),
    [
        (4, {}, "trials: was 8, now 4"),
        (5, {}, "trials: was 8, now 5"),
        (9, {"batch_size": 8}, "trials: was 8, now 9; batch_size: was 16, now 8"),
    ],
)
def test_everything_else_still_refuses_and_costs_nothing(finished_study, raised, trials, changes, message):
    out, _, found = raised
    with pytest.raises(MetaGDError, match=message):
        run_study(more(finished_study.file, trials, **changes), out=out)
    assert results_but_times(run_study(more(finished_study.file), out=out)) == results_but_times(found)


def test_there_are_only_so_many_looks(finished_study, raised, tmp_path):
    out = shutil.copytree(raised[0], tmp_path / "out")
    raise_again(out, 9, 10)
    store_of(out).task(TASK).open("shortlist").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match="was looked at 4 times, and there are no fresh seeds"):
        run_study(more(finished_study.file, 11), out=out)


def test_parts_of_a_look_have_names_of_their_own(raised):
    store = store_of(raised[0]).task(TASK)
    assert store.look == 2
    assert [store.parts(part) for part in PARTS] == [
        ["calibrate"],
        ["adam-constant"],
        ["meta-policy"],
        ["shortlist", "shortlist-2"],
        ["confirm", "confirm-2"],
    ]


def refused(out, file, patch, what):
    """Run a study with more trials where something else is another, too."""
    from metagd_optuna.tuning import runner

    if what == "data":
        patch.setattr(runner, "fingerprint", lambda task: "f" * 64)
    else:
        now = runner.versions()
        patch.setattr(runner, "versions", lambda: now | {"metagd-optuna": "9.9"})
    with pytest.raises(MetaGDError, match=r"changed since this study began|metagd-optuna: was"):
        run_study(file, out=out)


@pytest.mark.parametrize("what", ["data", "version"])
def test_a_raise_that_is_refused_leaves_the_study_as_it_was(finished_study, tmp_path, what):
    out = shutil.copytree(finished_study.out, tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        refused(out, more(finished_study.file), patch, what)
    assert store_of(out).looks == (5,)
    assert results_but_times(run_study(finished_study.file, out=out)) == finished_study.results


def test_more_trials_before_any_choice_are_no_other_look(half_searched, finished_study):
    progress = QuietProgress()
    found = run_study(more(finished_study.file), out=half_searched, progress=progress)
    assert store_of(half_searched).looks == (8,)
    assert found.results.tasks[TASK].earlier_looks == ()
    [notice] = [line for line in progress.unprinted if "trials: was 5, now 8" in line]
    assert "look" not in notice
    assert len(trials_of(half_searched, "meta-policy")) == 8
