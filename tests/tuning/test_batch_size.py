"""Every method may choose its batch; what it chose is what trains, and it travels with the rule."""

import optuna
import pytest
from small_study import SMALL_STUDY, UNMEASURED, results_but_times, results_of, store_of

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy, candidate_from_settings
from metagd_optuna.study import run_study
from metagd_optuna.training.engine import Engine
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.record import winning_policy
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.shared_design import designed
from metagd_optuna.tuning.stored_trials import records_of
from metagd_optuna.tuning.study_file import load_study

TASK = "breast_cancer"
SIZES = (16, 8, 4, 2)


def spec(**settings):
    return StudySpec(name="s", tasks=(TASK,), batch_size=16, **settings)


@pytest.mark.parametrize("method", methods_of(spec(tune_batch_size=True)), ids=lambda method: method.name)
def test_every_method_chooses_and_what_is_known_is_tried_with_the_batch_of_the_study(method):
    name = "batch_size" if method.name == "meta-policy" else f"{method.name}.batch_size"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    found = [method.suggest(study.ask()) for _ in range(40)]
    assert {candidate.batch_size for candidate in found} == set(SIZES)
    for trial, candidate in zip(study.get_trials(), found, strict=True):
        assert trial.params[name] == candidate.batch_size
        assert candidate.formula.endswith(f"; batches of {candidate.batch_size}")
        again = candidate_from_settings(candidate.name, candidate.settings)
        assert (again.batch_size, again.formula) == (candidate.batch_size, candidate.formula)
    asked = set().union(*(trial.params for trial in study.get_trials()))
    assert method.initial_points
    assert all(point[name] == 16 and point.keys() <= asked for point in method.initial_points)


@pytest.mark.parametrize("method", methods_of(spec(tune_batch_size=True)), ids=lambda method: method.name)
def test_the_shared_design_spreads_the_batches(method):
    name = "batch_size" if method.name == "meta-policy" else f"{method.name}.batch_size"
    points = designed(method, seed=0, trials=32)[len(method.initial_points) :]
    counts = [sum(point[name] == size for point in points) for size in SIZES]
    assert min(counts) >= len(points) / len(SIZES) / 2


@pytest.mark.parametrize("method", methods_of(spec()), ids=lambda method: method.name)
def test_without_the_key_there_is_no_choice(method):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    candidate = method.suggest(study.ask())
    assert candidate.batch_size is None
    assert "batch" not in candidate.formula + str(candidate.settings) + str(study.get_trials()[0].params)
    assert not any("batch" in name for point in method.initial_points for name in point)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A small study whose methods choose their batch: its file, folder and what it found."""
    folder = tmp_path_factory.mktemp("batches")
    file = folder / "batches.toml"
    file.write_text(SMALL_STUDY.replace("= 192", "= 240") + UNMEASURED + "tune_batch_size = true\n")
    return file, folder / "out", run_study(file, out=folder / "out")


def runs_of(out, part):
    return store_of(out, "batches").task(TASK).load(part).get_trials(deepcopy=False)


def test_runs_of_all_batches_are_measured_at_the_same_places(tuned):
    _, out, _ = tuned
    found = [(t, run) for t in runs_of(out, "adam-constant") for run in records_of(t)]
    assert len({t.params["adam-constant.batch_size"] for t, _ in found}) > 1
    steps = max((run.validation.steps for _, run in found), key=len)
    assert all(run.validation.steps == steps[: len(run.validation.steps)] for _, run in found)
    assert steps[-1] == 5 * 48 / 16


def test_what_was_chosen_is_what_trains_and_comes_back_from_its_snapshot(tuned, tmp_path, monkeypatch):
    file, out, found = tuned
    trained = {}
    train = Engine.train

    def spy(engine, jobs, **options):
        trained.update({job.name: job.batch_size for job in jobs})
        return train(engine, jobs, **options)

    monkeypatch.setattr(Engine, "train", spy)
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / f"{TASK}.json").write_bytes((out / "snapshots" / f"{TASK}.json").read_bytes())
    assert results_but_times(run_study(file, out=tmp_path)) == results_but_times(found)
    for method in ("meta-policy", "adam-constant"):
        name = "batch_size" if method == "meta-policy" else "adam-constant.batch_size"
        chosen = {f"{method}#{trial.number}": trial.params[name] for trial in runs_of(tmp_path, method)}
        shortlisted = chosen.keys() & trained.keys()
        assert len(shortlisted) == 3
        assert all(trained[key] == chosen[key] for key in shortlisted)
    assert trained["meta-policy"] == trained["replay"] == trained["frozen"] in SIZES
    assert {trained[name] for name in ("keras-adam", "keras-sgd", "article", "article-as-printed")} == {None}


def test_the_controls_keep_the_batch_and_the_untuned_that_of_the_study(tuned):
    [task] = results_of(tuned[2]).tasks.values()
    by_name = {row.name: row.settings for row in task.candidates}
    chosen = by_name["meta-policy"]["batch_size"]
    assert chosen in SIZES
    assert by_name["replay"]["batch_size"] == chosen
    assert by_name["frozen"]["policy"]["batch_size"] == chosen
    assert by_name["adam-constant"]["batch_size"] in SIZES
    for name in ("keras-adam", "keras-sgd", "article", "article-as-printed"):
        assert "batch" not in str(by_name[name])


def test_the_exported_policy_says_its_batch(tuned, tmp_path):
    _, out, found = tuned
    policy = winning_policy(store_of(out, "batches"), TASK)
    policy.save(tmp_path / "p.json")
    loaded = MetaPolicy.load(tmp_path / "p.json")
    assert loaded == policy
    [task] = results_of(found).tasks.values()
    assert loaded.batch_size == task.winner.settings["batch_size"]
    [trial] = [t for t in runs_of(out, "meta-policy") if t.number == policy.provenance["trial"]]
    assert MetaPolicy.from_trial(trial).batch_size == trial.params["batch_size"] == loaded.batch_size


def test_a_task_smaller_than_a_batch_has_none_to_choose_from(tuned, tmp_path):
    study = StudySpec(**dict(load_study(tuned[0])) | {"max_train": 12})
    with pytest.raises(MetaGDError, match=f"task '{TASK}' has 12 training images, fewer than batch_size = 16"):
        run_study(study, out=tmp_path / "out")
