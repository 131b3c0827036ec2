"""Real studies on real data: whole, repeated, killed in every phase, interrupted, changed."""

import errno
import fcntl
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from killed_study import strike
from small_study import SMALL_STUDY, results_but_times

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import load_policy
from metagd_optuna.report.results import build_results
from metagd_optuna.search import trial_store
from metagd_optuna.search.phases import TaskPhases
from metagd_optuna.search.record import load_record, universal_policy, winning_policy
from metagd_optuna.search.runner import Interrupted, run_study
from metagd_optuna.search.seeds import phase_seeds
from metagd_optuna.search.storage import open_storage
from metagd_optuna.search.study_file import load_study
from metagd_optuna.search.tuning import Tuner
from metagd_optuna.search.workshop import Workshop

TASK = "breast_cancer"
PARTS = ("calibrate", "adam-constant", "meta-policy", "shortlist", "confirm")


@pytest.fixture
def study_file(finished_study):
    return finished_study.file


@pytest.fixture
def whole(finished_study):
    """The folder and the results of the study that ran without interruption."""
    return finished_study.out, finished_study.results


def trials(out, part, states=None):
    storage = open_storage(out / "optuna.db", must_exist=True)
    return trial_store.load_part(storage, "small", TASK, part).get_trials(deepcopy=False, states=states)


def test_every_part_is_in_the_storage(whole):
    out, _ = whole
    counts = {part: len(trials(out, part)) for part in PARTS}
    # shortlist, of each method: three on one seed, then two on two
    # confirm: policy, baseline, two defaults, two articles, two controls, on two seeds
    assert counts == {"calibrate": 8, "adam-constant": 5, "meta-policy": 5, "shortlist": 14, "confirm": 16}
    for part in PARTS:
        assert {t.state.name for t in trials(out, part)} <= {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("absent", [(), ("meta-policy",), ("adam-constant", "meta-policy")])
def test_searches_from_elsewhere_give_the_same_results(study_file, whole, tmp_path, monkeypatch, absent):
    """Another machine has run the searches, or the first of them; here the rest is left."""
    out, results = whole
    column = json.loads((out / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    assert list(column["trials"]) == ["calibrate", "adam-constant", "meta-policy"]
    for method in absent:
        del column["trials"][method]
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / f"{TASK}.json").write_text(json.dumps(column), encoding="utf-8")
    tuned, train = [], Tuner._train

    def watched(tuner, *args):
        tuned.append(tuner._method.name)
        train(tuner, *args)

    monkeypatch.setattr(Tuner, "_train", watched)
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == results
    assert tuple(dict.fromkeys(tuned)) == absent
    assert len(trials(tmp_path, "calibrate")) == 8
    # What was trained here stands in the file in its turn.
    assert list(json.loads((tmp_path / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))["trials"]) == [
        "calibrate",
        "adam-constant",
        "meta-policy",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda column: column["trials"]["adam-constant"].pop(), "lacks trials; delete it"),
        (lambda column: column["settings"].update(trials=6), r"other settings \(trials\); delete it"),
        # Which trials were stopped depends on it.
        (
            lambda column: column["settings"].update(shortlist_trials=1),
            r"other settings \(shortlist_trials\); delete it",
        ),
        (lambda column: column["facts"].update(fingerprint="0"), "this column is of other data"),
        (lambda column: column["trials"].pop("calibrate"), "no column of a study, or a damaged one"),
    ],
)
def test_searches_that_do_not_fit_are_refused_before_anything_trains(
    study_file, whole, tmp_path, monkeypatch, change, message
):
    column = json.loads((whole[0] / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    change(column)
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / f"{TASK}.json").write_text(json.dumps(column), encoding="utf-8")
    monkeypatch.setattr(Workshop, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(MetaGDError, match=message):
        run_study(load_study(study_file), out=tmp_path)


class Killed(Exception):  # noqa: N818 - no error of the program
    """A process that ends there."""


def cut_off(study_file, out, monkeypatch, owner, name, when):
    """Run a study until the method ``owner.name`` is called with arguments that ``when`` is true of."""

    def watched(self, *args, **kwargs):
        if when(*args, **kwargs):
            raise Killed
        return kept(self, *args, **kwargs)

    kept = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, watched)
        with pytest.raises(Killed):
            run_study(load_study(study_file), out=out)


def before_the_last_search(method, *_):
    return method.name == "meta-policy"


def test_searches_that_come_back_from_elsewhere_are_taken_over(study_file, whole, tmp_path, monkeypatch, capsys):
    """This machine began, another went on with what it had found, and the file comes back: nothing in it is lost."""
    cut_off(study_file, tmp_path, monkeypatch, TaskPhases, "_tune", before_the_last_search)
    path = tmp_path / "columns" / f"{TASK}.json"
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant"]
    shutil.copy(whole[0] / "columns" / path.name, path)
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it searched"))
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]
    assert f"task {TASK}: taken from {path}: meta-policy\n" in capsys.readouterr().out
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant", "meta-policy"]


def second_seed(*args, seed, **_):
    return seed == phase_seeds(0, "calibrate", 2)[1]


@pytest.mark.parametrize(
    ("owner", "name", "when", "message"),
    [
        (Workshop, "train", second_seed, "this study has begun itself is not through; delete the file"),
        (TaskPhases, "_tune", before_the_last_search, r"for the target 0\.75, and .* found 0\.\d+; delete the file"),
    ],
)
def test_searches_for_another_target_are_refused(study_file, whole, tmp_path, monkeypatch, owner, name, when, message):
    """Which trial is the better one depends on the target, so trials for two targets do not mix."""
    cut_off(study_file, tmp_path, monkeypatch, owner, name, when)
    column = json.loads((whole[0] / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    (tmp_path / "columns").mkdir(exist_ok=True)
    path = tmp_path / "columns" / f"{TASK}.json"
    path.write_text(json.dumps(column | {"t_search": 0.75}), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message):
        run_study(load_study(study_file), out=tmp_path)
    path.unlink()
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]


def test_trials_carry_their_evidence(whole):
    out, _ = whole
    for trial in trials(out, "meta-policy"):
        assert trial.user_attrs["contender"]["settings"]["schema"] == 2
        assert trial.user_attrs["runs"][0]["validation"]["auc"]
        assert trial.user_attrs["device"]
        assert trial.user_attrs["versions"]["tensorflow"]
        if trial.state.name == "COMPLETE":
            objectives = trial.user_attrs["objectives"]
            assert trial.value == pytest.approx(sum(objectives) / 2)
            assert all(value <= trial.value + 1e-9 for value in trial.intermediate_values.values())
        else:
            assert trial.value == max(trial.intermediate_values.values())


def test_search_stops_where_the_objective_is_known(whole):
    out, _ = whole
    runs = [run for trial in trials(out, "adam-constant") for run in trial.user_attrs["runs"]]
    assert any(run["steps"] < run["budget"] for run in runs)


def test_confirmation_keeps_test_curves_and_search_has_none(whole):
    out, _ = whole
    assert all(t.user_attrs["runs"][0]["test"]["auc"] for t in trials(out, "confirm"))
    for part in ("calibrate", "adam-constant", "meta-policy", "shortlist"):
        assert all(run["test"] is None for t in trials(out, part) for run in t.user_attrs["runs"])


def test_phases_use_disjoint_seeds(whole):
    out, _ = whole
    seeds = [{run["seed"] for t in trials(out, part) for run in t.user_attrs["runs"]} for part in PARTS]
    assert seeds[1] == seeds[2]  # the same search seeds for every method
    assert len(set().union(*seeds)) == sum(len(s) for s in [seeds[0], *seeds[2:]])


def test_results_say_what_was_luck(whole):
    out, results = whole
    rows = json.loads(results)["tasks"][TASK]["optimism"]
    assert [row["method"] for row in rows] == ["adam-constant", "meta-policy"]
    for row in rows:
        searched = {t.number: t.value for t in trials(out, row["method"], (optuna.trial.TrialState.COMPLETE,))}
        name = f"{row['method']}#{row['trial']}"
        again = [t.value for t in trials(out, "shortlist") if t.params["contender"] == name]
        assert row["best"] == pytest.approx(min(searched.values()))
        assert row["search"] == pytest.approx(searched[row["trial"]])
        assert len(again) == 3
        assert row["shortlist"] == pytest.approx(sum(again) / 3)
        assert row["confirmation"] > 0


def test_results_are_the_storage_alone(whole):
    out, results = whole
    storage = open_storage(out / "optuna.db", must_exist=True)
    assert results_but_times(load_record(storage, "small", (TASK,))) == results


def test_exported_policy_loads_and_tells_where_it_is_from(whole, tmp_path):
    out, _ = whole
    policy = winning_policy(open_storage(out / "optuna.db", must_exist=True), "small", TASK)
    policy.save(tmp_path / "p.json")
    loaded = load_policy(str(tmp_path / "p.json"))
    assert loaded == policy
    assert loaded.provenance["task"] == TASK
    assert loaded.provenance["ticks"] == 4 * 120 / 32  # a tick at every step of so short a run


def test_complete_study_trains_nothing(study_file, whole, monkeypatch):
    out, results = whole
    import metagd_optuna.training.engine as engine

    monkeypatch.setattr(engine.Engine, "train", lambda *a, **k: pytest.fail("it trained"))
    assert results_but_times(run_study(load_study(study_file), out=out)) == results


def test_same_file_in_a_fresh_folder_gives_the_same_results(study_file, whole, tmp_path, capsys, monkeypatch):
    """What the first study measured is remembered, so the second need not."""
    import metagd_optuna.training.population_size as sizes

    monkeypatch.setattr(sizes, "member_examples_per_second", lambda *_: pytest.fail("it measured"))
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]
    assert re.search(r"^  \d+ lanes? x \d+ members? per program \(.*measured earlier", capsys.readouterr().out, re.M)


def test_population_is_stored_with_the_task(whole):
    out, results = whole
    facts = trial_store.stored_facts(open_storage(out / "optuna.db", must_exist=True), "small", TASK)
    assert facts["population"] == json.loads(results)["tasks"][TASK]["population"] >= 1
    assert trial_store.stored_facts(open_storage(out / "optuna.db", must_exist=True), "small", "other") is None


KILLS = [
    ("add calibrate", 6),  # in the middle of a population's runs
    ("report adam-constant", 3),
    ("tell meta-policy", 4),  # a batch of which one trial is told
    ("suggest g", 6),  # a trial with half of its parameters, after those that are known
    ("add shortlist", 9),  # in its second round, after all of the first
    ("add confirm", 9),
]


def test_killed_in_every_phase_it_ends_with_the_same_results(study_file, whole, tmp_path, monkeypatch):
    """SIGKILL again and again, each time in a later place; the last run finishes, without measuring a population."""
    import metagd_optuna.search.workshop as workshop

    monkeypatch.setattr(workshop, "population_size", lambda *_: pytest.fail("it measured"))
    for when, count in KILLS:
        process = strike(study_file, tmp_path, when, count, "SIGKILL")
        assert process.returncode == -signal.SIGKILL, (when, process.stderr[-2000:])
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]
    for part in PARTS:
        assert len(trials(tmp_path, part)) == len(trials(whole[0], part))
        assert {t.state.name for t in trials(tmp_path, part)} <= {"COMPLETE", "PRUNED"}


def test_ctrl_c_leaves_nothing_running_and_says_how_to_go_on(study_file, whole, tmp_path):
    process = strike(study_file, tmp_path, "tell meta-policy", 3, "SIGINT")
    assert "Interrupted: stopped" in process.stderr
    assert "same command" in process.stderr
    states = [t.state.name for t in trials(tmp_path, "meta-policy")]
    assert "RUNNING" not in states
    assert "WAITING" in states
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]


def test_interrupted_is_raised_in_the_process_too(study_file, tmp_path, monkeypatch):
    import metagd_optuna.search.phases as phases

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(phases.TaskPhases, "_calibrate", interrupt)
    with pytest.raises(Interrupted, match="same command"):
        run_study(load_study(study_file), out=tmp_path)


def test_changed_study_file_is_refused_and_nothing_is_lost(study_file, whole, tmp_path):
    out, results = whole
    changed = tmp_path / "small.toml"
    changed.write_text(SMALL_STUDY.replace("trials = 5", "trials = 6"), encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"trials: was 5, now 6.*--out"):
        run_study(load_study(changed), out=out)
    assert results_but_times(run_study(load_study(study_file), out=out)) == results


def test_the_folder_of_another_study_is_refused_and_left_alone(study_file, whole, tmp_path):
    """Its searches would be taken over, and its report and policies overwritten."""
    out, results = whole
    other = tmp_path / "other.toml"
    other.write_text(SMALL_STUDY.replace("confirmation_seeds = 2", "confirmation_seeds = 3"), encoding="utf-8")
    with pytest.raises(
        MetaGDError, match=r"belongs to the study 'small', and .*other.toml is the study 'other'.*--out"
    ):
        run_study(load_study(other), out=out)
    assert results_but_times(run_study(load_study(study_file), out=out)) == results
    # Another study may share its storage, from a folder of its own, and it stays the owner of this one.
    copy = shutil.copytree(out, tmp_path / "copy")
    optuna.create_study(
        storage=open_storage(copy / "optuna.db", must_exist=True), study_name="another/task/calibrate"
    ).set_user_attr(trial_store.SETTINGS, {})
    assert results_but_times(run_study(load_study(study_file), out=copy)) == results


def dense(input_shape, classes, *, seed):
    import keras

    model = keras.Sequential([keras.layers.Input(input_shape), keras.layers.Flatten()], name="dense")
    model.add(keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(seed=seed)))
    return model


def test_network_of_ones_own(study_file, tmp_path, capsys):
    """From a file and from Python: named in the results, kept apart from any other network."""
    file = tmp_path / "small.toml"
    file.write_text(study_file.read_text(encoding="utf-8") + 'network = "mine.keras"\n', encoding="utf-8")
    dense((20, 21, 1), 2, seed=0).save(tmp_path / "mine.keras")
    record = run_study(load_study(file), out=tmp_path / "file")
    assert build_results(record)["tasks"][TASK]["network"] == "mine.keras, 842 weights"

    out = tmp_path / "python"
    strike(study_file, out, "add calibrate", 2, "SIGKILL")  # it began with the article's CNN
    with pytest.raises(MetaGDError, match=r"the network changed .*was article-cnn, .* now dense, 842 weights"):
        run_study(load_study(study_file), out=out, build_network=dense)
    with pytest.raises(MetaGDError, match=r"'mine.keras', and build_network= is given too"):
        run_study(load_study(file), out=tmp_path / "both", build_network=dense)
    dense((20, 21, 1), 3, seed=0).save(tmp_path / "mine.keras")
    with pytest.raises(MetaGDError, match=r"maps \(20, 21, 1\) to \(3,\); this task needs .* to \(2,\)"):
        run_study(load_study(file), out=tmp_path / "other")
    # A complete study trains nothing, and yet it is not about another network.
    narrow = dense((20, 21, 1), 1, seed=0)
    narrow.add(type(narrow.layers[-1])(2))
    narrow.save(tmp_path / "mine.keras")
    with pytest.raises(MetaGDError, match=r"the network changed .*was mine.keras, 842 weights"):
        run_study(load_study(file), out=tmp_path / "file")


def test_other_code_version_is_refused(study_file, whole, monkeypatch):
    import metagd_optuna.search.runner as runner

    monkeypatch.setattr(runner, "versions", lambda: {"metagd-optuna": "99"})
    with pytest.raises(MetaGDError, match=r"metagd-optuna: was .*, now 99"):
        run_study(load_study(study_file), out=whole[0])


def test_other_versions_of_packages_are_noted_and_the_complexity_stays(
    study_file, whole, tmp_path, monkeypatch, capsys
):
    import metagd_optuna.search.runner as runner
    import metagd_optuna.tasks as tasks

    cut_off(study_file, tmp_path, monkeypatch, TaskPhases, "_tune", before_the_last_search)
    now = runner.versions()
    monkeypatch.setattr(runner, "versions", lambda: now | {"optuna": "6.0.0"})
    # What earlier trials were told is what later ones are told, even if it would be measured a little differently now.
    monkeypatch.setattr(tasks, "measure_complexity", lambda *_: pytest.fail("it measured again"))
    assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == whole[1]
    assert f"note: this study began with optuna {now['optuna']} (now 6.0.0); proposals" in capsys.readouterr().out


def test_somebody_elses_study_of_that_name_is_refused(study_file, tmp_path):
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    optuna.create_study(storage=url, study_name="small").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match="not one of metagd's"):
        run_study(load_study(study_file), out=tmp_path, storage_url=url)


def test_second_run_in_the_same_folder_is_refused(study_file, tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys, time\n"
            f"fd = os.open({str(tmp_path / '.lock')!r}, os.O_RDWR | os.O_CREAT)\n"
            "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MetaGDError, match="another run"):
            run_study(load_study(study_file), out=tmp_path)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_folder_that_has_no_locks_is_told_from_one_in_use(study_file, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(MetaGDError, match=r"\.lock: cannot be locked \(No locks available\)"):
        run_study(load_study(study_file), out=tmp_path)


def test_second_coordinator_of_one_storage_is_refused(study_file, tmp_path):
    """Even from another folder: it would take over trials that the first is training."""
    database = tmp_path / "shared.db"
    lock = tmp_path / "shared.db.lock"
    code = (
        "import fcntl, os, time\n"
        f"fd = os.open({str(lock)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MetaGDError, match=r"shared.db: another run"):
            run_study(load_study(study_file), out=tmp_path / "b", storage_url=f"sqlite:///{database}")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("study", "task", "text"),
    [
        ("smal", TASK, r"no study 'smal'; did you mean 'small'\?|no study 'smal'.*small"),
        ("small", "breast_cancr", r"breast_cancr.*breast_cancer"),
    ],
)
def test_unknown_study_or_task_is_named_with_what_there_is(whole, study, task, text):
    storage = open_storage(whole[0] / "optuna.db", must_exist=True)
    with pytest.raises(MetaGDError, match=text):
        winning_policy(storage, study, task)


def test_a_study_of_the_per_task_league_has_no_rule_for_all(whole):
    storage = open_storage(whole[0] / "optuna.db", must_exist=True)
    with pytest.raises(MetaGDError, match="for each of its tasks, not one for all"):
        universal_policy(storage, "small")


def test_policy_of_an_unfinished_study_is_refused(study_file, tmp_path):
    strike(study_file, tmp_path, "add calibrate", 6, "SIGKILL")
    with pytest.raises(MetaGDError, match="not finished"):
        winning_policy(open_storage(tmp_path / "optuna.db", must_exist=True), "small", TASK)


def test_publishing_that_failed_is_done_again(whole, tmp_path, monkeypatch):
    import shutil

    from metagd_optuna.search.publish import publish

    out = tmp_path / "copy"
    shutil.copytree(whole[0], out, ignore=shutil.ignore_patterns("artifacts", "policies"))
    storage = open_storage(out / "optuna.db", must_exist=True)
    options = {
        "out": out,
        "artifacts": None,
        "verdict": {"label": "tie", "speedup": 1.5},
        "note": "# note",
        "figures": {},
    }
    (out / "policies").write_text("in the way", encoding="utf-8")
    with pytest.raises(MetaGDError, match="policies"):
        publish(storage, "small", TASK, **options)
    (out / "policies").unlink()
    publish(storage, "small", TASK, **options)
    assert not (out / "artifacts").exists()  # a storage without such a folder, whose dashboard would not find the file
    assert load_policy(str(out / "policies" / f"{TASK}.json")).provenance["result"]["speedup"] == 1.5


def test_changed_data_is_refused(tmp_path):
    import numpy as np

    def write(seed):
        rng = np.random.default_rng(seed)
        arrays = {}
        for part, count in (("train", 40), ("val", 20), ("test", 20)):
            arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
            pixels = rng.integers(0, 100, size=(count, 8, 8), dtype=np.uint8)
            arrays[f"{part}_images"] = pixels + 100 * arrays[f"{part}_labels"][:, :, None]
        np.savez(tmp_path / "mine.npz", **arrays)

    path = tmp_path / "small.toml"
    path.write_text(SMALL_STUDY.replace("breast_cancer", "mine.npz"), encoding="utf-8")
    write(0)
    process = strike(path, tmp_path / "out", "add calibrate", 6, "SIGKILL")
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    write(1)
    with pytest.raises(MetaGDError, match=r"data of task 'mine' changed"):
        run_study(load_study(path), out=tmp_path / "out")


def test_folder_that_cannot_be_written_is_an_error(study_file, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(MetaGDError, match="--out"):
        run_study(load_study(study_file), out=tmp_path / "file" / "out")


def test_publish_writes_policy_note_and_figures(whole):
    from metagd_optuna.report.notes import task_figures, task_note
    from metagd_optuna.search.publish import publish

    out, _ = whole
    storage = open_storage(out / "optuna.db", must_exist=True)
    results = build_results(load_record(storage, "small", (TASK,)))
    for _again in range(2):
        publish(
            storage,
            "small",
            TASK,
            out=out,
            artifacts=out / "artifacts",
            verdict=results["tasks"][TASK]["verdict"],
            note=task_note(results, TASK),
            figures=task_figures(results, TASK),
        )
    policy = load_policy(str(out / "policies" / f"{TASK}.json"))
    assert policy.provenance["result"]["label"] in ("faster", "tie", "slower")
    assert len(list(Path(out / "artifacts").iterdir())) == 1
    confirm = trial_store.load_part(storage, "small", TASK, "confirm")
    stored = storage.get_study_system_attrs(confirm._study_id)
    assert any("note" in key for key in stored)
    assert any("graph_objects" in key or "plot" in key for key in stored), sorted(stored)
