from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from metagd_optuna.analysis import halving_rounds
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.tuning.settings import LATER, StudySettings, StudySpec
from metagd_optuna.tuning.study_file import load_study, settings_table

ROOT = Path(__file__).parents[2]
TASKS = 'tasks = ["breast_cancer"]\n'


def write(folder: Path, text: str, name: str = "demo.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_only_tasks_is_required_and_the_rest_has_the_documented_defaults(tmp_path: Path) -> None:
    spec = load_study(write(tmp_path, TASKS))
    assert spec.name == "demo"
    assert spec.to_dict() == {
        "tasks": ["breast_cancer"],
        "scope": "per-task",
        "seed": 0,
        "trials": 24,
        "seeds_per_trial": 2,
        "trials_at_once": 4,
        "examples_per_run": 15000,
        "batch_size": 32,
        "tune_batch_size": False,
        "evaluations": 40,
        "rate_updates_per_evaluation": 3,
        "metric": "auc",
        "target_share": 0.95,
        "baselines": ["adam-constant", "adam-cosine", "sgd-one-cycle"],
        "difficulty_forms": ["mix", "logistic"],
        "rate_forms": ["power", "logistic", "schedule"],
        "optimizers": ["adam", "sgd-nesterov"],
        "signal": "train-loss",
        "calibration_seeds": 4,
        "shortlist_trials": 4,
        "shortlist_seeds": 3,
        "confirmation_seeds": 10,
        "max_train": 0,
        "max_eval": 0,
        "complexity": "knn",
        "drop_duplicates": False,
        "drop_contradictions": False,
        "resample_splits": False,
        "pruning": True,
        "median_pruning": False,
        "network": "article-cnn",
        "trainable": "all",
        "compute": "float32",
        "population": 0,
    }


@pytest.mark.parametrize("scope", ["universal", "per-task"])
def test_every_key_can_be_set(tmp_path: Path, scope: str) -> None:
    text = (
        'tasks = ["breast_cancer", "a.npz", "b.npz"]\n'
        "seed = 7\ntrials = 12\nseeds_per_trial = 3\ntrials_at_once = 2\nexamples_per_run = 6000\nbatch_size = 16\n"
        "tune_batch_size = true\n"
        'evaluations = 20\nrate_updates_per_evaluation = 1\nmetric = "balanced_accuracy"\nbaselines = ["adam-cosine"]\n'
        'difficulty_forms = ["rasch"]\nrate_forms = ["schedule"]\noptimizers = ["adam"]\nsignal = "improvement"\n'
        "calibration_seeds = 2\nshortlist_trials = 2\nshortlist_seeds = 5\nconfirmation_seeds = 12\nmax_train = 100\n"
        "max_eval = 90\ntarget_share = 1\n"
        'complexity = "constant"\ndrop_duplicates = true\ndrop_contradictions = true\npruning = false\npopulation = 4\n'
        'resample_splits = true\nnetwork = "mine.keras"\ntrainable = "head"\ncompute = "bfloat16"\n'
    )
    # Each allows what the other one does not.
    text += {"universal": 'scope = "universal"\n', "per-task": "median_pruning = true\n"}[scope]
    for name in ("mine.keras", "a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    spec = load_study(write(tmp_path, text))
    default = StudySpec(name="demo", tasks=("breast_cancer",))
    same = [key for key, value in spec.to_dict().items() if value == default.to_dict()[key]]
    assert same == [{"universal": "median_pruning", "per-task": "scope"}[scope]]
    assert json.loads(json.dumps(spec.to_dict())) == spec.to_dict()
    assert StudySpec(name="demo", file=spec.file, **_tuples(spec.to_dict())) == spec


def _tuples(table: dict[str, object]) -> dict[str, object]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


BAD = [
    ("trails = 3", ["no key 'trails'", "did you mean 'trials'", "allowed keys: tasks"]),
    ("name = 'x'", ["no key 'name'"]),
    ("file = 'x'", ["no key 'file'"]),
    ("[search]\ntrials = 3", ["[search]", "flat"]),
    ("trials = 3", ["trials is 3; allowed is a whole number from 4 to 10,000"]),
    ("trials = true", ["trials is true; allowed is a whole number"]),
    ("trials = 12.0", ["trials is 12.0; allowed is a whole number"]),
    ("trials = nan", ["trials is NaN; allowed is a whole number"]),
    ("seed = inf", ["seed is Infinity; allowed is a whole number"]),
    ('trials = "12"', ['trials is "12"; allowed is a whole number']),
    ("trials = [12]", ["trials is [12]; allowed is a whole number"]),
    ("trials = 1979-05-27", ["trials is 1979-05-27; allowed is a whole number"]),
    ("seed = -1", ["seed is -1; allowed is a whole number from 0 to"]),
    ("trials = 1" + "0" * 400, ["trials is a whole number of about 400 digits; allowed is a whole number from 4"]),
    ("trials = 1" + "0" * 5000, ["a number cannot be read", "5001 digits", "give one of fewer digits"]),
    ("trials = 0x1" + "0" * 5000, ["trials is a whole number of about", "digits; allowed is a whole number from 4"]),
    (
        "baselines = [0x1" + "0" * 5000 + "]",
        ["baselines[0] is a whole number of about", "digits; allowed is one of adam-constant"],
    ),
    ("baselines = " + "[" * 100_000, ["not valid TOML"]),
    ("max_train = 1", ["max_train: 1 is out of range; allowed is 0, or a whole number from 2 to"]),
    ("max_train = -1", ["max_train is -1; allowed is 0, or a whole number from 2 to"]),
    ("target_share = 0.4", ["target_share is 0.4; allowed is a number from 0.5 to 1"]),
    ("target_share = 98", ["target_share is 98; allowed is a number from 0.5 to 1"]),
    ("confirmation_seeds = 1", ["confirmation_seeds is 1; allowed is a whole number from 2 to"]),
    ("median_pruning = 1", ["median_pruning is 1; allowed is true or false"]),
    ("pruning = 1", ["pruning is 1; allowed is true or false"]),
    (
        'metric = "acuracy"',
        ["metric: there is no metric 'acuracy'; allowed: auc, balanced_accuracy"],
    ),
    ("metric = 3", ["metric is 3; allowed is one of auc, balanced_accuracy"]),
    ('signal = "trainloss"', ["signal: ", "did you mean 'train-loss'"]),
    ('complexity = "kn"', ["complexity: ", "did you mean 'knn'"]),
    ('baselines = ["adam-cosin"]', ["baselines: ", "did you mean 'adam-cosine'", "greedy-lr"]),
    ("baselines = []", ["baselines is []; allowed is a list of one or more baseline names out of adam-constant"]),
    (
        'baselines = "adam-cosine"',
        ['baselines is "adam-cosine"; allowed is a list of one or more baseline names'],
    ),
    ("baselines = [3]", ["baselines[0] is 3; allowed is one of adam-constant"]),
    ('baselines = ["adam-cosine", "adam-cosine"]', ["baselines: 'adam-cosine' is listed more than once; name it once"]),
    ('difficulty_forms = ["logistc"]', ["difficulty_forms: ", "did you mean 'logistic'"]),
    ('rate_forms = ["powr"]', ["rate_forms: ", "did you mean 'power'"]),
    ('optimizers = ["adm"]', ["optimizers: ", "did you mean 'adam'"]),
    ("shortlist_trials = 25", ["shortlist_trials: 25 is more than trials = 24"]),
    ("trials = 4\ntrials_at_once = 8", ["trials_at_once: 8 is more than trials = 4"]),
    ("batch_size = 12\ntune_batch_size = true", ["batch_size: ", "an eighth", "12 is no multiple of 8"]),
    ("trials = ", ["not valid TOML", "line 2"]),
    ("trials = 5\ntrials = 6", ["not valid TOML", "line 3"]),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line[:40] for line, _ in BAD])
def test_a_bad_key_or_value_is_named_with_the_file(tmp_path: Path, line: str, said: list[str]) -> None:
    path = write(tmp_path, TASKS + line + "\n")
    with pytest.raises(MetaGDError) as caught:
        load_study(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    for part in said:
        assert part in text


BAD_TASKS = [
    ("", ["'tasks' is missing"]),
    ("tasks = []", ["tasks is []; allowed is a list of one or more task names"]),
    ('tasks = "breast_cancer"', ['tasks is "breast_cancer"; allowed is a list of one or more task names']),
    ('tasks = ["brest_cancer"]', ["tasks: ", "brest_cancer", "did you mean 'breast_cancer'"]),
    ('tasks = ["chestmnist"]', ["tasks: ", "chestmnist", "cannot be used"]),
    ('tasks = ["breast_cancer", "breast_cancer"]', ["tasks: ", "more than once"]),
    ('tasks = ["a/one.npz", "b/one.npz"]', ["tasks: ", "'a/one.npz'", "'b/one.npz'", "both called 'one'"]),
    ('tasks = ["a/one.npz", "./a/ONE.npz"]', ["tasks: ", "there is no file", "did you mean 'one.npz'"]),
    ('tasks = ["a/breastmnist.npz", "breastmnist"]', ["tasks: ", "both called 'breastmnist'"]),
    ('tasks = ["a/on.npz"]', ["tasks: ", "there is no file", "did you mean 'one.npz'", "relative to the study file"]),
    ('tasks = ["nowhere/one.npz"]', ["tasks: ", "there is no folder"]),
    ('tasks = ["a/bad name.npz"]', ["tasks: ", "'bad name'", "file's name"]),
    ('tasks = ["a/one.npy"]', ["tasks: ", "end in .npz"]),
]


@pytest.mark.parametrize(("line", "said"), BAD_TASKS, ids=[line for line, _ in BAD_TASKS])
def test_a_bad_list_of_tasks_is_named_with_the_file(tmp_path: Path, line: str, said: list[str]) -> None:
    for name in ("a/one.npz", "b/one.npz", "a/breastmnist.npz", "a/bad name.npz", "a/one.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    path = write(tmp_path, line + "\n")
    with pytest.raises(MetaGDError) as caught:
        load_study(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    for part in said:
        assert part in text


def test_task_paths_are_relative_to_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.npz").touch()
    absolute = tmp_path / "other.npz"
    absolute.touch()
    path = write(tmp_path, f'tasks = ["data/mine.npz", "breast_cancer", "{absolute}"]\n')
    monkeypatch.chdir("/")
    spec = load_study(path)
    assert spec.task_locations == {
        "mine": str(tmp_path / "data" / "mine.npz"),
        "breast_cancer": "breast_cancer",
        "other": str(absolute),
    }
    assert spec.to_dict()["tasks"][0] == "data/mine.npz", "the stored settings do not depend on where the folder lies"


@pytest.mark.parametrize("name", ["my study.toml", "-x.toml", "é.toml", ".hidden.toml", "a" * 101 + ".toml"])
def test_a_file_name_that_cannot_name_a_study_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MetaGDError, match="folder's name"):
        load_study(write(tmp_path, TASKS, name))


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, TASKS, "quickstart.toml")
    write(tmp_path, TASKS, "other.toml")
    with pytest.raises(MetaGDError, match=r"does not exist \(did you mean 'quickstart.toml'\?\).*other.toml, quick"):
        load_study(tmp_path / "quikstart.toml")
    with pytest.raises(MetaGDError, match=r"does not exist.*quickstart.toml"):
        load_study(tmp_path / "quickstart")
    with pytest.raises(MetaGDError, match="is a folder"):
        load_study(tmp_path)
    with pytest.raises(MetaGDError, match=r"there is no folder .*nowhere either"):
        load_study(tmp_path / "nowhere" / "x.toml")
    with pytest.raises(MetaGDError, match=r"does not end in .toml"):
        load_study(write(tmp_path, TASKS, "study.txt"))


def test_a_file_of_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe9\n" + TASKS.encode())
    with pytest.raises(MetaGDError, match=r"latin.toml: not a text file in UTF-8 \(byte 2\)"):
        load_study(path)
    path.write_bytes(b"\xef\xbb\xbf" + TASKS.encode())
    assert load_study(path).tasks == ("breast_cancer",)


def test_a_spec_made_in_python_is_checked_the_same_way() -> None:
    with pytest.raises(MetaGDError, match=r"^study 'demo': trials is 2; allowed is a whole number from 4 to 10,000$"):
        StudySpec(name="demo", tasks=("breast_cancer",), trials=2)
    spec = StudySpec(name="demo", tasks=("breast_cancer",))
    with pytest.raises(MetaGDError, match="study 'demo': metric: there is no metric 'loss'"):
        StudySpec(**dict(spec) | {"metric": "loss"})
    assert StudySpec(name="demo", tasks=["breast_cancer"]) == spec  # type: ignore[arg-type]
    with pytest.raises(MetaGDError, match=r"study 'demo': tasks is \[\]; allowed is a list of one or more"):
        StudySpec(name="demo", tasks=[])  # type: ignore[arg-type]
    with pytest.raises(MetaGDError, match=r"no key 'trails' \(did you mean 'trials'\?\)"):
        StudySpec(name="demo", tasks=("breast_cancer",), trails=8)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        spec.trials = 8  # type: ignore[misc]


def test_paths_may_be_text_or_path_objects(tmp_path: Path) -> None:
    (tmp_path / "ours.npz").touch()
    text = StudySpec(name="demo", tasks=("ours.npz",), file=str(tmp_path / "demo.toml"))  # type: ignore[arg-type]
    paths = StudySpec(name="demo", tasks=(Path("ours.npz"),), file=tmp_path / "demo.toml")  # type: ignore[arg-type]
    assert text == paths
    assert (paths.file, paths.tasks) == (tmp_path / "demo.toml", ("ours.npz",))
    assert paths.task_locations == {"ours": str(tmp_path / "ours.npz")}
    assert json.loads(json.dumps(paths.to_dict()))["tasks"] == ["ours.npz"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": 3}, "^file is 3; give a path as text, or a pathlib.Path"),
        ({"file": "a\0"}, "which no file can be called"),
        ({"tasks": (Path("breast_cancer"),)}, "tasks: breast_cancer: there is no such file or folder"),
        ({"tasks": Path("ours.npz")}, "tasks is .*ours.npz.*; allowed is a list of one or more task names"),
        ({"tasks": (3,)}, r"tasks\[0\]: 3 is no task; allowed is a name or a path as text"),
    ],
)
def test_a_path_that_is_none_is_refused_in_words(given: dict[str, object], message: str) -> None:
    with pytest.raises(MetaGDError, match=message):
        StudySpec(**{"name": "demo", "tasks": ("breast_cancer",)} | given)  # type: ignore[arg-type]


def test_changes_name_every_key_that_differs() -> None:
    spec = StudySpec(name="demo", tasks=("breast_cancer",))
    stored = spec.to_dict()
    assert spec.changes_from(stored) == []
    assert spec.changes_from(json.loads(json.dumps(stored))) == []
    stored.update(trials=12, baselines=["adam-cosine"], gone=1)
    del stored["seed"], stored["tasks"]
    assert spec.changes_from(stored) == [
        "tasks: was not set, now ['breast_cancer']",
        "seed: was not set, now 0",
        "trials: was 12, now 24",
        "baselines: was ['adam-cosine'], now ['adam-constant', 'adam-cosine', 'sgd-one-cycle']",
        "gone: was 1, now not set",
    ]


@pytest.mark.parametrize(("n_train", "epochs"), [(546, 27), (1080, 14), (4708, 4), (341, 40), (3750, 4), (2500, 6)])
def test_epochs_follow_from_examples(n_train: int, epochs: int) -> None:
    assert StudySpec(name="demo", tasks=("breast_cancer",)).epochs_for(n_train) == epochs


def test_no_examples_are_refused() -> None:
    with pytest.raises(MetaGDError, match="training part of 0 examples"):
        StudySpec(name="demo", tasks=("breast_cancer",)).epochs_for(0)


@settings(deadline=None, max_examples=60)
@given(examples=st.integers(1, 10**9), n=st.integers(1, 10**7))
def test_epochs_stay_within_their_limits_and_fall_with_the_size_of_the_task(examples: int, n: int) -> None:
    spec = StudySpec(name="demo", tasks=("breast_cancer",), examples_per_run=examples)
    assert 4 <= spec.epochs_for(n) <= 40
    assert spec.epochs_for(n + 1) <= spec.epochs_for(n)


def test_all_of_the_training_part_or_at_least_two_images_are_allowed() -> None:
    for value in (0, 2, 100):
        assert StudySpec(name="demo", tasks=("breast_cancer",), max_train=value).max_train == value
    with pytest.raises(MetaGDError, match="study 'demo': max_train: 1 is out of range; allowed is 0, or a whole"):
        StudySpec(name="demo", tasks=("breast_cancer",), max_train=1)


AT_MOST_TRIALS = ("trials_at_once", "shortlist_trials")
KEYS = StudySettings.model_json_schema()["properties"]
WHOLES = sorted(
    key for key in KEYS if KEYS[key].get("type") == "integer" and key not in ("trials_at_once", "shortlist_trials")
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(WHOLES), st.data())
def test_wholes_are_accepted_exactly_within_their_range(key: str, data: st.DataObject) -> None:
    """As the JSON Schema says it, but for those that may not exceed another key."""
    low, high = KEYS[key].get("least", KEYS[key]["minimum"]), KEYS[key]["maximum"]
    near = st.sampled_from([low - 1, low, high, high + 1, KEYS[key]["minimum"]])
    value = data.draw(near | st.integers(low - 3, high + 3))
    if low <= value <= high or value == KEYS[key]["minimum"]:
        assert getattr(StudySpec(name="demo", tasks=("breast_cancer",), **{key: value}), key) == value  # type: ignore[arg-type]
    else:
        with pytest.raises(MetaGDError, match=rf"study 'demo': {key}.* {value}|{key}: {value} is out of range"):
            StudySpec(name="demo", tasks=("breast_cancer",), **{key: value})  # type: ignore[arg-type]


def test_the_documentation_shows_every_key() -> None:
    text = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    table = settings_table()
    assert table in text, f"docs/study-files.md has to contain this table:\n\n{table}"
    assert all(f"| `{key}` |" in table for key in StudySettings.model_fields)
    assert set(StudySettings.model_fields) == set(StudySpec.model_fields) - {"name", "file"}
    assert all(name in table for name in BASELINES)


def test_the_cost_arithmetic_of_the_documentation_holds() -> None:
    text = (ROOT / "docs" / "study-files.md").read_text(encoding="utf-8")
    spec = StudySpec(name="demo", tasks=("breast_cancer",))
    methods = len(spec.baselines) + 1
    calibration = 4 * spec.calibration_seeds
    search = methods * spec.trials * spec.seeds_per_trial
    shortlist = methods * sum(candidates * seeds for candidates, seeds in halving_rounds(4, 3))
    total = calibration + search + shortlist + 10 * spec.confirmation_seeds
    for phase, runs in (("calibrate", calibration), ("tune", search), ("shortlist", shortlist)):
        assert f"| {phase} |" in text
        assert f"| {runs} |" in text
    assert f"{total} runs" in text


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_that_come_with_the_project_are_valid(path: Path) -> None:
    spec = load_study(path)
    assert spec.confirmation_seeds >= 10
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("tasks")]
    assert len(lines) == 1
    assert lines[0].endswith("]"), "tasks is a list on one line"


def test_the_studies_that_come_with_the_project_are_all_there() -> None:
    names = {path.stem for path in (ROOT / "studies").glob("*.toml")}
    assert {"quickstart", "medmnist_small", "breastmnist", "pneumoniamnist", "retinamnist", "cifar10"} <= names
    assert load_study(ROOT / "studies" / "quickstart.toml").tasks == ("breast_cancer",)


@pytest.mark.parametrize(("key", "other"), [("resample_splits", True), ("target_share", 0.9), ("trainable", "head")])
def test_a_study_that_was_stored_before_a_key_was_there_goes_on_as_it_was(key: str, other: object) -> None:
    assert key in LATER
    now = StudySettings(tasks=("breast_cancer",))
    stored = {name: value for name, value in now.to_dict().items() if name != key}
    assert now.changes_from(stored) == []
    changed = StudySettings(**_tuples(now.to_dict()) | {key: other})
    assert [line.partition(":")[0] for line in changed.changes_from(stored)] == [key]
