"""Reading results: sound ones, and every kind of damage."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.records import StudyRecord
from metagd_optuna.report.blocks import Figure
from metagd_optuna.report.content import report_blocks
from metagd_optuna.report.html import html
from metagd_optuna.report.json_values import json_text
from metagd_optuna.report.markdown import markdown_report
from metagd_optuna.report.results import Results, build_results, merge_results, read_results

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


def as_read(results: Results) -> dict[str, Any]:
    """Return the results as JSON gives them back."""
    found: dict[str, Any] = json.loads(json_text(results.model_dump()))
    return found


def test_from_a_file_a_report_and_a_run(results: Results, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "results.json").write_text(json_text(results.model_dump()), encoding="utf-8")
    for path in (report / "results.json", report, tmp_path):
        assert read_results(path) == results


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "tasks"', "not valid JSON"),
        ('{"schema": 2}', "schema 2 is unknown"),
        ("[]", "schema None is unknown"),
        ('{"schema": 1, "tasks": {}}', "the key 'study' is missing"),
        ('{"schema": 1, "tasks": NaN}', "NaN is no number of JSON"),
        ('{"schema": 1, "runs": {"a": {"settings": {"b": -1e999}}}}', "-1e999 is too large for a number"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_garbled(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MetaGDError, match=message) as error:
        read_results(tmp_path)
    assert str(file) in str(error.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MetaGDError, match=r"no results\.json in"):
        read_results(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("tasks", {}, r": tasks is \{\}; allowed is a table of at least 1"),
        ("tasks", [1], r": tasks is \[1\]; allowed is a table"),
        ("tasks.breast_cancer", 1, ": tasks.breast_cancer is 1; allowed is a table"),
        ("tasks.breast_cancer", {}, ": the key 'tasks.breast_cancer.study' is missing; it holds text"),
        ("tasks.breast_cancer.polcy", "p", r"no key 'polcy' in tasks.breast_cancer \(did you mean 'policy'\?\)"),
        ("tasks.breast_cancer.metric", "acc", r'metric is "acc"; allowed is one of auc, balanced_accuracy, accuracy'),
        ("tasks.breast_cancer.audit.findings", 3, "breast_cancer.audit: findings must be a list of texts"),
        ("tasks.breast_cancer.verdict", 1, r"breast_cancer\.verdict is 1; allowed is a table"),
        (
            "tasks.breast_cancer.verdict.label",
            "best",
            r'verdict\.label is "best"; allowed is one of faster, tie, slower',
        ),
        ("tasks.breast_cancer.verdict.ci95", [1, 2, 3], r"verdict\.ci95 is \[1, 2, 3\]; allowed is a list of a number"),
        ("tasks.breast_cancer.candidates", [], r"candidates is \[\]; allowed is a list of at least 1"),
        ("tasks.breast_cancer.candidates.2", "x", r'candidates\[2\] is "x"; allowed is a table'),
        ("tasks.breast_cancer.candidates.1.name", "adam-cosine", "are not unique"),
        ("tasks.breast_cancer.policy", "other", r"policy 'other' is not among the candidates \['meta-policy'"),
        ("tasks.breast_cancer.policy", "meta-polic", r"\(did you mean 'meta-policy'\?\)"),
        ("tasks.breast_cancer.best_baseline", "other", "best_baseline 'other' is not among the candidates"),
        ("tasks.breast_cancer.budget_epochs", "8", 'budget_epochs is "8"; allowed is a number above 0'),
        ("tasks.breast_cancer.target", -4, r"target is -4; allowed is a number from 0\.0 to 1\.0"),
        ("tasks.breast_cancer.target", 1.001, r"target is 1\.001; allowed is"),
        ("tasks.breast_cancer.resolution_limited", None, "is null; allowed is true or false"),
        ("tasks.breast_cancer.seeds", [1], "per_seed of meta-policy has 10 times for 1 seeds"),
        ("tasks.breast_cancer.candidates.0.per_seed.3", 0, r"per_seed\[3\] is 0; allowed is a number above 0 or null"),
        (
            "tasks.breast_cancer.candidates.0.per_seed.3",
            10**400,
            r"per_seed\[3\] is a whole number of about 400",
        ),
        ("tasks.breast_cancer.candidates.0.per_seed.3", 500, r"holds 500\.0, but a run has .* epochs"),
        ("tasks.breast_cancer.candidates.0.reached", 3.0, r"reached of meta-policy is 3\.0, but per_seed"),
        (
            "tasks.breast_cancer.candidates.0.epochs_to_target.median",
            0.5,
            r"epochs_to_target\.median of meta-policy is 0\.5, but per_seed says",
        ),
        ("tasks.breast_cancer.seeds", [1] * 10, r"seeds \[1, 1, .* are not unique"),
        ("tasks.breast_cancer.best_baseline", "keras-adam", "'keras-adam' is a 'default' and no baseline"),
        ("timing", {}, "timing holds no study 'synthetic'"),
        ("across.profile.shares.adam-cosine", [1.0], "1 shares of adam-cosine for 53 factors"),
        ("across.profile", None, r"across\.profile is null; allowed is a table"),
    ],
)
def test_damaged(place: str, value: Any, message: str, results: Results, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(changed(as_read(results), tuple(place.split(".")), value)), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message) as error:
        read_results(tmp_path)
    assert str(error.value).startswith(f"{file}: ")
    assert "run the study again" in str(error.value)


def test_without_some_of_its_tasks_a_study_is_refused(results: Results, tmp_path: Path) -> None:
    """Holm's correction would be over fewer tasks, and a tie could turn into a claim."""
    copied = as_read(results)
    del copied["tasks"]["retinamnist"], copied["across"]
    (tmp_path / "results.json").write_text(json.dumps(copied), encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"about the tasks .*'retinamnist'\], but holds \['breast_cancer'\]"):
        read_results(tmp_path)


@pytest.mark.slow
def test_no_damage_ends_in_a_traceback(
    task_factory: Factory, study_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every error reads the schema; making it takes longer than all the rest.
    schema = Results.model_json_schema()
    monkeypatch.setattr(Results, "model_json_schema", lambda: schema)
    names = ("meta-policy", "adam-cosine", "keras-adam", "replay")
    tasks = [task_factory(name, seeds=2, candidates=names) for name in ("one", "two")]
    sound = as_read(build_results(study_factory(*tasks)))
    file = tmp_path / "results.json"
    refused = passed = 0
    for place in places_in(sound):
        if place[:2] == ("tasks", "two"):
            continue
        for value in (None, -1, "text", []):
            file.write_text(json.dumps(changed(sound, place, value)), encoding="utf-8")
            try:
                found = read_results(file)
                judged = merge_results([found])
            except MetaGDError:
                refused += 1
                continue
            for one in (found, judged):
                markdown_report(one)
                html(block for block in report_blocks(one) if not isinstance(block, Figure))
            passed += 1
    assert refused > passed > 0


def changed(document: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy of a document with another value at one place."""
    copied = copy.deepcopy(document)
    inner: Any = copied
    for key in place[:-1]:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    last = place[-1]
    inner[int(last) if isinstance(inner, list) else last] = value
    return copied


def places_in(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the places of all values within one, of lists only those of the first items."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:1]))
    return [found for key, item in items for found in [(*place, key), *places_in(item, (*place, key))]]
