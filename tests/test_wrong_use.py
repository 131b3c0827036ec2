"""Whatever is passed by mistake, the answer is an error of the package's own that quotes little of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.cli import main
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import MOST_QUOTED
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.tasks import Task, class_frequencies, load_task, measure_complexity
from metagd_optuna.tasks.audit import audit_arrays
from metagd_optuna.tuning.study_file import load_study

POWER = {"lr0": 1e-3, "a": 1.0, "b": 0.0}
POLICY = MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5})
PARAMS = POLICY.to_params()


class Frame:
    """What looks like a table of pandas, but is none."""

    columns = ("a", "b")
    shape = (2, 2)

    def __getitem__(self, key):
        raise KeyError(key)

    def __len__(self):
        return 2


JUNK = {
    "none": None,
    "text": "nonsense",
    "long text": "x" * 1_000_000,
    "half of a pair": "\ud800",
    "zero byte": "a\0b",
    "bytes": b"adam",
    "flag": True,
    "number": 17,
    "long number": 10**5000,
    "not a number": float("nan"),
    "complex": 1 + 2j,
    "list": [0.1, 0.2],
    "empty list": [],
    "ragged": [[1, 2], [3]],
    "nested numbers": [[10**5000]],
    "table": {"a": 1},
    "table without names": {1: 2, (3, 4): 5},
    "set": {"adam"},
    "array": np.arange(6.0).reshape(2, 3),
    "array of objects": np.array([None, "a"], dtype=object),
    "objects": [object(), object()],
    "generator": (number for number in range(3)),
    "function": len,
    "class": dict,
    "frame": Frame(),
}

POLICY_DOORS = {
    "optimizer": lambda junk: MetaPolicy(junk, "power", POWER, "mix", {"w": 0.5}),
    "rate": lambda junk: MetaPolicy("adam", junk, POWER, "mix", {"w": 0.5}),
    "rate coefficients": lambda junk: MetaPolicy("adam", "power", junk, "mix", {"w": 0.5}),
    "a rate coefficient": lambda junk: MetaPolicy("adam", "power", {**POWER, "lr0": junk}, "mix", {"w": 0.5}),
    "difficulty": lambda junk: MetaPolicy("adam", "power", POWER, junk, {"w": 0.5}),
    "difficulty coefficients": lambda junk: MetaPolicy("adam", "power", POWER, "mix", junk),
    "coefficients of no difficulty": lambda junk: MetaPolicy("adam", "constant", POWER, None, junk),
    "signal": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, signal=junk),
    "half-life": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, half_life=junk),
    "improvement_scale": lambda junk: MetaPolicy(
        "adam", "power", POWER, "mix", {"w": 0.5}, "improvement", improvement_scale=junk
    ),
    "batch": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, batch_size=["no", junk]),
    "provenance": lambda junk: MetaPolicy("adam", "power", POWER, "mix", {"w": 0.5}, provenance=["no", junk]),
    "provenance in depth": lambda junk: MetaPolicy(
        "adam", "power", POWER, "mix", {"w": 0.5}, provenance={"x": {1, 2}, "y": junk}
    ),
    "params": lambda junk: MetaPolicy.from_params(junk),
    "a parameter": lambda junk: MetaPolicy.from_params({**PARAMS, "g.power.lr0.adam": junk}),
    "a form": lambda junk: MetaPolicy.from_params({**PARAMS, "g": junk}),
    "difficulty's form": lambda junk: MetaPolicy.from_params({**PARAMS, "f": junk}),
    "trial": lambda junk: MetaPolicy.from_trial(junk),
    "a trial's params": lambda junk: MetaPolicy.from_trial(SimpleNamespace(params=junk, number=0)),
    "a trial's optimizer": lambda junk: MetaPolicy.from_trial(
        SimpleNamespace(params={**PARAMS, "optimizer": junk}, number=0)
    ),
    "document": lambda junk: MetaPolicy.from_dict(junk),
    "schema": lambda junk: MetaPolicy.from_dict({**POLICY.to_dict(), "schema": junk}),
    "a part of the document": lambda junk: MetaPolicy.from_dict({**POLICY.to_dict(), "rate": junk}),
    "text of the document": lambda junk: MetaPolicy.from_json(junk),
    "difficulty at": lambda junk: POLICY.difficulty_at(junk, 0.5),
    "difficulty at that performance": lambda junk: POLICY.difficulty_at(0.5, junk),
    "rate at": lambda junk: POLICY.rate_at(junk, 0.5),
    "rate at that performance": lambda junk: POLICY.rate_at(0.5, junk),
    "rate at that step": lambda junk: POLICY.rate_at(0.5, 0.5, step=[junk]),
    "stored policy": lambda junk: load_policy(junk),
    "file": lambda junk: MetaPolicy.load(junk),
}


IMAGES, LABELS = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
TASK = "breast_cancer"

TASK_DOORS = {
    "labels": class_frequencies,
    "one label": lambda junk: class_frequencies([0, 1, junk]),
    "labels of images": lambda junk: measure_complexity(IMAGES, junk),
    "images": lambda junk: measure_complexity(junk, LABELS),
    "one image": lambda junk: measure_complexity([IMAGES[0], junk, IMAGES[2], IMAGES[3]], LABELS),
    "complexity measure": lambda junk: measure_complexity(IMAGES, LABELS, junk),
    "task": load_task,
    "folder of data": lambda junk: load_task("breastmnist", data_dir=junk),
    "size of train": lambda junk: load_task(TASK, max_train=[junk]),
    "size of validation": lambda junk: load_task(TASK, max_eval=[junk]),
    "duplicates": lambda junk: load_task(TASK, drop_duplicates=[junk]),
    "contradictions": lambda junk: load_task(TASK, drop_contradictions=[junk]),
    "lines of progress": lambda junk: load_task(TASK, log=[junk]),
    "labels to audit": lambda junk: audit_arrays({**ARRAYS, "val_labels": junk}),
    "images to audit": lambda junk: audit_arrays({**ARRAYS, "val_images": junk}),
    "labels of a task": lambda junk: Task("t", **{**ARRAYS, "val_labels": junk}, classes=("a", "b")),
    "images of a task": lambda junk: Task("t", **{**ARRAYS, "train_images": junk}, classes=("a", "b")),
    "study file": load_study,
}
ARRAYS = {f"{part}_{k}": v for part in ("train", "val", "test") for k, v in (("images", IMAGES), ("labels", LABELS))}
LABELS_AND_IMAGES = {
    "ragged images": lambda: measure_complexity([np.zeros((8, 8)), np.zeros((9, 9))], [0, 1]),
    "one-hot": lambda: class_frequencies(np.eye(3)),
    "floats": lambda: class_frequencies([0.0, 1.0]),
    "texts": lambda: class_frequencies(["ill", "healthy"]),
    "negative": lambda: class_frequencies([-1, 1]),
    "missing": lambda: class_frequencies([0.0, np.nan, 1.0]),
    "complex": lambda: class_frequencies(np.array([0j, 1j])),
    "times": lambda: class_frequencies(np.array([0, 1], "timedelta64[s]")),
    "records": lambda: class_frequencies(np.zeros(2, [("a", int)])),
    "flags": lambda: class_frequencies([True, False]),
    "no labels": lambda: class_frequencies([]),
    "one class": lambda: class_frequencies([0, 0]),
    "a gap": lambda: class_frequencies([0, 2]),
    "too large": lambda: class_frequencies([0, 1, 2**40]),
    "too large for any": lambda: class_frequencies([0, 1, 10**30]),
    "five axes": lambda: measure_complexity(np.zeros((4, 2, 2, 2, 2)), LABELS),
    "one axis": lambda: measure_complexity(np.zeros(4), LABELS),
    "no pixels": lambda: measure_complexity(np.zeros((4, 0)), LABELS),
    "other length": lambda: measure_complexity(IMAGES[:3], LABELS),
    "complex images": lambda: measure_complexity(IMAGES * 1j, LABELS),
    "not finite": lambda: measure_complexity(np.full((4, 3), np.inf), LABELS),
    "texts for images": lambda: measure_complexity([["a"]] * 4, LABELS),
    "nobody's folder": lambda: load_task("~nobody_of_that_name/x.npz"),
    "nobody's data": lambda: load_task("breastmnist", data_dir="~nobody_of_that_name/x"),
}


@pytest.mark.parametrize("case", LABELS_AND_IMAGES)
def test_labels_and_images_that_are_none_are_refused_in_words(case):
    with pytest.raises(MetaGDError, match=r"[a-z]{3}"):
        LABELS_AND_IMAGES[case]()


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("door", TASK_DOORS)
def test_junk_for_a_task_is_refused_in_words(door, junk):
    if (junk, door) in (("none", "folder of data"), ("flag", "one label")):
        return  # what is left out, and True, which NumPy takes for 1, are no junk there
    message = refused(TASK_DOORS[door], JUNK[junk])
    assert message.strip()
    assert "x" * (MOST_QUOTED + 1) not in message


def refused(door, junk):
    """Return what an entry point says about junk; any other exception fails the test by itself."""
    with pytest.raises(MetaGDError) as caught:
        door(junk)
    return str(caught.value)


def said(work):
    """Return what the package says against some work, nothing if it has no objection."""
    try:
        work()
    except MetaGDError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("door", POLICY_DOORS)
def test_junk_for_a_policy_is_refused_in_words(door, junk):
    # None is what several arguments hold if they are left out.
    if junk == "none" and door in ("difficulty", "improvement_scale"):
        return
    message = refused(POLICY_DOORS[door], JUNK[junk])
    assert message.strip()
    assert "x" * (MOST_QUOTED + 1) not in message


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
JSON_LIKE = st.recursive(
    NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=10
)


@given(table=st.dictionaries(st.sampled_from([*POLICY.to_dict()]) | st.text(), JSON_LIKE))
def test_no_document_raises_anything_else(table):
    assert len(said(lambda: MetaPolicy.from_dict({**POLICY.to_dict(), **table}))) < 1500


@given(params=st.dictionaries(st.sampled_from([*PARAMS]) | st.text(), JSON_LIKE))
def test_no_parameters_raise_anything_else(params):
    changed = {**PARAMS, **params}
    assert len(said(lambda: MetaPolicy.from_params(changed))) < 1500
    assert len(said(lambda: MetaPolicy.from_trial(SimpleNamespace(params=changed, number=3)))) < 1500


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": LONG},
        {"signal": LONG},
        {LONG: 1},
        {"schema": LONG},
        {"provenance": LONG},
        {"rate": LONG},
        {"rate": {"form": LONG}},
        {"rate": {"form": "power", LONG: 1}},
        {"rate": {"form": "power", "coefficients": {LONG: 1}}},
        {"rate": {"form": "power", "coefficients": {**POWER, "lr0": LONG}}},
        {"rate": {"form": "power", "coefficients": [LONG]}},
        {"difficulty": {"form": LONG}},
        {"half_life": [LONG] * 100},
    ],
    ids=lambda change: next(iter(change))[:20],
)
def test_an_error_about_a_document_quotes_little(tmp_path, change):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**POLICY.to_dict(), **change}), encoding="utf-8")
    message = refused(load_policy, file)
    assert message.startswith(str(file))
    assert "x" * (MOST_QUOTED + 1) not in message
    assert len(message) < len(str(file)) + 1000


STUDY = 'tasks = ["breast_cancer"]\n'


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1\n{STUDY}",
        f'tasks = ["{LONG}"]\n',
        f'tasks = ["{LONG}.npz"]\n',
        f'tasks = ["a/{LONG}.npz"]\n',
        f'tasks = ["{LONG}", "{LONG}"]\n',
        f'metric = "{LONG}"\n{STUDY}',
        f'trials = "{LONG}"\n{STUDY}',
        f'trials = ["{LONG}"]\n{STUDY}',
        f'pruning = "{LONG}"\n{STUDY}',
        f'baselines = ["{LONG}"]\n{STUDY}',
        f'baselines = ["adam-cosine", ["{LONG}"]]\n{STUDY}',
        f'baselines = "{LONG}"\n{STUDY}',
        f'network = "{LONG}"\n{STUDY}',
        f'network = "{LONG}.keras"\n{STUDY}',
        f'network = "{"a/" * 5000}b.keras"\n{STUDY}',
        f"{STUDY}[{LONG}]\n",
        f"{STUDY}[{LONG}]\n[{LONG}]\n",
        f"{STUDY}{LONG}",
    ],
    ids=lambda text: text.replace("x" * 100, "").replace("a/" * 100, "")[:40].strip(),
)
def test_an_error_about_a_study_file_quotes_little(tmp_path, text):
    file = tmp_path / "study.toml"
    file.write_text(text, encoding="utf-8")
    message = refused(load_study, file)
    assert message.startswith(str(file))
    assert "x" * (MOST_QUOTED + 1) not in message
    assert "a/" * MOST_QUOTED not in message
    assert len(message) < len(str(file)) + 1500


@pytest.mark.parametrize(
    "arguments",
    [
        ["{}"],
        ["tasks", "{}"],
        ["tasks", "show", "{}"],
        ["tasks", "audit", "{}.npz"],
        ["tasks", "audit", "a/{}"],
        ["tasks", "show", "--data-dir", "{}"],
        ["policies", "show", "{}"],
        ["policies", "show", "{}.json"],
        ["run", "{}"],
        ["run", "{}.toml"],
        ["run", "{}", "--workers", "{}"],
        ["report", "{}"],
        ["report", "a", "b", "--{}"],
        ["export", "--study", "{}", "--task", "a"],
        ["export", "--study", "a", "--task", "{}", "--storage", "{}"],
        ["export", "--study", "a", "--task", "b", "--storage", "sqlite:///{}"],
        ["export", "--study", "a", "--task", "b", "--storage", "{}://a/b"],
        ["export", "--study={}", "--task=b"],
        ["recommend", "{}"],
        ["dashboard", "--port", "{}"],
        ["dashboard", "--storage", "{}"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("length", [300, 100_000])
def test_an_error_about_the_command_line_quotes_little(tmp_path, monkeypatch, capsys, arguments, length):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([argument.format("x" * length) for argument in arguments])
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert "rror: " in message
    assert "x" * (MOST_QUOTED + 1) not in message
    assert len(message) < 1500
