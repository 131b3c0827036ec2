"""Checked values: what an error says of one that does not fit, wherever it stands."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.models import Model, Pair, Row, checked


class Verdict(Model):
    label: Literal["faster", "tie"]
    ci95: Pair[float | None] = (None, None)
    seeds: Row[int] = ()


class Study(Model):
    tasks: Row[str]
    trials: Annotated[int, Field(ge=4, le=10_000)] = 24
    pruning: bool = True
    form: Literal["study"] = "study"
    verdicts: dict[str, Verdict] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tasks": ["a"], "trials": 3}, "f.toml: trials is 3; allowed is a whole number from 4 to 10,000"),
        ({"tasks": ["a"], "trials": True}, "f.toml: trials is true; allowed is a whole number from 4 to 10,000"),
        ({"tasks": ["a"], "trials": 24.5}, "f.toml: trials is 24.5; allowed is a whole number from 4 to 10,000"),
        ({"tasks": ["a"], "pruning": "no"}, 'f.toml: pruning is "no"; allowed is true or false'),
        ({"tasks": "a"}, 'f.toml: tasks is "a"; allowed is a list, each entry text'),
        ({}, "f.toml: the key 'tasks' is missing; it holds a list, each entry text"),
        ({"taks": []}, "f.toml: there is no key 'taks' (did you mean 'tasks'?); allowed keys: tasks, trials, pruning,"),
        (
            {"tasks": [], "verdicts": {"x": {"label": "tei"}}},
            'verdicts.x.label is "tei"; allowed is one of',
        ),
        ({"tasks": [], "verdicts": {"x": {"lbel": 1}}}, "no key 'lbel' in verdicts.x (did you mean 'label'?)"),
        (
            {"tasks": [], "verdicts": {"x": {"label": "tie", "seeds": [1, "2"]}}},
            'x.seeds[1] is "2"; allowed is',
        ),
        (
            {"tasks": [], "verdicts": {"x": {"label": "tie", "ci95": [1, "2"]}}},
            'ci95[1] is "2"; allowed is a number',
        ),
        ({"tasks": [], "verdicts": {"x": {"label": "tie", "ci95": [float("inf"), 1]}}}, "ci95[0] is Infinity; allowed"),
        ({"tasks": [], "form": "x"}, 'f.toml: form is "x"; allowed is study'),
        ({"tasks": [], "verdicts": {"x": {}}}, "the key 'verdicts.x.label' is missing; it holds one of faster, tie"),
        (5, "f.toml: it is 5; allowed is a table"),
    ],
)
def test_error_names_place_what_stands_there_and_what_is_allowed(table, said):
    with pytest.raises(MetaGDError) as error:
        checked(Study, table, "f.toml")
    assert said in str(error.value)


def test_long_input_is_quoted_in_at_most_two_hundred_characters():
    for table in ({"tasks": "x" * 10**6}, {"x" * 10**6: 1}, {"tasks": [], "verdicts": {"y" * 10**6: 1}}):
        with pytest.raises(MetaGDError) as error:
            checked(Study, table, "f" * 10**6)
        assert len(str(error.value)) < 700


def test_value_round_trips_through_json_and_does_not_change():
    study = checked(Study, {"tasks": ["a"], "verdicts": {"x": {"label": "tie", "ci95": [1, None]}}}, "here")
    assert checked(Study, study.model_dump(mode="json"), "there") == study
    assert study.tasks == ("a",)
    with pytest.raises(ValidationError):
        study.trials = 5


def test_remedy_ends_the_error():
    with pytest.raises(MetaGDError, match=r"run it again$"):
        checked(Study, {}, "f", remedy="run it again")


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"trials": 3}, "a copy of Study: trials is 3; allowed is a whole number from 4 to 10,000"),
        ({"trails": 30}, "a copy of Study: there is no key 'trails' (did you mean 'trials'?)"),
        ({"tasks": None}, "a copy of Study: tasks is null; allowed is a list, each entry text"),
    ],
)
def test_a_copy_is_checked_like_a_new_one(update, said):
    study = Study(tasks=("a",), verdicts={"a": Verdict(label="tie")})
    with pytest.raises(MetaGDError) as error:
        study.model_copy(update=update)
    assert said in str(error.value)
    longer = study.model_copy(update={"trials": 30, "tasks": ["a", "b"]})
    assert longer == Study(tasks=("a", "b"), trials=30, verdicts={"a": Verdict(label="tie")})
    assert longer.model_fields_set == {"tasks", "trials", "verdicts"}
    assert study.model_copy() == study
    assert study.model_copy(deep=True).verdicts is not study.verdicts


def test_a_copy_knows_a_field_by_its_name_where_a_file_has_another():
    class Document(Model):
        schema_version: Literal[2] = Field(2, alias="schema")
        kind: str

    assert Document(kind="a", schema=2).model_copy(update={"kind": "b"}) == Document(kind="b")
    with pytest.raises(MetaGDError, match="schema is 3; allowed is 2"):
        Document(kind="a").model_copy(update={"schema_version": 3})
